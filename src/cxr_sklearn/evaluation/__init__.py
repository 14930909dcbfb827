"""Evaluate and compare classifiers, with intervals by patient."""

from ._compare import compare
from ._comparison import Comparison
from ._cross_evaluate import cross_evaluate
from ._evaluate import evaluate
from ._evaluation import Evaluation

__all__ = ["Comparison", "Evaluation", "compare", "cross_evaluate", "evaluate"]
