"""``sightline segment``: images in, the classes of their pixels out."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from sightline import Client, Segmentation
from sightline.cli.asking import asks_server, usage
from sightline.cli.images import (
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

_BAR_WIDTH = 12

Polygons = Annotated[
    bool, typer.Option("--polygons", help="Add the outlines of each region to --json.")
]


@asks_server
def segment(
    client: Client,
    images: Images,
    model: Model,
    version: Version = None,
    label: Label = None,
    polygons: Polygons = False,
    save: Save = None,
    as_json: Json = False,
) -> int:
    """Show the classes of each image's pixels. The exit status is 1 if an image has no answer."""
    with usage():
        outcomes = client.segment_stream(
            images, model=model, version=version, label=label, polygons=polygons
        )
    answered = with_progress(zip(images, outcomes, strict=True), len(images))
    if save is not None:
        answered = saved(answered, save, len(images))
    if as_json:
        return print_lines(answered, _described)
    return print_table(answered, _table(), _rows)


def _described(answer: Segmentation) -> dict[str, Any]:
    """For JSON: masks as COCO's run-length strings."""
    height, width = answer.mask.shape
    regions: list[dict[str, Any]] = []
    for region, coco in zip(answer.regions, answer.to_coco(image_id=0), strict=True):
        described = {k: v for k, v in asdict(region).items() if k != "polygons"}
        described["segmentation"] = coco["segmentation"]
        if region.polygons:
            described["polygons"] = [corners.ravel().tolist() for corners in region.polygons]
        regions.append(described)
    end = {"model": asdict(answer.model), "timing": asdict(answer.timing)}
    return {"height": height, "width": width, "regions": regions} | end


def _table() -> Table:
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("share", justify="right")
    table.add_column("", width=_BAR_WIDTH)
    table.add_column("score", justify="right")
    return add_about(table)


def _rows(answer: Segmentation) -> Iterator[tuple[Text | Bar | str, ...]]:
    end = about(answer.model, answer.timing)
    for place, region in enumerate(answer.regions):
        bar = Bar(size=1, begin=0, end=region.share, width=_BAR_WIDTH)
        numbers = (f"{region.share:.1%}", bar, f"{region.mean_score:.1%}")
        yield (Text(region.label), *numbers, *(end if place == 0 else ()))
