"""Activations in the memory of the process."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._utils.forks import after_fork_in_child

IN_PROCESS_BYTES = 2**30


class CacheInfo(NamedTuple):
    """Use of the cache in a fit.

    Attributes
    ----------
    hits : int
        Number of images for which the cache already contained the activations.
    misses : int
        Number of images that were run through the trunk.
    passes_saved : int
        Number of forward passes that networks without a shared trunk would have made in addition.
        Such networks make one pass for each use of an image, in every epoch of every tail and for
        predictions.
    """

    hits: int
    misses: int
    passes_saved: int


class Turn(NamedTuple):
    """Missing rows, split into those that are stored by now and those to compute.

    Attributes
    ----------
    ready : dict of bytes to ndarray
        Rows that have been stored since they were found to be missing.
    to_compute : list of bytes
        Keys of the rows that the caller must compute and put into the cache now.
    """

    ready: dict[bytes, np.ndarray]
    to_compute: list[bytes]


class ActivationCache:
    """Rows of activations in memory, shared by every estimator of the process.

    A full cache makes room for new rows by dropping rows of other trunks, one by one. It begins
    with the trunk that was written to longest ago, and drops the last rows of a trunk first. It
    never drops rows for newer rows of the same trunk. This suits cross-validation, in which each
    fold reads the same rows in the same order: a cache that drops the least recently used rows
    would always drop the rows that are needed next.

    Parameters
    ----------
    max_bytes : int
        Maximum size of the arrays, in bytes.
    """

    def __init__(self, max_bytes: int = IN_PROCESS_BYTES) -> None:
        self.max_bytes = max_bytes
        # The trunk that was written to last comes last.
        self._trunks: OrderedDict[str, dict[bytes, np.ndarray]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(
        self, trunk: str, keys: Sequence[bytes], shape: tuple[int, ...] | None = None
    ) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None for each row that is not in the cache.

        `shape` is not used. A cache on disk needs it, but rows that this process has put here have
        the right shape.
        """
        with self._lock:
            stored = self._trunks.get(trunk, {})
            return [stored.get(key) for key in keys]

    def put(self, trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Store rows of one trunk, as many as there is room for."""
        with self._lock:
            stored = self._trunks.setdefault(trunk, {})
            self._trunks.move_to_end(trunk)
            for key, row in zip(keys, rows, strict=True):
                if key in stored:
                    continue
                if not self._make_room(row.nbytes):
                    return
                stored[key] = row.copy()
                self._bytes += row.nbytes

    def _make_room(self, n_bytes: int) -> bool:
        """Drop rows of all trunks but the last until there is room; return whether there is."""
        while self._bytes + n_bytes > self.max_bytes and len(self._trunks) > 1:
            oldest, rows = next(iter(self._trunks.items()))
            if rows:
                _, dropped = rows.popitem()
                self._bytes -= dropped.nbytes
            if not rows:
                del self._trunks[oldest]
        return self._bytes + n_bytes <= self.max_bytes

    @contextlib.contextmanager
    def turn(self, trunk: str, keys: Sequence[bytes], wait: bool = True) -> Iterator[Turn]:
        """Yield the rows that are stored by now, and the keys of those to compute.

        Only one thread is inside this block at a time. Another thread that lacks the same rows
        finds them stored when its turn comes, so they are computed once.
        """
        with one_thread():
            ready: dict[bytes, np.ndarray] = {}
            to_compute = []
            for key, row in zip(keys, self.get(trunk, keys), strict=True):
                if row is None:
                    to_compute.append(key)
                else:
                    ready[key] = row
            yield Turn(ready, to_compute)

    def __reduce__(self) -> tuple[Any, ...]:
        # Each process has a cache of its own. A pickle refers to the cache of the process that
        # loads it, and contains no rows or locks.
        return _in_process, ()

    def clear(self) -> None:
        """Drop every row."""
        with self._lock:
            self._trunks.clear()
            self._bytes = 0


IN_PROCESS = ActivationCache()


def _in_process() -> ActivationCache:
    """Return the cache of this process, for pickles."""
    return IN_PROCESS


def clear_cache() -> None:
    """Delete the activations that this process keeps in memory.

    Activations that are stored in a folder (``memory="folder"``) are not deleted.

    Examples
    --------
    >>> from cxr_sklearn import clear_cache
    >>> clear_cache()
    """
    IN_PROCESS.clear()


# Only one thread of a process computes rows at a time. Another thread would mostly need the same
# rows, and would compete for the same processor cores.
_TURN = threading.RLock()


def one_thread() -> threading.RLock:
    """Return the lock that a thread holds while it computes rows."""
    return _TURN


@after_fork_in_child
def _new_locks() -> None:
    global _TURN
    _TURN = threading.RLock()
    IN_PROCESS._lock = threading.Lock()
