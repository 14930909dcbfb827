"""Read the file metadata.csv of a folder of images."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ._columns import (
    as_strings,
    check_one_spelling,
    column_as_strings,
    convert_numeric_columns,
    read_table,
)
from ._file_search import relative_path

# Columns of metadata.csv that have a meaning for the loader.
_KNOWN_COLUMNS = ["filename", "label", "patient", "source"]

_NO_ROW = -1


class ImageFile(NamedTuple):
    """An image in a class folder; `source` is empty if the layout has no source folders."""

    path: Path
    label: str
    source: str


@dataclass(frozen=True)
class Metadata:
    """What metadata.csv contains about images, one value per image.

    Attributes
    ----------
    patients, sources : list of str
        Empty where the file states nothing.
    extra : DataFrame
        Other columns.
    missing : list of str
        Names in the file of images that do not exist.
    """

    patients: list[str]
    sources: list[str]
    extra: pd.DataFrame
    missing: list[str]


def read_metadata(root: Path, images: Sequence[ImageFile]) -> Metadata:
    """Read ``root/metadata.csv`` if it exists.

    Parameters
    ----------
    root : Path
    images : sequence of ImageFile

    Returns
    -------
    Metadata
        Empty values, and no other columns, if the file does not exist.

    Raises
    ------
    ValueError
        If the file is damaged, lacks the column ``filename``, or has contradictory rows for an
        image.
    """
    path = root / "metadata.csv"
    n = len(images)
    if not path.is_file():
        return Metadata([""] * n, [""] * n, pd.DataFrame(index=range(n)), [])
    table = read_table(path, "metadata.csv", _KNOWN_COLUMNS)
    names = column_as_strings(table, "filename", str(path), "Add one.")
    for column in ("patient", "source"):
        if column in table:
            check_one_spelling(as_strings(table[column]), str(path), column)
    # Missing known columns are added as empty columns, so that the rest need not check for them.
    other_columns = [column for column in table if column not in _KNOWN_COLUMNS]
    table = table.reindex(columns=[*_KNOWN_COLUMNS, *other_columns], fill_value="")

    # A name may have several rows, because files in different folders may have the same name.
    rows_by_name: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if name:
            rows_by_name[posixpath.normpath(name)].append(row)
    rows = []
    existing = set()
    for image in images:
        rows.append(_row_of(image, root, rows_by_name, table, path))
        existing |= {image.path.name, relative_path(image.path, root)}
    # Images without a row get empty cells.
    of_images = table.reindex(rows, fill_value="").reset_index(drop=True)
    return Metadata(
        patients=of_images["patient"].tolist(),
        sources=of_images["source"].tolist(),
        extra=convert_numeric_columns(of_images[other_columns]),
        missing=[name for name in rows_by_name if name not in existing],
    )


def _row_of(
    image: ImageFile,
    root: Path,
    rows_by_name: Mapping[str, list[int]],
    table: pd.DataFrame,
    path: Path,
) -> int:
    """Return the number of the row of an image, or -1 if it has none."""
    name = image.path.name
    rows = rows_by_name.get(relative_path(image.path, root)) or rows_by_name.get(name)
    if not rows:
        return _NO_ROW
    if len(rows) == 1:
        # Also if its label differs: the folder may have another name than the class.
        return rows[0]
    rows = _matching_rows(rows, table["label"], image.label)
    rows = _matching_rows(rows, table["source"], image.source)
    candidates = table.iloc[rows].drop(columns=["label", "source"])
    differing = [column for column in candidates if candidates[column].nunique() > 1]
    if differing:
        raise ValueError(
            f"{path} is invalid: {name} has {len(rows)} rows for the label {image.label!r} that "
            f"differ in {', '.join(differing)}; expected one row per file. Remove the wrong rows."
        )
    return rows[0]


def _matching_rows(rows: list[int], column: pd.Series, value: str) -> list[int]:
    """Return the rows with a value, else those with an empty cell, else all of them."""
    cells = column.to_numpy()
    for accepted in (value, ""):
        matching = [row for row in rows if cells[row] == accepted]
        if matching:
            return matching
    return rows
