"""Record of the training of a tail, with the names of scikit-learn's MLPClassifier."""

from __future__ import annotations

from typing import Any

from .._tail.tail import Tail


def training_record(tail: Tail) -> dict[str, Any]:
    """Return the fitted attributes that describe the training of one tail."""
    history = tail.net_.history
    scores, best = None, None
    if len(history) and "valid_loss" in history[-1]:
        # Negated, so that higher is better, as in scikit-learn.
        scores = [-loss for loss in history[:, "valid_loss"]]
        best = max(scores)
    return {
        "n_iter_": len(history),
        "loss_curve_": list(history[:, "train_loss"]),
        "validation_scores_": scores,
        "best_validation_score_": best,
        "history_": history,
    }
