"""Numbers from a line of text or a CSV file."""

import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Table = list[list[str]]


def values_in(line: str) -> list[float]:
    """The numbers of a line, separated by commas, semicolons or blanks.

    Raises:
        ValueError: something in it is no number, or it is empty.
    """
    parts = line.replace(",", " ").replace(";", " ").split()
    if not parts:
        raise ValueError("no number in an empty line")
    return [_number(part) for part in parts]


def _number(part: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise ValueError(f"{part!r} is no number") from None


def read_csv(path: Path, columns: list[str]) -> NDArray[np.float64]:
    """``[T, series]``: columns of a CSV file, by name or number (1 and up).

    Without names it takes every column that has only numbers; the first row may be a header.

    Args:
        path: the file; ``-`` is standard input.
        columns: the columns to take, in this order; empty for all columns of numbers.

    Raises:
        OSError: it cannot be read.
        ValueError: there is no such column, or something in it is no number.
    """
    text = sys.stdin.read() if str(path) == "-" else path.read_text()
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not rows:
        raise ValueError(f"{path} is empty")
    wanted = [_place(rows[0], name) for name in columns] or _numeric(rows)
    if not wanted:
        raise ValueError(f"{path} has no column of numbers")
    body = rows if all(_is_number(rows[0], place) for place in wanted) else rows[1:]
    if not body:
        raise ValueError(f"{path} has no row of numbers")
    return np.array([[_cell(row, place) for place in wanted] for row in body])


def _place(header: list[str], name: str) -> int:
    if name in header:
        return header.index(name)
    if name.isdecimal() and 1 <= int(name) <= len(header):
        return int(name) - 1
    raise ValueError(f"there is no column {name!r}, but {', '.join(header)}")


def _numeric(rows: Table) -> list[int]:
    body = rows[1:] or rows
    return [n for n in range(len(rows[0])) if all(_is_number(row, n) for row in body)]


def _is_number(row: list[str], place: int) -> bool:
    try:
        _cell(row, place)
    except ValueError:
        return False
    return True


def _cell(row: list[str], place: int) -> float:
    if place >= len(row):
        raise ValueError(f"a row has {len(row)} cells: {','.join(row)}")
    return _number(row[place])
