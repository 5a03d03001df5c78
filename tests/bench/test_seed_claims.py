"""What is exact in docs/seed-claims.md."""

from pathlib import Path

import pytest

from bench.claims import attention, convolutions, recurrence
from bench.claims.attention import order_blindness, slope
from bench.claims.claim import Claim
from bench.claims.recurrence import DISTANCES, gradient_norms
from export.models.gru import GRU
from export.models.lstm import LSTM
from export.models.rnn import RNN


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


def test_a_gru_has_three_quarters_of_an_lstms_parameters() -> None:
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


def test_a_claim_is_written_with_its_verdict_table_and_picture() -> None:
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
