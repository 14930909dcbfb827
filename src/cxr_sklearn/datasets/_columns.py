"""Read tables, and convert and check their columns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from .._utils.messages import some
from ._csv_files import check_unique_columns, read_csv

# "1.0" or "1.", an integer that a program has written as a float.
_INTEGER_AS_FLOAT = re.compile(r"([+-]?\d+)\.0*")
# A number without leading zeros: "007" is an identifier.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")


def read_table(table: Any, name: str, columns: Iterable[str] = ()) -> pd.DataFrame:
    """Return a CSV file or a data frame as a new data frame with a new index.

    The cells of a file are strings, so that the patient ``007`` and the label ``None`` stay as
    they are written. Empty cells are empty strings. :func:`convert_numeric_columns` converts
    columns of numbers.

    Parameters
    ----------
    table : str, path or DataFrame
        A file has a line of headings, and commas, semicolons or tabs between cells. The delimiter
        is the one in a first line such as ``sep=;``, which Excel writes. Without such a line, it is
        the one that gives most of `columns`, and if several do, most headings. The encoding is one
        of those that :func:`~cxr_sklearn.datasets._csv_files.read_text` reads.
    name : str
        Name of the parameter, for messages.
    columns : iterable of str, default=()
        Expected columns.

    Returns
    -------
    frame : DataFrame
    """
    if isinstance(table, pd.DataFrame):
        frame = table.reset_index(drop=True)
    elif isinstance(table, (str, os.PathLike)):
        frame = read_csv(table, name, set(columns))
    else:
        raise TypeError(
            f"{name} is invalid: its type is {type(table).__name__}; expected a DataFrame or the "
            "path of a CSV file. Convert it with pandas.DataFrame."
        )
    frame.columns = [str(column).strip() for column in frame.columns]
    check_unique_columns(frame.columns, name)
    return frame


def column_as_strings(frame: pd.DataFrame, column: str, where: str, remedy: str) -> list[str]:
    """Return a column as stripped strings; missing values become empty strings.

    Parameters
    ----------
    frame : DataFrame
        As :func:`read_table` returns it.
    column : str
        Heading of the column.
    where, remedy : str
        The table, and what to do if it has no such column, for messages.

    Returns
    -------
    values : list of str
    """
    if column not in frame:
        found = ", ".join(map(repr, frame.columns))
        raise ValueError(f"{where} has the columns {found}; expected a column {column!r}. {remedy}")
    return as_strings(frame[column])


def as_strings(values: Iterable[Any]) -> list[str]:
    """Return values as stripped strings; missing values become empty strings."""
    return [_as_string(value) for value in values]


def _as_string(value: Any) -> str:
    if pd.isna(value):
        return ""
    # pandas turns a column of integers with gaps into floats: the patient 4 becomes 4.0.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def without_decimal_zeros(text: str) -> str:
    """Return an integer that is written as a float as an integer, and any other string unchanged.

    Examples
    --------
    >>> without_decimal_zeros("1.0"), without_decimal_zeros("1.5")
    ('1', '1.5')
    """
    match = _INTEGER_AS_FLOAT.fullmatch(text)
    if match is None:
        return text
    return match.group(1)


def check_one_spelling(values: Iterable[str], where: str, column: str) -> None:
    """Raise if a number is written both as an integer and as a float.

    The two spellings would become two labels, patients or sources. The message shows no value,
    because values may identify patients.

    Parameters
    ----------
    values : iterable of str
        Values that are compared with each other.
    where, column : str
        The table and the heading of the column, for the message.
    """
    spellings = set(values)
    numbers = {without_decimal_zeros(value) for value in spellings}
    n_repeated = len(spellings) - len(numbers)
    if n_repeated:
        raise ValueError(
            f"{where} is invalid: the column {column!r} contains {n_repeated} numbers in two "
            "spellings, such as 1 and 1.0; expected one spelling. Write them all as integers."
        )


def check_no_empty_cells(values: Iterable[str], where: str, column: str, remedy: str) -> None:
    """Raise if a column has empty cells.

    Parameters
    ----------
    values : iterable of str
        The column, as :func:`column_as_strings` returns it.
    where, column, remedy : str
        The table, the heading of the column, and what to do, for the message.
    """
    empty_rows = []
    for row, value in enumerate(values):
        if not value:
            empty_rows.append(str(row))
    if empty_rows:
        raise ValueError(
            f"{where} is invalid: the column {column!r} is empty in rows {some(empty_rows)} "
            f"(counted from 0); expected a value in each row. {remedy}"
        )


def convert_numeric_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which columns of strings that contain only numbers are numeric.

    Empty cells become missing values. A column with a value such as ``007`` stays as it is.
    """
    frame = frame.copy()
    for name in frame.columns:
        cells = frame[name]
        if _contains_only_numbers(cells):
            frame[name] = pd.to_numeric(cells.where(cells != ""), errors="raise")
    return frame


def _contains_only_numbers(cells: pd.Series) -> bool:
    """Return whether all cells are strings, at least one is a number, and the others are empty."""
    n_numbers = 0
    for cell in cells:
        if not isinstance(cell, str):
            return False
        if cell and not _NUMBER.fullmatch(cell):
            return False
        n_numbers += bool(cell)
    return n_numbers > 0
