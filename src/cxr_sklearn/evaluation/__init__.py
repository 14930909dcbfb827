"""Evaluate and compare classifiers, with intervals by patient."""

from ._evaluate import evaluate
from ._evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]
