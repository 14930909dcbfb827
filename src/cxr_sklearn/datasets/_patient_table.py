"""Join a table of patients to a table of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ._columns import column_as_strings, convert_numeric_columns, read_table
from ._csv_files import check_unique_columns

# Patients of the NIH have this many digits in the table of images.
_N_DIGITS = 8


def join_patients(
    frame: pd.DataFrame,
    known_patients: Sequence[str],
    patients: Any,
    join: str,
    renamed: Mapping[str, str],
) -> tuple[pd.DataFrame, str]:
    """Return the table of images with the columns of a table of patients.

    Parameters
    ----------
    frame : DataFrame
        The table of images.
    known_patients : sequence of str
        The patient of each row, empty where the table has none.
    patients : str, path or DataFrame
        The table of patients.
    join : str
        The column of patients in both tables.
    renamed : mapping of str to str
        New names of columns of the NIH's tables; empty for other tables.

    Returns
    -------
    joined : DataFrame
    note : str
        A line of ``DESCR``.

    Raises
    ------
    ValueError
        If the tables have no patient in common, or a patient has several rows.
    """
    if not any(known_patients):
        raise ValueError(
            "patients is invalid: the table of images has no column of patients; expected one, on "
            "which the tables are joined. Pass its name as patient=."
        )
    second = read_table(patients, "patients", [join]).rename(columns=renamed)
    keys = column_as_strings(second, join, "patients", "The table of images has it.")
    # The NIH's table of patients has no leading zeros.
    if renamed:
        keys = [key.zfill(_N_DIGITS) for key in keys]
    n_unknown = _check_keys(keys, known_patients, join)
    second = second.drop(columns=join).set_axis(keys, axis=0)
    second.columns = _new_names(second, frame)
    if isinstance(patients, pd.DataFrame):
        rows = second.reindex(known_patients)
    else:
        # Cells of a file are strings, so that missing ones are empty strings.
        rows = convert_numeric_columns(second.reindex(known_patients, fill_value=""))
    joined = pd.concat([frame, rows.reset_index(drop=True)], axis=1)
    check_unique_columns(joined.columns, "table with patients")
    return joined, f"patients without a row in the table of patients: {n_unknown}"


def _check_keys(keys: Sequence[str], known_patients: Sequence[str], join: str) -> int:
    """Check the patients of the second table, and return how many patients it lacks."""
    n_repeated = len(keys) - len(set(keys))
    if n_repeated:
        raise ValueError(
            f"patients is invalid: {n_repeated} patients are in the column {join!r} twice; "
            "expected one row per patient. Remove the others."
        )
    n_unknown = len(set(known_patients) - set(keys))
    if n_unknown == len(set(known_patients)):
        raise ValueError(
            f"patients is invalid: its column {join!r} has none of the {n_unknown} patients of the "
            "table; expected the same identifiers. Use one spelling, such as 1 and not 1.0."
        )
    return n_unknown


def _new_names(second: pd.DataFrame, frame: pd.DataFrame) -> pd.Index:
    """Return the headings of the second table, changed where both tables have the heading."""
    names = []
    for name in second.columns:
        # Both columns are kept, for example the age at an image and the age of the patient.
        if name in frame:
            name = f"{name}_of_patient"
        names.append(name)
    return pd.Index(names)
