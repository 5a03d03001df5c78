"""Which processes there are: a number of frontends, and workers for each device."""

from dataclasses import dataclass

from service.devices import Device, available_cores, resolve_devices
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that should always run: it is started again whenever it ends."""

    name: str
    kind: str  # "frontend" or "worker"
    device: Device | None = None  # of a worker
    intra_op_threads: int = 0


def process_specs(settings: Settings) -> list[ProcessSpec]:
    """One spec for each process: ``frontends``, and ``per_device`` workers for each device.

    Raises:
        SettingsError: a device is asked for that is not there.
    """
    cores = available_cores()
    workers = settings.workers
    devices = [
        device for device in resolve_devices(workers.devices) for _ in range(workers.per_device)
    ]
    on_cpu = sum(device.kind == "cpu" for device in devices)
    threads = workers.intra_op_threads or max(1, cores // max(1, on_cpu))
    frontends = settings.server.frontends or max(1, cores // 2)
    frontend_specs = [ProcessSpec(f"frontend-{index}", "frontend") for index in range(frontends)]
    return frontend_specs + [
        ProcessSpec(f"worker-{index}", "worker", device, threads)
        for index, device in enumerate(devices)
    ]
