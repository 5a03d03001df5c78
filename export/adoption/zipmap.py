"""scikit-learn's classifiers answer with a sequence of maps; the server needs their tensor."""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper


@dataclass(frozen=True)
class ZipMap:
    """A node that was removed."""

    tensor: str
    """The probabilities ``[N, num_classes]`` that the maps held."""
    labels: tuple[str, ...]
    """The keys of the maps, in the order of the columns."""


def unzip_maps(model: onnx.ModelProto) -> ZipMap | None:
    """Replace an output that is a sequence of maps by the tensor in the maps.

    Args:
        model: changed in place.
    """
    graph = model.graph
    answers = {output.name for output in graph.output}
    for node in graph.node:
        if node.op_type == "ZipMap" and node.output[0] in answers:
            found = ZipMap(node.input[0], _keys(node))
            kept = [each for each in graph.output if each.name != node.output[0]]
            graph.node.remove(node)
            del graph.output[:]
            tensor = helper.make_tensor_value_info(found.tensor, TensorProto.FLOAT, None)
            graph.output.extend([*(each for each in kept if each.name != found.tensor), tensor])
            return found
    return None


def _keys(node: onnx.NodeProto) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings":
            return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
        if attribute.name == "classlabels_int64s":
            return tuple(map(str, attribute.ints))
    return ()
