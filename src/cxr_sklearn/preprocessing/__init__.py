"""Preprocessing: transformers of images."""

from ._lung_crop import LungCrop
from ._lung_fields import LungFields
from ._mean_radiograph import MeanRadiograph

__all__ = ["LungCrop", "LungFields", "MeanRadiograph"]
