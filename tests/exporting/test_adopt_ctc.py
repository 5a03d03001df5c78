"""CTC networks: adopted through the command line, served, and asked for whole transcriptions."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from service.artifact.manifest import read_manifest
from service.processing.ctc import beam_search, greedy
from sightline import Client, Continuation, FinishReason, ItemFailed, SightlineError
from sightline.cli.app import app
from sightline.v1 import models_pb2, sequence_pb2_grpc
from sightline.v1 import sequence_pb2 as pb
from tests.support.adopting import invoke
from tests.support.foreign_sequences import CTC_STRIDE, CTC_TEXTS, transcriber
from tests.support.running import running_server

LENGTHS = (40, 80)
TEXT = "a bad dab"
BLANK = 0


def spoken(text: str) -> NDArray[np.float32]:
    """A frame a letter, a blank behind it, and some noise."""
    levels = [level for letter in text for level in (CTC_TEXTS.index(letter), 0)]
    values = np.repeat(np.array(levels, np.float32), CTC_STRIDE)
    return values + np.random.default_rng(1).normal(0, 0.2, len(values)).astype(np.float32)


def adopt(folder: Path, graph: onnx.ModelProto, name: str, *flags: str, values=None) -> Result:
    path, example, labels = (folder / f"{name}{end}" for end in (".onnx", ".csv", ".txt"))
    path.write_bytes(graph.SerializeToString())
    np.savetxt(example, spoken(TEXT) if values is None else values, delimiter=",")
    if not labels.exists():
        labels.write_text("\n".join(CTC_TEXTS) + "\n")
    words = ("--task", "sequence", "--head", "ctc", "--name", name, "--labels", str(labels))
    where = ("--output", str(folder / "models"), "--example", str(example))
    return invoke(str(path), *words, *where, *flags)


def logits_of(graph: onnx.ModelProto, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """ONNX Runtime's own, of the history alone."""
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (logits,) = session.run(["logits"], {"input_values": values[None].astype(np.float32)})
    return np.asarray(logits)[0]


def text_of(tokens: tuple[int, ...]) -> str:
    return "".join(CTC_TEXTS[token] for token in tokens)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adopted")
    lengths = ("--lengths", ",".join(map(str, LENGTHS)))
    pairs = np.stack([spoken(TEXT)] * 2, axis=1)
    adoptions = (
        (transcriber(), "sound", lengths, None),
        (transcriber(series=2), "features", (), pairs),
        (transcriber(length=80, batch=1), "fixed", (), None),
        (transcriber(), "loud", (*lengths, "--blank", "4"), None),
    )
    for graph, name, flags, values in adoptions:
        result = adopt(folder, graph, name, *flags, values=values)
        assert result.exit_code == 0, (name, result.output, result.exception)
        assert name == "loud" or TEXT in result.output  # what it reads in the example
    return folder / "models"


@pytest.fixture(scope="module")
def target(models: Path) -> Iterator[str]:
    with running_server(models) as server:
        server.wait_until_ready()
        yield server.target


@pytest.fixture(scope="module")
def client(target: str) -> Iterator[Client]:
    with Client(target) as client:
        yield client


@pytest.fixture(scope="module")
def stub(target: str) -> Iterator[sequence_pb2_grpc.SequenceServiceStub]:
    with grpc.insecure_channel(target) as channel:
        yield sequence_pb2_grpc.SequenceServiceStub(channel)


def test_the_manifest_says_how_the_logits_are_read(models: Path) -> None:
    manifest, _ = read_manifest(models / "sound" / "1")
    assert manifest.sequence is not None
    assert manifest.sequence.ctc is not None
    assert manifest.sequence.ctc.blank == BLANK
    assert manifest.sequence.vocabulary == ("", *CTC_TEXTS[1:])
    assert [spec.name for spec in manifest.outputs] == ["logits"]
    assert manifest.buckets == ({"time": 40, "frames": 10}, {"time": 80, "frames": 20})


def test_lengths_are_proposed_around_the_example(models: Path) -> None:
    manifest, _ = read_manifest(models / "features" / "1")
    assert [bucket["time"] for bucket in manifest.buckets] == [64, 128, 256]


