"""From measurements to tables."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.figures import efficiency, floor_cpu_s, quantile, spread
from bench.report import markdown, print_report
from bench.requirements import REQUIREMENTS, verdicts
from bench.results import Results, Server
from tests.support.bench_results import JPEG, STREAM, TINY, TINY_16, results_of, sample

SAMPLE = results_of(
    sample(TINY, Server.BASELINE, 1000, 1e-3),
    sample(TINY, Server.SERVICE, 3000, 350e-6),
    sample(TINY, Server.SERVICE, 3200, 350e-6),
    sample(TINY, Server.TRANSPORT, 4000, 275e-6),
    sample(TINY_16, Server.SERVICE, 18000, 60e-6),
    sample(TINY_16, Server.TRANSPORT, 50000, 20e-6),
    sample(STREAM, Server.SERVICE, 20000, 50e-6),
    sample(JPEG, Server.SERVICE, 400, 2.5e-3),
    sample(JPEG, Server.TRANSPORT, 4000, 300e-6),
)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1), (0.501, 51)]
)
def test_a_quantile_is_the_smallest_value_that_covers_the_share(
    share: float, expected: float
) -> None:
    assert quantile(range(100, 0, -1), share) == expected


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        quantile([], 0.5)


def test_a_spread_is_median_lowest_and_highest() -> None:
    assert spread([3, 1, 2]) == (2, 1, 3)


def test_the_floor_is_the_sum_of_the_parts_and_the_efficiency_its_share() -> None:
    assert efficiency(floor_cpu_s(300e-6, 2e-3, 100e-6), 3e-3) == pytest.approx(0.8)


def test_the_floor_uses_the_best_batch_size_and_no_decoder_for_pixels() -> None:
    assert SAMPLE.floor_s(TINY) == pytest.approx(280e-6)
    assert SAMPLE.efficiency(TINY) == pytest.approx(0.8)


def test_the_floor_of_an_image_file_includes_the_decoder() -> None:
    assert SAMPLE.floor_s(JPEG) == pytest.approx(2.4e-3)


def test_a_cell_without_an_empty_call_has_no_floor() -> None:
    assert SAMPLE.efficiency(STREAM) is None


def test_the_ratio_compares_medians() -> None:
    assert SAMPLE.ratio(TINY) == pytest.approx(3.1)
    assert SAMPLE.ratio(STREAM, TINY) == pytest.approx(20)
    assert SAMPLE.ratio(JPEG) is None


def test_a_busy_load_generator_is_noticed() -> None:
    busy = results_of(sample(TINY, Server.SERVICE, 9000, 1e-4, load=0.9))
    assert busy.load_was_busy(TINY)
    assert not SAMPLE.load_was_busy(TINY)


def test_every_promise_has_a_verdict_even_when_it_was_not_measured() -> None:
    by_text = {verdict.text: verdict for verdict in verdicts(SAMPLE)}
    assert len(by_text) == len(REQUIREMENTS)
    assert by_text["tinycnn, one item a call: rate / baseline"].holds is True
    assert by_text["resnet50, 32 in flight: efficiency"].holds is None


def test_results_survive_their_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(SAMPLE.model_dump_json())
    assert Results.read(file) == SAMPLE


def test_the_markdown_names_rates_efficiencies_and_failures() -> None:
    text = markdown(results_of(*SAMPLE.samples, failures=("service: calls have failed",)))
    assert "| tinycnn | 32 | 1,000 (1,000..1,000) | 3,100 (3,000..3,200) | 3.10x |" in text
    assert "| 350 | 280 | 0.80 |" in text
    assert "Not counted: service: calls have failed" in text


def test_the_report_prints_all_three_tables() -> None:
    out = io.StringIO()
    print_report(SAMPLE, Console(file=out, width=200))
    for words in ("efficiency", "bare decoder", "must hold", "not measured"):
        assert words in out.getvalue()
