import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.artifact.manifest import Manifest, TensorSpec
from service.frontend.dispatch.slot_allocator import ArenaFull, SlotAllocator
from service.ipc.arena import Arena
from service.ipc.slot_layout import SlotLayout


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=200))
def test_slots_never_overlap_and_all_memory_comes_back(steps: list[tuple[bool, int]]) -> None:
    allocator = SlotAllocator(64 * 256)
    held: list[tuple[int, int]] = []
    for is_release, number in steps:
        if is_release and held:
            allocator.release(*held.pop(number % len(held)))
        else:
            try:
                held.append((allocator.allocate(number), number))
            except ArenaFull:
                continue
        ordered = sorted(held)
        for (start, size), (following, _) in itertools.pairwise(ordered):
            assert start + size <= following
        assert all(start + size <= allocator.capacity for start, size in held)
        assert allocator.slots_in_use == len(held)
    for slot in held:
        allocator.release(*slot)
    assert allocator.used_bytes == 0
    assert allocator.allocate(allocator.capacity) == 0  # in one piece again


def test_a_full_arena_refuses_at_once() -> None:
    allocator = SlotAllocator(1024)
    allocator.allocate(1024)
    with pytest.raises(ArenaFull):
        allocator.allocate(1)


def test_two_mappings_of_one_arena_see_the_same_rows(manifest: Manifest) -> None:
    ours = Arena.create(1 << 20)
    theirs = Arena.attach(ours.fd)
    layout = SlotLayout.of(manifest, rows=3)
    rows = ours.tensor(4096, layout.inputs[0])
    rows[:] = np.arange(rows.size, dtype=np.uint8).reshape(rows.shape)
    np.testing.assert_array_equal(theirs.tensor(4096, layout.inputs[0]), rows)
    theirs.mark_running(4096)
    assert ours.is_running(4096)
    ours.mark_queued(4096)
    assert not theirs.is_running(4096)
    os.close(ours.fd)


def test_the_tensors_of_a_slot_do_not_touch(manifest: Manifest) -> None:
    twice = manifest.model_copy(
        update={
            "inputs": (
                TensorSpec(name="a", dtype="uint8", axes=("batch", 3)),
                TensorSpec(name="b", dtype="float32", axes=("batch", 5)),
            )
        }
    )
    layout = SlotLayout.of(twice, rows=7)
    places = [*layout.inputs, *layout.outputs]
    ends = [place.offset + int(np.prod(place.shape)) * place.dtype.itemsize for place in places]
    assert all(place.offset % 64 == 0 for place in places)
    assert all(end <= place.offset for end, place in zip(ends, places[1:], strict=False))
    assert ends[-1] <= layout.size
