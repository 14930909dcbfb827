"""Folders of images, a class each."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

# ChestX-ray14 of the NIH: 8 digits of the patient, 3 of the follow-up
_NIH_NAME = r"^(\d{8})_\d{3}"


def load_xray_folder(root: str | os.PathLike, *, patient_pattern: str | None = None) -> Bunch:
    """Load the paths of chest X-rays that stand in one folder per class.

    Parameters
    ----------
    root : str or path
        Folder of class folders, ``root/<class>/<image>``. Hidden files and folders are ignored.
    patient_pattern : str, default=None
        Regular expression whose first group, searched for in a file's name, is the patient, for
        files that ``metadata.csv`` does not name. By default that of the NIH's names
        (``00001299_003.png`` is patient ``00001299``).

    Returns
    -------
    bunch : sklearn.utils.Bunch
        data : ndarray of shape (n_samples, 1), dtype object
            Paths, in the order of class and file name.
        target : ndarray of shape (n_samples,), of str
            The class folder of each file.
        groups : ndarray of shape (n_samples,), of str
            The patient of each file: from the columns ``filename`` and ``patient`` of
            ``root/metadata.csv`` (and ``label``, where one name stands in several classes), else
            by `patient_pattern`, else each file its own.
        target_names : list of str
            The classes, sorted.
        ignored : list of str
            Files in class folders that are no PNG or JPEG by their suffix.
        DESCR : str
            What was found.

    Raises
    ------
    OSError
        If there is no such folder, or it cannot be read.
    ValueError
        If it holds no class folders with images, or ``metadata.csv`` lacks a column.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import load_xray_folder
    >>> with TemporaryDirectory() as root:
    ...     for name in ["Normal/00000001_000.png", "Normal/00000001_001.png", "Pneumonia/a.png"]:
    ...         (Path(root) / name).parent.mkdir(exist_ok=True)
    ...         (Path(root) / name).touch()
    ...     bunch = load_xray_folder(root)
    >>> bunch.groups.tolist()
    ['00000001', '00000001', 'Pneumonia/a.png']
    """
    root = Path(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise NotADirectoryError(
            f"root={str(root)!r}: found {found}; expected a folder with one folder per class"
        )
    patients = _read_patients(root / "metadata.csv")
    try:
        pattern = re.compile(patient_pattern or _NIH_NAME)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"patient_pattern={patient_pattern!r} is no regular expression ({error})"
        ) from error
    if pattern.groups < 1:
        raise ValueError(
            f"patient_pattern={patient_pattern!r} has no group; expected one around the patient, "
            "such as '^(p[0-9]+)_'"
        )
    paths, labels, groups, ignored = [], [], [], []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != "."):
        for path in sorted(folder.iterdir()):
            if path.name[0] == "." or path.is_dir():
                continue
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                ignored.append(str(path))
                continue
            paths.append(str(path))
            labels.append(folder.name)
            groups.append(_patient(path, folder.name, patients, pattern))
    if not paths:
        raise ValueError(
            f"root={str(root)!r} holds no class folder with images; expected "
            f"{root.resolve().name}/<class>/<image> with {', '.join(IMAGE_SUFFIXES)} files"
        )
    counts = Counter(labels)
    lines = [f"{name}: {count} images" for name, count in sorted(counts.items())]
    description = (
        f"Chest X-rays from the folder {root.resolve().name!r}: {len(paths)} images of "
        f"{len(set(groups))} patients.\n" + "\n".join(lines)
    )
    return Bunch(
        data=np.array(paths, dtype=object)[:, None],
        target=np.array(labels),
        groups=np.array(groups),
        target_names=sorted(counts),
        ignored=ignored,
        DESCR=description,
    )


def _patient(
    path: Path, label: str, patients: dict[str, dict[str, str]], pattern: re.Pattern
) -> str:
    if named := patients.get(path.name):
        known = set(named.values())
        if len(known) == 1:
            return known.pop()
        if label in named:
            return named[label]
        raise ValueError(
            f"metadata.csv gives {path.name} the patients {', '.join(sorted(known))}, but none "
            f"under the label {label!r}; expected one row per file, labelled by its folder"
        )
    match = pattern.search(path.name)
    return match.group(1) if match and match.group(1) else f"{label}/{path.name}"


def _read_patients(path: Path) -> dict[str, dict[str, str]]:
    """Return the patient by file name and label; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: no readable CSV file ({error}); expected UTF-8 text") from error
    missing = [name for name in ("filename", "patient") if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: no column {' and '.join(map(repr, missing))} among {', '.join(columns)}; "
            "expected filename and patient"
        )
    patients: dict[str, dict[str, str]] = {}
    for row in rows:
        name, patient = (row["filename"] or "").strip(), (row["patient"] or "").strip()
        if not name or not patient:
            continue  # a file without a known patient
        known = patients.setdefault(name, {})
        label = (row.get("label") or "").strip()
        if known.setdefault(label, patient) != patient:
            raise ValueError(
                f"{path}: {name} has the patients {known[label]} and {patient}; expected one"
            )
    return patients
