"""States of ``Follow`` streams, kept between their messages."""

from collections.abc import Collection

from service.worker.decoding.state_cache import Snapshot
from service.worker.entries import Entry, Sender

_Key = tuple[Sender, int]


class FollowStates:
    """One state for each open stream; the key is the frontend and the id of the first ticket.

    The first ticket's entry stands for the stream: the frontend cancels it when the caller has
    left.
    """

    def __init__(self) -> None:
        self._streams: dict[_Key, tuple[Entry, Snapshot | None]] = {}
        self._closed: list[Entry] = []

    def open(self, entry: Entry) -> None:
        """Open the stream of this first ticket."""
        self._streams[entry.sender, entry.ticket.id] = entry, None

    def knows(self, sender: Sender, stream: int) -> bool:
        """Whether the stream is open."""
        return (sender, stream) in self._streams

    def state(self, sender: Sender, stream: int) -> Snapshot | None:
        """The state of an open stream; None before its first observation."""
        return self._streams[sender, stream][1]

    def keep(self, sender: Sender, stream: int, snapshot: Snapshot) -> None:
        """Replace the state of a stream; ignored when the stream was closed meanwhile."""
        if (found := self._streams.get((sender, stream))) is not None:
            self._streams[sender, stream] = found[0], snapshot

    def is_open(self, entry: Entry) -> bool:
        """Whether a ticket is the first one of an open stream."""
        stream = self._streams.get((entry.sender, entry.ticket.id))
        return stream is not None and stream[0] is entry

    def forget(self, entry: Entry) -> None:
        """Remove the stream of a first ticket that failed."""
        del self._streams[entry.sender, entry.ticket.id]

    def close_cancelled(self, live: Collection[Entry]) -> int:
        """Close streams whose caller has left; returns how many.

        Args:
            live: entries with a live sequence. A first ticket among these ends its stream itself:
                the caller may leave while cancelled entries are being collected.
        """
        gone = [
            key
            for key, (entry, _) in self._streams.items()
            if entry.is_cancelled and entry not in live
        ]
        self._closed += [self._streams.pop(key)[0] for key in gone]
        return len(gone)

    def take_closed(self) -> list[Entry]:
        """First tickets of the streams that were closed since the last call."""
        closed, self._closed = self._closed, []
        return closed
