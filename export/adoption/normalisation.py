"""Which numbers a graph wants its pixels as."""

from collections.abc import Mapping

from pydantic import ValidationError

from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.options import SCALES, Colours, Layout, Scale, Wishes
from export.errors import AdoptionError, PreprocessingError
from export.pytorch.resolve import check_normalisation
from service.artifact.manifest import ImagePreprocessing, Task

Values = tuple[float, ...]
_SCALES_IN_WORDS: Mapping[Scale, str] = {
    "0-1": "0 to 1",
    "0-255": "0 to 255",
    "-1-1": "-1 to 1",
    "imagenet": "by ImageNet's mean and deviation",
}


def propose_preprocessing(
    graph: GraphDescription, tensor: GraphTensor, layout: Layout, colours: Colours, wishes: Wishes
) -> tuple[Mapping[str, Values], str, str]:
    """Mean and deviation, in red, green, blue and units of 0..255.

    Returns:
        The fields ``mean`` and ``std`` of an `ImagePreprocessing`, what they are in words, and why.
    """
    if wishes.mean or wishes.std:
        if wishes.scale:
            raise AdoptionError("give --scale, or --mean and --std, not both")
        channels = 1 if colours == "grey" else 3
        mean = wishes.mean or (0.0,) * channels
        std = wishes.std or (1.0,) * channels
        order = -1 if colours == "bgr" else 1
        words = f"(pixel - {_in_words(mean)}) / {_in_words(std)}"
        return {"mean": mean[::order], "std": std[::order]}, words, "--mean, --std"
    scale, why = _propose_scale(graph, tensor, layout, wishes)
    mean, std = SCALES[scale]
    if colours == "grey":
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    if scale == "0-255":
        mean = std = ()
    return {"mean": mean, "std": std}, _SCALES_IN_WORDS[scale], why


def preprocessing_of(fields: Mapping[str, object]) -> ImagePreprocessing:
    """Validate.

    Raises:
        PreprocessingError: a field is out of range, or mean and std do not fit the channels.
    """
    try:
        preprocessing = ImagePreprocessing.model_validate(fields)
    except ValidationError as err:
        first = err.errors()[0]
        raise PreprocessingError(
            f"the preprocessing's {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}"
        ) from err
    check_normalisation(preprocessing)
    return preprocessing


def _propose_scale(
    graph: GraphDescription, tensor: GraphTensor, layout: Layout, wishes: Wishes
) -> tuple[Scale, str]:
    if wishes.scale:
        return wishes.scale, "--scale"
    if tensor.dtype == "uint8":
        return "0-255", "the graph takes bytes"
    if "imgsz" in graph.metadata:  # Ultralytics
        return "0-1", "as Ultralytics does"
    guess = "a guess; else give --scale, or --mean and --std"
    if layout == "nhwc" and wishes.task is Task.CLASSIFICATION:
        return "-1-1", guess
    if layout in ("chw", "flat") or wishes.task is Task.DETECTION:
        return "0-1", guess
    return "imagenet", guess


def _in_words(values: Values) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
