"""Chest X-rays to start with: folders of images, and synthetic ones."""

from ._bunch import select_rows
from ._folder import load_xray_folder
from ._patients import patient_from_covidx, patient_from_nih
from ._phantoms import make_chest_phantoms

__all__ = [
    "load_xray_folder",
    "make_chest_phantoms",
    "patient_from_covidx",
    "patient_from_nih",
    "select_rows",
]
