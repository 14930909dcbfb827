"""Load images from a folder of DICOM files, and select the frontal chest radiographs."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from sklearn.utils import Bunch

from ._bunch import make_bunch
from ._columns import check_no_empty_cells, check_one_spelling, column_as_strings, read_table
from ._dicom_headers import KEYS, DicomHeader, read_headers, without_accents
from ._file_search import check_folder
from ._option_check import check_option

# One salt for all calls, so that the parts of a data set have the same pseudonyms.
_PROCESS_SALT = secrets.token_bytes(32)
_RADIOGRAPHY = {"CR", "DX", "RG"}

# The SOP classes of Computed Radiography Image Storage, and of Digital X-Ray Image Storage for
# presentation and for processing.
_RADIOGRAPHS = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1", "1.1", "1.1.1"))

# Words for the chest in BodyPartExamined and in the meanings of coded regions, in several languages
# and without accents.
_CHEST = re.compile(
    r"CHEST|CHST|CXR|THORAX|TORAX|TORACE|TORAKS|LUNG|PULMON|THORACIC STRUCTURE|THORACIC CAVITY"
    r"|POITRINE|BRUSTKORB|(?<![A-Z])(RIBS?|HEART|PECHO|PEITO)(?![A-Z])"
)
_LATERAL = {"LL", "RL", "LAT", "LATERAL"}
_FRONTAL = {"AP", "PA", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR"}

# Columns of ``frame``, in addition to the study.
_HEADER_COLUMNS = (
    "view",
    "body_part",
    "age",
    "sex",
    "manufacturer",
    "modality",
    "width",
    "height",
)


def load_dicom_folder(
    root: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | pd.DataFrame | None = None,
    on: str = "path",
    label: str = "label",
    pseudonymise: bool = True,
    salt: str | bytes | None = None,
    on_error: str = "raise",
) -> Bunch:
    """Load the paths of frontal chest X-rays from a folder of DICOM files.

    Only headers are read, not pixels. The function needs pydicom:
    ``pip install 'cxr-sklearn[dicom]'``.

    Parameters
    ----------
    root : str or path
        Folder of DICOM files with any suffix or none, at any depth. Hidden files are ignored.
    labels : str, path or DataFrame, default=None
        A table with the columns that `on` and `label` name; its other columns are ignored. Images
        without a label are not loaded. By default the label of an image is the folder in `root`
        that contains it: ``root/<class>/...``.
    on : {"path", "SOPInstanceUID", "StudyInstanceUID", "PatientID"}, default="path"
        The column of `labels` that identifies an image. Paths are relative to `root`.
    label : str, default="label"
        The column of `labels` that contains the label.
    pseudonymise : bool, default=True
        Whether ``patient`` and ``study`` are pseudonyms: the first 16 hexadecimal digits of
        HMAC-SHA-256 of the identifier, with `salt` as the key. With False they are the PatientID
        and StudyInstanceUID of the headers.
    salt : str or bytes, default=None
        By default a random value that is lost when the process ends. Nobody can then find patients
        by their pseudonyms, and pseudonyms can be compared within this process only. Pass a secret
        to get the same pseudonyms again, and protect it like the identifiers: whoever has it can
        find out whether a known patient is among the images.
    on_error : {"raise", "list"}, default="raise"
        What to do if a DICOM file cannot be read: raise an error, or add it to ``ignored``.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        As :func:`load_xray_folder` returns it, in the order of paths, and in ``frame`` the columns
        ``study``, ``view`` (ViewPosition), ``body_part`` (BodyPartExamined), ``age`` (years),
        ``sex``, ``manufacturer``, ``modality``, ``width`` and ``height`` (pixels). If a header has
        no PatientID, the study is used as the patient, and without a study the file. ``ignored``
        lists, with the reason, every file that is not a frontal chest radiograph: laterals,
        localizers, modalities other than CR, DX and RG, other body parts than the chest, and files
        without a modality or an image. ``sources`` is None.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    OSError
        If the folder does not exist, or DICOM files cannot be read.
    ValueError
        If no image with a label is left, `labels` lacks a column or has contradictory rows, or a
        parameter is invalid.

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

    No message, ``DESCR`` or reason contains a value of a header that identifies a patient. Names of
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
    >>> image = Dataset()
    >>> image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    >>> image.Modality, image.ViewPosition, image.Rows, image.Columns = "DX", "PA", 2, 2
    >>> image.PatientID, image.PatientAge = "4711", "045Y"
    >>> image.file_meta = FileMetaDataset()
    >>> image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    >>> with TemporaryDirectory() as root:
    ...     (Path(root) / "Normal").mkdir()
    ...     image.save_as(Path(root) / "Normal" / "image", enforce_file_format=True)
    ...     bunch = load_dicom_folder(root, salt="a secret")
    >>> bunch.frame[["label", "patient", "view", "age"]]
        label           patient view   age
    0  Normal  f9b1bfce2f2177be   PA  45.0
    """
    check_option("on", on, KEYS)
    check_option("on_error", on_error, ("raise", "list"))
    _check_salt(salt)
    root = check_folder(root, "root", "a folder of DICOM files")
    label_of_key = None if labels is None else _read_labels(labels, on, label)
    headers, ignored = read_headers(root, on_error)
    n_files = len(headers) + len(ignored)
    kept, kept_labels = _select(headers, label_of_key, on, root, ignored)
    if not kept:
        _raise_nothing_left(root, n_files, ignored)
    missing, notes = _labels_without_file(label_of_key, on, headers)
    n_without_body_part = sum(not header.body_part for header in kept)
    if n_without_body_part:
        notes.append(f"kept without a body part in the header: {n_without_body_part}")
    hide = _pseudonyms(salt) if pseudonymise else str
    return make_bunch(
        title=f"DICOM chest X-rays from the folder {root.resolve().name!r}",
        paths=[str(header.path) for header in kept],
        labels=kept_labels,
        patients=[hide(_patient(header)) for header in kept],
        extra=_columns(kept, hide),
        ignored=ignored,
        missing=missing,
        notes=notes,
    )


def _select(
    headers: list[DicomHeader],
    label_of_key: dict[str, str] | None,
    on: str,
    root: Path,
    ignored: list[tuple[str, str]],
) -> tuple[list[DicomHeader], list[str]]:
    """Return the frontal chest radiographs with a label, and their labels.

    The other files are appended to `ignored`, with the reason.
    """
    kept, labels = [], []
    for header in headers:
        if label_of_key is None:
            label, without_label = _class_folder(header.path, root), "outside the class folders"
        else:
            label, without_label = label_of_key.get(header.ids[on]), "without a label in the table"
        reason = _reason_to_ignore(header)
        if not reason and not label:
            reason = without_label
        if reason:
            ignored.append((str(header.path), reason))
        else:
            kept.append(header)
            labels.append(label or "")
    return kept, labels


def _check_salt(salt: Any) -> None:
    """Raise if the salt of the pseudonyms is not a secret."""
    is_secret = isinstance(salt, (str, bytes)) and len(salt) > 0
    if salt is not None and not is_secret:
        # The message does not show the value.
        raise ValueError(
            f"salt is invalid: it is an empty or other value of the type {type(salt).__name__}; "
            "expected a str or bytes, or None. Pass a secret that is not empty."
        )


def _raise_nothing_left(root: Path, n_files: int, ignored: list[tuple[str, str]]) -> NoReturn:
    counts = Counter(reason for _, reason in ignored)
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))
    raise ValueError(
        f"root={os.fspath(root)!r} is invalid: none of its {n_files} files is a frontal chest "
        f"radiograph with a label ({reasons}); expected DICOM files in class folders. Correct the "
        "path, or pass labels=<a table>."
    )


def _pseudonyms(salt: str | bytes | None) -> Callable[[str], str]:
    """Return a function from an identifier to its pseudonym; an empty one stays empty."""
    if salt is None:
        salt = _PROCESS_SALT
    key = salt.encode() if isinstance(salt, str) else salt

    def hide(value: str) -> str:
        if not value:
            return ""
        # A file name may contain bytes that are not valid text. They are encoded as they are.
        text = value.encode("utf-8", "surrogateescape")
        return hmac.new(key, text, hashlib.sha256).hexdigest()[:16]

    return hide


def _patient(header: DicomHeader) -> str:
    """Return the patient of an image, or what replaces a missing patient."""
    # Images of a study show one patient. An image without a study is the only one of its patient.
    ids = header.ids
    return ids["PatientID"] or ids["StudyInstanceUID"] or ids["path"]


def _columns(headers: list[DicomHeader], hide: Callable[[str], str]) -> pd.DataFrame:
    """Return the columns of ``frame`` that come from the headers."""
    columns = {"study": [hide(header.ids["StudyInstanceUID"]) for header in headers]}
    for name in _HEADER_COLUMNS:
        columns[name] = [getattr(header, name) for header in headers]
    return pd.DataFrame(columns)


# -- labels ---------------------------------------------------------------------------------------


def _class_folder(path: Path, root: Path) -> str | None:
    """Return the folder in `root` that contains a file, or None for a file in `root` itself."""
    parts = path.relative_to(root).parts
    if len(parts) == 1:
        return None
    return parts[0]


def _read_labels(labels: Any, on: str, label: str) -> dict[str, str]:
    """Return the label of each key. Messages contain no key, because keys may identify patients."""
    table = read_table(labels, "labels", [on, label])
    keys = column_as_strings(table, on, "labels", "Pass the column that on= names.")
    values = column_as_strings(table, label, "labels", "Pass one of the columns as label=.")
    check_no_empty_cells(keys, "labels", on, "Remove these rows.")
    check_no_empty_cells(values, "labels", label, "Remove these rows.")
    check_one_spelling(values, "labels", label)
    if on == "path":
        keys = [Path(os.path.normpath(key)).as_posix() for key in keys]
    labels_of_key: dict[str, set[str]] = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        labels_of_key[key].add(value)
    n_contradictory = sum(len(several) > 1 for several in labels_of_key.values())
    if n_contradictory:
        raise ValueError(
            f"labels is invalid: {n_contradictory} values of the column {on!r} have several "
            "labels; expected one label each. Remove rows, or identify the images by another "
            "column (on=)."
        )
    return {key: several.pop() for key, several in labels_of_key.items()}


def _labels_without_file(
    label_of_key: dict[str, str] | None, on: str, headers: list[DicomHeader]
) -> tuple[list[str], list[str]]:
    """Return the files that the table names and that do not exist, and a line about them."""
    if label_of_key is None:
        return [], []
    without_file = sorted(set(label_of_key) - {header.ids[on] for header in headers})
    if on == "path":
        return without_file, []
    if not without_file:
        return [], []
    # Other keys are counted but not named, because they may identify patients.
    return [], [f"labels without an image: {len(without_file)}"]


# -- headers --------------------------------------------------------------------------------------


def _reason_to_ignore(header: DicomHeader) -> str:
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
    if header.body_part and not _CHEST.search(without_accents(header.body_part)):
        return "of another body part than the chest"
    if _is_lateral(header):
        return "a lateral"
    return ""


def _is_lateral(header: DicomHeader) -> bool:
    if header.view in _LATERAL:
        return True
    if header.view in _FRONTAL:
        return False
    words = {*re.split(r"[^A-Z]+", header.description), *header.image_type}
    return bool(words & _LATERAL) and not words & _FRONTAL
