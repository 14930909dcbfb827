"""Read patients from file names, and ages from text."""

from __future__ import annotations

import math
import os
import re
from pathlib import PurePath

# ChestX-ray14 of the NIH: 8 digits of the patient, then 3 digits of the follow-up.
_NIH_NAME = re.compile(r"(\d{8})_\d{3}")
_NIH_PATIENT_DIGITS = 8

# The folders of CheXpert (patient00001) and MIMIC-CXR (p10000032) that contain the studies of a
# patient. MIMIC-CXR groups them into folders such as p10, which do not match.
_PATIENT_FOLDER = re.compile(r"patient\d{5}|p\d{8}")

# The collections in COVIDx whose file names contain the patient.
_COVIDX_NAMES = (
    # RICORD: site and patient.
    re.compile(r"MIDRC-RICORD-1C-((?:SITE)?\d+-\d+)-"),
    # Stony Brook: patient and date.
    re.compile(r"(A\d{6})-\d\d-\d\d-\d{4}-"),
    # BIMCV.
    re.compile(r"sub-(S\d+)_"),
    # Figure 1: a letter behind the number counts the images of a case.
    re.compile(r"(COVID-\d{5})[a-z]?\."),
)

# DICOM writes an age as digits and a unit: days, weeks, months or years. Tables often leave the
# unit out and mean years.
_AGE = re.compile(r"(\d+(?:\.\d+)?)([DWMY]?)")
_DAYS_PER_YEAR = 365.25
_UNITS_PER_YEAR = {"D": _DAYS_PER_YEAR, "W": _DAYS_PER_YEAR / 7, "M": 12, "Y": 1, "": 1}


def patient_from_nih(path: str | os.PathLike[str]) -> str:
    """Return the patient in a file name of the NIH's chest X-ray data sets.

    Use it as ``group_by`` of a classifier, or as ``patient`` of a loader, to keep all images of a
    patient in the same part of every split.

    Parameters
    ----------
    path : str or path
        An image of ChestX-ray8 or ChestX-ray14, such as ``00001299_003.png``: 8 digits of the
        patient and 3 digits of the follow-up. Folders are ignored, and the file is not opened.

    Returns
    -------
    patient : str
        The 8 digits. For a file with another kind of name, the name without its suffix, so that
        the image is the only one of its patient.

    See Also
    --------
    patient_from_covidx : The same for COVIDx.

    Examples
    --------
    >>> from cxr_sklearn.datasets import patient_from_nih
    >>> patient_from_nih("xrays/Normal/00001299_003.png")
    '00001299'
    >>> patient_from_nih("xrays/Normal/image.png")
    'image'
    """
    path = PurePath(path)
    return nih_patient(path.name) or path.stem


def patient_from_covidx(path: str | os.PathLike[str]) -> str:
    """Return the patient in a file name of COVIDx.

    Use it as ``group_by`` of a classifier, or as ``patient`` of a loader, to keep all images of a
    patient in the same part of every split.

    Parameters
    ----------
    path : str or path
        An image of COVIDx. Folders are ignored, and the file is not opened.

    Returns
    -------
    patient : str
        The patient in names of RICORD, Stony Brook, BIMCV and Figure 1. For a file with another
        kind of name, the name without its suffix, so that the image is the only one of its
        patient.

    See Also
    --------
    load_covidx : Load the patients from a label file.
    patient_from_nih : The same for the NIH's data sets.

    Notes
    -----
    The label files contain more than the file names do: the names in the collections of Cohen and
    of ActualMed do not show which images belong to the same patient. If you have a label file,
    pass its patients to ``fit`` as ``groups``. Images of Figure 1 that differ in a letter only
    (``COVID-00003a``, ``COVID-00003b``) are assigned to one patient, whereas the label files list
    a patient for each of them.

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
        match = pattern.match(path.name)
        if match:
            return match.group(1)
    return path.stem


def nih_patient(name: str) -> str | None:
    """Return the patient in a file name of the NIH's data sets, or None for another name."""
    match = _NIH_NAME.match(name)
    if match is None:
        return None
    return match.group(1)


def nih_identifier(text: str) -> str:
    """Return a patient of the NIH's tables with the leading zeros that file names have."""
    # An empty cell stays empty, so that it does not become a patient of all such rows.
    if not text:
        return ""
    return text.zfill(_NIH_PATIENT_DIGITS)


def patient_of_path(path: str) -> str | None:
    """Return the patient in a relative path of the NIH, CheXpert or MIMIC-CXR, or None."""
    *folders, name = PurePath(path).parts
    patient = nih_patient(name)
    if patient is not None:
        return patient
    for folder in folders:
        if _PATIENT_FOLDER.fullmatch(folder):
            return folder
    return None


def age_in_years(text: str) -> float:
    """Return an age such as DICOM's ``045Y`` or ``006M`` in years, or NaN for any other text."""
    match = _AGE.fullmatch(text.strip().upper())
    if match is None:
        return math.nan
    number, unit = match.groups()
    return float(number) / _UNITS_PER_YEAR[unit]
