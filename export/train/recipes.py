"""The recipes by name."""

from collections.abc import Callable
from pathlib import Path

from export.errors import FactoryError
from export.models import suggestion
from export.train import cifar10_resnet

Recipe = Callable[[Path, Path, int | None], Path]
"""From the data's folder, a folder to write to, and perhaps a number of epochs, to the weights."""

RECIPES: dict[str, Recipe] = {cifar10_resnet.NAME: cifar10_resnet.run}


def train(name: str, data_dir: Path, output: Path, epochs: int | None = None) -> Path:
    """Run a recipe; it writes to ``output/NAME``.

    Returns:
        The weights file.

    Raises:
        ExportError: there is no such recipe, or it was refused.
    """
    if name not in RECIPES:
        raise FactoryError(f"there is no recipe {name!r}{suggestion(name, RECIPES)}")
    return RECIPES[name](data_dir, output / name, epochs)
