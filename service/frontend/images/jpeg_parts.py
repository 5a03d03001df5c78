"""Takes a JPEG apart and keeps what its image needs, for the few files that need this.

Cameras, phones and editors write surplus bytes before markers, append videos and other images, or
leave the end marker out. Where the image ends is found here by what its scans hold: once they have
given every coefficient of every component, nothing can follow.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

from service.frontend.errors import InvalidInput

MAX_JPEG_SCANS = 64  # a progressive photograph has about 10; each costs a pass over the image
MAX_JPEG_SEGMENTS = 4096

END = b"\xff\xd9"

_MARKER = re.compile(rb"\xff[^\0\xff]")
_MARKER_BUT_RESTART = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_STANDALONE_MARKERS = frozenset([0x01, *range(0xD0, 0xD9)])
_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_TABLES = frozenset([0xC4, 0xDB, 0xDD])
_COLOURS = frozenset([0xE0, 0xEE])  # JFIF and Adobe: they say what the components are
_SKIPPED = frozenset([0xDC, *range(0xE0, 0xF0), 0xFE])
_RESTART_INTERVAL = 0xDD
_COEFFICIENTS = 64


@dataclass(frozen=True, slots=True)
class Frame:
    """The header that all scans share."""

    segment: bytes
    is_progressive: bool
    width: int
    height: int
    samplings: dict[int, tuple[int, int]]  # of each component: across and down

    @property
    def unit(self) -> tuple[int, int]:
        """Width and height of the image that one unit of a scan of all components holds, in px."""
        if len(self.samplings) == 1:
            return 8, 8
        across, down = (max(values) for values in zip(*self.samplings.values(), strict=True))
        return 8 * across, 8 * down

    def units(self, components: Sequence[int]) -> tuple[int, int]:
        """How many units across and down a scan of these components holds."""
        if len(components) > 1:
            width, height = self.unit
            return ceil(self.width / width), ceil(self.height / height)
        across, down = (max(values) for values in zip(*self.samplings.values(), strict=True))
        own_across, own_down = self.samplings[components[0]]
        width, height = ceil(self.width * own_across / across), ceil(self.height * own_down / down)
        return ceil(width / 8), ceil(height / 8)

    def resized(self, width: int, height: int) -> bytes:
        """The segment for another size."""
        return self.segment[:5] + struct.pack(">HH", height, width) + self.segment[9:]


@dataclass(slots=True)
class JpegParts:
    """What the image of a JPEG needs."""

    frame: Frame | None = None
    segments: list[bytes] = field(default_factory=list[bytes])
    """In the file's order, scans included, without the start and end markers."""
    intervals: list[bytes] = field(default_factory=list[bytes])
    """Of the last scan: its data between restart markers."""
    restart_interval: int = 0
    scans: int = 0
    is_whole: bool = False
    """Whether the scans give every coefficient, or the end marker follows them."""
    has_all_intervals: bool = True
    """Whether every scan has the number of restart markers that it should have, in order."""
    _left: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def file(self) -> bytes:
        """The JPEG without anything else."""
        return b"".join([b"\xff\xd8", *self.segments, END])

    def single_interval(self, columns: int, rows: int) -> bytes:
        """The start of a JPEG whose only scan is one restart interval of this many units."""
        assert self.frame
        unit_width, unit_height = self.frame.unit
        frame = self.frame.resized(columns * unit_width, rows * unit_height)
        kept = [
            frame if segment is self.frame.segment else segment
            for segment in self.segments[:-1]
            if segment[1] != _RESTART_INTERVAL
        ]
        return b"".join([b"\xff\xd8", *kept])

    def start(self, marker: int, segment: bytes) -> bool:
        """Take the frame header; whether it is one."""
        if self.frame or len(segment) < 10 or len(segment) != 10 + 3 * segment[9]:
            return False
        height, width = struct.unpack_from(">HH", segment, 5)
        samplings = {
            segment[at]: (max(1, segment[at + 1] >> 4), max(1, segment[at + 1] & 15))
            for at in range(10, len(segment), 3)
        }
        self.frame = Frame(segment, marker == 0xC2, width, height, samplings)
        self._left = {component: [-1] * _COEFFICIENTS for component in samplings}
        self.segments.append(segment)
        return True

    def scan(self, segment: bytes, data: bytes) -> bool:
        """Take a scan and its data; whether more scans can follow."""
        if not (self.frame and (components := _components_of(segment, self.frame))):
            return False
        if not self.frame.is_progressive:  # some writers leave other values here: they mean nothing
            segment = segment[:-3] + bytes([0, _COEFFICIENTS - 1, 0])
        self.scans += 1
        if self.is_whole:  # only counted: nothing is left to tell
            return True
        first, last, accuracy = segment[-3:]
        for component in components:
            self._left[component][first : last + 1] = [accuracy & 15] * (last + 1 - first)
        self.is_whole = not any(map(any, self._left.values()))
        self.intervals = [data]
        if self.restart_interval:
            self._split(data, components)
        numbers = (bytes([0xFF, 0xD0 + number % 8]) for number in range(len(self.intervals)))
        pieces = [piece for pair in zip(self.intervals, numbers, strict=True) for piece in pair]
        self.segments += [segment, b"".join(pieces[:-1])]
        # A progressive JPEG could go on for ever, so what follows is counted, too.
        return self.frame.is_progressive or not self.is_whole

    def _split(self, data: bytes, components: Sequence[int]) -> None:
        assert self.frame
        across, down = self.frame.units(components)
        count = ceil(across * down / self.restart_interval)
        pieces = _RESTART.split(data)  # data, number, data, number, ..., data
        self.intervals = [piece.rstrip(b"\xff") for piece in pieces[: 2 * count : 2]]
        numbers = [number[0] - 0xD0 for number in pieces[1 : 2 * count - 1 : 2]]
        expected = [number % 8 for number in range(count - 1)]
        self.has_all_intervals = self.has_all_intervals and numbers == expected


