"""The measurements of one run of the bench, in the form kept in ``bench/results/``."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, Field

from bench.figures import Spread, efficiency, floor_cpu_s, spread

BUSY_LOAD_SHARE = 0.85  # above it the load generator may be the limit of a cell


class Server(StrEnum):
    """The server that answered."""

    BASELINE = "baseline"
    SERVICE = "service"
    TRANSPORT = "transport"


class Photo(StrEnum):
    """How an image travels."""

    RAW = "raw pixels"
    JPEG = "500x375 JPEG"
    JPEG_12MP = "12 MP JPEG"


class _Frozen(BaseModel, frozen=True, extra="forbid"):
    """What was measured is not changed, and serves as a key."""


class Cell(_Frozen, frozen=True):
    """One line of the table: what was sent, and how many at once."""

    model: str
    photo: Photo
    items: int = Field(ge=1)
    """Items a call, or a message of a stream."""
    messages: int = Field(ge=1)
    """Messages a stream; 1 for a plain call."""
    in_flight: int = Field(ge=1)
    """Calls, or streams, under way together."""

    @property
    def is_stream(self) -> bool:
        """Whether a request is a stream of many messages."""
        return self.messages > 1

    @property
    def label(self) -> str:
        """What is sent, in words."""
        what = "a message" if self.is_stream else "a call"
        return f"{self.model}, {self.photo}, {self.items} {what}"


class Sample(_Frozen, frozen=True):
    """One cell, one server, one round."""

    cell: Cell
    server: Server
    items_per_s: float
    p50_s: float
    """Latency of a call, or of a whole stream."""
    p99_s: float
    cpu_s: float
    """CPU time of the server's processes for each item."""
    load_share: float
    """Share of its own core that the load generator used."""


class BareRun(_Frozen, frozen=True):
    """The model alone: one round of the compute ceiling at one batch size."""

    model: str
    batch_size: int
    items_per_s: float
    cpu_s: float


class BareDecode(_Frozen, frozen=True):
    """The decoder alone: one round for one kind of image."""

    model: str
    photo: Photo
    images_per_s: float
    cpu_s: float


class Machine(_Frozen, frozen=True):
    """The machine of a run."""

    cpu: str
    cores: int
    memory_gib: int
    devices: str
    versions: dict[str, str]


class Results(_Frozen, frozen=True):
    """A whole run."""

    machine: Machine
    server_cores: int = 1
    """Cores that all processes of a server share."""
    rounds: int
    seconds: float
    samples: tuple[Sample, ...]
    bare_runs: tuple[BareRun, ...]
    bare_decodes: tuple[BareDecode, ...]
    memory_bytes: dict[Server, int]
    """Proportional set size of each server's processes at the end."""
    failures: tuple[str, ...] = ()
    """Cells that were not counted because calls failed."""

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a file that the bench wrote."""
        return cls.model_validate_json(path.read_text())

    def cells(self) -> list[Cell]:
        """Every cell in which the service was measured, in the order of measurement."""
        return list(dict.fromkeys(s.cell for s in self.samples if s.server is Server.SERVICE))

    def of(self, cell: Cell, server: Server) -> list[Sample]:
        """All rounds of one cell on one server; may be empty."""
        return [s for s in self.samples if s.cell == cell and s.server is server]

    def rate(self, cell: Cell, server: Server) -> Spread | None:
        """Items a second."""
        return _spread([s.items_per_s for s in self.of(cell, server)])

    def cpu(self, cell: Cell, server: Server) -> Spread | None:
        """Seconds of CPU for each item."""
        return _spread([s.cpu_s for s in self.of(cell, server)])

    def ratio(self, cell: Cell, reference: Cell | None = None) -> float | None:
        """The service's rate over the baseline's, in the same cell or in ``reference``."""
        service = self.rate(cell, Server.SERVICE)
        baseline = self.rate(reference or cell, Server.BASELINE)
        return service.median / baseline.median if service and baseline else None

    def best_run_s(self, model: str) -> float | None:
        """CPU for each item of the bare run at its best batch size."""
        runs = [r for r in self.bare_runs if r.model == model]
        sizes = {r.batch_size for r in runs}
        best = [spread([r.cpu_s for r in runs if r.batch_size == size]).median for size in sizes]
        return min(best, default=None)

    def decode_s(self, cell: Cell) -> float | None:
        """CPU for each image of the bare decoder; 0 for raw pixels."""
        if cell.photo is Photo.RAW:
            return 0.0
        times = [
            d.cpu_s for d in self.bare_decodes if (d.model, d.photo) == (cell.model, cell.photo)
        ]
        return spread(times).median if times else None

    def floor_s(self, cell: Cell) -> float | None:
        """The least CPU that one item of the cell can cost, from the parts measured alone."""
        transport, run_s = self.cpu(cell, Server.TRANSPORT), self.best_run_s(cell.model)
        decode_s = self.decode_s(cell)
        if transport is None or run_s is None or decode_s is None:
            return None
        return floor_cpu_s(transport.median, decode_s, run_s)

    def efficiency(self, cell: Cell) -> float | None:
        """Floor over service, in CPU for each item."""
        floor_s, service = self.floor_s(cell), self.cpu(cell, Server.SERVICE)
        return efficiency(floor_s, service.median) if floor_s and service else None

    def load_was_busy(self, cell: Cell) -> bool:
        """Whether the load generator may have been the limit in some round of the cell."""
        samples = self.of(cell, Server.SERVICE) + self.of(cell, Server.BASELINE)
        return any(s.load_share > BUSY_LOAD_SHARE for s in samples)


def _spread(values: Sequence[float]) -> Spread | None:
    return spread(values) if values else None
