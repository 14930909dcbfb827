"""Folders of DICOM files, by their headers."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from ._bunch import make_bunch
from ._columns import check_one_spelling, read_table, rows_without, text_of
from ._dicom_headers import KEYS, _Header, _read_headers, _without_accents
from ._file_search import check_folder

# one for all calls, so that what is loaded in parts has the same pseudonyms in each
_PROCESS_SALT = secrets.token_bytes(32)
_RADIOGRAPHY = {"CR", "DX", "RG"}

# the classes of Computed Radiography and Digital X-Ray Image Storage, the latter for presentation
# and for processing
_RADIOGRAPHS = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1", "1.1", "1.1.1"))

# in the values of BodyPartExamined and in the meanings of coded regions, in several languages and
# without accents
_CHEST = re.compile(
    r"CHEST|CHST|CXR|THORAX|TORAX|TORACE|TORAKS|LUNG|PULMON|THORACIC STRUCTURE|THORACIC CAVITY"
    r"|POITRINE|BRUSTKORB|(?<![A-Z])(RIBS?|HEART|PECHO|PEITO)(?![A-Z])"
)
_LATERAL = {"LL", "RL", "LAT", "LATERAL"}
_FRONTAL = {"AP", "PA", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR"}


def load_dicom_folder(
    root: str | os.PathLike,
    *,
    labels: str | os.PathLike | pd.DataFrame | None = None,
    on: str = "path",
    label: str = "label",
    pseudonymise: bool = True,
    salt: str | bytes | None = None,
    on_error: str = "raise",
) -> Bunch:
    """Load the paths of frontal chest X-rays from a folder of DICOM files.

    Headers are read, pixels are not. It needs pydicom: ``pip install 'cxr-sklearn[dicom]'``.

    Parameters
    ----------
    root : str or path
        Folder of DICOM files with any suffix or none, at any depth. Hidden files are ignored.
    labels : str, path or DataFrame, default=None
        A table with the columns that `on` and `label` name; its other columns are not taken over.
        Images that it does not label are set aside. By default an image's label is the folder in
        `root` that it stands in or below: ``root/<class>/...``.
    on : {"path", "SOPInstanceUID", "StudyInstanceUID", "PatientID"}, default="path"
        What the rows of `labels` are found by: the column of that name. Paths are relative to
        `root`.
    label : str, default="label"
        The column of `labels` that holds the label.
    pseudonymise : bool, default=True
        Whether ``patient`` and ``study`` are pseudonyms: the first 16 hexadecimal digits of
        HMAC-SHA-256 of the identifier, with `salt` as the key. With False they are PatientID and
        StudyInstanceUID as they stand in the headers.
    salt : str or bytes, default=None
        By default drawn once per process and forgotten with it, so that nobody can tell patients
        from pseudonyms, and those of two calls can be compared within the process only. Give a
        secret of your own to get the same pseudonyms again, and keep it as you would the
        identifiers: who has it can find out whether a known patient is among the images.
    on_error : {"raise", "list"}, default="raise"
        What to do if a DICOM file cannot be read: stop, or set it aside.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        As :func:`load_xray_folder` returns it, in the order of paths, and in ``frame`` the columns
        ``study``, ``view`` (ViewPosition), ``body_part`` (BodyPartExamined), ``age`` (years),
        ``sex``, ``manufacturer``, ``modality``, ``width`` and ``height`` (pixels). If a header has
        no patient, the study takes its place, else the file. ``ignored`` lists, with the reason,
        every file that is not a frontal chest radiograph: laterals, localizers, modalities other
        than CR, DX and RG, other body parts than the chest, and files without a modality or an
        image. ``sources`` is None.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    OSError
        If there is no such folder, or DICOM files cannot be read.
    ValueError
        If no image with a label is left, `labels` lacks a column or contradicts itself, or a
        parameter makes no sense.

    See Also
    --------
    load_xray_folder : Class folders of any images, DICOM among them, without their headers.

    Notes
    -----
    An image shows the chest if BodyPartExamined, or if that is empty the meaning of
    AnatomicRegionSequence, contains a name of the chest or of an organ in it, in upper or lower
    case and with or without accents: chest, CHST, CXR, lung, pulmon, rib, heart, thorax, torax,
    torace, toraks, pecho, peito, poitrine or Brustkorb. Values that state no body part (unknown,
    NA, none, null, other, unspecified, undefined, and not specified, available or applicable)
    count as empty. Images whose header has neither are kept, and ``DESCR`` counts them. A file
    without Modality is a radiograph if its SOPClassUID is that of Computed Radiography or Digital
    X-Ray Image Storage.

    An image is a lateral if ViewPosition says so (LL, RL, LAT, LATERAL), or, where it is neither
    AP nor PA, if SeriesDescription, ImageType or ViewCodeSequence says lateral and not frontal.

    No message, ``DESCR`` or reason holds a value of a header that identifies a patient. Names of
    files and folders stay as they are, and so do age, sex and what is burned into the pixels: if
    these identify patients, pseudonyms alone do not hide them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from pydicom import Dataset
    >>> from pydicom.dataset import FileMetaDataset
    >>> from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
    >>> from cxr_sklearn.datasets import load_dicom_folder
    >>> film = Dataset()
    >>> film.SOPClassUID, film.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    >>> film.Modality, film.ViewPosition, film.Rows, film.Columns = "DX", "PA", 2, 2
    >>> film.PatientID, film.PatientAge = "4711", "045Y"
    >>> film.file_meta = FileMetaDataset()
    >>> film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    >>> with TemporaryDirectory() as root:
    ...     (Path(root) / "Normal").mkdir()
    ...     film.save_as(Path(root) / "Normal" / "film", enforce_file_format=True)
    ...     bunch = load_dicom_folder(root, salt="a secret")
    >>> bunch.frame[["label", "patient", "view", "age"]]
        label           patient view   age
    0  Normal  f9b1bfce2f2177be   PA  45.0
    """
    _check_parameters(on, on_error, salt)
    root = check_folder(root, "root", "a folder of DICOM files")
    table = None if labels is None else _read_labels(labels, on, label)
    headers, ignored = _read_headers(root, on_error)
    n_files = len(headers) + len(ignored)
    kept = []
    for header in headers:
        name = _class_folder(header.path, root) if table is None else table.get(header.ids[on])
        if reason := _why_not(header) or _why_unlabelled(name, table is None):
            ignored.append((str(header.path), reason))
        else:
            kept.append((header, name or ""))
    if not kept:
        found = Counter(reason for _, reason in ignored)
        raise ValueError(
            f"root={os.fspath(root)!r}: none of its {n_files} files is a frontal chest radiograph "
            f"with a label ({', '.join(f'{n} {reason}' for reason, n in sorted(found.items()))}); "
            "expected DICOM files in class folders, or labels=<a table>"
        )
    missing, notes = _without_file(table, on, headers)
    if n_silent := sum(not header.body_part for header, _ in kept):
        notes.append(f"kept without a body part in the header: {n_silent}")
    hide = _pseudonyms(salt) if pseudonymise else str
    return make_bunch(
        title=f"DICOM chest X-rays from the folder {root.resolve().name!r}",
        paths=[str(header.path) for header, _ in kept],
        labels=[name for _, name in kept],
        patients=[hide(_patient(header)) for header, _ in kept],
        extra=_columns([header for header, _ in kept], hide),
        ignored=ignored,
        missing=missing,
        notes=notes,
    )


def _check_parameters(on: str, on_error: str, salt: Any) -> None:
    if on not in KEYS:
        raise ValueError(f"on={on!r}; expected one of {', '.join(map(repr, KEYS))}")
    if on_error not in ("raise", "list"):
        raise ValueError(f"on_error={on_error!r}; expected 'raise' or 'list'")
    if salt is not None and not (isinstance(salt, (str, bytes)) and salt):
        raise ValueError(
            f"salt is {type(salt).__name__} and no secret; expected str or bytes that are not "
            "empty, or None"
        )


def _pseudonyms(salt: str | bytes | None) -> Callable[[str], str]:
    if salt is None:
        salt = _PROCESS_SALT
    key = salt.encode() if isinstance(salt, str) else salt

    def hide(value: str) -> str:
        text = value.encode("utf-8", "surrogateescape")
        return hmac.new(key, text, hashlib.sha256).hexdigest()[:16] if value else ""

    return hide


def _patient(header: _Header) -> str:
    ids = header.ids
    return ids["PatientID"] or ids["StudyInstanceUID"] or ids["path"]


def _columns(headers: list[_Header], hide: Callable[[str], str]) -> pd.DataFrame:
    names = ("view", "body_part", "age", "sex", "manufacturer", "modality", "width", "height")
    frame = pd.DataFrame({name: [getattr(h, name) for h in headers] for name in names})
    frame.insert(0, "study", [hide(header.ids["StudyInstanceUID"]) for header in headers])
    return frame


# -- labels -----------------------------------------------------------------------------------
def _class_folder(path: Path, root: Path) -> str | None:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def _read_labels(labels: Any, on: str, label: str) -> dict[str, str]:
    """Return the label of each key; messages name no key, for keys may identify patients."""
    table = read_table(labels, "labels", [on, label])
    keys = text_of(table, on, "labels", "the column that on= names")
    values = text_of(table, label, "labels", "one of these as label=")
    for column, cells in ((on, keys), (label, values)):
        if rows := rows_without(cells):
            raise ValueError(
                f"labels: nothing in the column {column!r} of rows {rows} (counted from 0); "
                "expected a value in every row: drop these rows"
            )
    check_one_spelling(values, f"labels: the column {label!r}")
    if on == "path":
        keys = [Path(os.path.normpath(key)).as_posix() for key in keys]
    known: dict[str, set[str]] = {}
    for key, value in zip(keys, values, strict=True):
        known.setdefault(key, set()).add(value)
    several = sum(len(values) > 1 for values in known.values())
    if several:
        raise ValueError(
            f"labels: {several} values of the column {on!r} have several labels; expected one "
            "label each: drop rows, or find them by another column with on="
        )
    return {key: values.pop() for key, values in known.items()}


def _why_unlabelled(name: str | None, by_folder: bool) -> str:
    if name:
        return ""
    return "beside the class folders" if by_folder else "without a label in the table"


def _without_file(
    table: dict[str, str] | None, on: str, headers: list[_Header]
) -> tuple[list[str], list[str]]:
    """Return the files that the table names and that are not there, and a line about them."""
    if table is None:
        return [], []
    left = sorted(set(table) - {header.ids[on] for header in headers})
    if on == "path":
        return left, []
    return [], [f"labels without an image: {len(left)}"] if left else []


# -- headers ----------------------------------------------------------------------------------
def _why_not(header: _Header) -> str:
    """Return why a file is not a frontal chest radiograph; empty if it is one."""
    if header.is_directory:
        return "a DICOMDIR"
    if not header.width or not header.height:
        return "a DICOM file without an image"
    if "LOCALIZER" in header.image_type:
        return "a localizer"
    if not header.modality and header.storage not in _RADIOGRAPHS:
        return "without a modality"
    if header.modality and header.modality not in _RADIOGRAPHY:
        return "of another modality than CR, DX and RG"
    if header.body_part and not _CHEST.search(_without_accents(header.body_part)):
        return "of another body part than the chest"
    words = {*re.split(r"[^A-Z]+", header.description), *header.image_type}
    said = words & _LATERAL and not words & _FRONTAL
    return "a lateral" if header.view in _LATERAL or (header.view not in _FRONTAL and said) else ""
