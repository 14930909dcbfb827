"""Activations in the memory of the process."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .._utils.forks import after_fork_in_child

IN_PROCESS_BYTES = 2**30


class CacheInfo(NamedTuple):
    """Use of the cache in a fit.

    Attributes
    ----------
    hits : int
        Images whose activations were in the cache before.
    misses : int
        Images that passed the trunk.
    passes_saved : int
        Number of times that the tails used an image, in every epoch of each of them and for
        predictions, less the misses. Networks that share nothing would have made these passes too.
    """

    hits: int
    misses: int
    passes_saved: int


class Turn(NamedTuple):
    """Rows that a process missed, divided by who computes them.

    Attributes
    ----------
    ready : dict of bytes to ndarray
        Rows that have been stored meanwhile.
    mine : list of bytes
        Keys of the rows that this process must compute and put now.
    """

    ready: dict[bytes, np.ndarray]
    mine: list[bytes]


class ActivationCache:
    """Rows of activations in memory, shared by every estimator of the process.

    When it is full, it makes room by dropping rows of other trunks, one for one: of the trunk that
    was written to longest ago, the last rows first. It never drops a trunk's own rows for newer
    ones of the same trunk. Folds read the same rows in the same order, so a cache that drops the
    least recently used rows would hold none of them when they are needed.

    Parameters
    ----------
    max_bytes : int
        Maximum size of the arrays, in bytes.
    """

    def __init__(self, max_bytes: int = IN_PROCESS_BYTES) -> None:
        self.max_bytes = max_bytes
        self._trunks: OrderedDict[str, dict[bytes, np.ndarray]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(
        self, trunk: str, keys: Sequence[bytes], shape: tuple[int, ...] | None = None
    ) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None for each row that is not in the cache.

        What this process put here has the right `shape`.
        """
        with self._lock:
            held = self._trunks.get(trunk, {})
            return [held.get(key) for key in keys]

    def put(self, trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows of one trunk as far as there is room."""
        with self._lock:
            held = self._trunks.setdefault(trunk, {})
            self._trunks.move_to_end(trunk)
            for key, row in zip(keys, rows, strict=True):
                if key in held:
                    continue
                while self._bytes + row.nbytes > self.max_bytes and len(self._trunks) > 1:
                    oldest, others = next(iter(self._trunks.items()))
                    if others:
                        self._bytes -= others.popitem()[1].nbytes
                    if not others:
                        del self._trunks[oldest]
                if self._bytes + row.nbytes > self.max_bytes:
                    return
                held[key] = row.copy()
                self._bytes += row.nbytes

    @contextlib.contextmanager
    def turn(self, trunk: str, keys: Sequence[bytes], wait: bool = True) -> Iterator[Turn]:
        """Return the rows that have been stored meanwhile, and the keys of those to compute now.

        Threads take turns, so that two threads that miss the same row do not both compute it.
        """
        with one_thread():
            rows = dict(zip(keys, self.get(trunk, keys), strict=True))
            ready = {key: row for key, row in rows.items() if row is not None}
            yield Turn(ready, [key for key in keys if key not in ready])

    def __reduce__(self) -> tuple:
        # another process has its own cache, with its own locks
        return _in_process, ()

    def clear(self) -> None:
        """Drop every row."""
        with self._lock:
            self._trunks.clear()
            self._bytes = 0


IN_PROCESS = ActivationCache()


def _in_process() -> ActivationCache:
    return IN_PROCESS


def clear_cache() -> None:
    """Delete the activations that this process keeps in memory.

    Activations in a folder (``memory="folder"``) stay.

    Examples
    --------
    >>> from cxr_sklearn import clear_cache
    >>> clear_cache()
    """
    IN_PROCESS.clear()


# One thread of a process computes at a time: others would compute the same rows on the same cores.
_TURN = threading.RLock()


def one_thread() -> threading.RLock:
    """Return the lock that a thread holds while it computes rows."""
    return _TURN


@after_fork_in_child
def _new_locks() -> None:
    global _TURN
    _TURN = threading.RLock()
    IN_PROCESS._lock = threading.Lock()
