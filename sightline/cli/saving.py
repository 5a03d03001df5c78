"""``--save`` draws each answer into an image file."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import typer

from sightline import Detections, ItemFailed, Segmentation
from sightline.cli.images import Answered

Answer = TypeVar("Answer", Detections, Segmentation)

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def saved(
    answered: Iterable[Answered[Answer]], place: Path, total: int
) -> Iterator[Answered[Answer]]:
    """The same items; each answer is drawn into a file as it passes."""
    try:
        from sightline.cli.drawing import draw_answer
    except ModuleNotFoundError as missing:
        typer.echo("sightline: --save needs more: pip install 'sightline[cli]'", err=True)
        raise typer.Exit(1) from missing
    is_file = place.suffix.lower() in _PICTURES
    if is_file and total > 1:
        raise typer.BadParameter(f"--save {place} is one picture; for {total} name a folder")
    if place.suffix and not is_file and not place.is_dir():
        kinds = ", ".join(sorted(_PICTURES))
        raise typer.BadParameter(f"--save {place} is no picture ({kinds}), and no folder yet")
    folder = place.parent if is_file else place
    with _writing(folder):  # before anything is asked, for what cannot be saved is not needed
        folder.mkdir(parents=True, exist_ok=True)
    taken = set[Path]()
    for source, outcome in answered:
        if not isinstance(outcome, ItemFailed):
            path = place if is_file else _free(place / f"{source.stem}.png", taken)
            picture = draw_answer(source, outcome)
            with _writing(path):
                picture.save(path)
        yield source, outcome


@contextmanager
def _writing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as err:
        typer.echo(f"sightline: cannot write {path}: {err.strerror or err}", err=True)
        raise typer.Exit(1) from err


def _free(path: Path, taken: set[Path]) -> Path:
    """The path, numbered if another image of the same name was saved there."""
    number = 2
    wanted = path
    while path in taken:
        path = wanted.with_stem(f"{wanted.stem}-{number}")
        number += 1
    taken.add(path)
    return path