@settings(deadline=None, max_examples=25)
@given(
    levels=st.lists(st.floats(-0.5, 4.5), min_size=1, max_size=20), beams=st.sampled_from([1, 2, 8])
)
def test_the_answer_equals_the_head_on_the_logits_of_the_history_alone(
    client: Client, levels: list[float], beams: int
) -> None:
    values = np.repeat(np.array(levels, np.float32), CTC_STRIDE)
    logits = logits_of(transcriber(), values)
    reading = greedy(logits, BLANK) if beams == 1 else beam_search(logits, beams, BLANK)[0]
    answer = client.predict(values, model="sound", beams=beams)
    assert answer.tokens == reading.tokens
    assert answer.text == text_of(reading.tokens)
    assert answer.finish_reason is FinishReason.STOP
    assert [step.text for step in answer.steps] == [CTC_TEXTS[token] for token in reading.tokens]
    assert all(step.log_probability <= 0 for step in answer.steps)


@pytest.mark.parametrize("name", ["features", "fixed"])
def test_several_series_and_fixed_lengths_are_transcribed_too(client: Client, name: str) -> None:
    values = spoken(TEXT)
    history = np.stack([values] * 2, axis=1) if name == "features" else values
    assert client.predict(history, model=name).text == TEXT


@pytest.mark.parametrize("beams", [1, 4])
def test_a_history_whose_logits_are_not_finite_fails_alone(client: Client, beams: int) -> None:
    histories = [spoken(TEXT), np.full(8, 3e38, np.float32)]
    good, overflown = client.predict_many(histories, model="sound", beams=beams)
    assert isinstance(good, Continuation)
    assert good.text == TEXT
    assert isinstance(overflown, ItemFailed)
    assert "the model's answer is not finite" in str(overflown)
    with pytest.raises(SightlineError, match="not finite"):
        client.predict(histories[1], model="sound", beams=beams)


def test_histories_of_other_lengths_share_a_call_and_a_bad_one_fails_alone(client: Client) -> None:
    histories = [spoken("dab"), spoken(TEXT), np.zeros(81), np.array([1.0, np.nan])]
    first, second, long, broken = client.predict_many(histories, model="sound")
    assert isinstance(first, Continuation)
    assert isinstance(second, Continuation)
    assert (first.text, second.text) == ("dab", TEXT)
    assert isinstance(long, ItemFailed)
    assert "81 time steps and the model takes at most 80" in str(long.error)
    assert isinstance(broken, ItemFailed)
    assert "value 2 is nan" in str(broken.error)


@pytest.mark.parametrize("frames", [1, 5, 9, 11, 20])
def test_what_stands_behind_a_history_is_not_read(client: Client, frames: int) -> None:
    """To this network zeros are a token, and not the blank."""
    levels = np.full(frames, 4, np.float32)
    assert client.predict(np.repeat(levels, CTC_STRIDE), model="loud").tokens == ()
    levels[-1] = 2
    assert client.predict(np.repeat(levels, CTC_STRIDE), model="loud").tokens == (2,)


def test_silence_has_no_text(client: Client) -> None:
    answer = client.predict(np.zeros(30), model="sound")
    assert (answer.steps, answer.text, answer.finish_reason) == ((), "", FinishReason.STOP)


def test_max_steps_cuts_a_transcription(client: Client) -> None:
    answer = client.predict(spoken(TEXT), model="sound", max_steps=3)
    assert (answer.text, answer.finish_reason) == (TEXT[:3], FinishReason.STEPS)
    whole = client.predict(spoken(TEXT), model="sound", max_steps=len(TEXT))
    assert (whole.text, whole.finish_reason) == (TEXT, FinishReason.STOP)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"temperature": 0.5}, "sampling.temperature is for models that continue a history"),
        ({"top_k": 2}, "sampling.top_k is for"),
        ({"seed": 1}, "sampling.seed is for"),
        ({"stop": ["a"]}, "stop is for"),
        ({"alternatives": 2}, "top_alternatives is for"),
        ({"interval": 0.5}, "interval is for"),
        ({"max_steps": 1 << 20}, "max_steps is"),
    ],
)
def test_options_of_a_continuation_are_refused(client: Client, options, reason: str) -> None:
    with pytest.raises(SightlineError, match=reason) as caught:
        client.predict(spoken(TEXT), model="sound", **options)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("history", "reason"),
    [("a text", "the model takes values"), (np.zeros((4, 2)), "values.series is 2")],
)
def test_a_history_of_another_kind_is_refused(client: Client, history, reason: str) -> None:
    with pytest.raises(SightlineError, match=reason):
        client.predict(history, model="sound")


