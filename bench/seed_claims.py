"""``python bench/seed_claims.py``: measure what the seed document claims, and write the page.

Writes ``docs/seed-claims.md`` and its pictures. It needs CIFAR-10 for one claim (``--data``), and
exports the shipped detectors to a temporary folder for another.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.progress import track

from bench.claims import attention, convolutions, detectors, recurrence, residuals
from bench.claims.claim import Claim
from export.errors import ExportError
from export.train.report import machine

PICTURES = "images/claims"
INTRODUCTION = """# What the seed document claims, measured

The networks of this project come from one page of lecture notes. Each of its claims that can be
measured is measured here, on this project's own networks. `python bench/seed_claims.py` writes this
page; what is exact in it is also a test (`tests/bench/test_seed_claims.py`).
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python bench/seed_claims.py", description=__doc__)
    default = Path(os.environ.get("SIGHTLINE_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder with cifar10.parquet")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="where the page goes")
    return parser.parse_args()


def claims(data_dir: Path, pictures: Path) -> list[Callable[[], Claim]]:
    """Every claim, in the order of the seed document."""
    return [
        convolutions.one_by_one,
        convolutions.two_three_by_three,
        partial(convolutions.googlenet_is_small, pictures),
        partial(residuals.skips_train_deeper, data_dir, pictures),
        convolutions.transitions,
        convolutions.convolutionalised,
        partial(detectors.order_of_speed, pictures),
        recurrence.unrolled,
        partial(recurrence.vanishing, pictures),
        recurrence.gru_is_smaller,
        partial(attention.quadratic, pictures),
        attention.at_once,
        attention.positions,
    ]


def name_of(measure: Callable[[], Claim]) -> str:
    """What a claim is called in the code, in words."""
    function = measure.func if isinstance(measure, partial) else measure
    return getattr(function, "__name__", str(function)).replace("_", " ")


def page(found: list[Claim], missing: list[str]) -> str:
    """The page's text."""
    versions = machine()
    where = versions["cuda"] or f"{versions['cores']} cores ({versions['machine']})"
    parts = [INTRODUCTION, f"Measured on {where}, torch {versions['torch']}."]
    parts += [claim.as_markdown(number) for number, claim in enumerate(found, start=1)]
    if missing:
        parts += ["## Not measured yet", *(f"- {each}" for each in missing)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> None:
    arguments = parse_arguments()
    measures = claims(arguments.data, arguments.output / PICTURES)
    found: list[Claim] = []
    missing: list[str] = []
    for measure in track(measures, "measuring"):
        try:
            found.append(measure())
        except ExportError as err:
            missing.append(f"{name_of(measure)}: {err}")
    path = arguments.output / "seed-claims.md"
    path.write_text(page(found, missing))
    print(f"{path}: {sum(claim.holds for claim in found)} of {len(found)} claims hold")
    if missing:
        sys.exit("not measured:\n" + "\n".join(missing))


if __name__ == "__main__":
    main()
