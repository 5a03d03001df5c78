"""Measurements of the bench with known figures."""

from bench.results import BareDecode, BareRun, Cell, Machine, Photo, Results, Sample, Server

TINY = Cell(model="tinycnn", photo=Photo.RAW, items=1, messages=1, in_flight=32)
TINY_16 = TINY.model_copy(update={"items": 16})
STREAM = TINY_16.model_copy(update={"messages": 64, "in_flight": 4})
JPEG = Cell(model="thin224", photo=Photo.JPEG, items=1, messages=1, in_flight=32)


def sample(cell: Cell, server: Server, rate: float, cpu_s: float, load: float = 0.2) -> Sample:
    return Sample(
        cell=cell,
        server=server,
        items_per_s=rate,
        p50_s=0.01,
        p99_s=0.02,
        cpu_s=cpu_s,
        load_share=load,
    )


def results_of(*samples: Sample, failures: tuple[str, ...] = ()) -> Results:
    return Results(
        machine=Machine(
            cpu="A CPU", cores=2, memory_gib=8, devices="cpu", versions={"onnxruntime": "1"}
        ),
        rounds=1,
        seconds=1,
        samples=samples,
        bare_runs=(
            BareRun(model="tinycnn", batch_size=1, items_per_s=4e4, cpu_s=25e-6),
            BareRun(model="tinycnn", batch_size=32, items_per_s=2e5, cpu_s=5e-6),
            BareRun(model="thin224", batch_size=1, items_per_s=1e4, cpu_s=100e-6),
        ),
        bare_decodes=(BareDecode(model="thin224", photo=Photo.JPEG, images_per_s=500, cpu_s=2e-3),),
        memory_bytes={Server.SERVICE: 100 << 20},
        failures=failures,
    )
