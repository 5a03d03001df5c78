"""Two trees beside each other: ratios of neighbouring rounds."""

import subprocess
from pathlib import Path

import pytest

from bench.compare import ratios, worktree
from bench.processes import BenchError
from bench.results import Results, Server
from tests.support.bench_results import TINY, results_of, sample


def rounds(*cpu_and_rate: tuple[float, float]) -> list[Results]:
    return [
        results_of(sample(TINY, Server.SERVICE, rate=rate, cpu_s=cpu)) for cpu, rate in cpu_and_rate
    ]


def test_a_ratio_is_of_neighbouring_rounds_so_that_a_slow_hour_cancels_out() -> None:
    ours = rounds((2e-4, 1000), (4e-4, 500), (2e-4, 1000))
    theirs = rounds((1e-4, 2000), (2e-4, 1000), (2e-4, 1000))
    both = ratios(ours, theirs, TINY)
    assert both is not None
    assert both[0] == pytest.approx((2, 1, 2))
    assert both[1] == pytest.approx((0.5, 0.5, 1))


def test_a_cell_that_one_tree_lacks_has_no_ratio() -> None:
    assert ratios(rounds((1e-4, 1)), [results_of()], TINY) is None


def test_an_unknown_revision_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(BenchError, match="no-such-commit"), worktree("no-such-commit"):
        pass
