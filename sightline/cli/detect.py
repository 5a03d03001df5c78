"""``sightline detect``: images in, boxes around objects out."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sightline import Client, Detection, Detections
from sightline.cli.asking import asks_server, usage
from sightline.cli.images import (
    Answered,
    Images,
    Save,
    about,
    add_about,
    print_lines,
    print_table,
    with_progress,
)
from sightline.cli.options import Json, Label, Model, Version
from sightline.cli.saving import saved
from sightline.requests.image_queries import DEFAULT_MAX_DETECTIONS

Score = Annotated[
    float | None, typer.Option(min=0, max=1, help="Leave out boxes with a lower score.")
]
Overlap = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Overlap above which the lower-scoring box is removed."),
]
Most = Annotated[
    int | None,
    typer.Option(
        min=1, max=1000, help=f"Most boxes for each image; the default is {DEFAULT_MAX_DETECTIONS}."
    ),
]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="Show only this class; may be repeated.")
]


@asks_server
def detect(
    client: Client,
    images: Images,
    model: Model,
    version: Version = None,
    label: Label = None,
    score_threshold: Score = None,
    iou_threshold: Overlap = None,
    max_detections: Most = None,
    classes: Classes = None,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Show the objects in each image. The exit status is 1 if an image has no answer."""
    with usage():
        outcomes = client.detect_stream(
            images,
            model=model,
            version=version,
            label=label,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            classes=classes or (),
        )
    answered = with_progress(zip(images, outcomes, strict=True), len(images))
    answered = _noting_full_answers(answered, max_detections or DEFAULT_MAX_DETECTIONS)
    if save is not None:
        answered = saved(answered, save, len(images))
    if as_json:
        return print_lines(answered, _described)
    return print_table(answered, _table(), _rows)


def _noting_full_answers(
    answered: Iterable[Answered[Detections]], most: int
) -> Iterator[Answered[Detections]]:
    """The same items; notes the images that may have more objects."""
    for path, outcome in answered:
        if isinstance(outcome, Detections) and len(outcome.detections) == most:
            hint = f"these are the best {most}; a higher --max-detections may show more"
            typer.echo(f"sightline: {path}: {hint}", err=True)
        yield path, outcome


def _described(answer: Detections) -> dict[str, Any]:
    height, width = answer.image_size
    found = [_described_one(each) for each in answer.detections]
    end = {"model": asdict(answer.model), "timing": asdict(answer.timing)}
    return {"height": height, "width": width, "detections": found} | end


def _described_one(found: Detection) -> dict[str, Any]:
    described: dict[str, Any] = {
        "box": found.box,
        "label": found.label,
        "index": found.index,
        "score": found.score,
    }
    if found.mask_rle:
        described["segmentation"] = found.to_coco(image_id=0)["segmentation"]
    if found.keypoints:
        described["keypoints"] = [asdict(point) for point in found.keypoints]
    return described


def _table() -> Table:
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("score", justify="right")
    for edge in ("x1", "y1", "x2", "y2"):
        table.add_column(edge, justify="right")
    return add_about(table)


def _rows(answer: Detections) -> Iterator[tuple[Text | str, ...]]:
    end = about(answer.model, answer.timing)
    for place, found in enumerate(answer.detections):
        edges = (f"{edge:.0f}" for edge in found.box)
        yield (Text(found.label), f"{found.score:.1%}", *edges, *(end if place == 0 else ()))
    if not answer.detections:
        yield (Text("nothing found", style="dim"), "", "", "", "", "", *end)
