"""Chest X-rays to start with: folders of images, and synthetic ones."""

from ._folder import load_xray_folder
from ._phantoms import make_chest_phantoms

__all__ = ["load_xray_folder", "make_chest_phantoms"]
