"""What the documents name of this repository is there: the targets of links, and paths in code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    file.relative_to(ROOT)
    for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"))
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = "bench|docs|examples|export|protos|service|sightline|tests"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")


def prose(document: Path) -> str:
    """A document without its listings."""
    return FENCE.sub("", (ROOT / document).read_text())


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}


def leads_somewhere(document: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = document.parent / path if path else document
    return (ROOT / file).exists() and (not anchor or anchor in anchors(file))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    targets = [each for each in LINK.findall(prose(document)) if not re.match(r"[a-z]+:", each)]
    assert [each for each in targets if not leads_somewhere(document, each)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_paths_in_code_are_paths_of_the_repository(document: Path) -> None:
    assert [each for each in PATH.findall(prose(document)) if not (ROOT / each).exists()] == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    assert leads_somewhere(Path("docs/models.md"), "../README.md#two-commands")
    assert not leads_somewhere(Path("docs/models.md"), "../README.md#three-commands")
    assert not leads_somewhere(Path("docs/models.md"), "README.md")
