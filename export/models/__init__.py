"""The registry of networks: names are the papers' usual lower-case ones, such as ``resnet50``."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from export.errors import FactoryError
from export.models import resnet

Builder = Callable[..., nn.Module]

BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        "resnet18": resnet.resnet18,
        "resnet34": resnet.resnet34,
        "resnet50": resnet.resnet50,
        "resnet101": resnet.resnet101,
        "resnet152": resnet.resnet152,
    }
)


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a key of ``BUILDERS``.
        options: the constructor's parameters, such as ``width`` and ``num_classes``.

    Raises:
        FactoryError: no such network, or it has no such option.
    """
    if name not in BUILDERS:
        raise FactoryError(f"there is no network {name!r}{suggestion(name, BUILDERS)}")
    try:
        return BUILDERS[name](**options)
    except (TypeError, ValueError) as err:
        raise FactoryError(f"{name} cannot be built with {options}: {err}") from err


def suggestion(name: str, known: Mapping[str, object] | list[str]) -> str:
    """The end of an error message: the known name nearest to ``name``, or else all of them."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(known)}"
