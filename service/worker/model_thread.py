"""One model in one worker: a thread that owns the model's session from loading to the last run.

ONNX Runtime's CUDA sessions need to be run from one thread only (microsoft/onnxruntime#29351), so
the model thread also creates the session and replays the golden inputs.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from service.artifact.manifest import ArtifactError, read_manifest
from service.ipc.control import Load, Loaded, LoadFailed
from service.settings import DecodingSettings
from service.threads import exits_process_on_error
from service.worker.batch_loop import BatchLoop
from service.worker.decoding.loop import DecodingLoop, max_live_sequences
from service.worker.golden import replay_golden
from service.worker.scheduler import Scheduler
from service.worker.session import ModelSession, SessionOptions

logger = logging.getLogger(__name__)


class ModelThread:
    """Loads a model, reports, and runs its tickets until the scheduler closes."""

    def __init__(
        self,
        order: Load,
        options: SessionOptions,
        scheduler: Scheduler,
        queue_capacity: int,
        calibration_s: float,
        decoding: DecodingSettings,
        report: Callable[[Loaded | LoadFailed], None],
    ) -> None:
        self._order = order
        self._options = options
        self._scheduler = scheduler
        self._queue_capacity = queue_capacity
        self._calibration_s = calibration_s
        self._decoding = decoding
        self._report = report
        self.has_loaded = False
        # A daemon: a run that hangs in a driver must not keep the process from ending.
        self.thread = threading.Thread(
            target=self._main,
            name=Path(order.path).parent.name,
            daemon=True,
        )

    @exits_process_on_error
    def _main(self) -> None:
        started = time.monotonic()
        try:
            session, loaded = self._load(started)
        except ArtifactError as err:
            self._report(LoadFailed(self._order.model_id, str(err)))
            return
        except Exception as err:  # a model that cannot be loaded must not stop the others
            logger.exception("loading %s failed", self._order.path)
            self._report(LoadFailed(self._order.model_id, f"{type(err).__name__}: {err}"))
            return
        loop: BatchLoop | DecodingLoop
        if session.manifest.is_decoded:
            loop = DecodingLoop(
                session, self._scheduler, self._queue_capacity, self._decoding, loaded.model_id
            )
        else:
            loop = BatchLoop(
                session,
                loaded.best_batch_size,
                self._scheduler,
                self._queue_capacity,
                loaded.model_id,
            )
        self.has_loaded = True
        self._report(loaded)
        loop.serve()

    def _load(self, started: float) -> tuple[ModelSession, Loaded]:
        artifact_dir = Path(self._order.path)
        manifest, sha256 = read_manifest(artifact_dir)
        if sha256 != self._order.artifact_sha256:
            raise ArtifactError(
                f"{artifact_dir} was replaced while it was being loaded; load it again"
            )
        session = ModelSession(artifact_dir, manifest, self._options)
        report = replay_golden(session, artifact_dir)
        best = self._order.best_batch_size
        if manifest.is_decoded:
            max_live_sequences(manifest, self._decoding)  # too little memory: refuse it now
            best = session.max_batch_size
        if not best:
            budget_s = self._calibration_s
            best = session.calibrate(budget_s) if budget_s else session.max_batch_size
        session.trim_memory()
        logger.info(
            "%s/%d reproduces on %s: %d golden rows, off by at most %.1e, best batch %d",
            *(manifest.name, manifest.version, self._options.device, report.rows),
            *(report.max_absolute, best),
        )
        return session, Loaded(
            self._order.model_id,
            best,
            session.placement,
            report.max_absolute,
            time.monotonic() - started,
        )
