"""``python bench/seed_claims.py``: measure the claims of the seed document, and write the page.

It writes ``docs/seed-claims.md`` and its charts. One claim needs CIFAR-10 (``--data``); for another
it exports the shipped detectors to a temporary folder. ``--only 7 11`` measures claims 7 and 11
again and leaves the rest of the page unchanged.
"""

import argparse
import os
import re
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
MISSING = "## Not measured yet"
INTRODUCTION = """# The claims of the seed document, measured

The networks of this project come from one page of lecture notes. This page measures every claim of
it that can be measured, on this project's own networks. `python bench/seed_claims.py` writes the
page. The exact claims are also tests (`tests/bench/test_seed_claims.py`).
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python bench/seed_claims.py", description=__doc__)
    default = Path(os.environ.get("SIGHTLINE_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder with cifar10.parquet")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="the page to write")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="N", default=[], help="claims, by number"
    )
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
    """The claim's name in the code, in words."""
    function = measure.func if isinstance(measure, partial) else measure
    return getattr(function, "__name__", str(function)).replace("_", " ")


def measured_on() -> str:
    """The machine, in a sentence."""
    versions = machine()
    where = versions["cuda"] or f"{versions['cores']} cores ({versions['machine']})"
    return f"Measured on {where}, torch {versions['torch']}."


def page(found: list[Claim], missing: list[str]) -> str:
    """The page's text."""
    parts = [INTRODUCTION, measured_on()]
    parts += [claim.as_markdown(number) for number, claim in enumerate(found, start=1)]
    if missing:
        parts += [MISSING, *(f"- {each}" for each in missing)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def with_sections(text: str, found: dict[int, Claim]) -> str:
    """A page with some of its claims measured again.

    Raises:
        ExportError: the page was measured on another machine, or lacks one of them.
    """
    if measured_on() not in text or MISSING in text:
        raise ExportError("the page is incomplete or of another machine; measure all of it")
    for number, claim in found.items():
        section = re.compile(rf"^## {number}\. .*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
        if not section.search(text):
            raise ExportError(f"the page has no claim {number}")
        written = claim.as_markdown(number).strip() + "\n\n"
        text = section.sub(lambda _, written=written: written, text)
    return text.rstrip() + "\n"


def measure_again(path: Path, measures: list[Callable[[], Claim]], numbers: list[int]) -> None:
    """Replace the sections of some claims in the existing page."""
    if wrong := [number for number in numbers if not 1 <= number <= len(measures)]:
        sys.exit(f"no claim {wrong[0]}; they are 1 to {len(measures)}")
    found = {number: measures[number - 1]() for number in numbers}
    for number, claim in found.items():
        print(f"{claim.as_markdown(number)}\n")
    path.write_text(with_sections(path.read_text(), found))


def main() -> None:
    arguments = parse_arguments()
    measures = claims(arguments.data, arguments.output / PICTURES)
    path = arguments.output / "seed-claims.md"
    if arguments.only:
        try:
            measure_again(path, measures, arguments.only)
        except ExportError as err:
            sys.exit(str(err))
        return
    found: list[Claim] = []
    missing: list[str] = []
    for measure in track(measures, "measuring"):
        try:
            found.append(measure())
        except ExportError as err:
            missing.append(f"{name_of(measure)}: {err}")
    path.write_text(page(found, missing))
    print(f"{path}: {sum(claim.holds for claim in found)} of {len(found)} claims hold")
    if missing:
        sys.exit("not measured:\n" + "\n".join(missing))


if __name__ == "__main__":
    main()
