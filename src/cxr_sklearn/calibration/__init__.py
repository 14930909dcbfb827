"""Adjust probabilities to another prevalence of the classes."""

from ._prevalence_adjuster import PrevalenceAdjuster

__all__ = ["PrevalenceAdjuster"]
