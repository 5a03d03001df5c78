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
TaskOption = Annotated[Task, Option(help="Task of the model.")]
Name = Annotated[str, Option(help="Name of the artifact.")]
Examples = Annotated[
    list[Path] | None,
    Option("--example", help="Real input, whose answer is recorded; may be repeated."),
]
HeadName = Annotated[str | None, Option(help="Meaning of the outputs; see docs/adopting.md.")]
LayoutOption = Annotated[Layout | None, Option(help="Axes of the graph's image input.")]
ColoursOption = Annotated[Colours | None, Option(help="Order of the graph's colour channels.")]
ScaleOption = Annotated[
    Scale | None, Option(help="Range of the graph's pixels; instead of --mean and --std.")
]
FitOption = Annotated[Fit | None, Option(help="How an image is fitted to the graph's size.")]
Sizes = Annotated[
    list[tuple] | None,
    Option(
        "--size",
        parser=size,
        metavar="SIZE",
        help="Size of the input: 224, or 480x640; may be repeated for a segmenter.",
    ),
]
MaxBatchSize = Annotated[
    int | None, Option(min=1, max=1024, help="Largest batch; default: 8, or 16 for sequences.")
]
Frozen = Annotated[
    list[tuple] | None,
    Option(
        "--freeze",
        parser=frozen_input,
        metavar="NAME=VALUES",
        help="Fixed value of an input; may be repeated.",
    ),
]
States = Annotated[
    list[tuple] | None,
    Option(
        "--state",
        parser=state_pair,
        metavar="INPUT=OUTPUT",
        help="Recurrent state: an output that is fed back as an input.",
    ),
]
Frame = Annotated[int, Option(min=0, help="Audio graphs: new samples per time step.")]
Overlap = Annotated[
    int, Option(min=0, help="Audio graphs: samples of the previous time step before the new ones.")
]
Blank = Annotated[int | None, Option(min=0, help="With --head ctc: the class that is no token.")]
Lengths = Annotated[
    tuple | None,
    Option(
        parser=lengths_of,
        metavar="LIST",
        help="With --head ctc: lengths in time steps, such as 16000,32000.",
    ),
]
Licence = Annotated[str, Option(help="Licence of the weights, for the manifest.")]
Save = Annotated[Path | None, Option(help="Draw the first example's answer into this image file.")]


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
    """Turn an ONNX file into an artifact, OUTPUT/NAME/VERSION, and report its answers."""
    image: OptionFields = {"sizes": tuple(sizes or ()), "fit": fit, "crop_share": crop_share}
    pixels: OptionFields = {"layout": layout, "colours": colours, "scale": scale}
    normalisation: OptionFields = {"mean": mean or (), "std": std or ()}
    sequence: OptionFields = {"states": dict(state or ()), "frame": frame, "overlap": overlap}
    ctc: OptionFields = {"blank": blank, "lengths": lengths or ()}
    answer: OptionFields = {"examples": tuple(example or ()), "labels": labels, "head": head}
    run: OptionFields = {"max_batch_size": max_batch_size, "frozen": dict(freeze or ())}
    origin: OptionFields = {"version": version, "licence": licence, "metrics": dict(metrics or ())}
    fields = image | pixels | normalisation | sequence | ctc | answer | run | origin
    with one_sentence_errors():
        adopt_and_report(AdoptionOptions(path=file, task=task, name=name, **fields), output, save)


def adopt_and_report(options: AdoptionOptions, models: Path, image: Path | None) -> None:
    """Write the artifact, print its report and its path, and draw the first answer if asked."""
    from export.adoption.adopt import adopt
    from export.adoption.report import check_image_path, draw_answer, print_report

    if image is not None:
        check_image_path(image, options.task)  # before there is an artifact
    adopted = adopt(options, models)
    print_report(adopted)
    if image is not None:
        draw_answer(adopted, image)
    typer.echo(adopted.artifact_dir)
