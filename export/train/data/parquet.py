"""Data sets that are one Parquet file with a column ``split``."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image

from export.errors import DataError


def read_splits(
    path: Path, columns: Sequence[str], splits: Sequence[str], advice: str
) -> pyarrow.Table:
    """The rows of some splits.

    Args:
        path: the Parquet file.
        columns: the columns to read.
        splits: the splits to read.
        advice: where to get the file, for the message.

    Raises:
        DataError: the file cannot be read, lacks a column, or has no rows of the splits.
    """
    try:
        table = pyarrow.parquet.read_table(
            path, columns=list(columns), filters=[("split", "in", splits)]
        )
    except (OSError, ValueError) as err:
        raise DataError(f"cannot read {path} ({err}); {advice}") from err
    if not table.num_rows:
        raise DataError(f"{path} has no rows of the split {' or '.join(splits)}; {advice}")
    return table


def decode(image: bytes) -> NDArray[np.uint8]:
    """Encoded image -> ``[H, W, 3]`` uint8."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
