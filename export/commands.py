"""``sightline export``, ``train`` and ``evaluate``; what is heavy is imported when one runs."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from export.errors import ExportError
from export.option_values import metric, network_option, numbers, size

Interpolation = Literal["bilinear", "bicubic"]

ExportName = Annotated[
    str | None,
    Argument(help="A shipped model, a network such as resnet18, or a name for --factory."),
]
ExportAll = Annotated[bool, Option("--all", help="Export every shipped model not yet there.")]
Weights = Annotated[Path | None, Option(help="Weights: .safetensors, .pt or .pth.")]
Labels = Annotated[Path | None, Option(help="Text file: one label a line, in class order.")]
Models = Annotated[Path, Option(help="The model repository.")]
Factory = Annotated[str | None, Option(help="package.module:callable that makes the network.")]
ModelName = Annotated[str | None, Option("--name", help="The artifact's name; else NAME.")]
Version = Annotated[int | None, Option(min=1, help="The artifact's version; else the next one.")]
Width = Annotated[int | None, Option(min=1, help="Channels of the network's first stage.")]
InChannels = Annotated[int | None, Option(help="1 for grey images, 3 for colours.")]
SmallImages = Annotated[bool, Option(help="The network has the stem for images such as CIFAR's.")]
NetworkOptions = Annotated[
    list[tuple] | None,
    Option(
        "--option",
        parser=network_option,
        metavar="NAME=VALUE",
        help="A parameter of the network's constructor, such as groups=2; may be repeated.",
    ),
]
InputSize = Annotated[
    tuple | None, Option(parser=size, metavar="SIZE", help="224, or 480x640 for height x width.")
]
Mean = Annotated[
    tuple | None, Option(parser=numbers, metavar="LIST", help="Of 0..255, a channel: 124,116,104.")
]
Std = Annotated[
    tuple | None, Option(parser=numbers, metavar="LIST", help="Of 0..255, a channel: 58,57,57.")
]
CropShare = Annotated[float | None, Option(help="Share of each side that is kept, 0..1.")]
Resize = Annotated[Interpolation | None, Option("--interpolation", help="How photos are resized.")]
Golden = Annotated[list[Path] | None, Option(help="A golden photograph; may be repeated.")]
MaxBatchSize = Annotated[
    int | None, Option(min=1, max=1024, help="Most images in one run; else what the task can bear.")
]
Metrics = Annotated[
    list[tuple] | None,
    Option("--metric", parser=metric, metavar="NAME=SCORE", help="A score on held-out data."),
]

RecipeName = Annotated[str | None, Argument(help="A recipe, such as cifar10-resnet.")]
TrainAll = Annotated[bool, Option("--all", help="Run every recipe that has not finished yet.")]
ShippedName = Annotated[str | None, Argument(help="A shipped model, such as cifar10-resnet.")]
EvaluateAll = Annotated[bool, Option("--all", help="Score every shipped model.")]
Artifact = Annotated[
    Path | None, Option(help="DIR/NAME/VERSION to score; else the newest in --models.")
]
Page = Annotated[Path | None, Option(help="Also write the table here, as Markdown.")]
Data = Annotated[Path, Option(help="Folder that holds the data set.")]
Checkpoints = Annotated[Path, Option(help="Where checkpoint, weights and report are written.")]
Epochs = Annotated[int | None, Option(min=1, help="Instead of the recipe's own number.")]


def register(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("export")(export_command)
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)


def export_command(
    name: ExportName = None,
    every: ExportAll = False,
    weights: Weights = None,
    labels: Labels = None,
    output: Models = Path("models"),
    factory: Factory = None,
    model_name: ModelName = None,
    version: Version = None,
    width: Width = None,
    in_channels: InChannels = None,
    small_images: SmallImages = False,
    network_options: NetworkOptions = None,
    input_size: InputSize = None,
    mean: Mean = None,
    std: Std = None,
    crop_share: CropShare = None,
    interpolation: Resize = None,
    golden: Golden = None,
    max_batch_size: MaxBatchSize = None,
    metrics: Metrics = None,
) -> None:
    """Turn a trained network into a verified artifact, OUTPUT/NAME/VERSION."""
    options = {"width": width, "in_channels": in_channels, "small_images": small_images or None}
    height, width_px = input_size or (None, None)
    preprocessing = {"height": height, "width": width_px, "channels": in_channels}
    preprocessing |= {"mean": mean, "std": std, "crop_share": crop_share}
    preprocessing |= {"interpolation": interpolation}
    with one_sentence_errors():
        from export.artifact.parity import parity_in_words
        from export.pytorch.network import ArtifactOptions
        from export.pytorch.resolve import NetworkSource, export_source

        name = one_or_all(name, every)
        if name is None:
            export_all(output)
            return

        built_with = {**given(options), **dict(network_options or ())}
        source = NetworkSource(name, weights, labels, factory, built_with, given(preprocessing))
        wishes = ArtifactOptions(
            model_name or name, version, tuple(golden or ()), max_batch_size, dict(metrics or ())
        )
        if factory:
            sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, for packages not installed
        artifact_dir = export_source(source, wishes, output)
        typer.echo(parity_in_words(artifact_dir), err=True)
        typer.echo(artifact_dir)


def export_all(output: Path) -> None:
    """Export the shipped models that have no artifact yet."""
    from rich.progress import track

    from export.pytorch.description import shipped_models
    from export.pytorch.network import ArtifactOptions
    from export.pytorch.resolve import NetworkSource, export_source

    missing = [name for name in shipped_models() if not (output / name).is_dir()]
    for name in track(missing, "exporting", disable=not sys.stderr.isatty()):
        typer.echo(export_source(NetworkSource(name), ArtifactOptions(name), output))


def train_command(
    data: Data,
    name: RecipeName = None,
    every: TrainAll = False,
    output: Checkpoints = Path("checkpoints"),
    epochs: Epochs = None,
) -> None:
    """Train a shipped model from its public data; an interrupted run continues where it stopped."""
    with one_sentence_errors():
        from rich.console import Console

        from export.evaluate import trained_table
        from export.train.registry import train, train_all

        name = one_or_all(name, every)
        if name:
            typer.echo(train(name, data, output, epochs))
        else:
            Console().print(trained_table(train_all(data, output)))


def evaluate_command(
    data: Data,
    name: ShippedName = None,
    every: EvaluateAll = False,
    artifact: Artifact = None,
    models: Models = Path("models"),
    write: Page = None,
) -> None:
    """Score artifacts on held-out data with ONNX Runtime; status 1 where a floor is missed."""
    with one_sentence_errors():
        from rich.console import Console
        from rich.progress import track

        from export.evaluate import evaluate, newest_artifact, page, table
        from export.pytorch.description import shipped_models
        from export.train.registry import RECIPES, find_recipes

        name = one_or_all(name, every)
        missing = [] if name else [each for each in RECIPES if each not in shipped_models()]
        names = [name] if name else [each for each in RECIPES if each not in missing]
        evaluations = [
            evaluate(recipe, artifact or newest_artifact(models, recipe.name), data)
            for recipe in track(find_recipes(names), "scoring", disable=not sys.stderr.isatty())
        ]
        Console().print(table(evaluations))
        for each in missing:
            typer.echo(
                f"{each} has a recipe and no weights yet: `sightline train {each}`", err=True
            )
        if write:
            write.write_text(page(evaluations, missing))
        if missing or not all(evaluation.reaches_floors for evaluation in evaluations):
            raise typer.Exit(1)


def one_or_all(name: str | None, every: bool) -> str | None:
    """The name, or None for all.

    Raises:
        typer.BadParameter: both are given, or neither.
    """
    if every == (name is not None):
        raise typer.BadParameter("give one name, or --all")
    return name


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """End with status 1 and one sentence where the export or the training is refused."""
    try:
        yield
    except (ExportError, OSError) as err:
        typer.echo(f"sightline: {err}", err=True)
        raise typer.Exit(1) from err


def given(options: Mapping[str, object | None]) -> dict[str, object]:
    """Only what the user has set."""
    return {key: value for key, value in options.items() if value is not None}
