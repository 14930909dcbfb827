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
# The SOP class of a DICOMDIR, which lists files and contains no image.
_DIRECTORY = "1.2.840.10008.1.3.10"

# Values of BodyPartExamined that state no body part, without the characters between their words.
_NO_BODY_PART = {"", "UNKNOWN", "NA", "NONE", "NULL", "OTHER", "UNSPECIFIED", "UNDEFINED"}
_NO_BODY_PART |= {"NOTSPECIFIED", "NOTAVAILABLE", "NOTAPPLICABLE"}
# Only these elements are read.
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
    # Identifiers, by the names in KEYS.
    ids: dict[str, str]
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
    if re.sub(r"[\W_]+", "", text) in _NO_BODY_PART:
        return ""
    return text


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
    for path, reason in bad:
        ignored.append((str(path), reason))
    return headers, ignored


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
        # The oldest files have no mark at their beginning, so their suffix is used.
        is_named_so = path.suffix.lower() in DICOM_SUFFIXES
        try:
            # pydicom logs invalid values, which may identify a patient.
            with quiet():
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
            # pydicom raises errors of many types for damaged files. Their text is not shown,
            # because it may contain a value that identifies a patient.
            return f"damaged header, {type(error).__name__}"

    return read


def _header(dataset: Any, path: Path, name: str) -> DicomHeader:
    def text(tag: str) -> str:
        value = dataset.get(tag)
        if value is None:
            return ""
        return str(value).strip()

    def meanings(tag: str) -> str:
        # A coded element is a sequence of items, each with a code and its meaning in words.
        return " ".join(str(item.get("CodeMeaning", "")) for item in dataset.get(tag) or [])

    ids = {"path": name}
    for key in KEYS[1:]:
        ids[key] = text(key)
    age = math.nan
    if text("PatientAge"):
        age = age_in_years(text("PatientAge"))
    kind = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    # pydicom returns an element with a single value as a string, and not as a list.
    types = dataset.get("ImageType") or []
    if isinstance(types, str):
        types = [types]
    return DicomHeader(
        path=path,
        ids=ids,
        is_directory=kind == _DIRECTORY or path.name.upper() == "DICOMDIR",
        image_type=[str(value).upper() for value in types],
        storage=text("SOPClassUID") or kind,
        modality=text("Modality").upper(),
        body_part=_body_part(text("BodyPartExamined"))
        or _body_part(meanings("AnatomicRegionSequence")),
        view=text("ViewPosition").upper(),
        description=f"{text('SeriesDescription')} {meanings('ViewCodeSequence')}".upper(),
        age=age,
        sex=text("PatientSex").upper(),
        manufacturer=text("Manufacturer"),
        width=int(dataset.get("Columns") or 0),
        height=int(dataset.get("Rows") or 0),
    )
