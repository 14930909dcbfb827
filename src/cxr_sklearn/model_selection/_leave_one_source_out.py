"""Cross-validation that leaves out one source at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator, LeaveOneGroupOut

from .._utils.messages import some
from ..quality._sources import check_sources, similar_sources


class LeaveOneSourceOut(BaseCrossValidator):
    """Split so that each source is the test set once, and the others the training set.

    Use it to estimate how a model performs at a hospital whose images it was not trained on.
    ``split`` raises an error if a class comes from one source only: if this source is the test set,
    the training set has no image of the class. Pass the sources as `groups`.

    See Also
    --------
    sklearn.model_selection.LeaveOneGroupOut : The same without this check.

    Notes
    -----
    A test set may lack classes: evaluate it class by class, as
    :func:`~cxr_sklearn.metrics.classification_table` does. If a patient has images in two sources,
    they are in both the training set and the test set; :func:`check_split` lists such patients.

    Examples
    --------
    >>> import numpy as np
    >>> from cxr_sklearn.model_selection import LeaveOneSourceOut
    >>> y = np.array(["Normal", "COVID-19", "Normal", "COVID-19", "Normal"])
    >>> sources = np.array(["a", "a", "b", "b", "c"])
    >>> [test.tolist() for _, test in LeaveOneSourceOut().split(y, y, sources)]
    [[0, 1], [2, 3], [4]]
    """

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the training and test rows of each source left out.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,)
            Classes.
        groups : array-like of shape (n_samples,)
            Sources.

        Yields
        ------
        train, test : ndarray of int

        Raises
        ------
        ValueError
            If `y` or `groups` is missing, a source is unknown, there is one source only, or a class
            comes from one source only.

        Warns
        -----
        UserWarning
            If the names of two sources differ only in case, spaces, hyphens, underscores, or by one
            letter within a word.
        """
        if y is None or groups is None:
            missing = "y" if y is None else "groups"
            raise ValueError(
                f"{missing} is missing; expected the classes as y and the source of each image as "
                "groups"
            )
        check_sources(y, groups)
        pairs = similar_sources(pd.unique(np.asarray(groups, dtype=object)))
        if pairs:
            listed = some((f"{first!r} and {second!r}" for first, second in pairs), "; ", most=3)
            warnings.warn(
                f"groups: sources with similar names count as different hospitals ({listed}). If "
                "they are the same hospital, a model is tested on a hospital that it has seen. "
                "Correct the spelling in this case.",
                stacklevel=2,
            )
        return LeaveOneGroupOut().split(X, y, groups)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of sources.

        Parameters
        ----------
        X, y : ignored
        groups : array-like of shape (n_samples,)
            Sources.

        Returns
        -------
        n_splits : int
        """
        return LeaveOneGroupOut().get_n_splits(groups=groups)
