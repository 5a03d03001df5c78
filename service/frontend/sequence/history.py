"""From a request's history to checked elements of a sequence."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import SequenceSection
from service.frontend.errors import InvalidInput
from sightline.v1 import sequence_pb2 as pb


class Vocabulary:
    """The tokens of one model. The longest token that matches the text is used."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self.tokens = tokens
        self._known = {text: token for token, text in enumerate(tokens) if text}
        self._lengths = sorted({len(text) for text in self._known}, reverse=True)

    def encode(self, text: str) -> NDArray[np.int32]:
        """The text's tokens.

        Raises:
            InvalidInput: a character is in no token.
        """
        known = self._known
        if self._lengths == [1]:
            try:
                return np.array([known[character] for character in text], np.int32)
            except KeyError as err:
                raise _unknown(str(err.args[0]), text.index(err.args[0])) from None
        found: list[int] = []
        start = 0
        while start < len(text):
            for length in self._lengths:
                token = known.get(text[start : start + length])
                if token is not None:
                    found.append(token)
                    start += length
                    break
            else:
                raise _unknown(text[start], start)
        return np.array(found, np.int32)


def _unknown(character: str, index: int) -> InvalidInput:
    return InvalidInput(
        f"the text's character {index + 1}, {character!r} (U+{ord(character):04X}), is not in the"
        " model's vocabulary; remove or replace it"
    )


class HistoryReader:
    """Reads histories for one model.

    Args:
        section: of the model's manifest.
        max_elements: the limit for one history.
    """

    def __init__(self, section: SequenceSection, max_elements: int) -> None:
        self._section = section
        self._max_elements = min(max_elements, section.context or max_elements)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary."""
        return Vocabulary(self._section.vocabulary)

    def read_all(self, history: pb.History) -> NDArray[np.generic]:
        """Elements as from `read`, but samples as frames ``[T, frame]``.

        Raises:
            InvalidInput: as `read`; or the last frame is not full.
        """
        elements, frame = self.read(history), self._section.frame
        if not frame:
            return elements
        if len(elements) % frame:
            raise InvalidInput(
                f"there are {len(elements)} samples; the model takes frames of {frame}; send whole"
                " frames, or use Follow, which fills the last frame with zeros"
            )
        return elements.reshape(-1, frame)

    def read(self, history: pb.History) -> NDArray[np.generic]:
        """Elements ``[T]`` int32, ``[T, series]`` float32, or samples ``[T]`` float32 of frames.

        Raises:
            InvalidInput: the history is empty or too long, or is not of the model's kind.
        """
        kind = history.WhichOneof("content")
        if self._section.kind == "tokens":
            elements = self._read_tokens(history, kind)
        elif kind == "values":
            elements = self._read_values(history.values)
        else:
            raise InvalidInput(f"the model takes values; the history holds {kind or 'nothing'}")
        if not len(elements):
            raise InvalidInput("the history is empty; send at least one element")
        return elements

    def _read_tokens(self, history: pb.History, kind: str | None) -> NDArray[np.int32]:
        if kind == "text":
            self._check_length(len(history.text), "characters", self._longest_text)
            tokens = self.vocabulary.encode(history.text)
        elif kind == "tokens":
            self._check_length(len(history.tokens.ids), "tokens", self._max_elements)
            ids = np.array(history.tokens.ids, np.uint32)
            size = len(self._section.vocabulary)
            outside = np.flatnonzero(ids >= size)
            if len(outside):
                raise InvalidInput(
                    f"token {ids[outside[0]]} at position {outside[0] + 1} is outside the"
                    f" vocabulary; the {size} tokens are 0 to {size - 1}"
                )
            tokens = ids.astype(np.int32)
        else:
            raise InvalidInput(
                f"the model takes text or tokens; the history holds {kind or 'nothing'}"
            )
        self._check_length(len(tokens), "tokens", self._max_elements)
        return tokens

    def _read_values(self, values: pb.Values) -> NDArray[np.float32]:
        series, wanted = values.series or 1, self._section.series
        if series != wanted:
            raise InvalidInput(f"values.series is {series}; the model takes {wanted}")
        flat = np.array(values.values, np.float32)
        if len(flat) % series:
            raise InvalidInput(f"{len(flat)} values are not a multiple of the {series} series")
        most = self._max_elements * max(1, self._section.frame)
        self._check_length(len(flat) // series, "time steps", most)
        wrong = np.flatnonzero(~np.isfinite(flat))
        if len(wrong):
            raise InvalidInput(
                f"value {wrong[0] + 1} is {flat[wrong[0]]}; send finite numbers, and fill in"
                " missing values"
            )
        return flat if self._section.frame else flat.reshape(-1, series)

    @property
    def _longest_text(self) -> int:
        return self._max_elements * max(map(len, self._section.vocabulary))

    def _check_length(self, length: int, unit: str, most: int) -> None:
        if length > most:
            why = "the model's context" if self._section.context else "the server's limit"
            raise InvalidInput(
                f"the history has {length} {unit}; {why} is {most}; send the end of the history"
            )
