"""Chain: the MLP head that combines the outputs of several tails."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .sampling import share_factors
from .tail import Tail


class Chain(Tail):
    """The dense chain that combines the outputs of other tails (paper, figure 8).

    Unlike a :class:`Tail` it is given values, row i of them being row i of `rows`.

    It starts as the rule that it improves on, the greatest standardised logit. Out-of-fold outputs
    of networks that have learned little run against the labels (a held-out image lowers the share
    of its class in training), and a chain that starts from nothing learns that, and turns the
    networks' outputs around.

    A sampler acts here by the shares of the classes that it aims at, as weights. Its choice of rows
    is made for images: on outputs it would drop the very cases that show how far to trust them.

    Attributes
    ----------
    predicted_classes_ : ndarray
        Those that it predicts for the rows that it was trained on, which are out-of-fold outputs.
    """

    _resamples: ClassVar[bool] = False

    def fit(self, X: np.ndarray, y: np.ndarray) -> Chain:
        """Train on the outputs of the other tails."""
        values = np.asarray(X, dtype=np.float32)
        own = self.rows.with_values(values, made=False)
        if self.sampler is not None:
            train = np.flatnonzero(~own.is_validation)
            problem = own.problem(train, y[train])
            factors = share_factors(
                self.sampler, self.rows, train, y[train], int(self.random_state), problem
            )
            own.sample_weight = own.sample_weight * factors[y]
        self._fit(own, np.arange(len(values)), y)
        self.predicted_classes_ = np.unique(self.predict(values))
        return self

    def _skip(self, width: int) -> np.ndarray:
        return np.eye(width) if width > 1 else np.array([[-0.5], [0.5]])
