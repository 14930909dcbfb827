"""Chest X-rays to start with, and whether they are fit to learn from.

Loaders for folders, tables, DICOM files and COVIDx; synthetic X-rays; audit, curation and splits.
"""

from ._audit import Audit, Finding, audit
from ._bunch import select_rows
from ._covidx import load_covidx, read_covidx_labels
from ._curate import Curation, curate
from ._curation_rules import CurationRules
from ._dicom import load_dicom_folder
from ._folder import load_xray_folder
from ._patients import patient_from_covidx, patient_from_nih
from ._phantom_files import make_chest_phantom_files
from ._phantoms import make_chest_phantoms
from ._source_association import SourceAssociation
from ._split import LeaveOneSourceOut, SplitReport, check_split
from ._table import load_xray_table
from ._template import MeanRadiograph

__all__ = [
    "Audit",
    "Curation",
    "CurationRules",
    "Finding",
    "LeaveOneSourceOut",
    "MeanRadiograph",
    "SourceAssociation",
    "SplitReport",
    "audit",
    "check_split",
    "curate",
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
