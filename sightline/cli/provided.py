"""Commands of other packages, which are imported only when they are used.

``sightline classify`` must neither wait for torch nor fail without it, but ``sightline --help``
lists every command.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_group


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a command comes from."""

    module: str
    """Has ``register(app)``, which adds the command and perhaps others."""
    distribution: str
    """What to install for it, for people."""
    help: str
    """One line for the list of commands; its own help is shown by ``sightline NAME --help``."""


_FOR_SERVER = "'sightline-server[cpu]', or 'sightline-server[gpu]' for CUDA devices"
_FOR_EXPORT = "sightline-export"

PROVIDERS = {
    "serve": Provider("service.commands", _FOR_SERVER, "Serve the models of a folder."),
    "verify": Provider("service.commands", _FOR_SERVER, "Check artifacts: hashes, golden inputs."),
    "export": Provider("export.commands", _FOR_EXPORT, "Make an artifact of a trained model."),
    "adopt": Provider("export.adopt_command", _FOR_EXPORT, "Make an artifact of an ONNX file."),
    "train": Provider("export.commands", _FOR_EXPORT, "Train one of the shipped models."),
    "evaluate": Provider("export.commands", _FOR_EXPORT, "Score artifacts on held-out data."),
}


class ProvidedCommand(TyperCommand):
    """Stands in for a command; the real one is loaded to read its arguments and to run."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """What the real command makes of the arguments, or how to install it."""
        name = self.name or ""
        return _load(name, PROVIDERS[name]).make_context(info_name, args, parent, **extra)


def add_provided(app: typer.Typer) -> None:
    """Add every provided command to the command line."""
    for name, provider in PROVIDERS.items():
        app.command(name, cls=ProvidedCommand, help=provider.help)(_stand_in)


def _stand_in() -> None:
    """Never called: the real command takes its place in ``ProvidedCommand.make_context``."""


def _load(name: str, provider: Provider) -> Any:
    try:
        module = importlib.import_module(provider.module)
    except ModuleNotFoundError as missing:
        typer.echo(
            f"sightline: {name!r} needs more ({missing.name} is missing):"
            f" pip install {provider.distribution}",
            err=True,
        )
        raise typer.Exit(1) from missing
    provided = typer.Typer()
    module.register(provided)
    return get_group(provided).commands[name]
