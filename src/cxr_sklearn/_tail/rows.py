"""Activations by row id, for the length of one fit."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import nn

from .._utils.device import to_device

# share of a CUDA device's free memory that activations may take for the length of a fit
_RESIDENT_SHARE = 0.25


@dataclass(frozen=True)
class Blueprint:
    """What a tail is built from.

    Attributes
    ----------
    body : torch.nn.Module
        The network from the cut to the classification layer, with the weights it starts from.
    width : int
        Values per image that `body` returns, once flattened.
    channels : int
        Channels that images get before `body`; 0 where rows are activations, not images.
    """

    body: nn.Module
    width: int
    channels: int = 0


class TrainingRows:
    """What the binary problems of one fit share: activations, weights and the untrained tail.

    scikit-learn's meta-estimators slice and clone what they are given. They are given integer row
    ids; the rows stand here, once. ``clone`` returns the same object, and the rows are let go when
    the fit ends, so no fitted or pickled tail carries them.

    Parameters
    ----------
    take : callable
        Ids to float32 or uint8 activations (n, *shape). Id ``i + v * n_rows`` is view `v` of row
        `i`; view 0 is the image as it is.
    shape : tuple of int
        Shape of one row of activations.
    sample_weight : ndarray of shape (n_rows,)
        Weights, class weights given as a dict included.
    is_validation : ndarray of shape (n_rows,), dtype bool
        Rows held out for early stopping.
    blueprint : Blueprint
        The untrained tail. Tails train copies.
    codes : ndarray of shape (n_rows,), dtype int
        Index of each row's class in `names`.
    names : sequence of str
        The classes, for messages.
    n_views : int
        Augmented views per training row.
    whole : ndarray or None
        All activations, where they stand in memory as one array.

    Attributes
    ----------
    n_uses : int
        How often tails of this process used a row, to train or to predict.
    """

    # what rows without a fit still have
    shape: tuple[int, ...] = ()
    names: Sequence[str] = ()
    n_views = n_uses = 0
    _owner = _name = ""
    _made_of: TrainingRows | None = None

    def __init__(
        self,
        take: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        *,
        sample_weight: np.ndarray,
        is_validation: np.ndarray,
        blueprint: Blueprint,
        codes: np.ndarray,
        names: Sequence[str],
        n_views: int = 0,
        whole: np.ndarray | None = None,
    ) -> None:
        self._take: Callable[[np.ndarray], np.ndarray] | None = take
        self.shape = shape
        self.sample_weight = sample_weight
        self.is_validation = is_validation
        self._blueprint: Blueprint | None = blueprint
        self.codes = codes
        self.names = names
        self.n_views = n_views
        self.whole = whole
        self._resident: torch.Tensor | None = None
        self._owner = _PROCESS
        self._name = uuid.uuid4().hex
        _LIVE[self._name] = self

    @property
    def n_rows(self) -> int:
        """Number of rows, views not counted."""
        return len(self.sample_weight)

    @property
    def width(self) -> int:
        """Values per row."""
        return int(np.prod(self.shape))

    @property
    def n_bytes(self) -> int:
        """Bytes of activations in memory."""
        return 0 if self.whole is None else self.whole.nbytes

    @property
    def is_live(self) -> bool:
        """Whether the fit that owns the rows is still under way."""
        return self._take is not None

    @property
    def blueprint(self) -> Blueprint:
        """The untrained tail."""
        if self._blueprint is None:
            raise RuntimeError("a tail cannot be fitted again: fit the model it belongs to")
        return self._blueprint

    def take(self, ids: np.ndarray) -> np.ndarray:
        """Return the activations of some rows."""
        if self._take is None:
            raise RuntimeError("row ids mean nothing after fit: pass trunk_.transform(X)")
        return self._take(ids)

    def with_values(self, values: np.ndarray, *, made: bool) -> TrainingRows:
        """Return rows of other values.

        Parameters
        ----------
        values : ndarray of shape (n, n_values)
        made : bool
            Whether they were made for training, and have weight 1. Otherwise row i of them is row
            i of these, whose weights, classes and validation part stay.
        """
        values = np.ascontiguousarray(values, dtype=np.float32)
        n = len(values)
        rows = TrainingRows(
            values.__getitem__,
            values.shape[1:],
            sample_weight=np.ones(n) if made else self.sample_weight,
            is_validation=np.zeros(n, dtype=bool) if made else self.is_validation,
            blueprint=Blueprint(nn.Identity(), values.shape[1]),
            codes=np.zeros(n, dtype=int) if made else self.codes,
            names=self.names,
            whole=values,
        )
        rows._made_of = self if made else None
        return rows

    def count_uses(self, n: int) -> None:
        """Note that a tail has used so many rows; those made of others count as theirs."""
        (self._made_of or self).n_uses += n

    def resident(self, device: torch.device) -> torch.Tensor | None:
        """Return all activations as one tensor on `device`, None where they do not fit there."""
        if self.whole is None:
            return None
        if self._resident is None or self._resident.device.type != device.type:
            if device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                if self.whole.nbytes > _RESIDENT_SHARE * free:
                    return None
            self._resident = to_device(self.whole, device)
        return self._resident

    def problem(self, ids: np.ndarray, y: np.ndarray) -> str:
        """Return the name of a problem: its classes, in the order of `names`."""
        sides = [sorted(set(self.codes[ids[y == side]])) for side in (1, 0)]
        if len(set(y)) > 2 or not all(sides):
            return ", ".join(self.names)
        positive, negative = sides
        if len(negative) > 1:
            return f"{self.names[positive[0]]} against the rest"
        first, second = sorted(positive + negative)  # as in pairs_
        return f"{self.names[first]} against {self.names[second]}"

    def release(self) -> None:
        """Let the rows go. Everything that shares this object lets go with it."""
        self.__dict__.update(self._without_rows())

    def _without_rows(self) -> dict[str, Any]:
        none = dict.fromkeys(("_take", "_blueprint", "whole", "_resident", "_made_of"))
        empty = {"sample_weight": np.empty(0), "is_validation": np.empty(0, bool)}
        return {**none, **empty, "codes": np.empty(0, int)}

    def __sklearn_clone__(self) -> TrainingRows:
        return self

    def for_fitted(self) -> TrainingRows | _RowsElsewhere:
        """Return what a fitted tail takes along when it is pickled.

        On the way back from a worker that is their name: whoever waits for the tail has the rows.
        Tails to be fitted take them, from one worker to another too, as Dask passes them on.
        """
        at_home = not self.is_live or self._owner == _PROCESS
        return self if at_home else _RowsElsewhere(self._name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.is_live:
            _LIVE[self._name] = self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_resident": None}


# names this process; on a cluster of containers many have one number
_PROCESS = uuid.uuid4().hex


def _new_name() -> None:
    global _PROCESS
    _PROCESS = uuid.uuid4().hex


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_name)

# rows of the fits under way, those that came from other processes too
_LIVE: WeakValueDictionary[str, TrainingRows] = WeakValueDictionary()


@dataclass(frozen=True)
class _RowsElsewhere:
    """Training rows by name, found again where they are."""

    name: str

    def __reduce__(self) -> tuple:
        return _found_again, (self.name,)


def _found_again(name: str) -> TrainingRows:
    rows = _LIVE.get(name)
    if rows is None:  # the fit is over
        rows = object.__new__(TrainingRows)
        rows.release()
    return rows