def test_steps_one_by_one_are_refused_with_the_way_out(client: Client) -> None:
    stream = client.predict_stream(spoken(TEXT), model="sound")
    with pytest.raises(SightlineError, match="use Predict"):
        next(stream)
    with (
        client.follow(model="sound") as followed,
        pytest.raises(SightlineError, match="use Predict"),
    ):
        followed.observe([1.0])


def test_a_passed_deadline_is_reported(stub: sequence_pb2_grpc.SequenceServiceStub) -> None:
    request = pb.PredictRequest(
        model=models_pb2.ModelSelector(name="sound"),
        histories=[pb.History(values=pb.Values(values=spoken(TEXT)))],
    )
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=1e-6)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_command_line_shows_the_text(target: str, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "values.csv", spoken(TEXT))
    words = ["predict", "--csv", str(tmp_path / "values.csv"), "--model", "sound"]
    run = CliRunner().invoke
    shown = run(app, [*words, "--at-once", "--target", target])
    assert (shown.exit_code, shown.stdout) == (0, TEXT + "\n"), shown.output
    lines = run(app, [*words, "--at-once", "--json", "--target", target]).stdout.splitlines()
    assert "".join(json.loads(line)["text"] for line in lines[:-1]) == TEXT
    assert json.loads(lines[-1])["finish_reason"] == "stop"
    refused = run(app, [*words, "--target", target])
    assert refused.exit_code == 1
    assert "--at-once" in refused.output


@pytest.mark.parametrize(
    ("graph", "flags", "reason"),
    [
        (transcriber(centred=True), ("--lengths", "400"), "give the exact --lengths"),
        (transcriber(scores=True), (), "holds probabilities"),
        (transcriber(), ("--lengths", "8,16"), "the example has 72 time steps"),
        (transcriber(), ("--lengths", "0,80"), "1 or more"),
        (transcriber(), ("--blank", "5"), "the classes are 0 to 4"),
        (transcriber(), ("--frame", "4"), "--frame is not for a CTC network"),
        (transcriber(length=80), ("--lengths", "40"), "takes exactly 80 time steps"),
        (transcriber(length=64), (), "the example has 72 time steps"),
        (transcriber(series=2), (), "the example has 1 columns"),
        (transcriber(batch=2), (), "must be the batch"),
        (transcriber(batch=1), ("--max-batch-size", "4"), "one history at a time"),
    ],
)
def test_an_unreliable_graph_is_refused(
    tmp_path: Path, graph: onnx.ModelProto, flags: tuple[str, ...], reason: str
) -> None:
    result = adopt(tmp_path, graph, "refused", *flags)
    assert result.exit_code == 1
    assert reason in " ".join(result.output.split())
    assert not (tmp_path / "models").exists()


def test_exact_lengths_help_graphs_that_depend_on_the_padding(tmp_path: Path) -> None:
    result = adopt(tmp_path, transcriber(centred=True), "exact", "--lengths", "72")
    assert result.exit_code == 0, result.output


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("\n".join(CTC_TEXTS[:-1]))
    result = adopt(tmp_path, transcriber(), "few")
    assert result.exit_code == 1
    assert "there are 4 labels and no output has 4 classes" in " ".join(result.output.split())


def test_the_blank_is_found_by_its_label(tmp_path: Path) -> None:
    (tmp_path / "last.txt").write_text("x\na\nb\n \n<blank>\n")
    result = adopt(tmp_path, transcriber(), "last")
    assert result.exit_code == 0, result.output
    manifest, _ = read_manifest(tmp_path / "models" / "last" / "1")
    assert manifest.sequence is not None
    assert manifest.sequence.ctc is not None
    assert manifest.sequence.ctc.blank == 4
    assert manifest.sequence.vocabulary == ("x", "a", "b", " ", "")


def test_flags_of_ctc_are_refused_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(transcriber().SerializeToString())
    words = ("--task", "tensors", "--name", "x", "--example", "x.npz", "--blank", "0")
    result = invoke(str(path), *words, "--output", str(tmp_path / "models"))
    assert result.exit_code == 1
    assert "are for --task sequence --head ctc" in " ".join(result.output.split())
