"""Runs of neighbouring rows of the decoding engine; of one that fails, whose fault it is."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from service.artifact.manifest import Manifest
from service.worker.decoding.live_sequence import Live
from service.worker.decoding.row_table import Rows
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
        """Rows in one run, at most."""
        ...

    def check_device(self) -> None:
        """Raise `DeviceLost` where nothing can be run any more."""

    def run(self, inputs: Sequence[Array], rows: int, run_options: Any = None) -> list[Array]:
        """Compute."""
        ...


class FailedRun(Exception):
    """A run raised.

    Attributes:
        reasons: of each whose fault it is, or of all who took part if that cannot be told.
    """

    def __init__(self, reasons: dict[Live, str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


class Runs:
    """Feeds elements and states to a session."""

    def __init__(self, session: Runnable, rows: Rows) -> None:
        section = session.manifest.sequence
        assert section is not None
        self._session = session
        self._rows = rows
        self._is_framed = bool(section.frame)

    def run(self, start: int, stop: int, elements: Array) -> list[Array]:
        """The outputs of rows ``start:stop``.

        Args:
            start: the first row.
            stop: one behind the last.
            elements: what they read, ``[stop - start, T, ...]``.

        Raises:
            FailedRun: there are none, and nothing of it is kept.
            DeviceLost: there will be none any more.
        """
        try:
            return self._run(start, stop, elements)
        except Exception as err:  # ONNX Runtime raises a dozen types, of no common base
            logger.error("a run of %d sequences failed: %s", stop - start, err)
            reason = str(err)
        culprits = self._find_culprits(start, stop, elements)
        if len(culprits) in (0, stop - start):
            self._session.check_device()
        raise FailedRun(culprits or dict.fromkeys(self._rows.lives[start:stop], reason))

    def _find_culprits(self, start: int, stop: int, elements: Array) -> dict[Live, str]:
        """Run each alone, and keep nothing: who fails, and why."""
        failed: dict[Live, str] = {}
        for row in range(start, stop) if stop > start + 1 else ():
            try:
                self._run(row, row + 1, elements[row - start : row - start + 1])
            except Exception as err:
                failed[self._rows.lives[row]] = str(err)
        return failed

    def _run(self, start: int, stop: int, elements: Array) -> list[Array]:
        state = self._rows.state
        state.reserve(1 if self._is_framed else elements.shape[1])
        return self._session.run([elements, *state.feeds(start, stop)], stop - start)
