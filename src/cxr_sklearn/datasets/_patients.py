"""What file names and headers tell of patients."""

from __future__ import annotations

import math
import os
import re
from pathlib import PurePath

# ChestX-ray14 of the NIH: 8 digits of the patient, 3 of the follow-up
_NIH_NAME = re.compile(r"(\d{8})_\d{3}")
# folders of CheXpert (patient00001) and MIMIC-CXR (p10/p10000032) that hold a patient's studies
_PATIENT_FOLDER = re.compile(r"patient\d{5}|p\d{8}")

# the sources of COVIDx whose file names hold the patient
_COVIDX_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        r"MIDRC-RICORD-1C-((?:SITE)?\d+-\d+)-",  # RICORD: site and patient
        r"(A\d{6})-\d\d-\d\d-\d{4}-",  # Stony Brook
        r"sub-(S\d+)_",  # BIMCV
        r"(COVID-\d{5})[a-z]?\.",  # Figure 1: letters count the images of a case
    )
)

_DAYS_OF_YEAR = 365.25
_AGE = re.compile(r"(\d+(?:\.\d+)?)([DWMY]?)")
_PER_YEAR = {"D": _DAYS_OF_YEAR, "W": _DAYS_OF_YEAR / 7, "M": 12, "Y": 1, "": 1}


def nih_patient(name: str) -> str | None:
    """Return the patient in a file name of the NIH's form, else None."""
    match = _NIH_NAME.match(name)
    return match.group(1) if match else None


def nih_identifier(text: str) -> str:
    """Return a patient of the NIH's tables with the 8 digits of the file names."""
    return text.zfill(8) if text else ""


def patient_of_path(path: str) -> str | None:
    """Return the patient in a relative path of the NIH, CheXpert or MIMIC-CXR, else None."""
    *folders, name = PurePath(path).parts
    return nih_patient(name) or next(filter(_PATIENT_FOLDER.fullmatch, folders), None)


def patient_from_nih(path: str | os.PathLike) -> str:
    """Return the patient whom the NIH's file names tell.

    Use it as ``group_by`` of a classifier, or as ``patient`` of a loader.

    Parameters
    ----------
    path : str or path
        An image of ChestX-ray8 or ChestX-ray14, such as ``00001299_003.png``: 8 digits of the
        patient and 3 of the follow-up. Folders mean nothing, and the file is not opened.

    Returns
    -------
    patient : str
        The 8 digits; for a file of another name, its name without suffix, so that it stands alone.

    See Also
    --------
    patient_from_covidx : The same for COVIDx.

    Examples
    --------
    >>> from cxr_sklearn.datasets import patient_from_nih
    >>> patient_from_nih("xrays/Normal/00001299_003.png")
    '00001299'
    >>> patient_from_nih("xrays/Normal/film.png")
    'film'
    """
    path = PurePath(path)
    return nih_patient(path.name) or path.stem


def patient_from_covidx(path: str | os.PathLike) -> str:
    """Return the patient whom the file names of COVIDx tell.

    Use it as ``group_by`` of a classifier, or as ``patient`` of a loader.

    Parameters
    ----------
    path : str or path
        An image of COVIDx. Folders mean nothing, and the file is not opened.

    Returns
    -------
    patient : str
        What the name holds for images of RICORD, Stony Brook, BIMCV and Figure 1; for a file of
        another name, its name without suffix, so that it stands alone.

    See Also
    --------
    load_covidx : Takes the patients that a label file gives.
    patient_from_nih : The same for the NIH's sets.

    Notes
    -----
    The names tell less than the label files do: images of one patient in the collection of Cohen
    and in that of ActualMed cannot be told from them. Where there is a label file, give its
    patients to ``fit`` as ``groups``. Figure 1's letters (``COVID-00003a``, ``COVID-00003b``) are
    taken for images of one patient, the label files list a patient for each.

    Examples
    --------
    >>> from cxr_sklearn.datasets import patient_from_covidx
    >>> patient_from_covidx("train/MIDRC-RICORD-1C-419639-003251-46647-0.png")
    '419639-003251'
    >>> patient_from_covidx("train/COVID(1).png")
    'COVID(1)'
    """
    path = PurePath(path)
    for pattern in _COVIDX_NAMES:
        if match := pattern.match(path.name):
            return match.group(1)
    return path.stem


def age_in_years(text: str) -> float:
    """Return the years of an age such as DICOM's ``045Y`` or ``006M``; NaN for another text."""
    match = _AGE.fullmatch(text.strip().upper())
    return float(match.group(1)) / _PER_YEAR[match.group(2)] if match else math.nan
