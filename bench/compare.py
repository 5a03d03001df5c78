"""This tree beside another revision: ``python -m bench.compare REVISION``.

Rounds of ``python -m bench --quick`` alternate between the two, so that both see the same hour of a
noisy machine. Each ratio is of two neighbouring rounds: this tree over the other.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.figures import Spread, spread
from bench.networks import NETWORKS
from bench.processes import BenchError
from bench.report import describe, wide_console
from bench.results import Cell, Results, Server

ROUND_TIMEOUT_S = 1800


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """A checkout of a revision, removed at the end.

    Raises:
        BenchError: git knows no such revision.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree"
        added = subprocess.run(
            ["git", "worktree", "add", "--detach", str(path), revision],
            capture_output=True,
            text=True,
        )
        if added.returncode:
            raise BenchError(f"git has no tree {revision}: {added.stderr.strip()}")
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], check=True)


def measure_round(tree: Path, arguments: argparse.Namespace) -> Results:
    """One round of the quick bench in a tree.

    Raises:
        BenchError: it failed; the message has what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench", "--quick", "--output", folder]
        command += ["--seconds", str(arguments.seconds), "--models", *arguments.models]
        done = subprocess.run(
            command, cwd=tree, capture_output=True, text=True, timeout=ROUND_TIMEOUT_S
        )
        files = list(Path(folder).glob("*.json"))
        if done.returncode or not files:
            raise BenchError(f"the bench failed in {tree}:\n{(done.stderr or done.stdout)[-3000:]}")
        return Results.read(files[0])


def ratios(ours: list[Results], theirs: list[Results], cell: Cell) -> tuple[Spread, Spread] | None:
    """CPU time and rate of a cell over the other tree's, by round; None if a round lacks it."""
    cpu: list[float] = []
    rate: list[float] = []
    for mine, other in zip(ours, theirs, strict=True):
        pair = [results.of(cell, Server.SERVICE) for results in (mine, other)]
        if not all(pair):
            return None
        (new,), (old,) = pair
        cpu.append(new.cpu_s / old.cpu_s)
        rate.append(new.items_per_s / old.items_per_s)
    return spread(cpu), spread(rate)


def comparison(ours: list[Results], theirs: list[Results], revision: str) -> Table:
    """One row for each cell that both trees have."""
    table = Table("request", "CPU us/item", f"at {revision}", "CPU ratio", "rate ratio")
    for cell in ours[0].cells():
        if (both := ratios(ours, theirs, cell)) is None:
            continue
        cpu_us = [
            spread([results.of(cell, Server.SERVICE)[0].cpu_s * 1e6 for results in side]).median
            for side in (ours, theirs)
        ]
        figures = [f"{each:,.0f}" for each in cpu_us]
        table.add_row(describe(cell), *figures, *map(_ratio_text, both))
    return table


def _ratio_text(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.lowest:.2f}..{ratio.highest:.2f})"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("revision", help="commit, branch or tag to compare with")
    parser.add_argument("--rounds", type=int, default=4, help="of each tree; default 4")
    parser.add_argument("--seconds", type=float, default=1, help="of each cell; default 1")
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    return parser.parse_args()


def compare(arguments: argparse.Namespace, console: Console) -> Table:
    """Measure both trees in turn; the one that begins changes from round to round."""
    measured: dict[Path, list[Results]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        worktree(arguments.revision) as other,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
    ):
        here = Path.cwd()
        task = progress.add_task("measuring", total=2 * arguments.rounds)
        for number in range(arguments.rounds):
            for tree in (here, other) if number % 2 else (other, here):
                measured.setdefault(tree, []).append(measure_round(tree, arguments))
                progress.advance(task)
        return comparison(measured[here], measured[other], arguments.revision)


def main() -> None:
    arguments, console = parse_arguments(), wide_console()
    try:
        console.print(compare(arguments, console))
    except BenchError as err:
        raise SystemExit(f"bench: {err}") from err


if __name__ == "__main__":
    main()
