"""Generates the threaded client ``sightline/_sync`` from the asyncio client ``sightline/_async``.

Each module is copied line by line with the patterns below. ``transport`` and ``glue`` are written
by hand on both sides. A pattern that no module needs is an error, and so is an asynchronous word
that is left.

    python -m tools.twins          writes sightline/_sync (`make twins`)
    python -m tools.twins --check  fails if it is not current (`make check`)
"""

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sightline"
BY_HAND = {"__init__.py", "glue.py", "transport.py"}

PATTERNS = {
    # Syntax.
    r"async (def|for|with)\b": r"\1",
    r"\bawait ": "",
    r"\banext\(": "next(",
    r"__a(enter|exit|next)__": r"__\1__",
    r"for (\w+) in (.+):\n +yield \1\n": r"yield from \2\n",
    # Names.
    r"\bStopAsyncIteration\b": "StopIteration",
    r"\bAsync(?=[A-Z])": "",
    r"\bsightline\._async\b": "sightline._sync",
    # Prose.
    r"for one event loop, the loop of its first call": "threads may share it",
    r"Cancelling a task cancels its call; files are read in a thread\. ": "",
}
LEFT_OVER = re.compile(r"\b(async\w*|await|a(iter|next)|event loop)\b", re.IGNORECASE)


def translated(sources: dict[str, str], patterns: dict[str, str]) -> dict[str, str]:
    """The modules with each pattern replaced, in order.

    Raises:
        ValueError: a pattern is never used, or an asynchronous word is left.
    """
    texts = dict(sources)
    for pattern, replacement in patterns.items():
        replaced = {name: re.sub(pattern, replacement, text) for name, text in texts.items()}
        if replaced == texts:
            raise ValueError(f"the pattern {pattern!r} is never used")
        texts = replaced
    for name, text in texts.items():
        if left := LEFT_OVER.search(text):
            raise ValueError(f"{name}: {left[0]!r} is left; add a pattern")
    return texts


def formatted(code: str) -> str:
    """The code as ruff writes it: imports sorted, lines joined where they are shorter now."""
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--select=I", "--fix", "--quiet"], ["format", "--quiet"]):
        line = [*ruff, *command, "--stdin-filename=sightline/_sync/x.py", "-"]
        code = subprocess.run(line, input=code, capture_output=True, text=True, check=True).stdout
    return code


def generated() -> dict[Path, str]:
    """What ``sightline/_sync`` should hold."""
    paths = [path for path in sorted(PACKAGE.glob("_async/*.py")) if path.name not in BY_HAND]
    texts = translated({path.name: path.read_text() for path in paths}, PATTERNS)
    header = "# Generated from sightline/_async/{} by `make twins`: edit that file.\n\n"
    return {
        PACKAGE / "_sync" / name: formatted(header.format(name) + text)
        for name, text in texts.items()
    }


def main(arguments: list[str]) -> int:
    """Write the modules, or check them; returns the exit status."""
    wanted = generated()
    present = {path for path in PACKAGE.glob("_sync/*.py") if path.name not in BY_HAND}
    current = {path: path.read_text() for path in present}
    if "--check" in arguments:
        stale = sorted(p.name for p in wanted | current if wanted.get(p) != current.get(p))
        if stale:
            print(f"sightline/_sync is not current: {', '.join(stale)}; run `make twins`")
        return 1 if stale else 0
    for path in present - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
