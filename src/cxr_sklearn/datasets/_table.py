"""Load images from a folder, with labels from a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from .._utils.messages import some
from ._columns import (
    check_no_empty_cells,
    check_one_spelling,
    column_as_strings,
    convert_numeric_columns,
    read_table,
)
from ._csv_files import check_unique_columns
from ._file_search import check_folder
from ._image_rows import ImageRows
from ._labels import map_labels
from ._missing_files import ON_MISSING
from ._option_check import check_option
from ._patient_table import join_patients
from ._patients import age_in_years, nih_identifier
from ._table_bunch import bunch_of_rows

NIH = {"path": "Image Index", "label": "Finding Labels", "patient": "Patient ID"}

# Headings of Data_Entry_2017.csv and of its later editions, and their names in the result. Two
# headings of the first edition contain commas, and are therefore incomplete here.
NIH_COLUMNS = {
    NIH["path"]: "filename",
    NIH["label"]: "label",
    NIH["patient"]: "patient",
    "Follow-up #": "follow_up",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "Patient Sex": "sex",
    "View Position": "view",
    "OriginalImage[Width": "width",
    "Height]": "height",
}


@dataclass(frozen=True)
class _Columns:
    """Headings of a table, as the parameters of :func:`load_xray_table` state them.

    Attributes
    ----------
    path, label : str
    patient : str, callable or None
    source : str or None
    """

    path: str
    label: str
    patient: str | Callable[[str], str] | None
    source: str | None

    @property
    def headings(self) -> list[str]:
        """The headings, without those that are not known."""
        stated = [self.path, self.label, self.patient, self.source]
        return [heading for heading in stated if isinstance(heading, str)]


def load_xray_table(
    table: str | os.PathLike[str] | pd.DataFrame,
    *,
    root: str | os.PathLike[str],
    path: str = "filename",
    label: str = "label",
    patient: str | Callable[[str], str] | None = None,
    source: str | None = None,
    label_map: Mapping[str, str] | Callable[[str], str | None] | None = None,
    patients: str | os.PathLike[str] | pd.DataFrame | None = None,
    preset: str | None = None,
    on_missing: str = "raise",
) -> Bunch:
    """Load the paths of chest X-rays, with the labels of a table.

    Parameters
    ----------
    table : str, path or DataFrame
        One row per image. A file has a line of headings, and commas, semicolons or tabs between
        cells. It is in UTF-8, or in UTF-16 with a byte order mark, and may be compressed by gzip.
    root : str or path
        Folder of the images. The paths in the table are relative to `root`. A file name without a
        folder is also searched in all folders below `root`. The suffix may be missing in the
        table: ``0004cfab`` finds ``0004cfab.dcm``.
    path : str, default="filename"
        The column of file names.
    label : str, default="label"
        The column of labels.
    patient : str or callable, default=None
        The column of patients, or a function from a path to its patient. By default, and where
        the column is empty, the patient is read from names in the form of the NIH, CheXpert and
        MIMIC-CXR (``00001299_003.png``, ``patient00001/study1/view1_frontal.jpg``,
        ``p10/p10000032/s50414267/...``), and each other file is the only one of its patient.
    source : str, default=None
        The column of sources.
    label_map : dict or callable, default=None
        From a label in the table to the class. The key ``1`` also stands for ``1.0``. Rows with
        an empty label, a label that is not in a dict, or a label for which a callable returns
        None are left out, and ``DESCR`` contains their number. The key ``""`` of a dict gives
        empty labels a class.
    patients : str, path or DataFrame, default=None
        A second table with one row per patient, joined on the column that `patient` names. If
        both tables have a column of one name, that of the second gets the suffix
        ``_of_patient``.
    preset : {"nih"}, default=None
        ``"nih"`` stands for the columns of the NIH's ``Data_Entry_2017.csv``; `path`, `label` and
        `patient` are then not needed. Ages are in years, and patients have 8 digits, as in the
        names of the files. Rows with several findings (``Effusion|Mass``) are left out, unless
        `label_map` is callable or has exactly this label.
    on_missing : {"raise", "list"}, default="raise"
        What to do if the table names files that do not exist: raise an error, or leave them out
        and list them in ``missing``.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        As :func:`load_xray_folder` returns it, in the order of the table. ``frame`` has all
        columns of the table under their own names. A column with the name ``path``, ``label``,
        ``patient`` or ``source`` and other values than those of the bunch is renamed, for example
        to ``original_label``. Several rows of one image, for example one per box or per reader,
        become one if they agree in class, patient and source. Columns in which they differ are
        left out, and ``DESCR`` names them.

    Raises
    ------
    OSError
        If the folder, the table or files that the table names do not exist.
    TypeError
        If a table is neither a path nor a DataFrame, or `label_map` is neither a dict nor
        callable.
    ValueError
        If a column does not exist, or exists twice, labels or file names are missing, the rows of
        a file contradict each other, a name belongs to several files, a number has two spellings
        (``1`` and ``1.0``), no patient is in the table of patients, or no row is left.

    See Also
    --------
    load_xray_folder : Load images that are sorted into class folders.
    load_covidx : Load images with the label files of COVIDx.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import pandas as pd
    >>> from cxr_sklearn.datasets import load_xray_table
    >>> table = pd.DataFrame({
    ...     "Image Index": ["00000001_000.png", "00000001_001.png", "00000002_000.png"],
    ...     "Finding Labels": ["No Finding", "Effusion|Mass", "Pneumonia"],
    ...     "Patient ID": [1, 1, 2],
    ...     "Patient Age": ["058Y", "058Y", "081Y"],
    ... })
    >>> with TemporaryDirectory() as root:
    ...     for name in table["Image Index"]:
    ...         (Path(root) / name).touch()
    ...     classes = {"No Finding": "Normal", "Pneumonia": "Pneumonia"}
    ...     bunch = load_xray_table(table, root=root, preset="nih", label_map=classes)
    >>> bunch.frame[["label", "patient", "age"]]
           label   patient   age
    0     Normal  00000001  58.0
    1  Pneumonia  00000002  81.0
    """
    root = check_folder(root, "root", "a folder with the images of the table")
    check_option("on_missing", on_missing, ON_MISSING)
    check_option("preset", preset, (None, "nih"))
    is_nih = preset == "nih"
    columns = _Columns(path, label, patient, source)
    frame, columns, where = _read(table, columns, is_nih)
    names = column_as_strings(frame, columns.path, where, "Pass one of these as path=.")
    check_no_empty_cells(names, where, columns.path, "Remove these rows.")
    labels = _labels(frame, columns.label, where, label_map)
    _check_not_empty(names, where)
    known_patients = _known_patients(frame, columns.patient, where)
    sources = _sources(frame, source, where)
    # All cells of a file are strings. Columns of a data frame have the types that the user chose.
    if not isinstance(table, pd.DataFrame):
        frame = convert_numeric_columns(frame)
    frame, notes = _join_patients(frame, known_patients, patients, columns.patient, is_nih)
    rows = ImageRows(names, labels, known_patients, sources, frame)
    rows, notes_on_labels = _rows_with_class(rows, label_map, is_nih, where, columns.label)
    patient_of = patient if callable(patient) else None
    return bunch_of_rows(
        rows,
        root=root,
        where=where,
        on_missing=on_missing,
        patient_of=patient_of,
        notes=[*notes, *notes_on_labels],
    )


def _check_not_empty(names: list[str], where: str) -> None:
    """Raise if the table has no rows."""
    if not names:
        raise ValueError(
            f"{where} is invalid: it has no rows; expected one row per image. Add rows."
        )


def _join_patients(
    frame: pd.DataFrame, known_patients: list[str], patients: Any, column: Any, is_nih: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the columns of the table of patients, and lines of ``DESCR``."""
    if patients is None:
        return frame, []
    # If patients are read from paths, no column of the table has a name for them.
    join = column if isinstance(column, str) else "patient"
    renamed = NIH_COLUMNS if is_nih else {}
    frame, note = join_patients(frame, known_patients, patients, join, renamed)
    return frame, [note]


