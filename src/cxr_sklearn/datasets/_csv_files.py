"""Read text files and CSV files in the forms in which spreadsheets and collections write them."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ._file_search import check_file

_DELIMITERS = (",", ";", "\t")

_GZIP_MAGIC = b"\x1f\x8b"
# The first bytes of zip archives (and so of Excel workbooks), bzip2, xz and Zstandard.
_ARCHIVE_MAGIC = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

# Excel states the delimiter in a first line such as `sep=;`, with or without quotes. When the file
# is saved again, delimiters may follow.
_SEPARATOR_LINE = re.compile(r'"?sep=(?P<delimiter>[^\w\s"]|\t)"?[ \t,;]*\n', re.IGNORECASE)


# -- text -----------------------------------------------------------------------------------------


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark, compressed by gzip or not.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    text : str
        Each line ends with a line feed, whether the file has line feeds, carriage returns or both.
        A carriage return within a line is kept, because file names may contain one.

    Raises
    ------
    ValueError
        If the file is damaged, an archive, or in another encoding.
    """
    data = Path(path).read_bytes()
    if data.startswith(_GZIP_MAGIC):
        data = _decompress(data, path)
    if data.startswith(_ARCHIVE_MAGIC):
        raise ValueError(
            f"{os.fspath(path)} is invalid: the file is an archive or a workbook; expected a text "
            "file, compressed by gzip or not. Unpack the archive, or save the sheet as CSV."
        )
    text = re.sub("\r+\n", "\n", _decode(data, path))
    # Files of old Macintosh programs contain carriage returns only.
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text


def _decompress(data: bytes, path: str | os.PathLike[str]) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{os.fspath(path)} is invalid: the gzip file is damaged ({error}); expected a "
            "complete file. Copy or download it again."
        ) from None


def _decode(data: bytes, path: str | os.PathLike[str]) -> str:
    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        text = data.decode(encoding)
        # UTF-16 without a byte order mark is valid UTF-8 in which every second byte is null.
        invalid_at = text.find("\0")
    except UnicodeDecodeError as error:
        invalid_at = error.start
    if invalid_at >= 0:
        raise ValueError(
            f"{os.fspath(path)} is invalid: its encoding is unknown (byte {invalid_at}); expected "
            "UTF-8, or UTF-16 with a byte order mark. Convert the file, for example from "
            "Windows-1252 with path.write_text(path.read_text('cp1252'), 'utf-8')."
        )
    return text


# -- CSV ------------------------------------------------------------------------------------------


def read_csv(path: str | os.PathLike[str], name: str, columns: set[str]) -> pd.DataFrame:
    """Read a CSV file into a data frame of stripped strings.

    Parameters
    ----------
    path : str or path
    name : str
        Name of the parameter, for messages.
    columns : set of str
        Expected headings. If the file does not state its delimiter, the delimiter is the one that
        gives most of them.

    Returns
    -------
    frame : DataFrame
        Empty cells are empty strings.
    """
    text = read_text(check_file(path, name, "a CSV file")).lstrip("\n")
    stated_delimiter = None
    separator_line = _SEPARATOR_LINE.match(text)
    if separator_line:
        stated_delimiter = separator_line["delimiter"]
        text = text[separator_line.end() :]
    try:
        headings, delimiter = _headings_and_delimiter(text, stated_delimiter, columns)
        # pandas would rename the second of two equal headings. Empty headings may repeat: a comma
        # at the end of every line gives one of them.
        check_unique_columns(filter(None, headings), os.fspath(path))
        frame = _parse(text, delimiter)
    # These errors of pandas are subclasses of ValueError, whose own text does not name the file.
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{os.fspath(path)} is invalid: the file cannot be read as CSV ({reason}); expected a "
            "line of headings, and in each other line as many cells or fewer. Put quotes around "
            "cells that contain the delimiter."
        ) from error
    frame = frame.apply(_strip_cells)
    return frame.drop(columns=_empty_unnamed_columns(frame))


def check_unique_columns(columns: Iterable[str], name: str) -> None:
    """Raise ValueError if two columns of the table `name` have the same heading."""
    seen = set()
    for column in columns:
        if column in seen:
            raise ValueError(
                f"{name} is invalid: several columns have the heading {column!r}; expected "
                "different headings. Rename or drop a column."
            )
        seen.add(column)


def _headings_and_delimiter(
    text: str, stated_delimiter: str | None, columns: set[str]
) -> tuple[list[str], str]:
    """Return the headings of a CSV file, and the delimiter that divides them."""
    candidates = _DELIMITERS if stated_delimiter is None else (stated_delimiter,)
    first_line = text.lstrip("\n")
    headings_by_delimiter = {}
    for delimiter in candidates:
        cells = next(csv.reader(io.StringIO(first_line), delimiter=delimiter), [])
        headings_by_delimiter[delimiter] = [cell.strip() for cell in cells]

    def rank(delimiter: str) -> tuple[int, int]:
        # The number of headings alone is misleading, because a single heading may contain more
        # commas than there are columns. So the expected columns decide first.
        headings = headings_by_delimiter[delimiter]
        return len(columns.intersection(headings)), len(headings)

    best = max(candidates, key=rank)
    return headings_by_delimiter[best], best


def _parse(text: str, delimiter: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        # pandas only warns of lines with more cells than headings, and drops the cells.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # All cells stay strings: the patient 007 must not become 7, nor the label "None" a missing
        # value.
        return pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            lineterminator="\n",
            dtype=object,
            na_filter=False,
            index_col=False,
        )


def _strip_cells(column: pd.Series) -> pd.Series:
    # A line with fewer cells than headings gives missing values.
    return column.fillna("").astype(str).str.strip().astype(object)


def _empty_unnamed_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that a delimiter at the end of every line gives."""
    empty = []
    for column in frame:
        if str(column).startswith("Unnamed: ") and not frame[column].any():
            empty.append(column)
    return empty
