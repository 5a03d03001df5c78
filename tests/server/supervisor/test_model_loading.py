import asyncio
from pathlib import Path
from typing import Any, cast

from service.ipc.control import Load, Loaded
from service.supervisor.child import Child
from service.supervisor.model_loading import ModelLoading
from service.supervisor.model_versions import scan_repository
from service.supervisor.restarts import restart_delay_s
from tests.support.artifacts import write_artifact


class Worker:
    """A child that notes what it is told to load."""

    kind = "worker"
    name = "worker-0"
    loading: int | None = None

    def __init__(self) -> None:
        self.to_load: list[int] = []
        self.told: list[str] = []

    def send(self, message: Load) -> None:
        self.told.append(Path(message.path).parent.name)


async def loads_in_order(loading: ModelLoading, seconds: dict[str, float]) -> list[str]:
    """What a new worker is told to load, where each load takes so long."""
    worker = Worker()
    child = cast(Child, cast(Any, worker))
    loading.begin(child)
    while worker.loading is not None:
        loading.note_loaded(child, Loaded(worker.loading, 1, {}, 0.0, seconds[worker.told[-1]]))
    return worker.told


def test_the_model_that_loads_fastest_comes_first(tmp_path: Path) -> None:
    write_artifact(tmp_path, "a", side=8, classes=64)
    write_artifact(tmp_path, "b", side=8)
    write_artifact(tmp_path, "c")
    loading = ModelLoading(scan_repository(tmp_path), {}, {"worker-0": "cpu"}, 60)
    seconds = {"a": 2.0, "b": 1.0, "c": 3.0}
    assert asyncio.run(loads_in_order(loading, seconds)) == ["c", "b", "a"]  # the smallest first
    assert asyncio.run(loads_in_order(loading, seconds)) == ["b", "a", "c"]  # then the quickest


def test_a_model_that_crashed_a_worker_comes_last(tmp_path: Path) -> None:
    for name in "ab":
        write_artifact(tmp_path, name)
    loading = ModelLoading(scan_repository(tmp_path), {}, {"worker-0": "cpu"}, 60)

    async def die() -> list[str]:
        worker = Worker()
        child = cast(Child, cast(Any, worker))
        loading.begin(child)
        loading.note_lost(child)
        return worker.told

    assert asyncio.run(die()) == ["a"]
    assert asyncio.run(loads_in_order(loading, {"a": 1.0, "b": 1.0})) == ["b", "a"]


def test_a_model_that_one_worker_has_loaded_is_served_though_it_crashed_others(
    tmp_path: Path,
) -> None:
    write_artifact(tmp_path, "a")
    (version,) = scan_repository(tmp_path)
    version.note_loaded("worker-0", "cpu", Loaded(0, 1, {}, 0.0, 1.0))
    for _ in range(3):
        version.note_lost("worker-1", was_loading=True)
    assert version.broken
    assert (version.state, version.update().reason) == ("ready", "")
    version.note_lost("worker-0", was_loading=False)
    assert version.state == "failed"
    assert "died while they loaded it" in version.update().reason


def test_pauses_between_restarts_grow() -> None:
    assert [restart_delay_s(deaths, 5.0, 3) for deaths in range(1, 6)] == [0, 0.5, 1, 2, 3]
    assert [restart_delay_s(deaths, 0.3, 3) for deaths in range(1, 5)] == [0.5, 1, 2, 3]
    assert restart_delay_s(10**6, 5.0, 3) == 3
