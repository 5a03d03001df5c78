"""What is exact in docs/seed-claims.md."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.claims import attention, convolutions, detectors, recurrence
from bench.claims.attention import order_blindness, slope
from bench.claims.claim import Claim
from bench.claims.detectors import Detector, Rounds, as_claim, time_rounds
from bench.claims.recurrence import DISTANCES, gradient_norms
from bench.seed_claims import page, with_sections
from export.errors import ExportError
from export.models.sequence.gru import GRU
from export.models.sequence.lstm import LSTM
from export.models.sequence.rnn import RNN
from service.artifact.manifest import ImagePreprocessing
from service.artifact.sections import ProposalSearch


@pytest.mark.parametrize(
    "measure",
    [
        convolutions.one_by_one,
        convolutions.two_three_by_three,
        convolutions.transitions,
        convolutions.convolutionalised,
        recurrence.unrolled,
        attention.positions,
    ],
)
def test_the_claim_holds(measure: object) -> None:
    assert callable(measure)
    claim = measure()
    assert isinstance(claim, Claim)
    assert claim.holds, claim.found


def test_two_3x3_have_18_parameters_where_a_5x5_has_25() -> None:
    assert "73,728 parameters against 102,400" in convolutions.two_three_by_three(64).found
    assert 18 * 64 * 64 == 73_728
    assert 25 * 64 * 64 == 102_400


def test_googlenet_is_smaller_than_alexnet_and_vgg() -> None:
    counts = convolutions.full_size_counts()
    assert counts["googlenet"] < counts["alexnet"] < counts["vgg16"] < counts["vgg19"]


def test_a_gru_has_three_quarters_of_the_parameters_of_an_lstm() -> None:
    counts = [sum(p.numel() for p in cell(32, 32).parameters()) for cell in (GRU, LSTM)]
    assert counts[0] * 4 == counts[1] * 3


def test_gates_keep_more_of_the_gradient_than_tanh_alone() -> None:
    at_32 = DISTANCES.index(32)
    rnn, lstm, gru = (gradient_norms(cell, seeds=2)[at_32] for cell in (RNN, LSTM, GRU))
    assert rnn < gru < lstm


def test_attention_without_positions_is_blind_to_order() -> None:
    assert order_blindness(encode_positions=False) < 1e-4 < order_blindness(encode_positions=True)


def test_the_exponent_of_a_power_law_is_found() -> None:
    assert slope([1.0, 2.0, 4.0], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_a_claim_is_written_with_its_verdict_table_and_image() -> None:
    claim = Claim("x", "A is B", "It is.", False, ("a", "b"), [("1", "2")], Path("p/x.png"))
    text = claim.as_markdown(3)
    assert text.startswith("## 3. A is B\n\n**Does not hold here.** It is.")
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in text
    assert "![x](images/claims/x.png)" in text


def test_the_cost_of_attention_is_measured_at_every_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LENGTHS", (8, 16, 32))
    claim = attention.quadratic(tmp_path)
    assert [row[:2] for row in claim.rows] == [("8", "256"), ("16", "1,024"), ("32", "4,096")]
    assert (tmp_path / "attention.png").exists()


def rounds(**networks: list[float]) -> Rounds:
    """Four rounds, of which the second one was disturbed; R-CNN and SPPNet are given proposals."""
    titles = {"rcnn": "R-CNN", "sppnet": "SPPNet", "yolo": "YOLO"}
    return Rounds(
        image=[0.02, 0.05, 0.02, 0.02],
        proposals=[0.5, 0.9, 0.5, 0.5],
        networks={titles[name]: seconds for name, seconds in networks.items()},
        proposed_for=frozenset({"R-CNN", "SPPNet"}),
    )


def test_a_shared_region_search_does_not_hide_which_network_is_faster() -> None:
    timed = rounds(rcnn=[0.049, 0.050, 0.049, 0.049], sppnet=[0.047, 0.048, 0.047, 0.047])
    assert timed.compare("R-CNN", "SPPNet") == "<"
    assert timed.compare("SPPNet", "R-CNN") == ">"
    assert timed.together("SPPNet") == pytest.approx([0.567, 0.998, 0.567, 0.567])


def test_a_difference_that_most_rounds_do_not_show_is_not_claimed(tmp_path: Path) -> None:
    timed = rounds(rcnn=[0.4] * 4, sppnet=[0.047, 0.049, 0.047, 0.046], yolo=[0.02] * 4)
    fast = replace(timed, networks={**timed.networks, "Fast": [0.046, 0.048, 0.048, 0.047]})
    fast = replace(fast, proposed_for=fast.proposed_for | {"Fast"})
    assert fast.compare("SPPNet", "Fast") == fast.compare("Fast", "SPPNet") == "="
    fast = replace(fast, networks={k: fast.networks[k] for k in ("R-CNN", "SPPNet", "Fast")})
    claim = as_claim(fast, tmp_path)
    assert claim.says == "SPPNet and Fast are faster than R-CNN"
    assert claim.holds, "the seed compares with R-CNN only"
    assert "R-CNN < SPPNet = Fast." in claim.found
    assert "Between SPPNet and Fast there is no difference that can be measured" in claim.found


def test_detectors_are_faster_than_rcnn_only_if_each_is(tmp_path: Path) -> None:
    claim = as_claim(rounds(rcnn=[0.05] * 4, sppnet=[0.05] * 4, yolo=[0.02] * 4), tmp_path)
    assert not claim.holds
    assert claim.rows[0] == ("R-CNN", "20.0", "500.0", "50.0 (50.0 to 50.0)", "570.0")
    assert claim.rows[2] == ("YOLO", "20.0", "0", "20.0 (20.0 to 20.0)", "40.0")
    assert (tmp_path / "detectors.png").exists()


def test_each_round_proposes_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    given: list[list[tuple[int, ...]]] = []

    def propose(row: np.ndarray, max_proposals: int, search: ProposalSearch) -> np.ndarray:
        searched.append(max_proposals)
        return np.zeros((max_proposals, 4), np.float32)

    def run(inputs: list[np.ndarray]) -> None:
        given.append([each.shape for each in inputs])

    monkeypatch.setattr(detectors, "propose_regions", propose)
    preprocessing = ImagePreprocessing(height=6, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    two_stage = Detector(preprocessing, (5, ProposalSearch()), run)
    found = {"a": two_stage, "b": two_stage, "c": replace(two_stage, search=None)}
    timed = time_rounds(found, Image.new("RGB", (8, 6)), 3)
    assert searched == [5] * 4, "three rounds and one to warm up"
    assert given == [[(1, 6, 8, 3), (1, 5, 4)]] * 2 + [[(1, 6, 8, 3)]] + given[3:]
    assert len(given) == 12
    assert [len(seconds) for seconds in timed.networks.values()] == [3, 3, 3]
    assert timed.proposed_for == {"a", "b"}

    other = replace(two_stage, search=(6, ProposalSearch()))
    with pytest.raises(ExportError, match="do not want the same proposals"):
        time_rounds({**found, "d": other}, Image.new("RGB", (8, 6)), 3)


def test_one_claim_can_be_measured_again_in_an_existing_page() -> None:
    first, second = Claim("a", "A", "It is.", True), Claim("b", r"B \1", "No.", False)
    text = page([first, second, first], [])
    changed = with_sections(text, {2: replace(second, holds=True), 3: replace(first, found="So.")})
    assert changed == page([first, replace(second, holds=True), replace(first, found="So.")], [])
    with pytest.raises(ExportError, match="no claim 4"):
        with_sections(text, {4: first})
    with pytest.raises(ExportError, match="another machine"):
        with_sections(text.replace("Measured on", "Measured by"), {1: first})
