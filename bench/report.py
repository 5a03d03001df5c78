"""The results as tables: ``python -m bench.report FILE.json [--markdown] [--plot PNG]``."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Spread
from bench.requirements import verdicts
from bench.results import Cell, Photo, Results, Server

MISSING = "-"

Row = tuple[str, ...]
RATE_HEAD: Row = (
    *("request", "in flight", "baseline items/s", "service items/s", "ratio", "p50 ms", "p99 ms"),
    *("CPU us/item", "floor us/item", "efficiency", ""),
)
CEILING_HEAD: Row = ("part alone", "best at", "a second", "CPU us each")
REQUIREMENT_HEAD: Row = ("must hold", "at least", "measured", "holds")


def rate_rows(results: Results) -> list[Row]:
    """One row a cell of the service."""
    return [_rate_row(results, cell) for cell in results.cells()]


def _rate_row(results: Results, cell: Cell) -> Row:
    samples = results.of(cell, Server.SERVICE)
    middle = sorted(samples, key=lambda s: s.p50_s)[len(samples) // 2]
    cpu, floor_s = results.cpu(cell, Server.SERVICE), results.floor_s(cell)
    return (
        describe(cell),
        f"{cell.in_flight} streams" if cell.is_stream else str(cell.in_flight),
        rate_text(results.rate(cell, Server.BASELINE)),
        rate_text(results.rate(cell, Server.SERVICE)),
        number_text(results.ratio(cell), "x"),
        MISSING if cell.is_stream else f"{middle.p50_s * 1e3:.1f}",
        MISSING if cell.is_stream else f"{middle.p99_s * 1e3:.1f}",
        f"{cpu.median * 1e6:,.0f}" if cpu else MISSING,
        f"{floor_s * 1e6:,.0f}" if floor_s else MISSING,
        number_text(results.efficiency(cell)),
        "load generator busy" if results.load_was_busy(cell) else "",
    )


def describe(cell: Cell) -> str:
    """A cell's request in a few words."""
    photo = "" if cell.photo is Photo.RAW else f" {cell.photo}"
    items = f" x{cell.items}" if cell.items > 1 else ""
    return f"{cell.model}{photo}{items}{', stream' if cell.is_stream else ''}"


def rate_text(rate: Spread | None) -> str:
    """``1,234 (1,200..1,300)``."""
    if rate is None:
        return MISSING
    digits = 0 if rate.median >= 100 else 1
    return f"{rate.median:,.{digits}f} ({rate.lowest:,.{digits}f}..{rate.highest:,.{digits}f})"


def number_text(value: float | None, unit: str = "") -> str:
    """Two digits, or a dash."""
    return MISSING if value is None else f"{value:.2f}{unit}"


def ceiling_rows(results: Results) -> list[Row]:
    """Models and decoders alone."""
    rows: list[Row] = []
    for model in dict.fromkeys(run.model for run in results.bare_runs):
        best = min((r for r in results.bare_runs if r.model == model), key=lambda r: r.cpu_s)
        best_s = results.best_run_s(model) or best.cpu_s
        rate = f"{best.items_per_s:,.0f}"
        rows.append(
            (f"{model}, bare run", f"batch {best.batch_size}", rate, f"{best_s * 1e6:,.0f}")
        )
    for photo in dict.fromkeys(each.photo for each in results.bare_decodes):
        best = min((d for d in results.bare_decodes if d.photo is photo), key=lambda d: d.cpu_s)
        rate = f"{best.images_per_s:,.0f}"
        rows.append((f"{photo}, bare decoder", MISSING, rate, f"{best.cpu_s * 1e6:,.0f}"))
    return rows


def requirement_rows(results: Results) -> list[Row]:
    """The promises, and whether they hold."""
    words = {True: "yes", False: "NO", None: "not measured"}
    return [
        (each.text, f"{each.at_least:g}", number_text(each.measured), words[each.holds])
        for each in verdicts(results)
    ]


def heading(results: Results) -> str:
    """The machine and the run, in a sentence."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    memory = ", ".join(f"{k} {v / 2**20:,.0f} MiB" for k, v in results.memory_bytes.items())
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, device {machine.devices};"
        f" {versions}. Servers on {results.server_cores} of the cores;"
        f" rounds: {results.rounds} of {results.seconds:g} s a cell."
        f" Memory at the end: {memory}."
    )


def wide_console() -> Console:
    """The terminal; in a file, lines are long enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else 180)


def print_report(results: Results, console: Console) -> None:
    """All tables, in colour where the terminal can."""
    console.print(heading(results), highlight=False)
    for head, rows in _tables(results):
        console.print(_table(head, rows))
    for failure in results.failures:
        console.print(f"not counted: {failure}", style="red", highlight=False, markup=False)


def _tables(results: Results) -> list[tuple[Row, list[Row]]]:
    return [
        (RATE_HEAD, rate_rows(results)),
        (CEILING_HEAD, ceiling_rows(results)),
        (REQUIREMENT_HEAD, requirement_rows(results)),
    ]


def _table(head: Row, rows: Iterable[Row]) -> Table:
    styles = {"yes": "green", "NO": "bold red", "load generator busy": "yellow"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(head):
        table.add_column(title, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        cells = [f"[{styles[text]}]{text}[/]" if text in styles else text for text in row]
        table.add_row(*cells)
    return table


def markdown(results: Results) -> str:
    """All tables for docs/benchmarks.md."""
    parts = [heading(results)]
    parts += [_markdown_table(head, rows) for head, rows in _tables(results)]
    parts += [f"Not counted: {failure}" for failure in results.failures]
    return "\n\n".join(parts)


def _markdown_table(head: Row, rows: Sequence[Row]) -> str:
    rule = ("---", *["---:"] * (len(head) - 1))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("file", type=Path, help="a file of bench/results/")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the chart again")
    arguments = parser.parse_args()
    results = Results.read(arguments.file)
    if arguments.markdown:
        print(markdown(results))
    else:
        print_report(results, wide_console())
    if arguments.plot:
        from bench.plot import draw

        draw(results, arguments.plot)


if __name__ == "__main__":
    main()
