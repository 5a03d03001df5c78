"""Export the shipped models in seconds: ``python -m bench.gpu.exports REPOSITORY NAME ...``.

With ``--network NAME`` it exports the network of the bench that is measured. The shipped models are
what ``sightline export`` makes, with one golden row, two batch sizes and two buckets: most of an
export's time goes into proofs on the CPU, of which nothing is seen on the GPU.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench.gpu.parts import Outcome, print_row, run_part
from service.artifact.manifest import MANIFEST_FILE, Task

WEIGHTS_DIR = Path("export/weights")
SELECTIVE_SEARCH = ("bccd-rcnn", "bccd-sppnet", "bccd-fast-rcnn")
"""Their proposals need cv2.ximgproc, which only opencv-contrib has."""
BUCKETS = (240, 320), (320, 240)
MAX_BATCH_SIZE = 8


def choose(only: list[str], *, has_selective_search: bool) -> tuple[list[str], list[str]]:
    """The shipped models to check, and those left out."""
    names = only or sorted(path.stem for path in WEIGHTS_DIR.glob("*.safetensors"))
    left_out = [name for name in names if name in SELECTIVE_SEARCH and not has_selective_search]
    return [name for name in names if name not in left_out], left_out


def export_all(
    names: list[str], repository: Path, network: str, *, processes: int, seconds: float
) -> list[Outcome]:
    """Export in several processes side by side, the largest weights first; ``network`` alone."""
    ranked = sorted(names, key=_weight_bytes, reverse=True)
    shares = [["--network", network]]
    count = min(processes, len(ranked))
    shares += [[str(repository), *ranked[start::count]] for start in range(count)]
    threads = {"OMP_NUM_THREADS": "2"}
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(
            pool.map(lambda each: run_part("bench.gpu.exports", each, seconds, threads), shares)
        )


def _weight_bytes(name: str) -> int:
    path = WEIGHTS_DIR / f"{name}.safetensors"
    return path.stat().st_size if path.exists() else 0


def _export(name: str, repository: Path) -> None:
    # Imported late: the parent only needs the names.
    from export.artifact import parity
    from export.pytorch import exporter
    from export.pytorch.heads import segmentation
    from export.pytorch.network import ArtifactOptions
    from export.pytorch.resolve import PREPARE, NetworkSource, resolve

    parity.BATCH_SIZES = (1, 2)
    segmentation.SIZES_PX = BUCKETS
    network = resolve(NetworkSource(name))
    if network.task is Task.SEGMENTATION and network.preprocessing is not None:
        height, width = BUCKETS[0]
        small = network.preprocessing.model_copy(update={"height": height, "width": width})
        network = replace(network, preprocessing=small)
    options = ArtifactOptions(name, version=1, max_batch_size=MAX_BATCH_SIZE)
    module, spec = PREPARE[network.task](network, options)
    golden, probes = (
        tuple({key: values[:1] for key, values in rows.items()} for rows in each)
        for each in (spec.golden, spec.probes)
    )
    exporter.export_module(module, replace(spec, golden=golden, probes=probes), repository)


def _export_network(name: str) -> None:
    from bench.models import make_artifacts, models_dir

    make_artifacts(models_dir((name,)), (name,))


def main(where: str, names: list[str]) -> None:
    from export.pytorch import exporter

    exporter.PARITY_PROVIDERS = ("CPUExecutionProvider",)  # the replay compares on the device
    for name in names:
        started, error = time.monotonic(), ""
        try:
            if where == "--network":
                _export_network(name)
            elif not (Path(where) / name / "1" / MANIFEST_FILE).exists():
                _export(name, Path(where))
        except Exception as err:  # one model's fault must not stop the others
            error = f"{type(err).__name__}: {err}"
        print_row(name=name, error=error, seconds=time.monotonic() - started)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