def _components_of(segment: bytes, frame: Frame) -> Sequence[int]:
    """The components of a scan; none if this is no header of a scan of this frame."""
    components = segment[5:-3:2]
    if not (components and len(components) <= 4 and len(segment) == 8 + 2 * segment[4]):
        return ()
    first, last = segment[-3:-1]
    is_valid = not frame.is_progressive or (
        last == 0 if first == 0 else len(components) == 1 and first <= last < _COEFFICIENTS
    )
    return components if is_valid and all(each in frame.samplings for each in components) else ()


def take_apart(file: bytes) -> JpegParts:
    """Find the parts of a JPEG's first image, up to its end.

    Raises:
        InvalidInput: it has more scans than a program has a reason to write.
    """
    parts = JpegParts()
    for marker, segment, start in _segments(file, parts):
        if marker == 0xDA:
            end = _MARKER_BUT_RESTART if parts.restart_interval else _MARKER
            found = end.search(file, start)
            data = file[start : found.start() if found else len(file)].rstrip(b"\xff")
            if not parts.scan(segment, data):
                break
            if parts.scans > MAX_JPEG_SCANS:
                raise InvalidInput(
                    f"the JPEG has more than {MAX_JPEG_SCANS} scans; save it as baseline"
                )
        elif marker in _FRAMES:
            if not parts.start(marker, segment):
                break
        elif marker in _TABLES or (marker in _COLOURS and not parts.scans):
            parts.segments.append(segment)
            if marker == _RESTART_INTERVAL and len(segment) == 6:
                (parts.restart_interval,) = struct.unpack_from(">H", segment, 4)
        elif marker not in _SKIPPED and parts.scans:
            break  # what was appended begins
    return parts


def _segments(file: bytes, parts: JpegParts) -> Iterator[tuple[int, bytes, int]]:
    """Marker, segment with its marker, and position behind, of every segment up to the end."""
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        # Behind a scan, restart markers belong to its data.
        found = (_MARKER_BUT_RESTART if parts.scans else _MARKER).search(file, at)
        if found is None:
            return
        marker, at = file[found.end() - 1], found.end()
        if marker == 0xD9:
            parts.is_whole = parts.scans > 0
            return
        if marker in _STANDALONE_MARKERS:
            if parts.scans:
                return  # another image begins
            continue
        length = int.from_bytes(file[at : at + 2])
        if length < 2 or at + length > len(file):
            return
        yield marker, file[at - 2 : at + length], at + length
        at += length
