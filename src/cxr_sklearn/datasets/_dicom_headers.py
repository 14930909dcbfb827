"""Read the headers of DICOM files for a loader."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._images.formats import DICOM_SUFFIXES
from .._utils.messages import some
from .._utils.quiet import quiet
from ._file_search import files_below, relative_path
from ._patients import age_in_years

KEYS = ("path", "SOPInstanceUID", "StudyInstanceUID", "PatientID")
_DIRECTORY = "1.2.840.10008.1.3.10"  # the class of a DICOMDIR

# values of BodyPartExamined that state no body part, without what is between their words
_NO_BODY_PART = {"", "UNKNOWN", "NA", "NONE", "NULL", "OTHER", "UNSPECIFIED", "UNDEFINED"}
_NO_BODY_PART |= {"NOTSPECIFIED", "NOTAVAILABLE", "NOTAPPLICABLE"}
_TAGS = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "Manufacturer",
    "SeriesDescription",
    "ViewCodeSequence",
    "PatientID",
    "PatientAge",
    "PatientSex",
    "ViewPosition",
    "Rows",
    "Columns",
]


@dataclass(frozen=True)
class DicomHeader:
    """Values of the header of one file. Strings are empty where the header has no value."""

    path: Path
    ids: dict[str, str]  # by the names of KEYS
    is_directory: bool
    image_type: list[str]
    storage: str
    modality: str
    body_part: str
    view: str
    description: str
    age: float
    sex: str
    manufacturer: str
    width: int
    height: int


def without_accents(text: str) -> str:
    """Return a text without accents, which headers of one clinic may have or lack."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(part for part in parts if not unicodedata.combining(part))


def _body_part(text: str) -> str:
    """Return BodyPartExamined in upper case, empty if it states no body part."""
    text = text.upper()
    is_stated = re.sub(r"[\W_]+", "", text) not in _NO_BODY_PART
    return text if is_stated else ""


def read_headers(root: Path, on_error: str) -> tuple[list[DicomHeader], list[tuple[str, str]]]:
    """Return the headers of DICOM files, and the other files with the reason."""
    read = _reader()
    headers, ignored, bad = [], [], []
    paths = files_below(root)
    for path in paths:
        found = read(path, relative_path(path, root))
        if isinstance(found, DicomHeader):
            headers.append(found)
        elif found:
            bad.append((path, found))
        else:
            ignored.append((str(path), "no DICOM file"))
    if bad and on_error == "raise":
        named = [f"{relative_path(path, root)} ({reason})" for path, reason in bad]
        raise OSError(
            f"{len(bad)} of {len(paths)} files could not be read as DICOM: {some(named)}; expected "
            "complete DICOM files. Remove or replace these files, or pass on_error='list'."
        )
    return headers, ignored + [(str(path), reason) for path, reason in bad]


def _reader() -> Callable[[Path, str], DicomHeader | str]:
    """Return a function from a path, and its name below the root, to its header.

    It returns a reason for a damaged file, and an empty one for a file of another kind.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise ImportError(
            "load_dicom_folder needs pydicom, which is not installed; expected it in this "
            "environment. Run pip install 'cxr-sklearn[dicom]'."
        ) from error

    def read(path: Path, name: str) -> DicomHeader | str:
        # the oldest files have no mark at their beginning
        is_named_so = path.suffix.lower() in DICOM_SUFFIXES
        try:
            with quiet():  # odd values that pydicom logs may identify a patient
                dataset = dcmread(
                    path, stop_before_pixels=True, specific_tags=_TAGS, force=is_named_so
                )
                if not any(tag in dataset for tag in _TAGS):
                    return "not DICOM, whatever its suffix says"
                return _header(dataset, path, name)
        except InvalidDicomError:
            return ""
        except OSError as error:
            return error.strerror or "unreadable"
        except Exception as error:
            # pydicom raises errors of many types for damaged files; their text may hold a value
            return f"damaged header, {type(error).__name__}"

    return read


def _header(dataset: Any, path: Path, name: str) -> DicomHeader:
    def text(tag: str) -> str:
        value = dataset.get(tag)
        return "" if value is None else str(value).strip()

    def meanings(tag: str) -> str:
        return " ".join(str(item.get("CodeMeaning", "")) for item in dataset.get(tag) or [])

    kind = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    types = dataset.get("ImageType") or []
    return DicomHeader(
        path=path,
        ids={"path": name, **{key: text(key) for key in KEYS[1:]}},
        is_directory=kind == _DIRECTORY or path.name.upper() == "DICOMDIR",
        image_type=[str(t).upper() for t in ([types] if isinstance(types, str) else types)],
        storage=text("SOPClassUID") or kind,
        modality=text("Modality").upper(),
        body_part=_body_part(text("BodyPartExamined"))
        or _body_part(meanings("AnatomicRegionSequence")),
        view=text("ViewPosition").upper(),
        description=f"{text('SeriesDescription')} {meanings('ViewCodeSequence')}".upper(),
        age=age_in_years(text("PatientAge")) if text("PatientAge") else math.nan,
        sex=text("PatientSex").upper(),
        manufacturer=text("Manufacturer"),
        width=int(dataset.get("Columns") or 0),
        height=int(dataset.get("Rows") or 0),
    )
