"""What an artifact must have for its task's endpoint to be able to ask it."""

from service.artifact.manifest import ArtifactError, Manifest, Task
from service.artifact.sections import SequenceSection
from service.processing.detection_heads.registry import HEADS as DETECTION_HEADS
from service.processing.segmentation_heads import HEADS as SEGMENTATION_HEADS


def check_servable(manifest: Manifest) -> None:
    """Refuse what the endpoints could not ask.

    Raises:
        ArtifactError: why not.
    """
    if manifest.task is Task.SEQUENCE:
        _check_sequence(manifest)
        return
    if manifest.task is Task.TENSORS:
        _check_tensors(manifest)
        return
    _check_images(manifest)
    if not manifest.labels:
        raise ArtifactError("it has no labels; export it again with one label a class")
    match manifest.task:
        case Task.CLASSIFICATION:
            _check_classification(manifest)
        case Task.SEGMENTATION:
            _check_segmentation(manifest)
        case Task.DETECTION:
            _check_detection(manifest)


def _check_images(manifest: Manifest) -> None:
    """The first input must be the rows that `preprocessing` describes."""
    pixels, preprocessing = manifest.inputs[0], manifest.preprocessing
    if preprocessing is None:
        raise ArtifactError(f"a {manifest.task} model needs a preprocessing; export it again")
    for shape in manifest.shapes:
        sides = {"height": preprocessing.height, "width": preprocessing.width, **shape}
        expected = (sides["height"], sides["width"], preprocessing.channels)
        if pixels.dtype != "uint8" or pixels.row_shape(shape) != expected:
            raise ArtifactError(
                f"its input is {pixels.dtype} {pixels.row_shape(shape)}, not uint8 {expected}"
            )


def _check_classification(manifest: Manifest) -> None:
    scores = manifest.outputs[0]
    if len(manifest.inputs) != 1:
        raise ArtifactError("a classification model has one input, the images; export it again")
    if scores.row_shape(manifest.shapes[0]) != (len(manifest.labels),):
        raise ArtifactError(
            f"it has {len(manifest.labels)} labels for the scores {scores.axes}; export it again"
        )


def _check_segmentation(manifest: Manifest) -> None:
    section, preprocessing = manifest.segmentation, manifest.preprocessing
    assert preprocessing is not None
    if section is None or section.head not in SEGMENTATION_HEADS:
        raise ArtifactError(
            f"its segmentation head is {section and section.head!r}; this server knows"
            f" {', '.join(SEGMENTATION_HEADS)}"
        )
    if preprocessing.fit == "crop":
        raise ArtifactError(
            "a segmentation model must see the whole image: its fit is pad, letterbox or stretch"
        )
    if not 1 <= len(manifest.labels) <= 256:
        raise ArtifactError(f"a mask tells 256 classes apart, not {len(manifest.labels)}")


def _check_detection(manifest: Manifest) -> None:
    section = manifest.detection
    if section is None or section.head not in DETECTION_HEADS:
        raise ArtifactError(
            f"its detection head is {section and section.head!r}; this server knows"
            f" {', '.join(DETECTION_HEADS)}"
        )
    inputs = [(spec.dtype, spec.row_shape(manifest.shapes[0])) for spec in manifest.inputs[1:]]
    wanted = [("float32", (section.max_proposals, 4))] if section.max_proposals else []
    if inputs != wanted:
        raise ArtifactError(f"its inputs beside the images are {inputs}, not {wanted}")


def _check_tensors(manifest: Manifest) -> None:
    """Every tensor needs its size; of the inputs, those must tell the buckets apart."""
    rows = [tuple(spec.row_shape(shape) for spec in manifest.inputs) for shape in manifest.shapes]
    for shape in manifest.shapes:
        for spec in manifest.outputs:
            spec.row_shape(shape)
    if len(set(rows)) != len(rows):
        raise ArtifactError("two of its buckets are alike in all inputs; adopt it again")


def _check_sequence(manifest: Manifest) -> None:
    section, answer = manifest.sequence, manifest.outputs[0].axes
    if section is None or not isinstance(answer[-1], int):
        raise ArtifactError(
            "a sequence model needs its section and an answer of known size; export it again"
        )
    if section.ctc is not None:
        _check_ctc(manifest, section)
        return
    if section.kind == "tokens" and answer[-1] != len(section.vocabulary):
        raise ArtifactError(
            f"it has {len(section.vocabulary)} tokens for the logits {tuple(answer)}"
        )
    outputs = {spec.name for spec in manifest.outputs}
    inputs = {spec.name for spec in manifest.inputs[1:]}
    carried = {state.input for state in section.states} | {section.position_input} - {""}
    if inputs != carried or not outputs.issuperset(state.output for state in section.states):
        raise ArtifactError(
            f"its states {sorted(carried)} are not its inputs {sorted(inputs)}; export it again"
        )


def _check_ctc(manifest: Manifest, section: SequenceSection) -> None:
    """A history of values must fit into each bucket, and its logits name the vocabulary."""
    values, logits = manifest.inputs[0], manifest.outputs[0]
    tensors = len(manifest.inputs), len(manifest.outputs)
    if tensors != (1, 1) or values.dtype != "float32" or len(values.axes) not in (2, 3):
        raise ArtifactError(
            "a graph that transcribes takes float32 values [batch, time] or [batch, time, series],"
            " and gives logits alone"
        )
    lengths: list[int] = []
    for shape in manifest.shapes:
        length, *series = values.row_shape(shape)
        if tuple(series or [1]) != (section.series,):
            raise ArtifactError(f"its input {values.axes} is not of {section.series} series")
        rows = logits.row_shape(shape)
        if len(rows) != 2 or rows[1] != len(section.vocabulary):
            raise ArtifactError(
                f"it has {len(section.vocabulary)} classes for the logits {tuple(logits.axes)}"
            )
        lengths.append(length)
    if len(set(lengths)) != len(lengths):
        raise ArtifactError("two of its buckets have the same length; adopt it again")
