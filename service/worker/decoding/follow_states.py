"""States that are kept for ``Follow`` streams between their messages."""

from collections.abc import Collection

from service.worker.batch_queue import Entry, Sender
from service.worker.decoding.state_cache import Snapshot

_Key = tuple[Sender, int]


class FollowedStates:
    """One for each open stream, under its frontend and the number of its first ticket.

    The first ticket's entry stands for the stream: it is what a frontend cancels when nobody
    follows any more.
    """

    def __init__(self) -> None:
        self._streams: dict[_Key, tuple[Entry, Snapshot | None]] = {}
        self._closed: list[Entry] = []

    def open(self, entry: Entry) -> None:
        """Its first ticket has come."""
        self._streams[entry.sender, entry.ticket.id] = entry, None

    def knows(self, sender: Sender, stream: int) -> bool:
        """Whether it is open."""
        return (sender, stream) in self._streams

    def state(self, sender: Sender, stream: int) -> Snapshot | None:
        """What an open stream has observed; None: nothing yet."""
        return self._streams[sender, stream][1]

    def keep(self, sender: Sender, stream: int, snapshot: Snapshot) -> None:
        """More was observed; of a stream that was closed meanwhile nothing is kept."""
        if (found := self._streams.get((sender, stream))) is not None:
            self._streams[sender, stream] = found[0], snapshot

    def is_open(self, entry: Entry) -> bool:
        """Whether a ticket is the first one of an open stream."""
        stream = self._streams.get((entry.sender, entry.ticket.id))
        return stream is not None and stream[0] is entry

    def forget(self, entry: Entry) -> None:
        """The first message failed, so there is nothing to follow."""
        del self._streams[entry.sender, entry.ticket.id]

    def close_cancelled(self, live: Collection[Entry]) -> int:
        """Forget those that nobody follows any more; returns how many they were.

        Args:
            live: whose first message is under way, and ends them itself: a caller can hang up while
                it is looked who has.
        """
        gone = [
            key
            for key, (entry, _) in self._streams.items()
            if entry.is_cancelled and entry not in live
        ]
        self._closed += [self._streams.pop(key)[0] for key in gone]
        return len(gone)

    def take_closed(self) -> list[Entry]:
        """First tickets of those that were closed since the last time."""
        closed, self._closed = self._closed, []
        return closed
