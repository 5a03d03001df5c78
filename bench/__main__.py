"""``python -m bench``: measure, print, keep."""

import argparse
import os
import re
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.models import make_artifacts, models_dir
from bench.networks import NETWORKS
from bench.plot import draw
from bench.processes import BenchError
from bench.report import print_report, wide_console
from bench.results import Machine, Results
from bench.run import Plan, run
from bench.servers import Layout


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round, the busiest cells only"
    )
    parser.add_argument("--rounds", type=int, help="default 3; 1 with --quick")
    parser.add_argument(
        "--seconds", type=float, help="of each measurement; default 2; 1 with --quick"
    )
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="a folder")
    parser.add_argument("--devices", default="cpu", help="of the service, such as cuda:0")
    parser.add_argument("--frontends", type=int, default=1)
    parser.add_argument("--server-cores", default="0", help="such as 0 or 0-7; default 0")
    parser.add_argument("--load-cores", default="1", help="default 1")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, console: Console) -> Results:
    """Make the artifacts, and run the plan under a progress bar."""
    models = tuple(arguments.models)
    layout = Layout(
        models_dir=models_dir(models),
        server_cores=arguments.server_cores,
        load_cores=arguments.load_cores,
        devices=arguments.devices,
        frontends=arguments.frontends,
    )
    plan = Plan(
        layout=layout,
        models=models,
        rounds=arguments.rounds or (1 if arguments.quick else 3),
        seconds=arguments.seconds or (1 if arguments.quick else 2),
        quick=arguments.quick,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("exporting the networks", total=None)
        make_artifacts(layout.models_dir, plan.models)
        progress.update(task, description="starting the servers")

        def on_step(title: str, steps: int) -> None:
            done = 0 if progress.tasks[task].total is None else 1
            progress.update(task, description=f"{title:<56}", total=steps, advance=done)

        results = run(plan, on_step)
        progress.update(task, description="done", advance=1)
    return results


def machine_label(machine: Machine) -> str:
    """A file name that says which kind of machine it was."""
    device = "" if machine.devices == "cpu" else f" {machine.devices}"
    label = f"{machine.cpu} {machine.cores} cores{device}"
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def main() -> None:
    arguments, console = parse_arguments(), wide_console()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("the bench needs two cores: one for the server, one for the load")
    try:
        results = measure(arguments, console)
    except BenchError as err:
        raise SystemExit(f"bench: {err}") from err
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / f"{machine_label(results.machine)}.json"
    file.write_text(results.model_dump_json(indent=1) + "\n")
    draw(results, file.with_suffix(".png"))
    print_report(results, console)
    console.print(f"kept in {file} and {file.with_suffix('.png')}")


if __name__ == "__main__":
    main()
