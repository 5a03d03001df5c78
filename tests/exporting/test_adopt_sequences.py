"""Other people's sequence graphs: adopted through the command line, served and followed."""

import importlib.util
import wave
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from typer.testing import Result

from sightline.v1 import models_pb2, sequence_pb2_grpc
from sightline.v1 import sequence_pb2 as pb
from tests.support import foreign_sequences as graphs
from tests.support.adopting import invoke
from tests.support.running import running_server

FRAME, OVERLAP, RATE = 512, 64, 16_000
SILERO_FLAGS = ("--frame", str(FRAME), "--overlap", str(OVERLAP), "--freeze", f"sr={RATE}")


def silero_path() -> Path:
    """The graph in the wheel; importing the package would want torchaudio."""
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"


def voice() -> NDArray[np.float32]:
    """A second of something like a vowel between two halves of near silence."""
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 3 * time)) / RATE
    sound = np.zeros(RATE)
    for harmonic in range(1, 30):
        formants = ((700, 130), (1220, 150), (2600, 200))
        gain = sum(np.exp(-(((120 * harmonic - at) / wide) ** 2)) for at, wide in formants)
        sound += gain * np.sin(harmonic * phase)
    hush = np.random.default_rng(0).normal(0, 0.002, RATE // 2)
    return np.concatenate([hush, 0.5 * sound / abs(sound).max(), hush]).astype(np.float32)


def adopt_sequence(folder: Path, graph: onnx.ModelProto | Path, name: str, *flags: str) -> Result:
    path = graph if isinstance(graph, Path) else folder / f"{name}.onnx"
    if isinstance(graph, onnx.ModelProto):
        path.write_bytes(graph.SerializeToString())
    where = ("--task", "sequence", "--name", name, "--output", str(folder / "models"))
    return invoke(str(path), *where, *flags)


def examples(folder: Path) -> tuple[str, str, str]:
    """A recording, a text and a table."""
    with wave.open(str(folder / "voice.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes((voice() * 32767).astype("<i2").tobytes())
    (folder / "text.txt").write_text("a cab bed decade " * 8)
    (folder / "letters.txt").write_text("\n".join(graphs.ALPHABET))
    table = np.random.default_rng(0).normal(size=(40, 2))
    np.savetxt(folder / "table.csv", table, delimiter=",")
    return str(folder / "voice.wav"), str(folder / "text.txt"), str(folder / "table.csv")


@pytest.fixture(scope="module")
def stub(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[sequence_pb2_grpc.SequenceServiceStub]:
    folder = tmp_path_factory.mktemp("adopted")
    recording, text, table = examples(folder)
    letters = ("--labels", str(folder / "letters.txt"))
    adoptions = (
        (silero_path(), "silero-vad", *SILERO_FLAGS, "--example", recording),
        (graphs.torch_lstm_language_model(), "letters", *letters, "--example", text),
        (graphs.torch_lstm_language_model(1), "single", *letters, "--example", text),
        (graphs.forecaster(), "sums", "--example", table),
    )
    for graph, name, *flags in adoptions:
        result = adopt_sequence(folder, graph, name, *flags)
        assert result.exit_code == 0, (name, result.output, result.exception)
    with running_server(folder / "models") as server:
        server.wait_until_ready()
        with grpc.insecure_channel(server.target) as channel:
            yield sequence_pb2_grpc.SequenceServiceStub(channel)


def silero_scores(samples: NDArray[np.float32]) -> list[float]:
    """What its authors' own loop gives."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(silero_path(), options)
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros((1, OVERLAP), np.float32)
    scores: list[float] = []
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        heard = np.concatenate([before, samples[None, start : start + FRAME]], axis=1)
        feeds = {"input": heard, "state": state, "sr": np.array(RATE, np.int64)}
        score, state = session.run(None, feeds)
        scores.append(float(np.asarray(score)[0, 0]))
        before = heard[:, -OVERLAP:]
    return scores


def test_silero_vad_follows_a_voice_like_the_loop_of_its_author(stub) -> None:
    samples = voice()
    expected = silero_scores(samples)
    assert max(expected) > 0.5 > min(expected)  # it hears the difference

    def requests() -> Iterator[pb.FollowRequest]:
        for start in range(0, len(samples) - FRAME + 1, FRAME):
            values = pb.Values(values=samples[start : start + FRAME])
            selector = models_pb2.ModelSelector(name="silero-vad") if start == 0 else None
            yield pb.FollowRequest(model=selector, observed=pb.History(values=values))

    answers = [response.steps[0].values[0] for response in stub.Follow(requests(), timeout=60)]
    np.testing.assert_allclose(answers, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["letters", "single"])
def test_a_language_model_with_a_state_continues_a_text(stub, name: str) -> None:
    request = pb.PredictRequest(
        model=models_pb2.ModelSelector(name=name),
        histories=[pb.History(text=text) for text in ("bcb", "e" * 40, "d")],
        options=pb.PredictOptions(max_steps=4),
    )
    results = stub.Predict(request, timeout=30).results
    for result, history in zip(results, ("bcb", "e" * 40, "d"), strict=True):
        letters = [graphs.ALPHABET.index(letter) for letter in history]
        for _ in range(4):
            letters.append(sum(letters) % 5)
        expected = "".join(graphs.ALPHABET[letter] for letter in letters[-4:])
        assert result.continuation.text == expected


def test_a_forecaster_with_a_state_is_served_in_its_own_units(stub) -> None:
    values = np.arange(40, dtype=np.float32)
    history = pb.History(values=pb.Values(values=values, series=2))
    request = pb.PredictRequest(model=models_pb2.ModelSelector(name="sums"), histories=[history])
    (result,) = stub.Predict(request, timeout=30).results
    (step,) = result.continuation.steps
    assert list(step.values) == pytest.approx([values[::2].sum(), values[1::2].sum()])


@pytest.mark.parametrize(
    ("graph", "flags", "reason"),
    [
        (silero_path(), ("--frame", "512"), "beside its states the graph takes"),
        (silero_path(), ("--freeze", "sr=16000"), "needs --frame"),
        (silero_path(), (*SILERO_FLAGS, "--state", "state=nowhere"), "state=nowhere"),
        (silero_path(), (*SILERO_FLAGS[2:], "--frame", "40000"), "with more than"),
        (silero_path(), (*SILERO_FLAGS[2:], "--frame", "100"), "does not run on"),
        (graphs.forecaster(looks_ahead=True), (), "looks ahead"),
        (
            graphs.forecaster(),
            ("--save", "answer.png"),
            "answers of sequences and tensors are not drawn",
        ),
        (graphs.forecaster(), ("--head", "yolov8"), "leave --head out"),
    ],
)
def test_what_is_no_sequence_graph_is_refused(
    tmp_path: Path, graph: onnx.ModelProto | Path, flags: tuple[str, ...], reason: str
) -> None:
    recording, _, table = examples(tmp_path)
    example = recording if isinstance(graph, Path) else table
    result = adopt_sequence(tmp_path, graph, "refused", *flags, "--example", example)
    assert result.exit_code == 1
    assert reason in " ".join(result.output.split())
    assert not (tmp_path / "models").exists()
