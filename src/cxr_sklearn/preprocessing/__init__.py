"""Preprocessing: transformers of images."""

from ._mean_radiograph import MeanRadiograph

__all__ = ["MeanRadiograph"]
