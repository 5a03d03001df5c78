"""The short table at the end of ``bench/gpu_check.py``: plain text, because rich may be missing."""

from collections.abc import Iterator, Sequence

from bench.gpu.results import Artifact, GpuCheck, Load

_WORDS = 100  # characters of an error that are shown; the JSON has all


def lines(check: GpuCheck) -> Iterator[str]:
    """The whole report."""
    device = check.device
    yield f"device    {device.name}  {device.gpu or 'no GPU'}  {device.cores} cores"
    yield f"versions  {', '.join(f'{name} {each}' for name, each in device.versions.items())}"
    yield ""
    yield from columns(
        ("model", "loads", "nodes here", "elsewhere", "golden", "worst", "relative"),
        [_artifact_row(each, device.name) for each in check.artifacts],
    )
    yield ""
    yield from columns(
        (f"{check.network} alone", "batch", "images/s"),
        [(each.variant, each.batch_size, f"{each.images_per_s:,.0f}") for each in check.ceilings],
    )
    yield ""
    ceiling = check.ceilings[0].images_per_s if check.ceilings else None
    yield from columns(
        ("service, raw pixels", "images/s", "of ceiling", "p50 ms", "p99 ms", "GPU busy", "MiB"),
        [_load_row(each, ceiling) for each in check.loads],
    )
    if check.kill is not None:
        recovery = check.kill.recovery_s
        recovered = "no new worker" if recovery is None else f"answers after {recovery:.1f} s"
        yield ""
        yield (
            f"kill -9 of the worker: {recovered}; {check.kill.answered:,} calls answered,"
            f" failed {check.kill.failed or 'none'}"
        )
    yield ""
    yield "parts     " + ", ".join(f"{part.name} {part.seconds:.0f} s" for part in check.parts)
    yield from (f"note      {note}" for note in check.notes)
    yield from (f"FAILED    {shorten(failure)}" for failure in check.failures)
    yield f"gpu_check: {'failed' if check.failures else 'passed'}"


def columns(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Rows below titles; the first column is on the left, the others are on the right."""
    cells = [tuple(map(str, row)) for row in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *rest in cells:
        padded = (each.rjust(width) for each, width in zip(rest, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *padded)).rstrip()


def shorten(text: str) -> str:
    """One line of at most ``_WORDS`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= _WORDS else f"{line[: _WORDS - 3]}..."


def _artifact_row(each: Artifact, device: str) -> tuple[object, ...]:
    wanted = "CPU" if device == "cpu" else "CUDA"
    here = sum(count for name, count in each.placement.items() if name.startswith(wanted))
    elsewhere = " ".join(f"{op}:{count}" for op, count in each.elsewhere.items())
    golden = "right" if each.is_right else "WRONG" if each.placement else "not run"
    if each.replayed_with_fallback and each.is_right:
        golden = "right with fallback"
    return (
        each.name,
        "yes" if each.is_loaded else "NO",
        here,
        elsewhere or "-",
        golden,
        "-" if each.worst is None else f"{each.worst:.1e}",
        "-" if each.relative is None else f"{each.relative:.1e}",
    )


def _load_row(load: Load, ceiling: float | None) -> tuple[object, ...]:
    busy = " (load generator busy)" if load.load_share > 0.85 else ""
    return (
        f"{load.items} a call, {load.in_flight} in flight{busy}",
        f"{load.images_per_s:,.0f}",
        f"{load.images_per_s / ceiling:.2f}" if ceiling else "-",
        f"{1e3 * load.p50_s:.1f}",
        f"{1e3 * load.p99_s:.1f}",
        "-" if load.utilisation is None else f"{load.utilisation:.0f} %",
        "-" if load.memory_mib is None else f"{load.memory_mib:,.0f}",
    )
