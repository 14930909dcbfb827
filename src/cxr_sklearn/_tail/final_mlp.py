"""FinalMLP: the MLP head that combines the outputs of several tails."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from .._utils.device import place, to_device
from .._utils.fit_tasks import FitTask
from .sampling import share_factors
from .tail import Tail, _Problem


class FinalMLP(Tail):
    """The MLP head that combines the outputs of several tails (paper, figure 8).

    Unlike a :class:`Tail` it takes values instead of row numbers: row `i` of the values belongs to
    row `i` of `rows`.

    Before it has learned anything it predicts the class with the greatest standardised logit. An
    MLP that starts from nothing can learn the opposite. A network that has learned little gives
    out-of-fold outputs that run against the labels, because a held-out image lowers the share of
    its class in training. The MLP would then turn the outputs of the networks around.

    A sampler acts here as weights: by the class shares that it aims at. Which rows it chooses
    depends on the images, and on outputs it would remove the very cases that show how much they
    can be trusted.

    Attributes
    ----------
    predicted_classes_ : ndarray
        Classes that it predicts for the rows that it was trained on. They are out-of-fold outputs.
    """

    _resamples: ClassVar[bool] = False

    def fit(self, X: np.ndarray, y: np.ndarray) -> FinalMLP:
        """Train on the outputs of the other tails."""
        values = np.asarray(X, dtype=np.float32)
        own = self.rows.replaced_by(values)
        sampler = self.settings.sampler
        if sampler is not None:
            train = np.flatnonzero(~own.is_validation)
            problem = own.problem(train, y[train]).text
            seed = int(self.random_state)
            factors = share_factors(sampler, self.rows, train, y[train], seed, problem)
            own.sample_weight = own.sample_weight * factors[y]
        self._fit(own, np.arange(len(values)), y)
        self.predicted_classes_ = np.unique(self.predict(values))
        return self

    def input_gradient(self, values: np.ndarray) -> np.ndarray:
        """Return the derivatives of the logits with respect to the outputs of the other tails.

        Parameters
        ----------
        values : ndarray of shape (n, n_outputs), dtype float32

        Returns
        -------
        ndarray of shape (n, n_classes, n_outputs), dtype float64
        """
        device = self._own_context().device
        module = self.net_.module_
        place(module, device).eval()
        inputs = to_device(values, device).requires_grad_()
        rows = []
        # The caller may have switched gradients off.
        with torch.enable_grad():
            logits = module.logits(module.unit(inputs))
            for column in logits.T:
                (gradient,) = torch.autograd.grad(column.sum(), inputs, retain_graph=True)
                rows.append(gradient.cpu().numpy())
        return np.stack(rows, axis=1).astype(np.float64)

    def _begin_task(self, problem: _Problem) -> FitTask:
        return problem.rows.tasks.begin_final(self.settings.max_epochs)

    def _skip(self, width: int) -> np.ndarray:
        if width == 1:  # two classes: one logit
            return np.array([[-0.5], [0.5]])
        return np.eye(width)
