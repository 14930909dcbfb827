"""Loaders for chest X-rays in folders, tables, DICOM files and COVIDx, and synthetic X-rays."""

from ._bunch import select_rows
from ._covidx import load_covidx, read_covidx_labels
from ._dicom_folder import load_dicom_folder
from ._folder import load_xray_folder
from ._patients import patient_from_covidx, patient_from_nih
from ._phantom_files import make_chest_phantom_files
from ._phantoms import make_chest_phantoms
from ._table import load_xray_table

__all__ = [
    "load_covidx",
    "load_dicom_folder",
    "load_xray_folder",
    "load_xray_table",
    "make_chest_phantom_files",
    "make_chest_phantoms",
    "patient_from_covidx",
    "patient_from_nih",
    "read_covidx_labels",
    "select_rows",
]
