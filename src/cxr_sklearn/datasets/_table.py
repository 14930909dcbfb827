"""Images in one folder, labels in a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._bunch import make_bunch
from ._columns import check_unique, read_table, rows_without, text_of, with_numbers
from ._files import check_folder, locate, some
from ._patients import age_in_years, nih_patient

ON_MISSING = ("raise", "list")

# Data_Entry_2017.csv and its later editions; two headings of the first hold commas
_NIH_COLUMNS = {
    "Image Index": "filename",
    "Finding Labels": "label",
    "Patient ID": "patient",
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
    """Load the paths of chest X-rays whose labels stand in a table.

    Parameters
    ----------
    table : str, path or DataFrame
        One row per image. A file is CSV: a line of headings, commas, UTF-8.
    root : str or path
        Folder of the images. A file is looked for under the path that the table gives, relative
        to `root`, and if it is not there and has no folder in its name, anywhere below `root`.
    path : str, default="filename"
        The column of file names.
    label : str, default="label"
        The column of labels.
    patient : str or callable, default=None
        The column of patients, or a function from a path to its patient. By default, and where
        the column is empty, the NIH's names are known (``00001299_003.png`` is patient
        ``00001299``), and each other file is a patient of its own.
    source : str, default=None
        The column of sources.
    label_map : dict or callable, default=None
        From a label as it stands in the table to the class. Rows whose label a dict does not
        have, or for which a callable returns None, are left out, and ``DESCR`` counts them.
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

    Raises
    ------
    OSError
        If there is no such folder or table, or files that the table names are missing.
    TypeError
        If a table is neither a path nor a DataFrame.
    ValueError
        If a column is not there, labels or file names are missing, a file has two rows or a name
        two files, or no row is left.

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
    frame = read_table(table, "table")
    join = patient if isinstance(patient, str) else "patient"
    if preset is not None:
        frame, path, label, patient = _as_preset(frame, preset, where)
        join = "patient"
    names = _filled(frame, path, where, "path", "one of these as path=")
    found = _filled(frame, label, where, "label", "one of these as label=")
    if not names:
        raise ValueError(f"{where} has no rows; expected one per image")
    known = _known_patients(frame, patient, where)
    sources = text_of(frame, source, where, "one of these as source=") if source else None
    if not isinstance(table, pd.DataFrame):
        frame = with_numbers(frame)
    notes = []
    if patients is not None:
        frame, note = _with_patients(frame, known, patients, join, preset)
        notes.append(note)
    labels, more = _classes(found, label_map, several=preset == "nih")
    kept = np.array([name is not None for name in labels])
    if not kept.any():
        raise ValueError(
            f"label_map leaves none of {len(found)} rows; expected some of the labels there: "
            f"{some(sorted(set(found)))}"
        )
    return listed_bunch(
        root=root,
        names=[name for name, keep in zip(names, kept, strict=True) if keep],
        labels=[name for name in labels if name is not None],
        patients=[name for name, keep in zip(known, kept, strict=True) if keep],
        sources=[s for s, keep in zip(sources, kept, strict=True) if keep] if sources else None,
        extra=frame[kept],
        where=where,
        on_missing=on_missing,
        patient_of=patient if callable(patient) else None,
        notes=[*notes, *more],
    )


def check_on_missing(on_missing: str) -> None:
    """Raise unless `on_missing` is one of its two words."""
    if on_missing not in ON_MISSING:
        raise ValueError(f"on_missing={on_missing!r}; expected 'raise' or 'list'")


