"""Columns of CSV files and data frames."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import warnings
import zlib
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ._file_search import check_file

_DELIMITERS = (",", ";", "\t")
_GZIP = b"\x1f\x8b"
# of zip archives (Excel workbooks are such), bzip2, xz and Zstandard
_ARCHIVES = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

# Excel writes the delimiter into a first line, quoted or not
_SEPARATOR_LINE = re.compile(r'"?sep=(?P<delimiter>[^\w\s"]|\t)"?[ \t,;]*\n', re.IGNORECASE)

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")


def read_table(table: Any, name: str, columns: Iterable[str] = ()) -> pd.DataFrame:
    """Return a CSV file or a data frame as a new data frame, numbered from 0.

    Cells of a file are strings, so that ``007`` stays a patient and ``None`` a label; empty cells
    are empty strings. :func:`with_numbers` converts columns of numbers.

    Parameters
    ----------
    table : str, path or DataFrame
        A file has a line of headings, and commas, semicolons or tabs between cells: what its first
        line states as Excel writes it (``sep=;``), else what divides the headings into most of
        `columns`, else into most headings. Its encoding is that of :func:`read_text`.
    name : str
        Name of the parameter, for messages.
    columns : iterable of str, default=()
        Columns that are expected.

    Returns
    -------
    frame : DataFrame
    """
    if isinstance(table, pd.DataFrame):
        frame = table.reset_index(drop=True)
    elif isinstance(table, (str, os.PathLike)):
        frame = _read_csv(table, name, set(columns))
    else:
        raise TypeError(
            f"{name} is {type(table).__name__}; expected a DataFrame or the path of a CSV file"
        )
    frame.columns = [str(column).strip() for column in frame.columns]
    check_unique(frame, name)
    return frame


def check_unique(frame: pd.DataFrame, name: str) -> None:
    """Raise if two columns have one name; `name` is the table's."""
    if not frame.columns.is_unique:
        double = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"{name} has the column {double!r} twice; expected names of their own")


def read_text(path: str | os.PathLike) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark, compressed by gzip or not.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    text : str
        Its lines end with a line feed, whether the file has line feeds, carriage returns or both.
        A carriage return within a line is kept: file names may have one.

    Raises
    ------
    ValueError
        If the file is damaged, an archive, or of another encoding.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{os.fspath(path)}: a damaged gzip file ({error}); expected a whole file: copy or "
                "download it again"
            ) from None
    if data.startswith(_ARCHIVES):
        raise ValueError(
            f"{os.fspath(path)}: an archive or a workbook; expected a text file, or one compressed "
            "by gzip: unpack it, or save the sheet as CSV"
        )
    try:
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
        unreadable = text.find("\0")  # of UTF-16 without a mark every second byte is null
    except UnicodeDecodeError as error:
        unreadable = error.start
    if unreadable >= 0:
        raise ValueError(
            f"{os.fspath(path)}: unknown encoding (byte {unreadable}); expected UTF-8, or UTF-16 "
            "with a byte order mark. Convert the file, from Windows-1252 for example by "
            "path.write_text(path.read_text('cp1252'), 'utf-8')"
        )
    text = re.sub("\r+\n", "\n", text)
    return text if "\n" in text else text.replace("\r", "\n")


def _read_csv(path: str | os.PathLike, name: str, columns: set[str]) -> pd.DataFrame:
    text = read_text(check_file(path, name, "a CSV file")).lstrip("\n")
    stated = _SEPARATOR_LINE.match(text)
    text = text[stated.end() :] if stated else text
    try:
        headings, delimiter = _headings(text, stated["delimiter"] if stated else None, columns)
        check_unique(pd.DataFrame(columns=[h for h in headings if h]), os.fspath(path))
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of cells without heading
            frame = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                lineterminator="\n",
                dtype=object,
                na_filter=False,
                index_col=False,
            )
    # pandas' errors are subclasses of ValueError
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{os.fspath(path)}: no readable CSV file ({reason}); expected text with a line of "
            "headings, and no more cells in a line than headings"
        ) from error
    frame = frame.apply(lambda column: column.fillna("").astype(str).str.strip().astype(object))
    # what a comma at the end of every line leaves
    empty = [c for c in frame if str(c).startswith("Unnamed: ") and not frame[c].any()]
    return frame.drop(columns=empty)


def _headings(text: str, delimiter: str | None, columns: set[str]) -> tuple[list[str], str]:
    """Return the headings of a CSV file, and its delimiter.

    Without a given one it is that which gives most of `columns`, then most headings: a heading may
    contain more commas than there are columns.
    """
    lines = {}
    for character in [delimiter] if delimiter else _DELIMITERS:
        cells = next(csv.reader(io.StringIO(text.lstrip("\n")), delimiter=character), [])
        lines[character] = [cell.strip() for cell in cells]
    best = max(lines, key=lambda d: (len(columns.intersection(lines[d])), len(lines[d])))
    return lines[best], best


def text_of(frame: pd.DataFrame, column: str, where: str, remedy: str) -> list[str]:
    """Return a column as stripped text, empty where there is no value.

    Parameters
    ----------
    frame : DataFrame
        From :func:`read_table`.
    column : str
        Name of the column.
    where, remedy : str
        Beginning and end of the message if it is not there.

    Returns
    -------
    values : list of str
    """
    if column not in frame:
        raise ValueError(
            f"{where}: no column {column!r} among {', '.join(map(repr, frame.columns))}; "
            f"expected {remedy}"
        )
    return as_text(frame[column])


def as_text(column: Iterable[Any]) -> list[str]:
    """Return values as stripped text, empty where there is none."""
    return [_text(value) for value in column]


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas makes floats of whole numbers with gaps
    return str(value).strip()


def whole_number(text: str) -> str:
    """Return ``1`` for ``1.0``, and any other string as it is."""
    match = _WHOLE.fullmatch(text)
    return match.group(1) if match else text


def check_one_spelling(values: Iterable[str], what: str) -> None:
    """Raise if a number is written in two ways, which would make two labels or patients of one.

    Parameters
    ----------
    values : iterable of str
        Values that are compared with each other. The message does not show them, since they may
        identify patients.
    what : str
        The table and the column, for the message.
    """
    distinct = set(values)
    double = len(distinct) - len({whole_number(value) for value in distinct})
    if double:
        raise ValueError(
            f"{what}: {double} numbers are written in two ways, as 1 and 1.0; expected one way: "
            "write them all as integers"
        )


def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Make numbers of the columns of text that hold nothing else; ``007`` is none."""
    frame = frame.copy()
    for name in frame.columns:
        cells = frame[name]
        if not all(isinstance(cell, str) for cell in cells):
            continue
        filled = [cell for cell in cells if cell]
        if filled and all(map(_NUMBER.fullmatch, filled)):
            frame[name] = pd.to_numeric(cells.where(cells != ""), errors="raise")
    return frame


def rows_without(values: Iterable[str]) -> str:
    """Return the numbers of the rows without value, for a message; empty if there are none."""
    rows = [str(row) for row, value in enumerate(values) if not value]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return ", ".join(rows[:5]) + more