def _rows_with_class(
    rows: ImageRows, label_map: Any, is_nih: bool, where: str, column: str
) -> tuple[ImageRows, list[str]]:
    """Return the rows that have a class, with their classes as labels, and lines of ``DESCR``."""
    classes, notes = map_labels(rows.labels, label_map, leaves_out_several=is_nih)
    kept = [row for row, name in enumerate(classes) if name is not None]
    names = [name or "" for name in classes]
    check_one_spelling((names[row] for row in kept), where, column)
    if not kept:
        raise ValueError(
            f"label_map is invalid: it leaves out all {len(classes)} rows; expected keys among the "
            f"labels {some(sorted(set(rows.labels)))}. Correct the keys."
        )
    return replace(rows, labels=names).take(kept), notes


def _read(
    table: str | os.PathLike[str] | pd.DataFrame, columns: _Columns, is_nih: bool
) -> tuple[pd.DataFrame, _Columns, str]:
    """Return the table, its columns, and its name for messages.

    The columns of the NIH's table have the names of ``NIH_COLUMNS`` in the result.
    """
    where = "table"
    if isinstance(table, (str, os.PathLike)):
        where = os.fspath(table)
    if not is_nih:
        return read_table(table, "table", columns.headings), columns, where
    frame = read_table(table, "table", NIH.values())
    remedy = "Pass Data_Entry_2017.csv, or leave out preset='nih'."
    for heading in NIH.values():
        column_as_strings(frame, heading, where, remedy)
    frame = frame.rename(columns=NIH_COLUMNS)
    check_unique_columns(frame.columns, where)
    patients = column_as_strings(frame, "patient", where, remedy)
    frame["patient"] = [nih_identifier(patient) for patient in patients]
    if "age" in frame:
        ages = column_as_strings(frame, "age", where, remedy)
        frame["age"] = [age_in_years(age) for age in ages]
    return frame, _Columns("filename", "label", "patient", columns.source), where


def _labels(frame: pd.DataFrame, column: str, where: str, label_map: Any) -> list[str]:
    """Return the labels. With a label_map they may be empty, and their rows are left out."""
    labels = column_as_strings(frame, column, where, "Pass one of these as label=.")
    if label_map is None:
        check_no_empty_cells(labels, where, column, "Remove these rows, or pass a label_map.")
    return labels


def _known_patients(frame: pd.DataFrame, patient: Any, where: str) -> list[str]:
    """Return the patient of each row, empty where it must be read from the path."""
    if not isinstance(patient, str):
        return [""] * len(frame)
    patients = column_as_strings(frame, patient, where, "Pass one of these as patient=.")
    check_one_spelling(patients, where, patient)
    return patients


def _sources(frame: pd.DataFrame, source: str | None, where: str) -> list[str] | None:
    """Return the source of each row, or None if no column is stated."""
    if not source:
        return None
    return column_as_strings(frame, source, where, "Pass one of these as source=.")
