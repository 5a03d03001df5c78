"""The nodes before an adopted graph: from rows of uint8 pixels to the graph's own input."""

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper

from export.adoption.graph_description import GraphDescription, GraphTensor
from export.adoption.graph_editor import GraphEditor
from export.adoption.image_input import ImageInput
from export.errors import AdoptionError
from service.artifact.manifest import TensorSpec


def take_images(editor: GraphEditor, image_input: ImageInput, buckets: bool) -> TensorSpec:
    """Let a graph take ``images [batch, H, W, C]`` uint8, as all artifacts of image models do.

    Args:
        editor: of the graph.
        image_input: what the graph takes now.
        buckets: whether height and width are named axes instead of fixed ones.

    Returns:
        The new input.
    """
    preprocessing = image_input.preprocessing
    sides = ("height", "width") if buckets else (preprocessing.height, preprocessing.width)
    name = editor.fresh("images")
    batch = "batch" if image_input.has_free_batch else 1
    axes = (batch, *sides, preprocessing.channels)
    editor.remove_input(image_input.tensor.name)
    editor.graph.input.insert(0, helper.make_tensor_value_info(name, TensorProto.UINT8, axes))
    _write(editor, name, image_input)
    editor.put_in_front()
    return TensorSpec(name=name, dtype="uint8", axes=("batch", *axes[1:]))


def _write(editor: GraphEditor, pixels: str, image_input: ImageInput) -> None:
    preprocessing = image_input.preprocessing
    if image_input.colours == "bgr":
        pixels = editor.node("Gather", [pixels, editor.constant(np.array([2, 1, 0]))], axis=3)
    if preprocessing.mean:
        mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
        order = slice(None, None, -1 if image_input.colours == "bgr" else 1)
        scale, offset = (1 / std)[order], (-mean / std)[order]
        # The cast before the transposition: see `export.pytorch.heads.classification.Normalise`.
        pixels = editor.cast(pixels, TensorProto.FLOAT)
        pixels = editor.node("Mul", [pixels, editor.constant(scale.astype(np.float32))])
        pixels = editor.node("Add", [pixels, editor.constant(offset.astype(np.float32))])
    if image_input.layout in ("nchw", "chw"):
        pixels = editor.node("Transpose", [pixels], perm=[0, 3, 1, 2])
    if image_input.layout in ("chw", "hwc"):
        pixels = editor.squeeze(pixels, 0)
    if image_input.layout == "flat":
        pixels = editor.node("Flatten", [editor.cast(pixels, TensorProto.FLOAT)], axis=1)
    editor.cast(pixels, image_input.tensor.elem_type, output=image_input.tensor.name)


def freeze_inputs(
    editor: GraphEditor, graph: GraphDescription, frozen: Mapping[str, tuple[float, ...]]
) -> None:
    """Replace the inputs that are the same for every request by constants.

    Raises:
        AdoptionError: an input does not exist, or takes another number of values.
    """
    by_name = {tensor.name: tensor for tensor in graph.inputs}
    for name, values in frozen.items():
        if name not in by_name:
            raise AdoptionError(f"--freeze {name}: the graph has only {', '.join(by_name)}")
        _freeze(editor, by_name[name], values)


def _freeze(editor: GraphEditor, tensor: GraphTensor, values: tuple[float, ...]) -> None:
    axes = tensor.axes or ()
    shape = [axis if isinstance(axis, int) else 1 for axis in axes]
    if int(np.prod(shape)) != len(values):
        raise AdoptionError(
            f"--freeze {tensor.name} gives {len(values)} values and the input {tensor} takes"
            f" {int(np.prod(shape))}"
        )
    array = np.array(values, helper.tensor_dtype_to_np_dtype(tensor.elem_type)).reshape(shape)
    editor.remove_input(tensor.name)
    editor.node("Identity", [editor.constant(array)], output=tensor.name)
    editor.put_in_front()
