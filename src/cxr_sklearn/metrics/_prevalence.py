"""Target shares of the classes, as users pass them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def target_prevalence(
    prevalence: Any, classes: np.ndarray, counts: np.ndarray, name: str = "prevalence"
) -> np.ndarray | None:
    """Return the share of each class, or None if none is requested.

    Parameters
    ----------
    prevalence : array-like of shape (n_classes,), dict or None
        Shares in the order of `classes`, or a dict from classes to shares. Classes that a dict does
        not name share the rest in their present proportions.
    classes : ndarray of shape (n_classes,)
        Classes.
    counts : ndarray of shape (n_classes,)
        Present numbers or shares of the classes.
    name : str, default="prevalence"
        Name of the parameter, for messages.

    Returns
    -------
    shares : ndarray of shape (n_classes,), or None
        With a sum of 1.

    Raises
    ------
    ValueError
        If a class is unknown, a share is not in [0, 1], or the sum is not 1.
    """
    if prevalence is None:
        return None
    labels = classes.tolist()
    if isinstance(prevalence, Mapping):
        return _from_dict(prevalence, labels, np.asarray(counts, dtype=float), name)
    shares = np.asarray(prevalence, dtype=np.float64)
    if shares.shape != (len(labels),):
        raise ValueError(
            f"{name}={prevalence!r} is invalid: its shape is {shares.shape}; expected one share "
            f"for each of the classes {labels}. Pass a dict to name some classes only."
        )
    return _check_shares(shares, prevalence, name)


def _from_dict(
    prevalence: Mapping[Any, Any], labels: list[Any], counts: np.ndarray, name: str
) -> np.ndarray:
    unknown = [label for label in prevalence if label not in labels]
    if unknown:
        raise ValueError(
            f"{name}={dict(prevalence)!r} is invalid: {unknown[0]!r} is not a class; expected some "
            f"of {labels}. Correct the name."
        )
    is_named = np.array([label in prevalence for label in labels])
    shares = np.zeros(len(labels))
    shares[is_named] = [prevalence[label] for label in labels if label in prevalence]
    if is_named.all():
        return _check_shares(shares, dict(prevalence), name)
    rest = 1 - shares[is_named].sum()
    others = counts[~is_named].sum()
    if others == 0:
        raise ValueError(
            f"{name}={dict(prevalence)!r} is invalid: the classes that it does not name have no "
            "images, so that their proportions are unknown; expected a share of every class"
        )
    shares[~is_named] = rest * counts[~is_named] / others
    return _check_shares(shares, dict(prevalence), name)


def _check_shares(shares: np.ndarray, passed: Any, name: str) -> np.ndarray:
    is_valid = np.isfinite(shares).all() and (shares >= 0).all() and abs(shares.sum() - 1) < 1e-6
    if not is_valid:
        raise ValueError(
            f"{name}={passed!r} is invalid: the shares are {shares.tolist()}; expected numbers "
            "from 0 to 1 with a sum of 1"
        )
    return shares / shares.sum()
