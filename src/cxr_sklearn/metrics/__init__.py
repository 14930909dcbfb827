"""Metrics: arrays of labels and probabilities in, figures out."""

from ._classification_table import classification_table

__all__ = ["classification_table"]
