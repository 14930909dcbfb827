"""Images in one folder, labels in a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from .._utils.messages import some
from ._columns import (
    as_text,
    check_one_spelling,
    check_unique,
    read_table,
    rows_without,
    text_of,
    whole_number,
    with_numbers,
)
from ._file_search import check_folder
from ._listed import Listing, check_on_missing, listed_bunch
from ._patients import age_in_years, nih_identifier

NIH = {"path": "Image Index", "label": "Finding Labels", "patient": "Patient ID"}
# Data_Entry_2017.csv and its later editions; two headings of the first hold commas
_NIH_COLUMNS = {
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


def load_xray_table(
    table: str | os.PathLike | pd.DataFrame,
    *,
    root: str | os.PathLike,
    path: str = "filename",
    label: str = "label",
    patient: str | Callable[[str], str] | None = None,
    source: str | None = None,
    label_map: Mapping[str, str] | Callable[[str], str | None] | None = None,
    patients: str | os.PathLike | pd.DataFrame | None = None,
    preset: str | None = None,
    on_missing: str = "raise",
) -> Bunch:
    """Load the paths of chest X-rays whose labels are in a table.

    Parameters
    ----------
    table : str, path or DataFrame
        One row per image. A file has a line of headings, and commas, semicolons or tabs between
        cells. It is in UTF-8, or in UTF-16 with a byte order mark, and may be compressed by gzip.
    root : str or path
        Folder of the images. A file is looked for under the path that the table gives, relative
        to `root`, and if it is not there and has no folder in its name, anywhere below `root`.
        The suffix may be missing in the table: ``0004cfab`` finds ``0004cfab.dcm``.
    path : str, default="filename"
        The column of file names.
    label : str, default="label"
        The column of labels.
    patient : str or callable, default=None
        The column of patients, or a function from a path to its patient. By default, and where
        the column is empty, the patient is read from names as the NIH, CheXpert and MIMIC-CXR give
        them (``00001299_003.png``, ``patient00001/study1/view1_frontal.jpg``,
        ``p10/p10000032/s50414267/...``), and each other file is a patient of its own.
    source : str, default=None
        The column of sources.
    label_map : dict or callable, default=None
        From a label in the table to the class; the key ``1`` is found for ``1.0``. Rows whose
        label is empty or not in a dict, or for which a callable returns None, are left out, and
        ``DESCR`` counts them. Give empty labels a class by the key ``""`` of a dict.
    patients : str, path or DataFrame, default=None
        A second table with one row per patient, joined on the column that `patient` names. A
        column whose name the first table has too gets ``_of_patient`` behind it.
    preset : {"nih"}, default=None
        ``"nih"`` knows the columns of the NIH's ``Data_Entry_2017.csv``, so that `path`, `label`
        and `patient` need not be given. Age is in years, and patients have 8 digits, as in the
        names of the files. Rows of several findings (``Effusion|Mass``) are left out, unless
        `label_map` has that very text, or is callable.
    on_missing : {"raise", "list"}, default="raise"
        What to do if the table names files that are not there: stop, or leave them out and list
        them in ``missing``.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        As :func:`load_xray_folder` returns it, in the order of the table. ``frame`` has every
        column of the table under its own name. A column called ``path``, ``label``, ``patient``
        or ``source`` with other values than the bunch's is kept as ``original_label``, say.
        Several rows of one image become one if they agree in class, patient and source (a row per
        box or per reader, say). Columns in which they differ are left out, and ``DESCR`` names
        them.

    Raises
    ------
    OSError
        If there is no such folder or table, or files that the table names are missing.
    TypeError
        If a table is neither a path nor a DataFrame.
    ValueError
        If a column does not exist, or exists twice, labels or file names are missing, the rows of
        a file contradict each other, a name belongs to several files, a number is written in two
        ways (``1`` and ``1.0``), no patient is in the table of patients, or no row is left.

    See Also
    --------
    load_xray_folder : Labels by folder.
    load_covidx : The label files of COVIDx.

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
    check_on_missing(on_missing)
    where = os.fspath(table) if isinstance(table, (str, os.PathLike)) else "table"
    named = NIH.values() if preset == "nih" else [path, label, patient, source]
    frame = read_table(table, "table", [name for name in named if isinstance(name, str)])
    join = patient if isinstance(patient, str) else "patient"
    if preset is not None:
        frame, path, label, patient = _as_preset(frame, preset, where)
        join = "patient"
    names = _filled(frame, path, where, "path", "one of these as path=")
    found = _labels(frame, label, where, label_map)
    if not names:
        raise ValueError(f"{where} has no rows; expected one per image")
    known = _known_patients(frame, patient, where)
    check_one_spelling(known, f"{where}: the column {patient!r}")
    sources = text_of(frame, source, where, "one of these as source=") if source else None
    if not isinstance(table, pd.DataFrame):
        frame = with_numbers(frame)
    notes = []
    if patients is not None:
        frame, note = _with_patients(frame, known, patients, join, preset)
        notes.append(note)
    labels, more = _classes(found, label_map, several=preset == "nih")
    check_one_spelling((name for name in labels if name), f"{where}: the column {label!r}")
    kept = np.array([name is not None for name in labels])
    if not kept.any():
        raise ValueError(
            f"label_map leaves none of {len(found)} rows; expected some of the labels there: "
            f"{some(sorted(set(found)))}"
        )
    listing = Listing(names, [name or "" for name in labels], known, sources, frame)
    return listed_bunch(
        listing.take(np.flatnonzero(kept).tolist()),
        root=root,
        where=where,
        on_missing=on_missing,
        patient_of=patient if callable(patient) else None,
        notes=[*notes, *more],
    )


