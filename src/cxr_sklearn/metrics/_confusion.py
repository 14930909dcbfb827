"""Figures that are computed from a confusion matrix, for many matrices at once."""

from __future__ import annotations

import numpy as np

PER_CLASS = ("ppv", "npv", "sensitivity", "specificity", "f1")
OVERALL = ("accuracy", "balanced_accuracy", "f1_macro", "cohen_kappa", "matthews_corrcoef")


def confusion_figures(confusion: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Compute all figures of confusion matrices.

    Parameters
    ----------
    confusion : ndarray of shape (n_rows, n_classes, n_classes)
        Weights of images by true class and predicted class.

    Returns
    -------
    overall : dict of str to ndarray of shape (n_rows,)
        Means over classes leave out the classes that no image belongs to. The F1 score of a class
        that is never found is 0.
    per_class : dict of str to ndarray of shape (n_rows, n_classes)
        NaN where the denominator is 0.
    """
    found = np.einsum("dii->di", confusion)
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    total = true.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = found / true
        negatives = total[:, None] - true
        not_called = total[:, None] - called
        true_negatives = negatives - (called - found)
        # scikit-learn's F1 score is 0 for a class that is neither true nor predicted. There is
        # nothing to find then, so that it is undefined here.
        f1 = np.where(true > 0, 2 * found / (true + called), np.nan)
        per_class = {
            "ppv": found / called,
            "npv": true_negatives / not_called,
            "sensitivity": sensitivity,
            "specificity": true_negatives / negatives,
            "f1": f1,
        }
        agreement = found.sum(axis=1) / total
        by_chance = (true * called).sum(axis=1) / total**2
        n_squared = total**2
        # The correlation of the true and the predicted class (Gorodkin, 2004).
        spread_true = n_squared - (true**2).sum(axis=1)
        spread_called = n_squared - (called**2).sum(axis=1)
        covariance = found.sum(axis=1) * total - (true * called).sum(axis=1)
        overall = {
            "accuracy": agreement,
            "balanced_accuracy": _mean_of_present(sensitivity, true),
            "f1_macro": _mean_of_present(f1, true),
            "cohen_kappa": (agreement - by_chance) / (1 - by_chance),
            "matthews_corrcoef": covariance / np.sqrt(spread_true * spread_called),
        }
    return overall, per_class


def predictive_values(
    confusion: np.ndarray, prevalence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute PPV and NPV for other shares of the classes.

    The sensitivities, and the shares in which images of a class are confused with the others, are
    taken to be the same at the other prevalence.

    Parameters
    ----------
    confusion : ndarray of shape (n_rows, n_classes, n_classes)
        Weights of images by true class and predicted class.
    prevalence : ndarray of shape (n_classes,)
        Target shares of the classes, with a sum of 1.

    Returns
    -------
    ppv, npv : ndarray of shape (n_rows, n_classes)
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = confusion / confusion.sum(axis=2, keepdims=True)
        weighted = shares * prevalence[:, None]
        found = np.einsum("dii->di", weighted)
        called = weighted.sum(axis=1)
        missed = prevalence - found
        return found / called, (1 - called - missed) / (1 - called)


def _mean_of_present(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the means of rows over the classes that have images."""
    is_present = true > 0
    total = np.where(is_present, values, 0).sum(axis=1)
    return total / is_present.sum(axis=1)
