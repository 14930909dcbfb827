"""Rows of a table of images, and the merging of rows that describe the same image."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from .._utils.messages import some
from ._columns import as_strings


@dataclass(frozen=True)
class ImageRows:
    """Columns of a table of images, with one value per row.

    Parameters
    ----------
    names : sequence of str
        Files, as :func:`~cxr_sklearn.datasets._file_search.locate` finds them.
    labels : sequence of str
        Classes.
    patients : sequence of str
        Patients. If a patient is empty, the path determines it; if the path does not, the image is
        the only one of its patient.
    sources : sequence of str, or None
        Sources, empty where they are unknown.
    extra : DataFrame
        Other columns.
    """

    names: Sequence[str]
    labels: Sequence[str]
    patients: Sequence[str]
    sources: Sequence[str] | None
    extra: pd.DataFrame

    def take(self, rows: Sequence[int]) -> ImageRows:
        """Return some of the rows, in the given order."""

        def take(values: Sequence[str]) -> list[str]:
            return [values[row] for row in rows]

        sources = None
        if self.sources is not None:
            sources = take(self.sources)
        return ImageRows(
            names=take(self.names),
            labels=take(self.labels),
            patients=take(self.patients),
            sources=sources,
            extra=self.extra.iloc[list(rows)],
        )


def merge_repeated_rows(
    rows: ImageRows, found: Mapping[str, Path | None], where: str, joins_patients: bool
) -> tuple[ImageRows, list[str]]:
    """Return the first row of each file, and lines about the other rows.

    Some tables have a row per finding, per reader or per bounding box.

    Parameters
    ----------
    rows : ImageRows
    found : mapping of str to Path or None
        As :func:`~cxr_sklearn.datasets._file_search.locate` returns it.
    where : str
        The table, for messages.
    joins_patients : bool
        Whether patients who share an image become one patient.

    Returns
    -------
    rows : ImageRows
        Without the columns in which the rows of a file differ.
    notes : list of str

    Raises
    ------
    ValueError
        If the rows of a file differ in label, source or file name, or in the patient unless
        `joins_patients`.
    """
    numbers_of_files = _row_numbers_of_files(rows.names, found)
    repeated = [numbers for numbers in numbers_of_files if len(numbers) > 1]
    if not repeated:
        return rows, []
    _check_agreement(rows, repeated, where, joins_patients)

    # All rows of a file but the first are left out.
    n_left_out = sum(map(len, repeated)) - len(repeated)
    notes = [f"further rows of a file left out: {n_left_out}"]
    if joins_patients:
        patients, n_joined = _join_patients(rows.patients, repeated)
        rows = replace(rows, patients=patients)
        if n_joined:
            notes.append(f"patients who share an image with another and became one: {n_joined}")
    columns = _differing_columns(rows.extra, repeated)
    if columns:
        rows = replace(rows, extra=rows.extra.drop(columns=columns))
        notes.append(f"columns left out, since rows of a file differ in them: {some(columns)}")
    return rows.take([numbers[0] for numbers in numbers_of_files]), notes


def _row_numbers_of_files(
    names: Sequence[str], found: Mapping[str, Path | None]
) -> list[list[int]]:
    """Return the row numbers of each file, in the order of the first rows."""
    numbers = defaultdict(list)
    for row, name in enumerate(names):
        # Two names may lead to one file. Names of missing files can only be compared as text.
        path = found[name] or posixpath.normpath(name)
        numbers[os.path.normcase(path)].append(row)
    return list(numbers.values())


def _check_agreement(
    rows: ImageRows, repeated: Sequence[Sequence[int]], where: str, joins_patients: bool
) -> None:
    """Raise if the rows of a file differ where they must agree."""
    columns: dict[str, Sequence[str] | None] = {
        "file name": rows.names,
        "label": rows.labels,
        "patient": rows.patients,
        "source": rows.sources,
    }
    if joins_patients:
        del columns["patient"]
    for kind, values in columns.items():
        if values is None:
            continue
        contradictory = []
        for numbers in repeated:
            if len({values[row] for row in numbers}) > 1:
                contradictory.append(numbers)
        # The message contains file names but not the differing values, which may be patients.
        if contradictory:
            files = [_names_of_file(rows.names, numbers) for numbers in contradictory]
            raise ValueError(
                f"{where} is invalid: several rows of {len(contradictory)} files differ in their "
                f"{kind} ({some(files)}); expected one row per image. Combine these rows, or "
                "remove the wrong ones."
            )


def _names_of_file(names: Sequence[str], numbers: Sequence[int]) -> str:
    """Return the different names that the rows of one file give it."""
    different = dict.fromkeys(names[row] for row in numbers)
    return " = ".join(different)


def _differing_columns(extra: pd.DataFrame, repeated: Sequence[Sequence[int]]) -> list[str]:
    """Return the columns in which rows of a file differ from its first row."""
    first_rows, other_rows = [], []
    for first, *others in repeated:
        for other in others:
            first_rows.append(first)
            other_rows.append(other)
    differing = []
    for name in extra:
        # Columns are compared as strings, because two missing values are not equal otherwise.
        values = extra[name]
        if as_strings(values.iloc[first_rows]) != as_strings(values.iloc[other_rows]):
            differing.append(name)
    return differing


def _join_patients(
    patients: Sequence[str], repeated: Sequence[Sequence[int]]
) -> tuple[list[str], int]:
    """Join patients who share an image, also by way of other patients.

    Returns
    -------
    patients : list of str
        The first patient of each joined group, for each row.
    n_joined : int
        Number of patients that have become another one.
    """
    # Each joined patient points to the patient that replaced it, and may be replaced again.
    replaced_by: dict[str, str] = {}

    def current(patient: str) -> str:
        while patient in replaced_by:
            patient = replaced_by[patient]
        return patient

    for first, *others in repeated:
        for other in others:
            kept = current(patients[first])
            joined = current(patients[other])
            if kept != joined:
                replaced_by[joined] = kept
    return [current(patient) for patient in patients], len(replaced_by)
