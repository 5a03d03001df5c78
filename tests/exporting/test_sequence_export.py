import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from export.artifact.parity import open_session
from export.artifact.spec import Origin
from export.errors import DataError, GoldenError, GraphError, LabelsError
from export.models import build
from export.models.sequence.markov import BinnedMarkovModel
from export.models.sequence.sequence import SequenceNetwork
from export.pytorch.golden_sequences import GOLDEN_TEXT, HISTORIES
from export.pytorch.heads.sequence import chunks, prepare
from export.pytorch.network import ArtifactOptions, Network
from export.pytorch.resolve import export_network
from export.train.data.series import forecast
from export.train.data.shakespeare import SHAKESPEARE_FILE
from export.train.sequence.score import SequenceRunner, bits_per_character, forecast_errors
from export.train.sequence.shakespeare_models import score
from service.artifact.manifest import MODEL_FILE, Task, read_manifest
from service.artifact.sections import SequenceSection
from service.devices import Device
from service.worker.golden import replay_golden
from service.worker.session import ModelSession, SessionOptions

VOCABULARY = tuple(sorted(set(GOLDEN_TEXT)))
TEXT = SequenceSection(kind="tokens", vocabulary=VOCABULARY, chunk=8)
NUMBERS = SequenceSection(kind="values", series=1, chunk=8)
TOKENS = {"vocabulary_size": len(VOCABULARY)}
CONTEXT = 40
OPTIONS: dict[str, dict[str, Any]] = {
    "markov": TOKENS,
    "binned_markov": {"bins": 5},
    "autoregressive": {"order": 4, "hidden_size": 8, **TOKENS},
    "latent_autoregressive": {"traces": 3, "features": 4, "hidden_size": 8, **TOKENS},
    "rnn": {"hidden_size": 8, **TOKENS},
    "lstm": {"hidden_size": 8, "num_layers": 2, **TOKENS},
    "gru": {"hidden_size": 8, "series": 1},
    "transformer": {"width": 8, "num_layers": 1, "num_heads": 2, "context": CONTEXT, **TOKENS},
}


def make(architecture: str) -> Network:
    torch.manual_seed(0)
    module = build(architecture, **OPTIONS[architecture])
    assert isinstance(module, SequenceNetwork)
    if isinstance(module, BinnedMarkovModel):
        module.count(torch.arange(20.0).repeat(5)[:, None] % 7)
    elif module.scaler is not None:
        module.scaler.fit(torch.arange(20.0)[:, None])
    section = TEXT if module.scaler is None else NUMBERS
    origin = Origin(source="a test")
    return Network(module.eval(), None, (), architecture, origin, Task.SEQUENCE, section)


