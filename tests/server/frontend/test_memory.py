import threading

import pytest

from service.frontend.errors import CallCancelled
from service.frontend.images.memory import BYTES_PER_PIXEL, SMALL_BYTES, DecodeMemory

LARGE = SMALL_BYTES // BYTES_PER_PIXEL + 1


class Decoding:
    """A thread that holds memory until it is told to end."""

    def __init__(self, memory: DecodeMemory, pixels: int) -> None:
        self.has_begun, self._may_end = threading.Event(), threading.Event()
        self._memory, self._pixels = memory, pixels
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        with self._memory.for_pixels(self._pixels):
            self.has_begun.set()
            self._may_end.wait(60)

    def end(self) -> None:
        self._may_end.set()
        self._thread.join(60)


def test_a_large_image_waits_until_others_are_decoded() -> None:
    memory = DecodeMemory(2 * LARGE * BYTES_PER_PIXEL)
    first, second = Decoding(memory, LARGE), Decoding(memory, LARGE)
    assert first.has_begun.wait(60)
    assert second.has_begun.wait(60)
    third = Decoding(memory, LARGE)
    assert not third.has_begun.wait(0.05)
    first.end()
    assert third.has_begun.wait(60)
    second.end()
    third.end()


def test_a_cancelled_call_does_not_wait_for_memory() -> None:
    memory = DecodeMemory(1)
    other = Decoding(memory, LARGE)
    assert other.has_begun.wait(60)

    def check() -> None:
        raise CallCancelled("gone")

    with pytest.raises(CallCancelled), memory.for_pixels(LARGE, check):
        pass
    other.end()
    with memory.for_pixels(LARGE, check):  # nothing of it is held
        pass


def test_small_images_never_wait() -> None:
    memory = DecodeMemory(1)
    large = Decoding(memory, LARGE)
    assert large.has_begun.wait(60)
    with memory.for_pixels(LARGE - 1):
        pass
    large.end()


def test_an_image_larger_than_the_whole_memory_is_decoded_alone() -> None:
    memory = DecodeMemory(1000)
    first = Decoding(memory, 10 * LARGE)
    assert first.has_begun.wait(60)
    second = Decoding(memory, 10 * LARGE)
    assert not second.has_begun.wait(0.05)
    first.end()
    assert second.has_begun.wait(60)
    second.end()


def test_memory_is_given_back_when_decoding_fails() -> None:
    memory = DecodeMemory(LARGE * BYTES_PER_PIXEL)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), memory.for_pixels(LARGE):
            raise ValueError("broken")
