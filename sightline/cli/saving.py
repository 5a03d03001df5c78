"""Where ``--save`` puts its pictures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import typer

from sightline.answers import ItemFailed
from sightline.cli.photos import Answered
from sightline.detections import Detections
from sightline.segmentations import Segmentation

Answer = TypeVar("Answer", Detections, Segmentation)

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def saved(
    answered: Iterable[Answered[Answer]], place: Path, total: int
) -> Iterator[Answered[Answer]]:
    """The same, each answer drawn into a file as it passes."""
    try:
        from sightline.cli.drawing import draw_answer
    except ModuleNotFoundError as missing:
        typer.echo("sightline: --save needs more: pip install 'sightline[cli]'", err=True)
        raise typer.Exit(1) from missing
    is_file = place.suffix.lower() in _PICTURES
    if is_file and total > 1:
        raise typer.BadParameter(f"--save {place} is one picture; for {total} name a folder")
    taken = set[Path]()
    for photo, outcome in answered:
        if not isinstance(outcome, ItemFailed):
            path = place if is_file else _free(place / f"{photo.stem}.png", taken)
            picture = draw_answer(photo, outcome)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
            except OSError as err:
                typer.echo(f"sightline: cannot write {path}: {err.strerror or err}", err=True)
                raise typer.Exit(1) from err
        yield photo, outcome


def _free(path: Path, taken: set[Path]) -> Path:
    """The path, numbered if another photo of the same name was saved there."""
    number = 2
    wanted = path
    while path in taken:
        path = wanted.with_stem(f"{wanted.stem}-{number}")
        number += 1
    taken.add(path)
    return path
