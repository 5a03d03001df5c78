"""The models that the decoding bench serves: those trained here, and an LSTM of random weights."""

from pathlib import Path

from bench.decoding_report import BENCH_LSTM, MODELS
from bench.models import MODELS_DIR
from bench.processes import BenchError
from service.artifact.manifest import MANIFEST_FILE


def gather_models(models: Path, repository: Path) -> None:
    """Links to the trained models and to the bench's own.

    Raises:
        BenchError: a trained model is missing.
    """
    repository.mkdir()
    lstm = export_lstm(MODELS_DIR / "decoding")
    for model in MODELS:
        source = lstm if model == BENCH_LSTM else models / model
        if not source.is_dir():
            raise BenchError(f"{source} is missing; export it with `sightline export {model}`")
        (repository / model).symlink_to(source.resolve())


def export_lstm(folder: Path) -> Path:
    """An LSTM of 128 units over 128 tokens, once; the weights are random."""
    artifact = folder / BENCH_LSTM / "1"
    if not (artifact / MANIFEST_FILE).exists():
        import torch

        from export.artifact.spec import Origin
        from export.models import build
        from export.pytorch.network import ArtifactOptions, Network
        from export.pytorch.resolve import export_network
        from service.artifact.manifest import Task
        from service.artifact.sections import SequenceSection

        torch.manual_seed(0)
        vocabulary = tuple(chr(code) for code in range(0x0100, 0x0180))
        text = folder / "golden.txt"
        folder.mkdir(parents=True, exist_ok=True)
        text.write_text("".join(vocabulary))
        module = build("lstm", hidden_size=128, vocabulary_size=len(vocabulary))
        section = SequenceSection(kind="tokens", vocabulary=vocabulary)
        origin = Origin(source="bench.decoding")
        network = Network(module.eval(), None, (), "lstm", origin, Task.SEQUENCE, section)
        export_network(network, ArtifactOptions(BENCH_LSTM, golden=(text,)), folder)
    return artifact.parent
