"""The server's commands: ``sightline serve`` (``python -m service``) and ``sightline verify``."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.artifact.manifest import MANIFEST_FILE, ArtifactError, read_manifest
from service.logs import set_up_logging
from service.settings import Settings, SettingsError, load_settings
from service.supervisor.model_versions import version_folders

_FLAGS = {
    "models": ("repository", "path"),
    "host": ("server", "host"),
    "grpc_port": ("server", "grpc_port"),
    "http_port": ("server", "http_port"),
    "frontends": ("server", "frontends"),
    "devices": ("workers", "devices"),
    "workers": ("workers", "per_device"),
}


def register(app: typer.Typer) -> None:
    """Add the server's commands to the command line."""
    app.command()(serve)
    app.command()(verify)


def serve(
    models: Annotated[Path | None, typer.Option(help="Folder of NAME/VERSION artifacts.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 listens on all.")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; 0 chooses a free one.")] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Port for probes and metrics; 0 chooses a free one.")
    ] = None,
    frontends: Annotated[
        int | None, typer.Option(help="Frontend processes; 0 is one for two cores.")
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="auto, cpu, or a list such as cuda:0,cuda:1.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Workers on each device.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting as GROUP.NAME=VALUE; repeatable.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(help="Check all that serving needs; print a table; exit with 1 on a failure."),
    ] = False,
    deep: Annotated[
        bool, typer.Option(help="With --check: replay the golden inputs of every model, too.")
    ] = False,
    print_settings: Annotated[
        bool, typer.Option(help="Print the resolved settings as JSON, and exit.")
    ] = False,
) -> None:
    """Serve the models of a folder until SIGTERM."""
    given = locals()
    flags: dict[str, dict[str, Any]] = {}
    for flag, (group, name) in _FLAGS.items():
        if given[flag] is not None:
            flags.setdefault(group, {})[name] = given[flag]
    try:
        for assignment in set_ or []:
            key, is_assigned, value = assignment.partition("=")
            group, has_name, name = key.partition(".")
            if not (is_assigned and has_name):
                raise SettingsError(f"--set takes GROUP.NAME=VALUE, not {assignment!r}")
            flags.setdefault(group, {})[name] = value
        settings = load_settings(config, flags)
        if deep and not check:
            raise SettingsError("--deep goes with --check; a server replays golden inputs always")
        if print_settings:
            print(settings.model_dump_json(indent=2))
        if check:
            _check(settings, deep=deep)
        if not (print_settings or check):
            run(settings)
    except (SettingsError, ArtifactError) as err:
        _fail(str(err), 2)
    except OSError as err:
        _fail(str(err), 1)


def run(settings: Settings) -> None:
    """Serve in this process, with children, until SIGTERM."""
    set_up_logging(settings.log, "supervisor")
    folder = tempfile.mkdtemp(prefix="sightline-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    # Not earlier: prometheus-client reads the variable when it is imported.
    from service.supervisor.supervisor import Supervisor

    try:
        asyncio.run(Supervisor(settings).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(settings: Settings, *, deep: bool) -> None:
    """Print what came of every version; exit with 1 if one cannot be served."""
    # Not earlier: it loads ONNX Runtime, which the supervisor must not have.
    from service.repository_check import check_repository, checked_table

    checked = check_repository(settings, deep=deep)
    Console().print(checked_table(checked))
    failures = [f"{each.name} cannot be served: {each.failure}" for each in checked if each.failure]
    if failures:
        _fail("\n".join(failures), 1)


def verify(
    artifacts: Annotated[
        list[Path], typer.Argument(help="DIR/NAME/VERSION, or a folder of them: DIR/NAME or DIR.")
    ],
    device: Annotated[str, typer.Option(help="cpu or cuda:N.")] = "cpu",
) -> None:
    """Check an artifact's hashes and replay its golden inputs, as the server does."""
    from service.devices import Device
    from service.worker.golden import replay_golden
    from service.worker.session import ModelSession, SessionOptions

    table = Table("artifact", "rows", "batch", "max abs", "max rel", "agree", "sha256")
    for column in table.columns:
        column.no_wrap = True
    failures: list[str] = []
    for artifact in [each for given in artifacts for each in _artifacts_in(given)]:
        try:
            manifest, sha256 = read_manifest(artifact.resolve())
            session = ModelSession(artifact, manifest, SessionOptions(Device.parse(device)))
            report = replay_golden(session, artifact)
        except (ArtifactError, SettingsError) as err:
            failures.append(f"{artifact}: {err}")
            continue
        table.add_row(
            f"{manifest.name}/{manifest.version}",
            str(report.rows),
            ",".join(map(str, report.batch_sizes)),
            f"{report.max_absolute:.0e}",
            f"{report.max_relative:.0e}",
            f"{report.agreement:.1%}",
            sha256[:7],
        )
    if table.row_count:
        Console().print(table)
    if failures:
        _fail("\n".join(failures), 1)


def _artifacts_in(folder: Path) -> list[Path]:
    """The folder itself if it is an artifact, else all artifacts of the model or repository."""
    if (folder / MANIFEST_FILE).exists():
        return [folder]
    if of_model := version_folders(folder):
        return of_model
    return [each for model in sorted(folder.glob("[!.]*")) for each in version_folders(model)] or [
        folder
    ]


def _fail(message: str, code: int) -> None:
    print(f"sightline: {message}", file=sys.stderr)
    raise typer.Exit(code)
