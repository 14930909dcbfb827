"""Make the Bunch of the images that a table lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sklearn.utils import Bunch

from ._bunch import make_bunch
from ._file_search import locate, relative_path
from ._image_rows import ImageRows, merge_repeated_rows
from ._missing_files import missing_files
from ._patients import patient_of_path


def bunch_of_rows(
    rows: ImageRows,
    *,
    root: Path,
    where: str,
    on_missing: str,
    patient_of: Callable[[str], str] | None = None,
    joins_patients: bool = False,
    notes: Sequence[str] = (),
) -> Bunch:
    """Return the Bunch of the images that a table lists.

    Parameters
    ----------
    rows : ImageRows
        Several rows of one file become one if they agree in label, patient and source.
    root : Path
        Folder of the images.
    where : str
        The table, for messages.
    on_missing : {"raise", "list"}
        What to do about files that do not exist.
    patient_of : callable or None
        Function from a path to its patient. By default the patient is read from the paths of
        well-known collections.
    joins_patients : bool
        Whether patients who share an image become one patient. Otherwise such rows are an error.
    notes : sequence of str
        Additional lines of ``DESCR``.

    Returns
    -------
    bunch : Bunch
    """
    # Repeated rows are merged before missing files are counted, so that each file counts once.
    found = locate(root, rows.names)
    rows, notes_on_repeated_rows = merge_repeated_rows(rows, found, where, joins_patients)
    may_be_incomplete = on_missing == "list"
    missing = missing_files(rows.names, found, root, where, may_be_incomplete, "on_missing='list'")
    existing, paths = [], []
    for row, name in enumerate(rows.names):
        path = found[name]
        if path is not None:
            existing.append(row)
            paths.append(path)
    rows = rows.take(existing)
    return make_bunch(
        title=f"Chest X-rays of the table {Path(where).name!r}",
        paths=[str(path) for path in paths],
        labels=rows.labels,
        patients=_patients(rows, paths, root, patient_of),
        sources=rows.sources,
        extra=rows.extra,
        missing=missing,
        notes=[*notes, *notes_on_repeated_rows],
    )


def _patients(
    rows: ImageRows,
    paths: Sequence[Path],
    root: Path,
    patient_of: Callable[[str], str] | None,
) -> list[str]:
    """Return the patient of each image: from the table, else from its path, else its own name."""
    patients = []
    for patient, path, name in zip(rows.patients, paths, rows.names, strict=True):
        if patient:
            patients.append(patient)
            continue
        # The folders of some collections contain the patient, so the relative path is needed. A
        # function of the user gets the path that it can open.
        if patient_of is None:
            patient_in_path = patient_of_path(_path_from_root(path, root))
        else:
            patient_in_path = patient_of(str(path))
        patients.append(str(patient_in_path or name))
    return patients


def _path_from_root(path: Path, root: Path) -> str:
    """Return `path` relative to `root` if it is below `root`, otherwise the whole path.

    Folders above `root` are left out because they may be named like a patient. A table may contain
    absolute paths of files outside `root`, and `root` may be relative to the working directory.
    """
    if not path.is_relative_to(root):
        path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    if not path.is_relative_to(root):
        return path.as_posix()
    return relative_path(path, root)
