"""Real sequences for golden answers: sound, text, or a table of numbers."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import GoldenError


def read_elements(
    path: Path, vocabulary: tuple[str, ...], frame: int, overlap: int
) -> NDArray[Any]:
    """The time steps of a file.

    Args:
        path: for frames a WAV file (16 bit, one channel) or numbers; for tokens a text; else CSV
            without a heading, one column per series.
        vocabulary: the tokens; empty: the elements are numbers.
        frame: new samples per time step; 0: the elements are not frames.
        overlap: samples of the previous time step before the new ones.

    Returns:
        ``[T, overlap + frame]`` float32, ``[T]`` int64, or ``[T, series]`` float32.

    Raises:
        GoldenError: the file cannot be read.
    """
    try:
        if frame:
            elements = _frames(_samples(path), frame, overlap)
        elif vocabulary:
            elements = _tokens(path.read_text("utf-8"), vocabulary)
        else:
            elements = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError, wave.Error) as err:
        raise GoldenError(f"the example {path} cannot be read: {err}") from err
    return elements


def _samples(path: Path) -> NDArray[np.float32]:
    if path.suffix.lower() != ".wav":
        return np.loadtxt(path, np.float32, delimiter=",").reshape(-1)
    with wave.open(str(path)) as sound:
        if (sound.getsampwidth(), sound.getnchannels()) != (2, 1):
            raise ValueError("it is not 16 bit and one channel")
        bytes_ = sound.readframes(sound.getnframes())
    return np.frombuffer(bytes_, "<i2").astype(np.float32) / np.float32(32768)


def _frames(samples: NDArray[np.float32], frame: int, overlap: int) -> NDArray[np.float32]:
    count = len(samples) // frame
    padded = np.zeros(overlap + count * frame, np.float32)
    padded[overlap:] = samples[: count * frame]
    starts = np.arange(count)[:, None] * frame
    return padded[starts + np.arange(overlap + frame)]


def _tokens(text: str, vocabulary: tuple[str, ...]) -> NDArray[np.int64]:
    """The longest token at each place; characters that begin no token are left out."""
    known = {token: index for index, token in enumerate(vocabulary) if token}
    longest = max(map(len, known))
    tokens: list[int] = []
    place = 0
    while place < len(text):
        for length in range(longest, 0, -1):
            index = known.get(text[place : place + length])
            if index is not None:
                tokens.append(index)
                break
        else:
            length = 1
        place += length
    return np.array(tokens, np.int64)
