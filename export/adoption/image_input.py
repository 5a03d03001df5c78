"""How a graph takes images: as it declares, or else as is usual for its task, as a guess."""

from dataclasses import dataclass

from export.adoption.graph_description import Axes, GraphDescription, GraphTensor, literal
from export.adoption.normalisation import propose_preprocessing
from export.adoption.options import AdoptionOptions, Colours, Fit, Layout
from export.artifact.preprocess import validated_preprocessing
from export.errors import AdoptionError
from service.artifact.manifest import ImagePreprocessing, Task

_LAYOUTS: dict[Layout, tuple[int, int, int]] = {
    "nchw": (1, 2, 3),
    "nhwc": (3, 1, 2),
    "chw": (0, 1, 2),
    "hwc": (2, 0, 1),
}
"""The axes of channels, rows and columns."""
_BY_RANK: dict[int, tuple[Layout, ...]] = {4: ("nchw", "nhwc"), 3: ("chw", "hwc")}
MAX_SIDE_PX = 8192
_DEFAULT_SIDES = {Task.CLASSIFICATION: 224, Task.SEGMENTATION: 512, Task.DETECTION: 640}
_FITS: dict[Task, Fit] = {
    Task.CLASSIFICATION: "crop",
    Task.SEGMENTATION: "stretch",
    Task.DETECTION: "letterbox",
}


@dataclass(frozen=True)
class Finding:
    """One property of the graph, for the owner to check."""

    what: str
    value: str
    why: str
    """The reason: ``--flag``, a place in the file, or ``a guess: ...``."""


@dataclass(frozen=True)
class ImageInput:
    """How the graph takes images, and how a row of the artifact's input is made."""

    tensor: GraphTensor
    layout: Layout
    colours: Colours
    has_free_batch: bool
    preprocessing: ImagePreprocessing
    """For the first size; mean and std in the order red, green, blue."""
    sizes: tuple[tuple[int, int], ...]
    """Height and width of every bucket."""
    findings: tuple[Finding, ...]


def propose_image_input(graph: GraphDescription, options: AdoptionOptions) -> ImageInput:
    """Find out how the only input that is not frozen takes images.

    Raises:
        AdoptionError: there is no such input, or an option contradicts it.
        PreprocessingError: mean or std do not fit the channels.
    """
    tensor = _pixel_input(graph, options)
    axes = tensor.axes or ()
    layout, why_layout = _layout(tensor, axes, options)
    sizes, why_sizes = _sizes(tensor, axes, layout, graph, options)
    channels, why_channels = _channels(axes, layout, sizes, options)
    colours = options.colours or ("grey" if channels == 1 else "rgb")
    if (colours == "grey") != (channels == 1):
        raise AdoptionError(f"--colours {colours} does not fit the {channels} channels of {tensor}")
    normalisation, scale, why_scale = propose_preprocessing(graph, tensor, layout, colours, options)
    fit = options.fit or _FITS[options.task]
    if options.task is Task.SEGMENTATION and fit == "crop":
        raise AdoptionError(
            "a segmenter must see the whole image; give --fit stretch or --fit letterbox"
        )
    height, width = sizes[0]
    fields = {"height": height, "width": width, "channels": channels, "fit": fit, **normalisation}
    preprocessing = validated_preprocessing(fields | {"crop_share": options.crop_share or 1.0})
    findings = (
        Finding("input", str(tensor), "the graph"),
        Finding("layout", layout.upper(), why_layout),
        Finding("colours", colours.upper(), "--colours" if options.colours else why_channels),
        Finding("size", ", ".join(f"{h}x{w}" for h, w in sizes), why_sizes),
        Finding("values", scale, why_scale),
        Finding(
            "fit", fit, "--fit" if options.fit else f"usual for {options.task}; else give --fit"
        ),
    )
    has_free_batch = _has_free_batch(tensor, axes, layout)
    return ImageInput(tensor, layout, colours, has_free_batch, preprocessing, sizes, findings)


def _has_free_batch(tensor: GraphTensor, axes: Axes, layout: Layout) -> bool:
    if layout in ("chw", "hwc"):
        return False
    if axes and isinstance(axes[0], int) and axes[0] != 1:
        raise AdoptionError(
            f"{tensor} takes exactly {axes[0]} images at a time; export it with a batch of 1, or"
            " with a free batch axis"
        )
    return not (axes and isinstance(axes[0], int))