Exported = Callable[[str], tuple[SequenceNetwork, Path]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A tiny network and its artifact, made once."""
    output, made = tmp_path_factory.mktemp("models"), {}

    def export(architecture: str) -> tuple[SequenceNetwork, Path]:
        if architecture not in made:
            network = make(architecture)
            wishes = ArtifactOptions(architecture.replace("_", "-"))
            made[architecture] = network.module, export_network(network, wishes, output)
        return made[architecture]

    return export


def elements(network: SequenceNetwork, batch: int, length: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    if network.scaler is None:
        return generator.integers(0, len(VOCABULARY), (batch, length))
    return generator.normal(10, 6, (batch, length, 1)).astype(np.float32)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_an_artifact_reads_any_number_of_elements_as_the_network_does(
    exported: Exported, architecture: str
) -> None:
    network, artifact = exported(architecture)
    inputs = elements(network, 3, 24)
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs)).numpy()
    for lengths in ([1] * 24, [5, 19], [24]):
        runner, parts, start = SequenceRunner(artifact, 3), [], 0
        for length in lengths:
            parts.append(runner.step(inputs[:, start : start + length]))
            start += length
        np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["binned_markov", "lstm", "transformer"])
def test_the_server_replays_the_golden_rows_of_every_bucket(
    exported: Exported, architecture: str
) -> None:
    _, artifact = exported(architecture)
    session = ModelSession(
        artifact, read_manifest(artifact)[0], SessionOptions(Device("cpu"), max_batch_size=8)
    )
    report = replay_golden(session, artifact)
    assert report.rows == len(HISTORIES) * len(session.manifest.buckets)
    assert report.batch_sizes == (1, 4, 8)


@pytest.mark.parametrize(
    ("architecture", "sizes"), [("transformer", [1, 4, 8]), ("lstm", [1, 2, 4, 8])]
)
def test_remainders_of_a_history_have_buckets_where_they_cannot_be_filled_up(
    exported: Exported, architecture: str, sizes: list[int]
) -> None:
    _, artifact = exported(architecture)
    buckets = read_manifest(artifact)[0].buckets
    assert sorted({bucket["time"] for bucket in buckets}) == sizes


def test_a_chunk_need_not_be_a_power_of_two() -> None:
    assert chunks(TEXT.model_copy(update={"chunk": 12})) == (1, 2, 4, 8, 12)


@settings(deadline=None, max_examples=10)
@given(lengths=st.lists(st.integers(0, CONTEXT - 4), min_size=2, max_size=5))
def test_sequences_at_different_positions_share_a_batch(
    exported: Exported, lengths: list[int]
) -> None:
    network, artifact = exported("transformer")
    alone, states, nexts = [], [], []
    for row, length in enumerate(lengths):
        inputs = elements(network, len(lengths), length + 3)[row : row + 1]
        runner = SequenceRunner(artifact, 1)
        if length:
            runner.read(inputs[:, :-3])
        states.append({name: array.copy() for name, array in runner.state.items()})
        nexts.append(inputs[:, -3:])
        alone.append(runner.step(inputs[:, -3:]))
    together = SequenceRunner(artifact, len(lengths))
    together.state = {
        name: np.concatenate([state[name] for state in states]) for name in together.state
    }
    answers = together.step(np.concatenate(nexts))
    np.testing.assert_allclose(answers, np.concatenate(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "operator"), [("rnn", "RNN"), ("lstm", "LSTM"), ("gru", "GRU")]
)
def test_a_recurrent_layer_is_one_operator(
    exported: Exported, architecture: str, operator: str
) -> None:
    _, artifact = exported(architecture)
    graph = onnx.load(artifact / MODEL_FILE).graph
    layers = OPTIONS[architecture].get("num_layers", 1)
    assert [node.op_type for node in graph.node].count(operator) == layers
    assert not {"Loop", "Scan", "Sigmoid", "Tanh"} & {node.op_type for node in graph.node}


def test_the_manifest_says_what_the_state_is(exported: Exported) -> None:
    _, artifact = exported("transformer")
    manifest, _ = read_manifest(artifact)
    section = manifest.sequence
    assert section is not None
    assert (section.context, section.position_input) == (CONTEXT, "position")
    assert section.vocabulary == VOCABULARY
    axes = {tensor.name: tensor.axes for tensor in (*manifest.inputs, *manifest.outputs)}
    assert axes["tokens"] == ("batch", "time")
    assert axes["position"] == ("batch",)
    for state in section.states:
        assert state.update == "append"
        assert axes[state.input] == ("batch", 2, "past", 4)
        assert axes[state.output] == ("batch", 2, "time", 4)
    eighths = [-(-CONTEXT * part // 8) for part in range(1, 9)]
    assert manifest.buckets == tuple(
        {"time": time, "past": past} for time in (1, 4, 8) for past in eighths if time <= past
    )


def test_the_manifest_says_how_values_are_scaled(exported: Exported) -> None:
    network, artifact = exported("gru")
    section = read_manifest(artifact)[0].sequence
    assert section is not None
    assert network.scaler is not None
    assert section.loc == tuple(network.scaler.loc.tolist())
    assert section.scale == tuple(network.scaler.scale.tolist())
    (state,) = section.states
    assert (state.input, state.output, state.update) == ("h", "new_h", "replace")


def test_a_markov_model_needs_no_state(exported: Exported) -> None:
    _, artifact = exported("markov")
    session = open_session(artifact / MODEL_FILE)
    assert [each.name for each in session.get_inputs()] == ["tokens"]
    assert [each.name for each in session.get_outputs()] == ["logits"]


def surprise(network: SequenceNetwork, tokens: Tensor) -> Tensor:
    """Bits of each token ``[T]`` but the first."""
    with torch.inference_mode():
        log_probabilities = network(tokens[None, :-1])[0].log_softmax(-1)
    return -log_probabilities.gather(1, tokens[1:, None])[:, 0] / math.log(2)


def test_bits_per_character_equal_the_mean_surprise(exported: Exported) -> None:
    network, artifact = exported("rnn")
    tokens = torch.from_numpy(elements(network, 1, 45)[0])
    expected = float(surprise(network, tokens).mean())
    assert bits_per_character(artifact, tokens.numpy()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("length", [30, CONTEXT + 1, 3 * CONTEXT + 7])
def test_a_bounded_context_is_scored_with_half_of_it_behind_each_token(
    exported: Exported, length: int
) -> None:
    network, artifact = exported("transformer")
    tokens = torch.from_numpy(elements(network, 1, length)[0])
    bits = [surprise(network, tokens[: CONTEXT + 1])]
    for start in range(CONTEXT // 2, length - 1 - CONTEXT // 2, CONTEXT // 2):
        bits.append(surprise(network, tokens[start : start + CONTEXT + 1])[CONTEXT // 2 :])
    expected = torch.cat(bits)
    assert len(expected) == length - 1
    actual = bits_per_character(artifact, tokens.numpy())
    assert actual == pytest.approx(float(expected.mean()), rel=1e-4)


def test_a_text_of_other_characters_is_not_scored(exported: Exported, tmp_path: Path) -> None:
    _, artifact = exported("markov")
    (tmp_path / SHAKESPEARE_FILE).write_text("0123456789" * 3000)
    with pytest.raises(DataError, match="does not have the vocabulary"):
        score(artifact, tmp_path)


def test_forecasts_are_iterated_from_every_place(exported: Exported) -> None:
    network, artifact = exported("gru")
    values = elements(network, 1, 30)[0]
    errors = forecast_errors(artifact, values, start=12, horizon=5)
    assert errors.shape == (30 - 12 - 5 + 1, 5, 1)
    with torch.inference_mode():
        for row, place in enumerate(range(12, 26)):
            expected = forecast(network, torch.from_numpy(values[None, :place]), 5)[0]
            wanted = values[place : place + 5] - expected.numpy()
            np.testing.assert_allclose(errors[row], wanted, rtol=1e-3, atol=1e-3)


def test_a_vocabulary_of_another_size_is_refused() -> None:
    network = replace(make("rnn"), section=TEXT.model_copy(update={"vocabulary": ("a", "b")}))
    with pytest.raises(LabelsError, match=f"has {len(VOCABULARY)} tokens"):
        prepare(network, ArtifactOptions("rnn"))


def test_a_network_without_the_interface_is_refused() -> None:
    network = Network(torch.nn.Identity(), task=Task.SEQUENCE, section=TEXT)
    with pytest.raises(GraphError, match="its state is unknown"):
        prepare(network, ArtifactOptions("identity"))


def test_golden_rows_may_come_from_the_user(tmp_path: Path) -> None:
    text, numbers = tmp_path / "text.txt", tmp_path / "numbers.csv"
    text.write_text("the sun shines on all of us, the same every day")
    _, spec = prepare(make("rnn"), ArtifactOptions("rnn", golden=(text,)))
    first = "".join(VOCABULARY[token] for token in spec.golden[-1]["tokens"][0])
    assert first == "the sun "
    numbers.write_text("\n".join(str(number) for number in range(30)))
    _, spec = prepare(make("gru"), ArtifactOptions("gru", golden=(numbers,)))
    np.testing.assert_array_equal(spec.golden[-1]["values"][1, :, 0], np.arange(5, 13))
    text.write_text("short")
    with pytest.raises(GoldenError, match="5 elements"):
        prepare(make("rnn"), ArtifactOptions("rnn", golden=(text,)))
    numbers.write_text("1\ntwo\n")
    with pytest.raises(GoldenError, match=r"numbers\.csv cannot be read"):
        prepare(make("gru"), ArtifactOptions("gru", golden=(numbers,)))
    with pytest.raises(GoldenError, match=r"nowhere\.txt cannot be read"):
        prepare(make("rnn"), ArtifactOptions("rnn", golden=(tmp_path / "nowhere.txt",)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "tokens"}, "needs its vocabulary"),
        ({"kind": "values"}, "needs its number of series"),
        (
            {**TEXT.model_dump(), "states": [{"input": "k", "output": "nk", "update": "append"}]},
            "needs position_input and context",
        ),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceSection.model_validate(fields)
