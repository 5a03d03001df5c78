"""The pieces of ``bench/gpu_check.py`` that need no GPU."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench import gpu_check
from bench.gpu import exports, h2load, machine, table
from bench.gpu.examine import where_nodes_lie
from bench.gpu.parts import Clock, run_part
from bench.gpu.results import Artifact, Ceiling, Device, GpuCheck, Kill, Load, Part
from bench.gpu.served import mean_usage

GOOD = Artifact(
    name="yolo",
    exported=True,
    is_loaded=True,
    placement={"CUDAExecutionProvider": 40},
    is_right=True,
    worst=2.5e-5,
    relative=1e-4,
)
REFUSED = Artifact(
    name="fcn8s",
    exported=True,
    placement={"CUDAExecutionProvider": 38, "CPUExecutionProvider": 3},
    elsewhere={"Shape": 2, "Range": 1},
    is_right=True,
    worst=1e-5,
    replayed_with_fallback=True,
    error="refused: nodes on the CPU",
)
LOAD = Load(
    items=16,
    in_flight=8,
    images_per_s=1500,
    p50_s=0.08,
    p99_s=0.1,
    load_share=0.4,
    utilisation=91,
    memory_mib=2048,
)


def check_of(*artifacts: Artifact, **changes: object) -> GpuCheck:
    values = {
        "device": Device(name="cuda:0", gpu="A GPU", cores=16, versions={"python": "3.12"}),
        "network": "resnet50",
        "artifacts": artifacts,
        "ceilings": (Ceiling(variant="float32", batch_size=32, images_per_s=2000),),
        "loads": (LOAD,),
        "kill": Kill(answered=900, failed={}, recovery_s=6.5),
        "parts": (Part(name="export", seconds=40),),
    }
    return GpuCheck.model_validate(values | changes)


def test_a_check_without_failures_passes() -> None:
    assert check_of(GOOD).failures == []


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (check_of(GOOD, REFUSED), "fcn8s: refused: nodes on the CPU"),
        (check_of(parts=(Part(name="ceiling", seconds=30, error="stopped"),)), "ceiling: stopped"),
        (
            check_of(kill=Kill(answered=9, failed={}, recovery_s=None)),
            "kill -9: no new worker answered in time",
        ),
        (
            check_of(kill=Kill(answered=9, failed={"UNAVAILABLE": 2}, recovery_s=3)),
            "kill -9: calls failed, {'UNAVAILABLE': 2}",
        ),
    ],
)
def test_each_fault_is_a_failure(check: GpuCheck, expected: str) -> None:
    assert check.failures == [expected]


def test_the_json_reads_back_as_it_was() -> None:
    check = check_of(GOOD, REFUSED)
    assert GpuCheck.model_validate_json(check.model_dump_json()) == check
    assert json.loads(check.model_dump_json())["artifacts"][1]["elsewhere"]["Shape"] == 2


def test_the_table_says_where_nodes_lie_and_how_far_the_service_is_from_the_ceiling() -> None:
    lines = list(table.lines(check_of(GOOD, REFUSED)))
    rows = [line.split() for line in lines]
    assert ["yolo", "yes", "40", "-", "right", "2.5e-05", "1.0e-04"] in rows
    assert "Shape:2 Range:1  right with fallback" in "\n".join(lines)
    assert "16 a call, 8 in flight     1,500        0.75    80.0   100.0      91 %  2,048" in lines


def test_the_table_names_failures_and_ends_with_the_verdict() -> None:
    lines = list(table.lines(check_of(GOOD, REFUSED)))
    assert lines[-2] == "FAILED    fcn8s: refused: nodes on the CPU"
    assert lines[-1] == "gpu_check: failed"
    assert list(table.lines(check_of(GOOD)))[-1] == "gpu_check: passed"


def test_a_check_that_found_nothing_has_a_table() -> None:
    empty = check_of(ceilings=(), loads=(), kill=None)
    assert list(table.lines(empty))[-1] == "gpu_check: passed"


def test_nodes_are_counted_by_provider_and_those_elsewhere_by_operator() -> None:
    def subgraph(provider: str, *operators: str) -> SimpleNamespace:
        nodes = [SimpleNamespace(op_type=each) for each in operators]
        return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)

    found = where_nodes_lie(
        [subgraph("CUDA", "Conv", "Relu"), subgraph("CPU", "Shape"), subgraph("CPU", "Shape")],
        "CUDA",
    )
    assert found == ({"CUDA": 2, "CPU": 2}, {"Shape": 2})


def test_the_gpu_usage_is_that_of_the_busier_half() -> None:
    printed = "0, 500, 70\n90, 900, 600\n94, 900, 620\n1, 500, 80\n[N/A], 1, 1\n9"
    assert mean_usage(printed) == (92, 900, 610)
    assert mean_usage("") is None


def test_models_with_selective_search_are_left_out_where_cv2_lacks_it() -> None:
    names, left_out = exports.choose([], has_selective_search=False)
    assert sorted(left_out) == sorted(exports.SELECTIVE_SEARCH)
    assert "bccd-yolo" in names
    assert not set(names) & set(left_out)
    assert exports.choose(["bccd-rcnn"], has_selective_search=True) == (["bccd-rcnn"], [])


def test_without_a_gpu_it_says_that_it_skips() -> None:
    done = subprocess.run(
        [sys.executable, "bench/gpu_check.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(gpu_check.__file__).parents[1],
    )
    assert done.returncode == 0
    assert done.stdout == "gpu_check: skipped: CUDA_VISIBLE_DEVICES='' hides every GPU\n"


def test_the_cpu_is_never_skipped() -> None:
    assert machine.reason_to_skip("cpu") == ""


def test_the_json_goes_to_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert gpu_check.output_file("cuda:0") == tmp_path / "out" / "gpu-check-cuda-0.json"


def part(folder: Path, code: str) -> dict[str, str]:
    """A module ``made`` that a part can run, as the environment of that part."""
    (folder / "made.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def test_a_part_gives_its_json_lines_and_passes_over_other_words(tmp_path: Path) -> None:
    environment = part(tmp_path, "print('a library speaks')\nprint('{\"rate\": 3}')\nprint('{')")
    outcome = run_part("made", [], 30, environment)
    assert (outcome.rows, outcome.error) == ([{"rate": 3}], "")


def test_a_failed_part_keeps_its_lines_and_says_why(tmp_path: Path) -> None:
    environment = part(tmp_path, "print('{\"rate\": 3}', flush=True)\nraise SystemExit('no CUDA')")
    outcome = run_part("made", [], 30, environment)
    assert (outcome.rows, outcome.error) == ([{"rate": 3}], "exit 1: no CUDA")


def test_a_part_that_takes_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    code = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"])
print('{"child": %d}' % child.pid, flush=True)
time.sleep(60)
"""
    outcome = run_part("made", [], 1.5, part(tmp_path, code))
    assert outcome.error == "stopped after 2 s"
    assert outcome.seconds < 20
    (row,) = outcome.rows
    ends = time.monotonic() + 10
    while psutil.pid_exists(row["child"]) and time.monotonic() < ends:
        if psutil.Process(row["child"]).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(row["child"])


def test_no_part_gets_more_than_what_is_left() -> None:
    assert Clock(5).at_most(60) <= 5
    assert Clock(0).at_most(60) == 1


def test_h2load_is_started_from_the_carried_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "site" / "h2load" / "h2load"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH $1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    h2load.put_on_path([str(tmp_path), str(tmp_path / "site")])
    done = subprocess.run(["h2load", "-n1"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{program.parent} -n1\n"
