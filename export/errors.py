"""The errors of export, adoption and training; each message says what to do.

::

    ExportError
     +- WeightsError      the weights do not fit the network, or cannot be used at all
     +- LabelsError       the labels do not fit the network
     +- FactoryError      the network cannot be made
     +- PreprocessingError  the preprocessing is unknown or contradicts itself
     +- GoldenError       a golden input cannot be used
     +- DestinationError  the artifact cannot be written there
     +- GraphError        the network cannot be exported, or its graph is not the declared one
     +- ParityError       ONNX Runtime and PyTorch disagree
     +- DataError         training or test data cannot be read
     +- AdoptionError     someone else's ONNX file cannot be adopted
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class ExportError(Exception):
    """The export or the training was refused; nothing was left behind."""


class WeightsError(ExportError):
    """The weights do not fit the network, or cannot be used at all."""


class LabelsError(ExportError):
    """The labels do not fit the network."""


class FactoryError(ExportError):
    """The network cannot be made."""


class PreprocessingError(ExportError):
    """The preprocessing is unknown or contradicts itself."""


class GoldenError(ExportError):
    """A golden input cannot be used."""


class DestinationError(ExportError):
    """The artifact cannot be written there."""


class GraphError(ExportError):
    """The network cannot be exported, or its graph is not the declared one."""


class ParityError(ExportError):
    """ONNX Runtime and PyTorch disagree."""


class DataError(ExportError):
    """Training or test data cannot be read."""


class AdoptionError(ExportError):
    """Someone else's ONNX file cannot be adopted."""


def first_problem(err: "ValidationError") -> tuple[str, str]:
    """The first field that pydantic refuses, and why."""
    first = err.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"]
