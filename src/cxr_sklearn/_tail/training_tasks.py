"""TrainingTasks: the trainings of one fit, as scikit-learn's callbacks see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._utils.fit_tasks import FitTask


class TrainingTasks:
    """The trainings of one fit, which may run in any order and in several processes.

    A process that trains a network cannot know how many others have begun. The number of a
    training is therefore computed from its rows: first by fold, then by binary problem.

    Parameters
    ----------
    parent : FitTask, default=None
        The training of all networks. None reports nothing.
    n_problems : int, default=1
        Number of networks per fold.
    folds : sequence of ndarray of int, default=()
        Training rows of each fold, for networks that are trained once on all rows and once per
        fold.
    """

    def __init__(
        self,
        parent: FitTask | None = None,
        n_problems: int = 1,
        folds: Sequence[np.ndarray] = (),
    ) -> None:
        self._parent = FitTask() if parent is None else parent
        self._n_problems = n_problems
        # Nothing is looked up in the folds if nothing is reported.
        self._folds = [np.sort(fold) for fold in folds] if self._parent.is_reported else []

    def begin(self, problem: str, number: int, ids: np.ndarray, max_epochs: int) -> FitTask:
        """Report the beginning of the training of a network.

        Parameters
        ----------
        problem : str
        number : int
            Number of the binary problem in its fold.
        ids : ndarray of int
            The rows of the problem, sorted.
        max_epochs : int
        """
        name = problem
        for index, fold in enumerate(self._folds, start=1):
            if np.array_equal(fold, ids):
                name += f" without fold {index}"
                number += index * self._n_problems
                break
        return self._parent.begin_subtask(name, number=number, n_subtasks=max_epochs)

    def begin_final(self, max_epochs: int) -> FitTask:
        """Report the beginning of the training of the MLP that combines the networks."""
        number = (len(self._folds) + 1) * self._n_problems
        return self._parent.begin_subtask("final MLP", number=number, n_subtasks=max_epochs)
