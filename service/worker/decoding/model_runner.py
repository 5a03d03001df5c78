"""Forward runs over neighbouring rows, and which sequences made a run fail."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from service.artifact.manifest import Manifest
from service.worker.decoding.live_sequence import LiveSequence
from service.worker.decoding.row_table import RowTable
from service.worker.session import Array

logger = logging.getLogger(__name__)


class Runnable(Protocol):
    """What the engine needs of a session."""

    @property
    def manifest(self) -> Manifest:
        """Of its artifact."""
        ...

    @property
    def max_batch_size(self) -> int:
        """The most rows in one run."""
        ...

    def check_device(self) -> None:
        """Raise `DeviceLost` when the device cannot run anything any more."""

    def run(self, inputs: Sequence[Array], rows: int, run_options: Any = None) -> list[Array]:
        """Compute the outputs."""
        ...


class FailedRun(Exception):
    """A run raised.

    Attributes:
        reasons: for each sequence that caused it; for all of the run when the cause is unknown.
    """

    def __init__(self, reasons: dict[LiveSequence, str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


class ModelRunner:
    """Gives elements and states to a session."""

    def __init__(self, session: Runnable, table: RowTable) -> None:
        section = session.manifest.sequence
        assert section is not None
        self._session = session
        self._table = table
        self._is_framed = bool(section.frame)

    def run(self, start: int, stop: int, elements: Array) -> list[Array]:
        """The outputs of rows ``start:stop``.

        Args:
            start: the first row.
            stop: one behind the last.
            elements: what they read, ``[stop - start, T, ...]``.

        Raises:
            FailedRun: the run raised; no state has changed.
            DeviceLost: the device cannot run anything any more.
        """
        try:
            return self._run(start, stop, elements)
        except Exception as err:  # ONNX Runtime raises many types without a common base
            logger.error("a run of %d sequences failed: %s", stop - start, err)
            reason = str(err)
        failed = self._find_failing(start, stop, elements)
        if len(failed) in (0, stop - start):
            self._session.check_device()
        raise FailedRun(failed or dict.fromkeys(self._table.sequences[start:stop], reason))

    def _find_failing(self, start: int, stop: int, elements: Array) -> dict[LiveSequence, str]:
        """Run each sequence alone and keep no output; returns those that fail, and why."""
        failed: dict[LiveSequence, str] = {}
        for row in range(start, stop) if stop > start + 1 else ():
            try:
                self._run(row, row + 1, elements[row - start : row - start + 1])
            except Exception as err:
                failed[self._table.sequences[row]] = str(err)
        return failed

    def _run(self, start: int, stop: int, elements: Array) -> list[Array]:
        cache = self._table.cache
        cache.reserve(1 if self._is_framed else elements.shape[1])
        return self._session.run([elements, *cache.feeds(start, stop)], stop - start)
