"""Columns of CSV files and data frames."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ._files import check_file

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")


def read_table(table: Any, name: str) -> pd.DataFrame:
    """Return a CSV file or a data frame as a new data frame, numbered from 0.

    Cells of a file are text, so that ``007`` stays a patient and ``None`` a label; empty ones are
    empty text. :func:`with_numbers` makes numbers of what is left.

    Parameters
    ----------
    table : str, path or DataFrame
        A file has a line of headings, commas between cells, and UTF-8 text.
    name : str
        The parameter's, for messages.

    Returns
    -------
    frame : DataFrame
    """
    if isinstance(table, pd.DataFrame):
        frame = table.reset_index(drop=True)
    elif isinstance(table, (str, os.PathLike)):
        frame = _read_csv(table, name)
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


def _read_csv(path: str | os.PathLike, name: str) -> pd.DataFrame:
    check_file(path, name, "a CSV file")
    try:
        # an open file: a name could be an address, or have a suffix that pandas unpacks
        with open(path, newline="", encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of cells without heading
            frame = pd.read_csv(file, dtype=object, na_filter=False, index_col=False)
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' errors are kinds of ValueError
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{os.fspath(path)}: no readable CSV file ({reason}); expected UTF-8 text with a "
            "line of headings"
        ) from error
    frame = frame.apply(lambda column: column.fillna("").astype(str).str.strip().astype(object))
    # what a comma at the end of every line leaves
    empty = [c for c in frame if str(c).startswith("Unnamed: ") and not frame[c].any()]
    return frame.drop(columns=empty)


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
