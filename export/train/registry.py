"""The recipes by name."""

from collections.abc import Sequence
from pathlib import Path

from export.errors import FactoryError
from export.models import suggestion
from export.train.classification import cifar10_classifiers
from export.train.detection import bccd_regions, bccd_yolo, nuclei_yolo
from export.train.recipe import Recipe
from export.train.segmentation import camvid_fcn
from export.train.sequence import series_models, shakespeare_models

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *cifar10_classifiers.RECIPES,
        *camvid_fcn.RECIPES,
        *bccd_regions.RECIPES,
        bccd_yolo.RECIPE,
        nuclei_yolo.RECIPE,
        *shakespeare_models.RECIPES,
        *series_models.RECIPES,
    )
}


def find_recipes(names: Sequence[str]) -> list[Recipe]:
    """The recipes of these names, in this order.

    Raises:
        FactoryError: there is no such recipe.
    """
    for name in names:
        if name not in RECIPES:
            raise FactoryError(f"there is no recipe {name!r}{suggestion(name, RECIPES)}")
    return [RECIPES[name] for name in names]


def train_all(data_dir: Path, output: Path) -> list[Path]:
    """Run every recipe whose weights are not in ``output`` yet; returns all weights files.

    Raises:
        ExportError: a recipe was refused.
    """
    made: list[Path] = []
    for name in RECIPES:
        weights = output / name / f"{name}.safetensors"
        is_finished = weights.exists() and (output / name / "report.json").exists()
        made.append(weights if is_finished else train(name, data_dir, output))
    return made


def train(name: str, data_dir: Path, output: Path, epochs: int | None = None) -> Path:
    """Run a recipe; it writes to ``output/NAME``.

    Returns:
        The weights file.

    Raises:
        ExportError: there is no such recipe, or it was refused.
    """
    (recipe,) = find_recipes([name])
    return recipe.run(data_dir, output / name, epochs)
