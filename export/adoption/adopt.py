"""From someone else's ONNX file to an artifact, or to an error and nothing else.

::

    read -> inspect -> prefix -> look at its answers -> head -> record -> renamed into place
"""

from pathlib import Path

from export.adoption.artifact import Adopted
from export.adoption.inspect import inspect_graph
from export.adoption.pictures import PictureAdoption
from export.adoption.sequences import SequenceAdoption
from export.adoption.source import copy_external_weights, read_model
from export.adoption.wishes import Wishes
from export.destination import Destination
from export.errors import GoldenError
from service.manifest import Task


def adopt(wishes: Wishes, output: Path) -> Adopted:
    """Write ``output/NAME/VERSION``.

    Raises:
        ExportError: the file cannot be adopted; nothing was left behind.
    """
    if not wishes.examples:
        raise GoldenError("give --example FILE: a real input, whose answer becomes the golden one")
    model = read_model(wishes.path)
    graph = inspect_graph(model)
    kind = SequenceAdoption if wishes.task is Task.SEQUENCE else PictureAdoption
    with Destination(output, wishes.name, wishes.version) as destination:
        adoption = kind(model, graph, wishes)
        copy_external_weights(model, wishes.path, destination.partial)
        return adoption.write(destination)
