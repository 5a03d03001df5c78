"""From someone else's ONNX file to an artifact, or to an error and nothing else.

::

    read -> inspect -> prefix -> look at its answers -> head -> record -> renamed into place
"""

from pathlib import Path

from export.adoption.artifact import Adopted
from export.adoption.ctc import TranscriptionAdoption, is_transcription
from export.adoption.graph_description import inspect_graph
from export.adoption.image_models import PictureAdoption
from export.adoption.onnx_file import copy_external_weights, read_model
from export.adoption.options import Wishes
from export.adoption.sequence_models import SequenceAdoption
from export.adoption.tensors import TensorAdoption
from export.artifact.destination import Destination
from export.errors import AdoptionError, GoldenError
from service.artifact.manifest import Task

_KINDS = {Task.SEQUENCE: SequenceAdoption, Task.TENSORS: TensorAdoption}
_MISSING_EXAMPLE = "give --example FILE, {}: a real input, whose answer becomes the golden one"
_EXAMPLES = {
    Task.SEQUENCE: "a text, a CSV table or a WAV file",
    Task.TENSORS: "made with numpy.savez: one array [N, ...] for each input, by its name",
}


def adopt(wishes: Wishes, output: Path) -> Adopted:
    """Write ``output/NAME/VERSION``.

    Raises:
        ExportError: the file cannot be adopted; nothing was left behind.
    """
    if not wishes.examples:
        raise GoldenError(_MISSING_EXAMPLE.format(_EXAMPLES.get(wishes.task, "a photograph")))
    if not is_transcription(wishes) and (wishes.blank is not None or wishes.lengths):
        raise AdoptionError("--blank and --lengths are for --task sequence --head ctc; drop them")
    model = read_model(wishes.path)
    graph = inspect_graph(model)
    kind = _kind_of(wishes)
    with Destination(output, wishes.name, wishes.version) as destination:
        adoption = kind(model, graph, wishes)
        copy_external_weights(model, wishes.path, destination.partial)
        return adoption.write(destination)


def _kind_of(
    wishes: Wishes,
) -> type[PictureAdoption | SequenceAdoption | TensorAdoption | TranscriptionAdoption]:
    if is_transcription(wishes):
        return TranscriptionAdoption
    return _KINDS.get(wishes.task, PictureAdoption)
