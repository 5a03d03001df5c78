"""``python3 bench/gpu_check.py``: a first look at a GPU, in under four minutes.

Which shipped models load on CUDA, where their nodes lie, and how far their golden rows are off; the
rate of ONNX Runtime alone and of the service; ``kill -9`` of the worker. It prints a table, writes
JSON, and exits with 0 or 1; on a machine without a GPU it says that it skips, and exits with 0.
``--device cpu --only NAME ...`` rehearses it.
"""

import argparse
import os
from pathlib import Path

import cv2

from bench.gpu import examine, exports, machine, table
from bench.gpu.parts import ROOT, Clock, Outcome, run_part
from bench.gpu.results import Artifact, Ceiling, GpuCheck, Kill, Load, Part

REPOSITORY = Path("build/gpu-check")
TOTAL_S = 225
EXPORT_S, EXAMINE_S, CEILING_S, SERVICE_S = 75, 55, 30, 80
"""Limits of the parts, which share `TOTAL_S`."""
MEASURE_S = 3.0


class Check:
    """Runs the parts one after the other, and keeps what they found."""

    def __init__(self, device: str, network: str, only: list[str], total_s: float) -> None:
        has_search = hasattr(cv2, "ximgproc")
        self._device, self._network = device, network
        self._names, left_out = exports.choose(only, has_selective_search=has_search)
        self._clock = Clock(total_s)
        self._parts: list[Part] = []
        self._artifacts: list[Artifact] = []
        self._ceilings: list[Ceiling] = []
        self._loads: list[Load] = []
        self._kill: Kill | None = None
        self._notes = (
            [f"left out, because cv2 has no ximgproc: {', '.join(left_out)}"] if left_out else []
        )

    def run(self) -> GpuCheck:
        """All parts; the failure of one does not stop the others."""
        for part in (self._export, self._examine, self._measure_ceiling, self._serve):
            print(f"{part.__name__.strip('_').replace('_', ' ')} ...", flush=True)
            try:
                part()
            except Exception as err:  # of this script itself: the other parts still count
                self._parts.append(Part(name=part.__name__.strip("_"), seconds=0, error=f"{err!r}"))
        return GpuCheck(
            device=machine.describe_device(self._device),
            network=self._network,
            artifacts=tuple(self._artifacts),
            ceilings=tuple(self._ceilings),
            loads=tuple(self._loads),
            kill=self._kill,
            parts=tuple(self._parts),
            notes=tuple(self._notes),
        )

    def _export(self) -> None:
        processes = max(1, len(os.sched_getaffinity(0)) // 2)
        outcomes = exports.export_all(
            self._names,
            ROOT / REPOSITORY,
            self._network,
            processes=processes,
            seconds=self._clock.at_most(EXPORT_S),
        )
        errors = {row["name"]: row["error"] for each in outcomes for row in each.rows}
        if errors.pop(self._network, "not exported in time"):
            self._notes.append(f"{self._network} was not exported, so there is no load")
        for name in self._names:
            if error := errors.get(name, "not exported in time"):
                self._artifacts.append(Artifact(name=name, error=f"export: {error}"))
        self._keep("export", outcomes)

    def _examine(self) -> None:
        missing = {each.name for each in self._artifacts}
        names = [name for name in self._names if name not in missing]
        found, outcome = examine.examine_all(
            names, ROOT / REPOSITORY, self._device, self._clock.at_most(EXAMINE_S)
        )
        self._artifacts = sorted(self._artifacts + found, key=lambda each: each.name)
        self._keep("artifacts", [outcome])

    def _measure_ceiling(self) -> None:
        arguments = [self._network, self._device, str(MEASURE_S)]
        outcome = run_part("bench.gpu.ceiling", arguments, self._clock.at_most(CEILING_S))
        self._ceilings = [Ceiling.model_validate(row) for row in outcome.rows]
        self._keep("ceiling", [outcome])

    def _serve(self) -> None:
        arguments = [self._network, self._device, str(MEASURE_S)]
        outcome = run_part("bench.gpu.served", arguments, self._clock.at_most(SERVICE_S))
        errors = [row["error"] for row in outcome.rows if "error" in row]
        self._loads = [Load.model_validate(row["load"]) for row in outcome.rows if "load" in row]
        for row in outcome.rows:
            if "kill" in row:
                self._kill = Kill.model_validate(row["kill"])
        if self._kill is None and not outcome.error:
            errors.append("the worker was not killed")
        failed = [Outcome([], error, 0) for error in errors]
        self._keep("service", [outcome, *failed])

    def _keep(self, name: str, outcomes: list[Outcome]) -> None:
        self._parts.append(
            Part(
                name=name,
                seconds=max(each.seconds for each in outcomes),
                error="; ".join(each.error for each in outcomes if each.error),
            )
        )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_check.py", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="default cuda:0; cpu is a rehearsal")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="shipped models")
    parser.add_argument(
        "--network", help="of the bench, under load; default resnet50, with --device cpu tinycnn"
    )
    parser.add_argument(
        "--total", type=float, default=TOTAL_S, help=f"seconds in all; default {TOTAL_S}"
    )
    return parser.parse_args(arguments)


def output_file(device: str) -> Path:
    """Where the JSON goes: to ``$OUT`` if that is set, else beside the other results."""
    folder = Path(os.environ.get("OUT") or ROOT / "bench" / "results")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"gpu-check-{device.replace(':', '-')}.json"


def main(arguments: list[str] | None = None) -> int:
    given = parse_arguments(arguments)
    if reason := machine.reason_to_skip(given.device):
        print(f"gpu_check: skipped: {reason}")
        return 0
    os.chdir(ROOT)
    network = given.network or ("tinycnn" if given.device == "cpu" else "resnet50")
    check = Check(given.device, network, given.only, given.total).run()
    file = output_file(given.device)
    file.write_text(check.model_dump_json(indent=1) + "\n")
    print()
    print(*table.lines(check), sep="\n")
    print(f"kept in {file}")
    return 1 if check.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