def _pixel_input(graph: GraphDescription, options: AdoptionOptions) -> GraphTensor:
    rest = graph.inputs_without(options.frozen)
    if len(rest) != 1:
        raise AdoptionError(
            f"the graph takes {', '.join(map(str, rest)) or 'nothing'}, not one image alone;"
            " freeze the other inputs, such as --freeze scale_factor=1,1"
        )
    (tensor,) = rest
    if tensor.dtype not in ("uint8", "float16", "float32", "float64"):
        raise AdoptionError(f"the input {tensor} does not take pixels; they are uint8 or floats")
    return tensor


def _layout(tensor: GraphTensor, axes: Axes, options: AdoptionOptions) -> tuple[Layout, str]:
    if options.layout:
        rank = {"chw": 3, "hwc": 3, "flat": 2}.get(options.layout, 4)
        if tensor.axes is not None and len(axes) != rank:
            raise AdoptionError(f"--layout {options.layout} has {rank} axes; the input is {tensor}")
        return options.layout, "--layout"
    for layout in _BY_RANK.get(len(axes), ()):
        if axes[_LAYOUTS[layout][0]] in (1, 3):
            return layout, "the axis of 1 or 3 channels"
    if len(axes) == 2:
        return "flat", "the only layout with two axes"
    raise AdoptionError(
        f"the input {tensor} has no axis of 1 or 3 channels; give --layout nchw, nhwc, chw, hwc"
        " or flat"
    )


def _sizes(
    tensor: GraphTensor,
    axes: Axes,
    layout: Layout,
    graph: GraphDescription,
    options: AdoptionOptions,
) -> tuple[tuple[tuple[int, int], ...], str]:
    fixed: tuple[int | str, ...] = ("", "")
    if layout != "flat" and axes:
        fixed = tuple(axes[place] for place in _LAYOUTS[layout][1:])
    for size in options.sizes:
        if not all(1 <= side <= MAX_SIDE_PX for side in size):
            raise AdoptionError(f"--size {size[0]}x{size[1]} is not 1 to {MAX_SIDE_PX} px a side")
        if any(
            isinstance(axis, int) and axis != side for axis, side in zip(fixed, size, strict=True)
        ):
            raise AdoptionError(f"--size {size[0]}x{size[1]} does not fit the input {tensor}")
    if options.sizes:
        if len(options.sizes) > 1 and options.task is not Task.SEGMENTATION:
            raise AdoptionError(f"a {options.task} model has one size; give --size once")
        return tuple(sorted(set(options.sizes))), "--size"
    height, width = fixed
    if isinstance(height, int) and isinstance(width, int):
        return ((height, width),), "the graph"
    match literal(graph.metadata, "imgsz"):
        case [int(rows), int(columns)]:
            return ((rows, columns),), "the file's metadata: imgsz"
        case int(side):
            return ((side, side),), "the file's metadata: imgsz"
        case _:
            pass
    if layout == "flat":
        raise AdoptionError(f"the input {tensor} has no height and width; give --size")
    side = _DEFAULT_SIDES[options.task]
    return ((side, side),), "a guess: the graph takes any; else give --size"


def _channels(
    axes: Axes, layout: Layout, sizes: tuple[tuple[int, int], ...], options: AdoptionOptions
) -> tuple[int, str]:
    by_colours = {"grey": 1, "rgb": 3, "bgr": 3, None: 3}[options.colours]
    if layout == "flat":
        height, width = sizes[0]
        if axes and isinstance(axes[-1], int):
            channels, rest = divmod(axes[-1], height * width)
            if rest or channels not in (1, 3):
                raise AdoptionError(
                    f"the graph takes {axes[-1]} numbers and {height}x{width} px have"
                    f" {height * width} per channel; give the right --size"
                )
            return channels, "the number of values that the graph takes"
        return by_colours, "a guess; else give --colours"
    axis = axes[_LAYOUTS[layout][0]] if axes else ""
    if not isinstance(axis, int):
        return by_colours, "a guess; else give --colours"
    if axis not in (1, 3):
        raise AdoptionError(f"the graph takes {axis} channels, and images have 1 or 3")
    return axis, "the graph takes one channel" if axis == 1 else (
        "a guess: most graphs take red first; else give --colours bgr"
    )
