import pytest

from service.artifact.manifest import (
    Batching,
    ImagePreprocessing,
    Manifest,
    Provenance,
    Task,
    TensorSpec,
    Tolerance,
)
from service.devices import resolve_devices


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, and say so, what cannot run here or takes long."""
    skipped: dict[str, str] = {}
    if "slow" not in config.option.markexpr:
        skipped["slow"] = "takes over ten seconds; run it with -m slow"
    if resolve_devices("auto")[0].kind != "cuda":
        skipped["gpu"] = "there is no CUDA device, or no onnxruntime-gpu"
    for item in items:
        for marker, reason in skipped.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def manifest() -> Manifest:
    """A classifier of 4x4 grey images into three classes; its files do not exist."""
    return Manifest(
        name="tiny",
        version=1,
        task=Task.CLASSIFICATION,
        architecture="tiny",
        inputs=(TensorSpec(name="images", dtype="uint8", axes=("batch", 4, 4, 1)),),
        outputs=(TensorSpec(name="scores", dtype="float32", axes=("batch", 3)),),
        preprocessing=ImagePreprocessing(height=4, width=4, channels=1),
        labels=("a", "b", "c"),
        batching=Batching(max_batch_size=8),
        opset_version=18,
        tolerance=Tolerance(atol=1e-4, rtol=0),
        provenance=Provenance(source="test", created="2026-01-01T00:00:00+00:00"),
        files={},
    )
