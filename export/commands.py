"""``sightline export``, ``train`` and ``evaluate``; heavy modules are imported when one runs."""

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
ExportAll = Annotated[
    bool, Option("--all", help="Export every shipped model that has no artifact yet.")
]
Weights = Annotated[Path | None, Option(help="Weights file: .safetensors, .pt or .pth.")]
Labels = Annotated[Path | None, Option(help="Text file with one label per line, in class order.")]
Models = Annotated[Path, Option(help="The model repository.")]
Factory = Annotated[str | None, Option(help="package.module:callable that returns the network.")]
ModelName = Annotated[str | None, Option("--name", help="Name of the artifact; default: NAME.")]
Version = Annotated[
    int | None, Option(min=1, help="Version of the artifact; default: the next one.")
]
Width = Annotated[int | None, Option(min=1, help="Channels of the network's first stage.")]
InChannels = Annotated[
    int | None, Option(help="Channels of the images: 1 for grey, 3 for colours.")
]
SmallImages = Annotated[bool, Option(help="Use the stem for small images such as CIFAR's.")]
NetworkOptions = Annotated[
    list[tuple] | None,
    Option(
        "--option",
        parser=network_option,
        metavar="NAME=VALUE",
        help="Parameter of the network's constructor, such as groups=2; may be repeated.",
    ),
]
InputSize = Annotated[
    tuple | None,
    Option(
        parser=size, metavar="SIZE", help="Size of the input: 224, or 480x640 for height x width."
    ),
]
Mean = Annotated[
    tuple | None,
    Option(
        parser=numbers, metavar="LIST", help="Mean of each channel in 0..255, such as 124,116,104."
    ),
]
Std = Annotated[
    tuple | None,
    Option(
        parser=numbers,
        metavar="LIST",
        help="Standard deviation of each channel in 0..255, such as 58,57,57.",
    ),
]
CropShare = Annotated[float | None, Option(help="Share of each side that the crop keeps, 0..1.")]
Resize = Annotated[
    Interpolation | None, Option("--interpolation", help="Interpolation of resized images.")
]
Golden = Annotated[
    list[Path] | None, Option(help="Real input for the golden answers; may be repeated.")
]
MaxBatchSize = Annotated[
    int | None, Option(min=1, max=1024, help="Largest batch; default: the task's own limit.")
]
Metrics = Annotated[
    list[tuple] | None,
    Option(
        "--metric",
        parser=metric,
        metavar="NAME=SCORE",
        help="Score on held-out data; may be repeated.",
    ),
]

RecipeName = Annotated[str | None, Argument(help="Name of a recipe, such as cifar10-resnet.")]
TrainAll = Annotated[bool, Option("--all", help="Run every recipe that has not finished yet.")]
ShippedName = Annotated[str | None, Argument(help="A shipped model, such as cifar10-resnet.")]
EvaluateAll = Annotated[bool, Option("--all", help="Score every shipped model.")]
Artifact = Annotated[
    Path | None,
    Option(help="Artifact to score, DIR/NAME/VERSION; default: the newest in --models."),
]
Page = Annotated[Path | None, Option(help="Also write the table to this Markdown file.")]
Data = Annotated[Path, Option(help="Folder of the data set.")]
Checkpoints = Annotated[Path, Option(help="Folder for checkpoint, weights and report.")]
Epochs = Annotated[int | None, Option(min=1, help="Number of epochs; default: the recipe's own.")]


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
    parameters = {"width": width, "in_channels": in_channels, "small_images": small_images or None}
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

        network_parameters = {**given(parameters), **dict(network_options or ())}
        source = NetworkSource(
            name, weights, labels, factory, network_parameters, given(preprocessing)
        )
        artifact_options = ArtifactOptions(
            model_name or name, version, tuple(golden or ()), max_batch_size, dict(metrics or ())
        )
        if factory:
            sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, for packages not installed
        artifact_dir = export_source(source, artifact_options, output)
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
    """Train a shipped model on its public data; an interrupted run continues where it stopped."""
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
    """Score artifacts on held-out data with ONNX Runtime; exit with 1 if a floor is missed."""
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
    """The name; None for all.

    Raises:
        typer.BadParameter: both are given, or neither is.
    """
    if every == (name is not None):
        raise typer.BadParameter("give one name, or --all")
    return name


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Exit with 1 and one sentence if the export or the training is refused."""
    try:
        yield
    except (ExportError, OSError) as err:
        typer.echo(f"sightline: {err}", err=True)
        raise typer.Exit(1) from err


def given(options: Mapping[str, object | None]) -> dict[str, object]:
    """Only the options that the user has set."""
    return {key: value for key, value in options.items() if value is not None}
