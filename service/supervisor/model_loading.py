"""How models reach the workers: which one each loads next, and what frontends hear of it."""

import asyncio
import logging
from collections.abc import Mapping

from service import metrics
from service.ipc.control import Load, Loaded, LoadFailed
from service.supervisor.child import Child
from service.supervisor.model_versions import ModelVersion

logger = logging.getLogger(__name__)


class ModelLoading:
    """Every worker loads every version of the repository; frontends hear of each change."""

    def __init__(
        self,
        versions: list[ModelVersion],
        children: Mapping[str, Child],
        devices: Mapping[str, str],
        load_timeout_s: float,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            versions: in the order of their ids, which count from 0.
            children: the running processes by name; the mapping changes as they start and end.
            devices: each worker's device, by the worker's name.
            load_timeout_s: a worker that takes longer to load one model is killed.
        """
        self.versions = versions
        self._children = children
        self._devices = devices
        self._load_timeout_s = load_timeout_s

    def announce(self) -> None:
        """Tell frontends and metrics the state of every version."""
        for version in self.versions:
            self._announce(version)

    def tell_all(self, frontend: Child) -> None:
        """Tell a new frontend of every version."""
        for version in self.versions:
            _tell(frontend, version)

    def begin(self, worker: Child) -> None:
        """Let a new worker load all versions.

        Models load one at a time, fastest first; those never loaded are ordered by size. A model
        that was loading as a worker died comes last.
        """
        unbroken = [each for each in self.versions if not each.broken]
        worker.to_load = [each.model_id for each in sorted(unbroken, key=ModelVersion.load_cost)]
        self._load_next(worker)

    def note_loaded(self, worker: Child, loaded: Loaded) -> None:
        """A worker has loaded a version; it loads the next one."""
        version, device = self.versions[loaded.model_id], self._devices[worker.name]
        version.note_loaded(worker.name, device, loaded)
        labels = (version.name, str(version.number), device)
        metrics.MODEL_LOAD_DURATION.labels(*labels).set(loaded.load_s)
        logger.info(
            "%s/%d is ready on %s (%s) after %.1f s, nodes: %s",
            *(version.name, version.number, worker.name, device, loaded.load_s, loaded.placement),
        )
        self._announce(version)
        self._load_next(worker)

    def note_failed(self, worker: Child, failed: LoadFailed) -> None:
        """A worker cannot load a version; it loads the next one."""
        version = self.versions[failed.model_id]
        version.failed_on[worker.name] = failed.reason
        logger.error("%s/%d cannot be served: %s", version.name, version.number, failed.reason)
        self._announce(version)
        self._load_next(worker)

    def note_lost(self, worker: Child) -> None:
        """A worker died; the version that it was loading may be the cause."""
        for version in self.versions:
            version.note_lost(worker.name, was_loading=worker.loading == version.model_id)
            self._announce(version)

    def _load_next(self, worker: Child) -> None:
        """Load one model at a time: if the worker dies, that model is the suspect."""
        worker.loading = None
        while worker.to_load:
            version = self.versions[worker.to_load.pop(0)]
            if version.broken:
                continue
            worker.loading = version.model_id
            best = version.best_batch_sizes.get(self._devices[worker.name], 0)
            worker.send(Load(version.model_id, str(version.path), version.artifact_sha256, best))
            asyncio.get_running_loop().call_later(
                self._load_timeout_s, self._check_load, worker, version
            )
            return

    def _check_load(self, worker: Child, version: ModelVersion) -> None:
        if worker.loading == version.model_id and self._children.get(worker.name) is worker:
            version.broken = (
                f"loading took longer than workers.load_timeout_s ({self._load_timeout_s:.0f} s)"
            )
            logger.error("%s/%d: %s", version.name, version.number, version.broken)
            worker.kill()

    def _announce(self, version: ModelVersion) -> None:
        for device in set(self._devices.values()):
            ready = sum(on == device for on in version.ready_on.values())
            metrics.MODEL_READY.labels(version.name, str(version.number), device).set(ready)
        for child in self._children.values():
            if child.kind == "frontend":
                _tell(child, version)


def _tell(frontend: Child, version: ModelVersion) -> None:
    frontend.unacknowledged += 1
    frontend.send(version.update())
