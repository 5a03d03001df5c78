"""What the supervisor knows at one moment, and whether the server is ready."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from service.ipc.version_choice import chosen_version
from service.supervisor.child import Child
from service.supervisor.model_versions import ModelVersion
from service.supervisor.process_specs import ProcessSpec


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process of the tree."""

    name: str
    pid: int  # 0 while it is not running
    is_started: bool


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of the whole process tree at one moment."""

    is_ready: bool
    reason: str  # why it is not ready
    models: dict[str, str]  # "NAME/VERSION" -> state, and the reason of a failure
    processes: tuple[ProcessState, ...]


def server_state(
    specs: Sequence[ProcessSpec],
    children: Mapping[str, Child],
    versions: Sequence[ModelVersion],
    *,
    required: Collection[str],
    is_draining: bool,
) -> ServerState:
    """Collect the state of all processes and models.

    Args:
        specs: the processes that should run.
        children: the processes that run, by name; a child counts once it has reported itself.
        versions: all versions of the repository.
        required: models that must be ready; empty: all.
        is_draining: the server has begun to stop.
    """
    started = {name: child for name, child in children.items() if child.is_started}
    reason = "draining" if is_draining else _why_unready(specs, started, versions, required)
    models = {
        f"{each.name}/{each.number}": each.state
        + (f": {each.reason}" if each.state == "failed" else "")
        for each in versions
    }
    processes = [ProcessState("supervisor", os.getpid(), True)]
    for spec in specs:
        child = children.get(spec.name)
        pid = child.process.pid if child else 0
        processes.append(ProcessState(spec.name, pid, spec.name in started))
    return ServerState(not reason, reason, models, tuple(processes))


def _why_unready(
    specs: Sequence[ProcessSpec],
    started: Mapping[str, Child],
    versions: Sequence[ModelVersion],
    required: Collection[str],
) -> str:
    """Empty when all frontends run, no model is in its first load, and all required are ready."""
    frontends = [spec.name for spec in specs if spec.kind == "frontend"]
    if missing := [name for name in frontends if name not in started]:
        return f"not started yet: {', '.join(missing)}"
    if loading := [f"{each.name}/{each.number}" for each in versions if each.state == "loading"]:
        return f"loading: {', '.join(loading)}"
    if unready := _unready_models(versions, required):
        return f"required, but not ready: {'; '.join(unready)}"
    if not any(version.ready_on for version in versions):
        return "no worker has a model ready"
    if any(child.unacknowledged for child in started.values()):
        return "a frontend has not heard of the newest state of the models yet"
    return ""


def _unready_models(versions: Sequence[ModelVersion], required: Collection[str]) -> list[str]:
    """Required models that a request without a version cannot ask, each with the reason."""
    models: dict[str, dict[int, ModelVersion]] = {}
    for each in versions:
        models.setdefault(each.name, {})[each.number] = each
    unready: list[str] = []
    for name in required or models:
        if name not in models:
            unready.append(f"{name} is not in the repository")
            continue
        chosen = models[name][chosen_version(models[name])]
        if chosen.state != "ready":
            unready.append(f"{name}/{chosen.number}: {chosen.reason or chosen.state}")
    return unready
