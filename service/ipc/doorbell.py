"""Messages between a frontend and a worker: small packets on a SOCK_SEQPACKET socket.

Inputs and outputs stay in the arena; a packet only says where they are. The socket keeps packets
whole and in order, wakes the receiver, and reports at once when the other side has died.
"""

import socket
import struct
from enum import IntEnum
from typing import NamedTuple

PACKET_BYTES = 1 << 16  # receive buffer; the largest packet holds the outcomes of one run
_TICKET = struct.Struct("<BBHIIIIQQQQ")
_CANCEL = struct.Struct("<BxxxxxxxQ")
_OUTCOME = struct.Struct("<QIIIIQQ")
_MAX_REASON_BYTES = 4096
_MAX_OUTCOMES = 512  # in one packet


class _Kind(IntEnum):
    TICKET = 1
    CANCEL = 2


class TicketStatus(IntEnum):
    """How a ticket ended, or that it has made progress."""

    DONE = 0
    FAILED = 1  # the run raised; `reason` says what
    EXPIRED = 2  # its deadline has passed, or could not be met, before it ran
    OVERLOADED = 3  # the queue was full
    CANCELLED = 4  # the caller left
    UNKNOWN_MODEL = 5  # this worker does not, or no longer, serve the model
    PROGRESS = 6  # not ended: `steps` steps of a sequence are complete
    STATE_LOST = 7  # this worker does not know the stream that it continues


_STATUSES = tuple(TicketStatus)  # by number; calling the enum costs as much as the rest of unpack


class Ticket(NamedTuple):
    """Frontend to worker: run these rows of my arena."""

    id: int
    model_id: int
    slot: int  # where the slot starts in the arena, bytes
    slot_rows: int  # rows the slot is laid out for
    rows: int  # rows that are filled, 1..slot_rows
    deadline_ns: int  # CLOCK_MONOTONIC, the same clock in every process of a machine
    submitted_ns: int
    alone: bool = False  # it may have killed a worker: run it without other tickets
    more_expected: bool = False  # more tickets are about to follow and could share its run
    variant: int = 0  # a `Variant`'s number: the bucket of shapes, and the outputs
    cache_rows: int = 0  # rows of the state cache that a sequence takes: one for each beam

    def pack(self) -> bytes:
        """As a packet."""
        return _TICKET.pack(
            _Kind.TICKET,
            self.alone + 2 * self.more_expected,
            self.variant,
            self.model_id,
            self.slot_rows,
            self.rows,
            self.cache_rows,
            self.id,
            self.slot,
            self.deadline_ns,
            self.submitted_ns,
        )


class Cancel(NamedTuple):
    """Frontend to worker: the caller of this ticket has left."""

    ticket_id: int

    def pack(self) -> bytes:
        """As a packet."""
        return _CANCEL.pack(_Kind.CANCEL, self.ticket_id)


class Outcome(NamedTuple):
    """Worker to frontend: how a ticket ended, or its progress; its outputs are in its slot."""

    ticket_id: int
    status: TicketStatus
    batch_size: int = 0  # rows of the run, or sequences of the step batch
    queue_ns: int = 0  # from submission to the start of the run
    run_ns: int = 0
    reason: str = ""
    steps: int = 0  # of a sequence: complete so far


def more_expected(packet: bytes) -> bool:
    """Whether a packet is a ticket that expects more to share its run; without unpacking it."""
    return len(packet) == _TICKET.size and bool(packet[1] & 2)


def unpack_order(packet: bytes) -> Ticket | Cancel:
    """Read a packet that a frontend sent."""
    if packet[0] == _Kind.CANCEL:
        return Cancel(_CANCEL.unpack(packet)[1])
    _, flags, variant, model_id, slot_rows, rows, cache_rows, id_, slot, deadline_ns, sent_ns = (
        _TICKET.unpack(packet)
    )
    is_alone, is_more_expected = bool(flags & 1), bool(flags & 2)
    return Ticket(
        *(id_, model_id, slot, slot_rows, rows, deadline_ns, sent_ns),
        *(is_alone, is_more_expected, variant, cache_rows),
    )


def pack_outcomes(outcomes: list[Outcome]) -> list[bytes]:
    """Pack into as few packets as possible; an outcome with a reason has its own packet."""
    packets: list[bytes] = []
    plain: list[bytes] = []
    for outcome in outcomes:
        reason = outcome.reason.encode()[:_MAX_REASON_BYTES]
        record = _OUTCOME.pack(
            outcome.ticket_id,
            outcome.status,
            outcome.batch_size,
            outcome.steps,
            len(reason),
            outcome.queue_ns,
            outcome.run_ns,
        )
        if reason:
            packets.append(record + reason)
        else:
            plain.append(record)
    packets += [
        b"".join(plain[start : start + _MAX_OUTCOMES])
        for start in range(0, len(plain), _MAX_OUTCOMES)
    ]
    return packets


def unpack_outcomes(packet: bytes | memoryview) -> list[Outcome]:
    """Read a packet that a worker sent."""
    id_, status, batch_size, steps, length, queue_ns, run_ns = _OUTCOME.unpack_from(packet)
    if length:
        reason = bytes(packet[_OUTCOME.size :]).decode(errors="replace")
        return [Outcome(id_, _STATUSES[status], batch_size, queue_ns, run_ns, reason, steps)]
    return [
        Outcome(id_, _STATUSES[status], batch_size, queue_ns, run_ns, "", steps)
        for id_, status, batch_size, steps, _, queue_ns, run_ns in _OUTCOME.iter_unpack(packet)
    ]


def doorbell_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
