"""From someone else's ONNX file to an artifact, or to an error and nothing else.

::

    read -> describe -> input nodes -> try -> head -> golden answers -> rename into place
"""

from pathlib import Path

from export.adoption.artifact import Adopted
from export.adoption.ctc import CtcAdoption, is_ctc
from export.adoption.graph_description import describe_graph
from export.adoption.image_models import ImageAdoption
from export.adoption.onnx_file import copy_external_weights, read_model
from export.adoption.options import AdoptionOptions
from export.adoption.sequence_models import SequenceAdoption
from export.adoption.tensors import TensorAdoption
from export.artifact.destination import Destination
from export.errors import AdoptionError, GoldenError
from service.artifact.manifest import Task

_KINDS = {Task.SEQUENCE: SequenceAdoption, Task.TENSORS: TensorAdoption}
_MISSING_EXAMPLE = "give --example FILE, {}; its answer becomes the golden one"
_EXAMPLES = {
    Task.SEQUENCE: "a text, a CSV table or a WAV file",
    Task.TENSORS: "made with numpy.savez: one array [N, ...] for each input, by name",
}


def adopt(options: AdoptionOptions, output: Path) -> Adopted:
    """Write ``output/NAME/VERSION``.

    Raises:
        ExportError: the file cannot be adopted; nothing was left behind.
    """
    if not options.examples:
        raise GoldenError(_MISSING_EXAMPLE.format(_EXAMPLES.get(options.task, "an image")))
    if not is_ctc(options) and (options.blank is not None or options.lengths):
        raise AdoptionError(
            "--blank and --lengths are for --task sequence --head ctc; leave them out"
        )
    model = read_model(options.path)
    graph = describe_graph(model)
    kind = _kind_of(options)
    with Destination(output, options.name, options.version) as destination:
        adoption = kind(model, graph, options)
        copy_external_weights(model, options.path, destination.partial)
        return adoption.write(destination)


def _kind_of(
    options: AdoptionOptions,
) -> type[ImageAdoption | SequenceAdoption | TensorAdoption | CtcAdoption]:
    if is_ctc(options):
        return CtcAdoption
    return _KINDS.get(options.task, ImageAdoption)