def listed_bunch(
    *,
    root: Path,
    names: Sequence[str],
    labels: Sequence[str],
    patients: Sequence[str],
    sources: Sequence[str] | None,
    extra: pd.DataFrame | None,
    where: str,
    on_missing: str,
    patient_of: Callable[[str], str] | None = None,
    notes: Sequence[str] = (),
) -> Bunch:
    """Return the Bunch of files that a table names, one value per row of it.

    Parameters
    ----------
    root : Path
        Folder of the images.
    names : sequence of str
        Files, see :func:`~cxr_sklearn.datasets._files.locate`.
    labels, patients : sequence of str
        An empty patient is found by `patient_of` from the path, else each file its own.
    sources : sequence of str, or None
        Empty where unknown.
    extra : DataFrame, or None
        Further columns.
    where : str
        The table, for messages.
    on_missing : {"raise", "list"}
        What to do about files that are not there.
    patient_of : callable or None
        From a path to its patient; by default by the NIH's names.
    notes : sequence of str
        Further lines of ``DESCR``.

    Returns
    -------
    bunch : Bunch
    """
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise ValueError(
            f"{where} has several rows for {len(double)} files ({some(double)}); expected one "
            "row per image: drop the others, or leave them out by label_map"
        )
    found = locate(root, names)
    missing = [name for name in names if found[name] is None]
    if missing and (on_missing == "raise" or len(missing) == len(names)):
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} files that {where} names are not below "
            f"{os.fspath(root)!r} ({some(missing)}); expected all, or with on_missing='list' some"
        )
    rows = [(row, path) for row, name in enumerate(names) if (path := found[name]) is not None]
    parser = patient_of or (lambda path: nih_patient(Path(path).name) or "")
    return make_bunch(
        title=f"Chest X-rays of the table {Path(where).name!r}",
        paths=[str(path) for _, path in rows],
        labels=[labels[row] for row, _ in rows],
        patients=[patients[row] or str(parser(str(path)) or names[row]) for row, path in rows],
        sources=None if sources is None else [sources[row] for row, _ in rows],
        extra=None if extra is None else extra.iloc[[row for row, _ in rows]],
        missing=missing,
        notes=notes,
    )


def _as_preset(frame: pd.DataFrame, preset: str, where: str) -> tuple[pd.DataFrame, str, str, str]:
    """Return the table with common column names, and the names of the first three."""
    if preset != "nih":
        raise ValueError(f"preset={preset!r}; expected 'nih' or None")
    for name in ("Image Index", "Finding Labels", "Patient ID"):
        text_of(frame, name, where, "the columns of Data_Entry_2017.csv with preset='nih'")
    frame = frame.rename(columns=_NIH_COLUMNS)
    check_unique(frame, where)
    frame["patient"] = [name.zfill(8) if name else "" for name in text_of(frame, "patient", "", "")]
    if "age" in frame:
        frame["age"] = [age_in_years(text) for text in text_of(frame, "age", "", "")]
    return frame, "filename", "label", "patient"


def _filled(frame: pd.DataFrame, column: str, where: str, name: str, remedy: str) -> list[str]:
    values = text_of(frame, column, where, remedy)
    if rows := rows_without(values):
        raise ValueError(
            f"{where}: no {name} in the column {column!r} of rows {rows} (counted from 0); "
            "expected one per image: drop these rows"
        )
    return values


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
    second = read_table(patients, "patients")
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
    second = second.drop(columns=join).set_axis(keys, axis=0)
    second.columns = [f"{name}_of_patient" if name in frame else name for name in second.columns]
    of_file = not isinstance(patients, pd.DataFrame)
    rows = with_numbers(second.reindex(known, fill_value="")) if of_file else second.reindex(known)
    unknown = sum(name not in set(keys) for name in set(known))
    joined = pd.concat([frame, rows.reset_index(drop=True)], axis=1)
    check_unique(joined, "table with patients")
    return joined, f"patients without a row in the table of patients: {unknown}"


def _classes(
    found: list[str], label_map: Any, *, several: bool
) -> tuple[list[str | None], list[str]]:
    """Return the class of each label, None if its row is left out, and lines about them."""
    if label_map is None:
        named = {text: None if several and "|" in text else text for text in set(found)}
    elif isinstance(label_map, Mapping):
        named = {text: label_map.get(text) for text in set(found)}
    elif callable(label_map):
        named = {text: label_map(text) for text in set(found)}
    else:
        raise TypeError(
            f"label_map is {type(label_map).__name__}; expected a dict from label to class, or a "
            "callable"
        )
    out = Counter(text for text in found if named[text] is None)
    notes = []
    if out:
        some_of = [f"{text} ({count})" for text, count in sorted(out.items())]
        notes.append(f"left out by label: {out.total()} rows, {some(some_of)}")
    if isinstance(label_map, Mapping) and (unused := sorted(map(str, set(label_map) - set(found)))):
        notes.append(f"labels of label_map that the table does not have: {some(unused)}")
    return [None if named[text] is None else str(named[text]) for text in found], notes
