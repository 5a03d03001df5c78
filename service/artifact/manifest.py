"""The artifact's manifest: what a model is, what it takes, and the hash of each of its files.

An artifact is a directory ``NAME/VERSION/`` with ``model.onnx``, ``golden.npz``, ``parity.json``
and ``manifest.json``. ``export`` writes it and ``service`` serves it; this module and
`service.artifact.sections` are all they share of its format.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, ValidationError

from service.artifact.sections import (
    DetectionSection,
    ManifestPart,
    SegmentationSection,
    SequenceSection,
)

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
PARITY_FILE = "parity.json"

Bucket = Mapping[str, int]
"""Named axis -> size, such as ``{"height": 360, "width": 480}``."""

FIXED: Bucket = MappingProxyType({})
"""The only bucket of a graph whose rows all have one shape."""

PADDING_LEVEL = 114
"""Grey level of the padding around a letterboxed image; most detectors are trained with it."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,127}$"


class ArtifactError(Exception):
    """An artifact cannot be used; the message says what is wrong with it and what to do."""


class Task(StrEnum):
    """The kind of answer a model gives."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"
    DETECTION = "detection"
    SEQUENCE = "sequence"
    TENSORS = "tensors"
    """Anything else: tensors in, tensors out."""


class TensorSpec(ManifestPart):
    """One input or output of the graph."""

    name: str = Field(min_length=1)
    dtype: Literal["uint8", "int32", "int64", "float16", "float32"]
    axes: tuple[str | int, ...] = Field(min_length=1)
    """An axis is a fixed size or a name; the first one is always ``batch``."""
    on_request: bool = False
    """For outputs: computed only for requests that ask for it."""

    def row_shape(self, bucket: Bucket = FIXED) -> tuple[int, ...]:
        """The shape of one item, without the batch axis.

        Args:
            bucket: the sizes of named axes.

        Raises:
            ArtifactError: the first axis is not the batch, or another one has no size.
        """
        sizes = [axis if isinstance(axis, int) else bucket.get(axis) for axis in self.axes]
        row = [size for size in sizes[1:] if size is not None]
        if self.axes[0] != "batch" or len(row) != len(self.axes) - 1:
            raise ArtifactError(
                f"tensor {self.name!r} has axes {self.axes}, not ('batch', sizes ...), and the"
                f" bucket {dict(bucket)} does not name all others"
            )
        return tuple(row)


class ImagePreprocessing(ManifestPart):
    """How an image becomes the row of uint8 pixels that the graph takes.

    ``fit="crop"`` cuts out the largest centred rectangle with the network's proportions, and of
    that the centred ``crop_share`` of each side; ``crop_share=0.875`` is the usual "shorter side to
    256, centre 224". ``fit="stretch"`` takes the whole image. Both resize with antialiasing to
    ``height x width``. ``fit="letterbox"`` takes the whole image and keeps its proportions: it is
    resized to fit, centred, and surrounded by grey (`PADDING_LEVEL`). ``fit="pad"`` does the same
    but never enlarges. The graph normalises; ``mean`` and ``std`` only repeat it for the reader.
    """

    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    channels: Literal[1, 3] = 3
    fit: Literal["crop", "stretch", "letterbox", "pad"] = "crop"
    crop_share: float = Field(default=1.0, gt=0, le=1)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = ()
    """In units of 0..255, one for each channel: the graph computes ``(pixel - mean) / std``."""
    std: tuple[float, ...] = ()


class Batching(ManifestPart):
    """How many items one run may hold."""

    max_batch_size: int = Field(ge=1, le=1024)


class Tolerance(ManifestPart):
    """How far a device's golden outputs may be from PyTorch's: ``|a - b| <= atol + rtol * |b|``."""

    atol: float = Field(ge=0)
    rtol: float = Field(ge=0)
    mismatch_share: float = Field(default=0, ge=0, lt=0.05)
    """Share of an output's elements that may differ by more. Where the answer is a choice, such as
    the class of a pixel, a tie may end differently on another device."""


class Provenance(ManifestPart):
    """Where the numbers come from."""

    source: str
    """What was exported, such as ``resnet18`` or ``package.module:callable``."""
    weights_sha256: str = ""
    commit: str = ""
    """The commit of the exporting project, if known."""
    created: str
    """ISO 8601, UTC."""
    data: str = ""
    licence: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Scores on held-out data, such as ``{"top1": 0.91}``."""
    golden: Literal["pytorch", "recorded"] = "pytorch"
    """Source of the golden outputs: PyTorch, or ONNX Runtime as the ONNX file was adopted."""
    exporter: dict[str, str] = Field(default_factory=dict)
    """Versions of the exporting libraries, such as ``{"torch": "2.13.0"}``."""


