"""Weights that describe themselves: safetensors with all that an export needs as metadata."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from export.artifact.spec import Origin
from export.errors import WeightsError, first_problem
from export.models import build
from export.pytorch.checkpoint import Checkpoint, load_weights
from export.pytorch.network import Network
from service.artifact.manifest import ImagePreprocessing, Task
from service.artifact.sections import DetectionSection, SegmentationSection, SequenceSection

METADATA_KEY = "sightline"
SHIPPED_DIR = Path(__file__).parents[1] / "weights"


class WeightsDescription(BaseModel):
    """The metadata that a recipe writes into a weights file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task = Task.CLASSIFICATION
    architecture: str
    """A name of the registry, such as ``resnet18``."""
    options: dict[str, Any]
    """The constructor's parameters, as JSON has them; a flag may be 0 or 1."""
    labels: tuple[str, ...] = ()
    preprocessing: ImagePreprocessing | None = None
    segmentation: SegmentationSection | None = None
    detection: DetectionSection | None = None
    sequence: SequenceSection | None = None
    """The fields that the network itself does not know: vocabulary, chunk, residuals."""
    recipe: str
    seed: int
    data: str
    licence: str
    metrics: dict[str, float]
    """Scores of the exported artifact on held-out data, such as ``{"top1": 0.91}``."""

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a safetensors file."""
        return {"format": "pt", METADATA_KEY: self.model_dump_json()}


def read_description(checkpoint: Checkpoint) -> WeightsDescription | None:
    """The description in a checkpoint's metadata; None if there is none.

    Raises:
        WeightsError: this version does not understand the description.
    """
    raw = checkpoint.metadata.get(METADATA_KEY)
    if raw is None:
        return None
    try:
        return WeightsDescription.model_validate_json(raw)
    except ValidationError as err:
        where, reason = first_problem(err)
        raise WeightsError(
            f"{checkpoint.path} has a description that this version does not understand"
            f" ({where}: {reason}); train or download it again"
        ) from err


def described_network(checkpoint: Checkpoint, description: WeightsDescription) -> Network:
    """Build the described network and load the weights."""
    module = build(description.architecture, **description.options)
    load_weights(module, checkpoint)
    return Network(
        module=module,
        preprocessing=description.preprocessing,
        labels=description.labels,
        task=description.task,
        section=getattr(description, description.task, None),
        architecture=description.architecture,
        origin=Origin(
            source=description.recipe,
            weights_sha256=checkpoint.sha256,
            data=description.data,
            licence=description.licence,
            metrics=description.metrics,
        ),
    )


def shipped_models() -> dict[str, Path]:
    """The weights files that ship with the project, by model name."""
    return {path.stem: path for path in sorted(SHIPPED_DIR.glob("*.safetensors"))}
