"""Memory after many calls: ``python -m bench.endurance``."""

import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.cases import body_of, endpoint_of
from bench.load import drive
from bench.measure import SETTLE_S, RunningServer
from bench.models import make_artifacts, models_dir
from bench.processes import memory_bytes
from bench.results import Cell, Photo
from bench.servers import Layout, service

WARM_UP_CALLS = 2_000
CALLS = 20_000
MAX_GROWTH = 0.05
_CELLS = (
    Cell(model="tinycnn", photo=Photo.RAW, items=1, messages=1, in_flight=32),
    Cell(model="thin224", photo=Photo.JPEG, items=1, messages=1, in_flight=32),
)


def call(server: RunningServer, calls: int, folder: Path, cores: str) -> None:
    """Send half of the calls with pixels, and half with a JPEG file."""
    for cell in _CELLS:
        body = folder / f"{cell.model}.bin"
        body.write_bytes(body_of(cell))
        time.sleep(SETTLE_S)
        before = server.ended_items(cell.model)
        share = calls // len(_CELLS)
        method = endpoint_of(cell).path(is_stream=False)
        drive(server.address, method, body, in_flight=32, requests=share, cores=cores)
        time.sleep(SETTLE_S)
        ended = server.ended_items(cell.model) - before
        if ended != {"OK": share}:
            raise SystemExit(f"of {share} calls to {cell.model} ended {dict(ended)}")


def main() -> None:
    models = tuple(cell.model for cell in _CELLS)
    repository = models_dir(models)
    make_artifacts(repository, models)
    layout = Layout(repository)
    with tempfile.TemporaryDirectory() as folder, service(layout, models) as server:
        call(server, WARM_UP_CALLS, Path(folder), layout.load_cores)
        before = memory_bytes(server.root)
        call(server, CALLS, Path(folder), layout.load_cores)
        after = memory_bytes(server.root)
    growth = after / before - 1
    verdict = "[green]yes[/]" if growth < MAX_GROWTH else "[bold red]NO[/]"
    Console().print(
        f"{before / 2**20:.1f} MiB after {WARM_UP_CALLS:,} calls, {after / 2**20:.1f} MiB after"
        f" {CALLS:,} more: {growth:+.1%}; under {MAX_GROWTH:.0%}: {verdict}"
    )


if __name__ == "__main__":
    main()
