"""Slots: the parts of the arena that requests hold.

A slot has a `close` method for the request, which may be called while a worker still uses the
memory. The dispatcher's ``free`` then keeps the memory until the worker is done.
"""

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from service.frontend.dispatch.pending import PendingTicket, SlotMemory
from service.ipc.arena import Arena
from service.ipc.slot_layout import SlotLayout


class RequestSlot(SlotMemory, Protocol):
    """What the dispatcher needs to know of a slot."""

    pending: PendingTicket | None  # once submitted

    @property
    def model_id(self) -> int:
        """The model that the request is for."""
        ...

    @property
    def slot_rows(self) -> int:
        """Rows that the slot is laid out for."""
        ...

    @property
    def cache_rows(self) -> int:
        """Rows of the decoding cache that a sequence takes; 0 for other requests."""
        ...

    @property
    def variant(self) -> int:
        """The number of the model's variant; tickets of one variant can share a run."""
        ...


class Slot:
    """A slot with tensors: ``inputs`` and ``outputs`` hold one ``[slot_rows, ...]`` array each.

    Args:
        arena: that the slot is a part of.
        model_id: the model that the request is for.
        layout: of the slot.
        start: of the slot, in bytes.
        free: frees a slot as soon as no worker can write to it.
        variant: the number of the model's variant.
    """

    cache_rows = 0

    def __init__(
        self,
        arena: Arena,
        model_id: int,
        layout: SlotLayout,
        start: int,
        free: Callable[[RequestSlot], None],
        variant: int = 0,
    ) -> None:
        self.start = start
        self.size = layout.size
        self.variant = variant
        self.model_id = model_id
        self.slot_rows = layout.inputs[0].shape[0]
        self.pending: PendingTicket | None = None
        self._arena = arena
        self._layout = layout
        self._free = free

    def inputs(self) -> list[NDArray[Any]]:
        """Where the request writes its rows."""
        return [self._arena.tensor(self.start, place) for place in self._layout.inputs]

    def outputs(self) -> list[NDArray[Any]]:
        """Where the worker has written, once :meth:`PendingTicket.wait` has returned."""
        return [self._arena.tensor(self.start, place) for place in self._layout.outputs]

    def close(self) -> None:
        """The request is done with the slot, answered or not."""
        self._free(self)
