"""``sightline serve --check``: what serving would do with a repository, short of listening."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from service.artifact.manifest import ArtifactError, read_manifest
from service.settings import Settings
from service.supervisor.model_versions import ModelVersion, scan_repository
from service.supervisor.process_specs import process_specs
from service.worker.decoding.loop import max_live_sequences
from service.worker.golden import replay_golden
from service.worker.session import ModelSession, SessionOptions

_NOT_DONE = "-"


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """What came of one version on one device."""

    name: str  # NAME/VERSION
    labels: str
    device: str = _NOT_DONE
    nodes: str = _NOT_DONE  # of the graph
    golden: str = _NOT_DONE  # whether its golden inputs were replayed
    failure: str = ""  # why it cannot be served


def check_repository(settings: Settings, *, deep: bool) -> list[CheckedVersion]:
    """Check every version as the supervisor and the workers do before they serve it.

    The files' hashes are compared, and the graph is loaded on each device that would serve it.

    Args:
        settings: those of the server.
        deep: replay the golden inputs, too.

    Raises:
        ArtifactError: the repository is missing or holds nothing.
        SettingsError: a device is asked for that is not there.
    """
    threads = {
        spec.device: spec.intra_op_threads for spec in process_specs(settings) if spec.device
    }
    options = [SessionOptions.of(settings, device, count) for device, count in threads.items()]
    return [
        checked
        for version in scan_repository(settings.repository.path)
        for checked in _check_version(version, options, settings, deep=deep)
    ]


def checked_table(checked: Sequence[CheckedVersion]) -> Table:
    """One row for each version and device; the reasons of failures are too long for it."""
    table = Table("model", "labels", "device", "nodes", "golden", "result")
    for column in table.columns:
        column.overflow = "fold"  # a name that is cut cannot be looked up
    for each in checked:
        result = "FAILED" if each.failure else "ok"
        table.add_row(each.name, each.labels, each.device, each.nodes, each.golden, result)
    return table


def _check_version(
    version: ModelVersion, options: Sequence[SessionOptions], settings: Settings, *, deep: bool
) -> Iterator[CheckedVersion]:
    name, labels = f"{version.name}/{version.number}", ", ".join(version.version_labels)
    if version.broken:
        yield CheckedVersion(name, labels, failure=version.broken)
        return
    for each in options:
        try:
            nodes, golden = _load(version, each, settings, deep=deep)
        except ArtifactError as err:
            yield CheckedVersion(name, labels, str(each.device), failure=str(err))
        except Exception as err:  # whatever a library raises, the worker would not serve it either
            reason = f"{type(err).__name__}: {err}"
            yield CheckedVersion(name, labels, str(each.device), failure=reason)
        else:
            yield CheckedVersion(name, labels, str(each.device), nodes, golden)


def _load(
    version: ModelVersion, options: SessionOptions, settings: Settings, *, deep: bool
) -> tuple[str, str]:
    """Load it as a worker does; returns the cells of the table for its nodes and golden inputs."""
    manifest, _ = read_manifest(version.path)
    session = ModelSession(version.path, manifest, options)
    if manifest.is_decoded:
        max_live_sequences(manifest, settings.decoding)
    if deep:
        replay_golden(session, version.path)
    return str(sum(session.placement.values())), "reproduced" if deep else "not replayed"