def _as_preset(frame: pd.DataFrame, preset: str, where: str) -> tuple[pd.DataFrame, str, str, str]:
    """Return the table with common column names, and the names of the first three."""
    if preset != "nih":
        raise ValueError(f"preset={preset!r}; expected 'nih' or None")
    for name in NIH.values():
        text_of(frame, name, where, "the columns of Data_Entry_2017.csv with preset='nih'")
    frame = frame.rename(columns=_NIH_COLUMNS)
    check_unique(frame, where)
    frame["patient"] = list(map(nih_identifier, text_of(frame, "patient", "", "")))
    if "age" in frame:
        frame["age"] = [age_in_years(text) for text in text_of(frame, "age", "", "")]
    return frame, "filename", "label", "patient"


def _filled(
    frame: pd.DataFrame, column: str, where: str, name: str, remedy: str, or_else: str = ""
) -> list[str]:
    values = text_of(frame, column, where, remedy)
    if rows := rows_without(values):
        raise ValueError(
            f"{where}: no {name} in the column {column!r} of rows {rows} (counted from 0); "
            f"expected one per image: drop these rows{or_else}"
        )
    return values


def _labels(frame: pd.DataFrame, column: str, where: str, label_map: Any) -> list[str]:
    """Return the labels; with a label_map they may be empty, and their rows are left out."""
    if label_map is None:
        return _filled(
            frame, column, where, "label", "one of these as label=", ", or pass a label_map"
        )
    return text_of(frame, column, where, "one of these as label=")


def _known_patients(frame: pd.DataFrame, patient: Any, where: str) -> list[str]:
    if patient is None or callable(patient):
        return [""] * len(frame)
    return text_of(frame, patient, where, "one of these as patient=")


def _with_patients(
    frame: pd.DataFrame, known: list[str], patients: Any, join: str, preset: str | None
) -> tuple[pd.DataFrame, str]:
    """Return the table with the columns of a table of patients, and a line about them."""
    if not any(known):
        raise ValueError(
            "patients is joined on the column of patients, but there is none; expected "
            "patient=<its name> with it"
        )
    second = read_table(patients, "patients", [join])
    if preset == "nih":
        second = second.rename(columns=_NIH_COLUMNS)
    keys = text_of(second, join, "patients", f"a column {join!r}, as in the table")
    if preset == "nih":
        keys = [key.zfill(8) for key in keys]
    if len(set(keys)) < len(keys):
        raise ValueError(
            f"patients has {len(keys) - len(set(keys))} patients twice in the column {join!r}; "
            "expected one row per patient"
        )
    unknown = len(set(known) - set(keys))
    if unknown == len(set(known)):
        raise ValueError(
            f"patients: its column {join!r} has none of the {unknown} patients of the table; "
            "expected the same identifiers: write them in the same way, such as 1 and not 1.0"
        )
    second = second.drop(columns=join).set_axis(keys, axis=0)
    second.columns = [f"{name}_of_patient" if name in frame else name for name in second.columns]
    of_file = not isinstance(patients, pd.DataFrame)
    rows = with_numbers(second.reindex(known, fill_value="")) if of_file else second.reindex(known)
    joined = pd.concat([frame, rows.reset_index(drop=True)], axis=1)
    check_unique(joined, "table with patients")
    return joined, f"patients without a row in the table of patients: {unknown}"


def _classes(
    found: list[str], label_map: Any, *, several: bool
) -> tuple[list[str | None], list[str]]:
    """Return the class of each label, None if its row is left out, and lines about them."""
    if label_map is None:
        named: dict = {text: None if several and "|" in text else text for text in set(found)}
    elif isinstance(label_map, Mapping):
        known = _by_spelling(label_map)
        named = {text: known.get(whole_number(text)) for text in set(found)}
    elif callable(label_map):
        named = {text: label_map(text) if text else None for text in set(found)}
    else:
        raise TypeError(
            f"label_map is {type(label_map).__name__}; expected a dict from label to class, or a "
            "callable"
        )
    if nameless := sorted(
        text for text, name in named.items() if name is not None and not str(name)
    ):
        raise ValueError(
            f"label_map gives an empty class to the labels {some(nameless)}; expected a class, or "
            "None to leave their rows out"
        )
    out = Counter(text for text in found if named[text] is None)
    notes = []
    if out:
        some_of = [f"{text or 'without a label'} ({count})" for text, count in sorted(out.items())]
        notes.append(f"left out by label: {out.total()} rows, {some(some_of)}")
    if isinstance(label_map, Mapping):
        unused = set(_by_spelling(label_map)) - set(map(whole_number, found))
        if unused:
            notes.append(
                f"labels of label_map that the table does not have: {some(sorted(unused))}"
            )
    return [None if named[text] is None else str(named[text]) for text in found], notes


def _by_spelling(label_map: Mapping) -> dict[str, Any]:
    """Return a map with string keys, so that 1, 1.0, "1" and "1.0" are one label."""
    keys = [whole_number(text) for text in as_text(label_map)]
    known = dict(zip(keys, label_map.values(), strict=True))
    if any(known[key] != name for key, name in zip(keys, label_map.values(), strict=True)):
        raise ValueError(
            "label_map gives one label two classes by the keys 1 and 1.0, or 1 and '1'; expected "
            "one key for each label: drop the others"
        )
    return known