class Manifest(ManifestPart):
    """Everything the server needs to know about an artifact before it opens the graph."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1, le=2**31 - 1)
    task: Task
    architecture: str
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    preprocessing: ImagePreprocessing | None = None
    labels: tuple[str, ...] = ()
    batching: Batching
    buckets: tuple[dict[str, int], ...] = ()
    """Sizes of named axes for which the graph is verified; empty: only the batch axis varies."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    opset_version: int = Field(ge=7)
    tolerance: Tolerance
    provenance: Provenance
    segmentation: SegmentationSection | None = None
    detection: DetectionSection | None = None
    sequence: SequenceSection | None = None
    files: dict[str, str]
    """File name -> SHA-256, 64 hexadecimal digits, of every file but the manifest."""

    def outputs_of(self, *, with_optional: bool) -> tuple[TensorSpec, ...]:
        """The outputs of a forward run: all of them, or those that every request gets."""
        if with_optional:
            return self.outputs
        return tuple(spec for spec in self.outputs if not spec.on_request)

    @property
    def is_decoded(self) -> bool:
        """Whether the decoding engine runs it step by step; all other models run in batches."""
        transcribes = self.sequence is not None and self.sequence.ctc is not None
        return self.task is Task.SEQUENCE and not transcribes

    @property
    def shapes(self) -> tuple[Bucket, ...]:
        """The declared buckets; without any, `FIXED` alone."""
        return self.buckets or (FIXED,)


def golden_key(tensor: str, bucket: Bucket) -> str:
    """The name of a tensor's rows in ``golden.npz``, such as ``images@height=360,width=480``."""
    sizes = ",".join(f"{axis}={size}" for axis, size in bucket.items())
    return f"{tensor}@{sizes}" if sizes else tensor


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(artifact_dir: Path) -> tuple[Manifest, str]:
    """Read and validate a manifest.

    Returns:
        The manifest and its own SHA-256, the artifact's hash.

    Raises:
        ArtifactError: it is missing, is no valid manifest, or belongs to another directory.
    """
    path = artifact_dir / MANIFEST_FILE
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise ArtifactError(f"cannot read {path}: {err.strerror}; export the model again") from err
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path} is no valid manifest: {where}: {first['msg']}") from err
    if (manifest.name, str(manifest.version)) != (artifact_dir.parent.name, artifact_dir.name):
        raise ArtifactError(
            f"{path} says {manifest.name}/{manifest.version}, but lies in"
            f" {artifact_dir.parent.name}/{artifact_dir.name}; move it where it belongs"
        )
    return manifest, hashlib.sha256(raw).hexdigest()


def check_files(artifact_dir: Path, manifest: Manifest) -> None:
    """Compare every file with the hash in the manifest.

    Raises:
        ArtifactError: a file is missing, is not listed, leads outside, or has another hash.
    """
    for required in (MODEL_FILE, GOLDEN_FILE, PARITY_FILE):
        if required not in manifest.files:
            raise ArtifactError(f"the manifest of {artifact_dir} lists no {required}")
    for name, expected in manifest.files.items():
        if name != Path(name).name:
            raise ArtifactError(
                f"the manifest of {artifact_dir} names {name!r}, outside the artifact"
            )
        path = artifact_dir / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; copy the whole artifact or export it again")
        if (actual := sha256_of(path)) != expected:
            raise ArtifactError(
                f"{path} has SHA-256 {actual[:12]}..., the manifest says {expected[:12]}...:"
                " the file was changed after the export; export it again"
            )
