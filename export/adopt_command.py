"""``sightline adopt``: an ONNX file that someone else exported becomes an artifact."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from export.adoption.options import AdoptionOptions, Colours, Fit, Layout, Scale
from export.commands import (
    CropShare,
    Labels,
    Mean,
    Metrics,
    Models,
    Std,
    Version,
    one_sentence_errors,
)
from export.option_values import frozen_input, lengths_of, size, state_pair
from service.artifact.manifest import Task

OptionFields = dict[str, Any]
"""Some of the fields of `AdoptionOptions`."""


File = Annotated[Path, Argument(help="The ONNX file.")]
TaskOption = Annotated[Task, Option(help="What the model is asked.")]
Name = Annotated[str, Option(help="The artifact's name.")]
Examples = Annotated[
    list[Path] | None,
    Option("--example", help="A real input, whose answer is recorded; may be repeated."),
]
HeadName = Annotated[str | None, Option(help="What the outputs mean: see docs/adopting.md.")]
LayoutOption = Annotated[Layout | None, Option(help="The axes of the graph's pixels.")]
ColoursOption = Annotated[Colours | None, Option(help="The order of the graph's channels.")]
ScaleOption = Annotated[Scale | None, Option(help="The graph's pixels; else --mean and --std.")]
FitOption = Annotated[Fit | None, Option(help="How a photo becomes the graph's size.")]
Sizes = Annotated[
    list[tuple] | None,
    Option(
        "--size", parser=size, metavar="SIZE", help="224, or 480x640; a segmenter may have many."
    ),
]
MaxBatchSize = Annotated[int | None, Option(min=1, max=1024, help="Most images in one run.")]
Frozen = Annotated[
    list[tuple] | None,
    Option("--freeze", parser=frozen_input, metavar="NAME=VALUES", help="An input that is fixed."),
]
States = Annotated[
    list[tuple] | None,
    Option(
        "--state", parser=state_pair, metavar="INPUT=OUTPUT", help="What a sequence carries along."
    ),
]
Frame = Annotated[int, Option(min=0, help="Samples of a time step, of graphs that hear.")]
Overlap = Annotated[int, Option(min=0, help="Samples of the step before, in front of them.")]
Blank = Annotated[int | None, Option(min=0, help="The class of --head ctc that is no token.")]
Lengths = Annotated[
    tuple | None,
    Option(parser=lengths_of, metavar="LIST", help="Time steps that --head ctc is given, 1,2,4."),
]
Licence = Annotated[str, Option(help="The weights' licence, for the manifest.")]
Save = Annotated[Path | None, Option(help="Draw the first example's answer into this picture.")]


def register(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("adopt")(adopt_command)


def adopt_command(
    file: File,
    task: TaskOption,
    name: Name,
    example: Examples = None,
    labels: Labels = None,
    head: HeadName = None,
    layout: LayoutOption = None,
    colours: ColoursOption = None,
    scale: ScaleOption = None,
    mean: Mean = None,
    std: Std = None,
    sizes: Sizes = None,
    fit: FitOption = None,
    crop_share: CropShare = None,
    max_batch_size: MaxBatchSize = None,
    freeze: Frozen = None,
    state: States = None,
    frame: Frame = 0,
    overlap: Overlap = 0,
    blank: Blank = None,
    lengths: Lengths = None,
    version: Version = None,
    licence: Licence = "",
    metrics: Metrics = None,
    output: Models = Path("models"),
    save: Save = None,
) -> None:
    """Turn an ONNX file into an artifact, OUTPUT/NAME/VERSION, and show what it answers."""
    photo: OptionFields = {"sizes": tuple(sizes or ()), "fit": fit, "crop_share": crop_share}
    pixels: OptionFields = {"layout": layout, "colours": colours, "scale": scale}
    normalisation: OptionFields = {"mean": mean or (), "std": std or ()}
    sequence: OptionFields = {"states": dict(state or ()), "frame": frame, "overlap": overlap}
    transcription: OptionFields = {"blank": blank, "lengths": lengths or ()}
    answer: OptionFields = {"examples": tuple(example or ()), "labels": labels, "head": head}
    run: OptionFields = {"max_batch_size": max_batch_size, "frozen": dict(freeze or ())}
    origin: OptionFields = {"version": version, "licence": licence, "metrics": dict(metrics or ())}
    wished = photo | pixels | normalisation | sequence | transcription | answer | run | origin
    with one_sentence_errors():
        adopt_and_report(AdoptionOptions(path=file, task=task, name=name, **wished), output, save)


def adopt_and_report(options: AdoptionOptions, models: Path, picture: Path | None) -> None:
    """Write the artifact, print where it is and what it answers, and draw that if asked to."""
    from export.adoption.adopt import adopt
    from export.adoption.report import check_image_path, draw, show

    if picture is not None:
        check_image_path(picture, options.task)  # before there is an artifact
    adopted = adopt(options, models)
    show(adopted)
    if picture is not None:
        draw(adopted, picture)
    typer.echo(adopted.artifact_dir)
