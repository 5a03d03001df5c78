"""The range in which a graph takes its pixels: mean and standard deviation."""

from collections.abc import Mapping

from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.options import SCALES, AdoptionOptions, Colours, Layout, Scale
from export.errors import AdoptionError
from service.artifact.manifest import Task

ChannelValues = tuple[float, ...]
_SCALES_IN_WORDS: Mapping[Scale, str] = {
    "0-1": "0 to 1",
    "0-255": "0 to 255",
    "-1-1": "-1 to 1",
    "imagenet": "by ImageNet's mean and standard deviation",
}


def propose_preprocessing(
    graph: GraphDescription,
    tensor: GraphTensor,
    layout: Layout,
    colours: Colours,
    options: AdoptionOptions,
) -> tuple[Mapping[str, ChannelValues], str, str]:
    """Mean and standard deviation in the order red, green, blue, in units of 0..255.

    Returns:
        The fields ``mean`` and ``std`` of an `ImagePreprocessing`, their meaning in words, and why.
    """
    if options.mean or options.std:
        if options.scale:
            raise AdoptionError("give --scale, or --mean and --std, not both")
        channels = 1 if colours == "grey" else 3
        mean = options.mean or (0.0,) * channels
        std = options.std or (1.0,) * channels
        order = -1 if colours == "bgr" else 1
        words = f"(pixel - {_in_words(mean)}) / {_in_words(std)}"
        return {"mean": mean[::order], "std": std[::order]}, words, "--mean, --std"
    scale, why = _propose_scale(graph, tensor, layout, options)
    mean, std = SCALES[scale]
    if colours == "grey":
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    if scale == "0-255":
        mean = std = ()
    return {"mean": mean, "std": std}, _SCALES_IN_WORDS[scale], why


def _propose_scale(
    graph: GraphDescription, tensor: GraphTensor, layout: Layout, options: AdoptionOptions
) -> tuple[Scale, str]:
    if options.scale:
        return options.scale, "--scale"
    if tensor.dtype == "uint8":
        return "0-255", "the graph takes bytes"
    if "imgsz" in graph.metadata:  # Ultralytics
        return "0-1", "as Ultralytics does"
    guess = "a guess; else give --scale, or --mean and --std"
    if layout == "nhwc" and options.task is Task.CLASSIFICATION:
        return "-1-1", guess
    if layout in ("chw", "flat") or options.task is Task.DETECTION:
        return "0-1", guess
    return "imagenet", guess


def _in_words(values: ChannelValues) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
