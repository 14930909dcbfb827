"""TrainingRows: what the binary problems of one fit share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import nn

from .._utils.device import to_device
from .._utils.forks import after_fork_in_child
from .activations import Activations, ArrayActivations
from .training_tasks import TrainingTasks

# Share of the free memory of a CUDA device that the activations of a fit may take.
_RESIDENT_SHARE = 0.25


@dataclass(frozen=True)
class Blueprint:
    """What a tail is built from.

    Attributes
    ----------
    body : torch.nn.Module
        The network from the cut to the classification layer, with the weights it starts from.
    width : int
        Number of values per image that `body` returns, once they are flattened.
    channels : int
        Number of channels that images get before `body`; 0 if rows are activations, not images.
    """

    body: nn.Module
    width: int
    channels: int = 0


class ProblemName(NamedTuple):
    """Name of a classification problem, for messages, and its position among those of its kind."""

    text: str
    number: int


class TrainingRows:
    """What the binary problems of one fit share: activations, weights, labels, untrained tail.

    scikit-learn's meta-estimators slice and clone what they are given. They are given integer row
    numbers, and the rows are stored here, once. ``clone`` returns the same object. When the fit
    ends, the rows are released, so that no fitted or pickled tail contains them.

    Parameters
    ----------
    activations : ImageActivations or ArrayActivations
    sample_weight : ndarray of shape (n_rows,)
        Weights, including class weights that were given as a dict.
    is_validation : ndarray of shape (n_rows,), dtype bool
        Rows held out for early stopping.
    blueprint : Blueprint
        The untrained tail. Tails train copies.
    codes : ndarray of shape (n_rows,), dtype int
        Index of each row's class in `names`.
    names : sequence of str
        The classes, for messages.
    tasks : TrainingTasks, default=None
        The trainings on these rows, as they are reported to callbacks. None reports nothing.

    Attributes
    ----------
    shape : tuple of int
        Shape of one row of activations.
    n_views : int
        Number of augmented views per training row. Row ``i + v * n_rows`` is view `v` of row `i`.
    n_uses : int
        Number of times that tails of this process used a row, to train or to predict.
    """

    # These are still available after the release.
    shape: tuple[int, ...] = ()
    names: Sequence[str] = ()
    n_views = 0
    n_uses = 0
    _owner = ""
    _name = ""
    _made_of: TrainingRows | None = None
    tasks = TrainingTasks()

    def __init__(
        self,
        activations: Activations,
        *,
        sample_weight: np.ndarray,
        is_validation: np.ndarray,
        blueprint: Blueprint,
        codes: np.ndarray,
        names: Sequence[str],
        tasks: TrainingTasks | None = None,
    ) -> None:
        self._activations: Activations | None = activations
        self.shape = activations.shape
        self.n_views = activations.n_views
        self.sample_weight = sample_weight
        self.is_validation = is_validation
        self._blueprint: Blueprint | None = blueprint
        self.codes = codes
        self.names = names
        if tasks is not None:
            self.tasks = tasks
        self._resident: torch.Tensor | None = None
        self._owner = _PROCESS
        self._name = uuid.uuid4().hex
        _LIVE[self._name] = self

    @property
    def n_rows(self) -> int:
        """Number of rows, without views."""
        return len(self.sample_weight)

    @property
    def width(self) -> int:
        """Number of values per row."""
        return int(np.prod(self.shape))

    @property
    def whole(self) -> np.ndarray | None:
        """All activations, views included, if they are in memory as one array."""
        return None if self._activations is None else self._activations.whole

    @property
    def n_bytes(self) -> int:
        """Bytes of activations in memory."""
        return 0 if self.whole is None else self.whole.nbytes

    @property
    def is_live(self) -> bool:
        """Whether the fit that the rows belong to has not ended."""
        return self._activations is not None

    @property
    def blueprint(self) -> Blueprint:
        """The untrained tail."""
        if self._blueprint is None:
            raise RuntimeError("a tail cannot be fitted again. Fit the model to which it belongs.")
        return self._blueprint

    def take(self, ids: np.ndarray) -> np.ndarray:
        """Return the activations of some rows."""
        if self._activations is None:
            raise RuntimeError(
                "row ids have no meaning after fit; expected activations. Pass trunk_.transform(X)."
            )
        return self._activations.take(ids)

    def replaced_by(self, values: np.ndarray) -> TrainingRows:
        """Return rows with other values, and the same weights, classes and validation part.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_values)
            The value of each of these rows.
        """
        return TrainingRows(
            ArrayActivations(values),
            sample_weight=self.sample_weight,
            is_validation=self.is_validation,
            blueprint=Blueprint(nn.Identity(), values.shape[1]),
            codes=self.codes,
            names=self.names,
            tasks=self.tasks,
        )

    def made_for_training(self, values: np.ndarray) -> TrainingRows:
        """Return rows of weight 1 that do not belong to images, such as those that SMOTE makes.

        Parameters
        ----------
        values : ndarray of shape (n, *shape)
        """
        n = len(values)
        rows = TrainingRows(
            ArrayActivations(values),
            sample_weight=np.ones(n),
            is_validation=np.zeros(n, dtype=bool),
            blueprint=Blueprint(nn.Identity(), values.shape[1]),
            codes=np.zeros(n, dtype=int),
            names=self.names,
        )
        rows._made_of = self
        return rows

    def count_uses(self, n: int) -> None:
        """Count `n` uses of rows. Uses of synthetic rows count as uses of the original rows."""
        rows = self if self._made_of is None else self._made_of
        rows.n_uses += n

    def resident(self, device: torch.device) -> torch.Tensor | None:
        """Return all activations as one tensor on `device`, or None if they do not fit there."""
        if self.whole is None:
            return None
        if self._resident is None or self._resident.device.type != device.type:
            if device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                if self.whole.nbytes > _RESIDENT_SHARE * free:
                    return None
            self._resident = to_device(self.whole, device)
        return self._resident

    def problem(self, ids: np.ndarray, y: np.ndarray) -> ProblemName:
        """Return the name of a classification problem, and its number.

        Parameters
        ----------
        ids : ndarray of int
            Row numbers of the problem.
        y : ndarray of int
            Class of each of these rows in the problem: 0 and 1 in a binary problem.
        """
        positive = sorted(set(self.codes[ids[y == 1]]))
        negative = sorted(set(self.codes[ids[y == 0]]))
        if len(set(y)) > 2 or not positive or not negative:
            return ProblemName(", ".join(self.names), 0)
        if len(negative) > 1:
            return ProblemName(f"{self.names[positive[0]]} against the rest", int(positive[0]))
        # In the order of pairs_, whichever of the two is the positive class.
        first, second = sorted(positive + negative)
        pairs = list(combinations(range(len(self.names)), 2))
        name = f"{self.names[first]} against {self.names[second]}"
        return ProblemName(name, pairs.index((first, second)))

    def release(self) -> None:
        """Delete the rows, in everything that shares this object."""
        for name in ("_activations", "_blueprint", "_resident", "_made_of"):
            setattr(self, name, None)
        self.tasks = TrainingTasks()
        self.sample_weight = np.empty(0)
        self.is_validation = np.empty(0, bool)
        self.codes = np.empty(0, int)

    # -- clones and processes ---------------------------------------------------------------------

    def __sklearn_clone__(self) -> TrainingRows:
        return self

    def for_fitted(self) -> TrainingRows | _RowsElsewhere:
        """Return what the pickle of a fitted tail contains instead of the rows.

        From a worker process to the process that waits for the tail, it is the name of the rows,
        because that process has the rows. Tails that are not fitted yet contain the rows, also
        when Dask passes them from one worker to another.
        """
        is_at_home = not self.is_live or self._owner == _PROCESS
        return self if is_at_home else _RowsElsewhere(self._name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.is_live:
            _LIVE[self._name] = self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_resident": None}


# Name of this process. In a cluster of containers many processes have the same number.
_PROCESS = uuid.uuid4().hex


@after_fork_in_child
def _new_name() -> None:
    global _PROCESS
    _PROCESS = uuid.uuid4().hex


# Rows of the fits that have not ended, including those that came from other processes.
_LIVE: WeakValueDictionary[str, TrainingRows] = WeakValueDictionary()


@dataclass(frozen=True)
class _RowsElsewhere:
    """Name of training rows, which are found again in the process that has them."""

    name: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _found_again, (self.name,)


def _found_again(name: str) -> TrainingRows:
    rows = _LIVE.get(name)
    if rows is None:  # the fit has ended
        rows = object.__new__(TrainingRows)
        rows.release()
    return rows
