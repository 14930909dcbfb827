"""Activations by content: an image passes the trunk once, whoever asks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

IN_PROCESS_BYTES = 2**30
_FORMAT_VERSION = 1


class ActivationCache:
    """Rows of activations in memory, shared by every estimator of the process.

    Full, it makes room by dropping other trunks' rows, oldest trunk first. A trunk's own rows are
    never dropped for its newer ones: folds scan the same rows in the same order, and a cache that
    drops the least recently used would then hold none of them when they are asked for.

    Parameters
    ----------
    max_bytes : int
        Bound on the arrays held.
    """

    def __init__(self, max_bytes: int = IN_PROCESS_BYTES) -> None:
        self.max_bytes = max_bytes
        self._trunks: OrderedDict[str, dict[bytes, np.ndarray]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, trunk: str, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None where a row is not held."""
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
                    _, dropped = self._trunks.popitem(last=False)
                    self._bytes -= sum(r.nbytes for r in dropped.values())
                if self._bytes + row.nbytes > self.max_bytes:
                    return
                held[key] = row.copy()
                self._bytes += row.nbytes

    def __reduce__(self) -> tuple:
        # another process has a cache, and locks, of its own
        return _in_process, ()

    def clear(self) -> None:
        """Drop every row."""
        with self._lock:
            self._trunks.clear()
            self._bytes = 0


class DiskCache:
    """Rows of activations in a folder, shared by every process that names it.

    One SQLite file: rows are written in transactions, so a killed process leaves whole rows or
    none, and several processes may read and write at once.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    """

    max_bytes = float("inf")

    def __init__(self, folder: str | os.PathLike) -> None:
        self.path = Path(folder) / f"activations-v{_FORMAT_VERSION}.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._connect() as connection:
                # readers and a writer at once; a setting of the file, not of the connection
                with contextlib.suppress(sqlite3.OperationalError):  # another process sets it now
                    connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS rows (trunk TEXT, key BLOB, dtype TEXT, "
                    "shape TEXT, value BLOB, PRIMARY KEY (trunk, key)) WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            raise OSError(
                f"memory={str(folder)!r} cannot hold the activations ({error}); expected a folder "
                "that can be written to"
            ) from error

    def _connect(self) -> _Connection:
        return _Connection(self.path)

    def get(self, trunk: str, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None where a row is not held."""
        query = "SELECT dtype, shape, value FROM rows WHERE trunk = ? AND key = ?"
        with self._connect() as connection:
            found = [connection.execute(query, (trunk, key)).fetchone() for key in keys]
        return [None if row is None else _from_blob(*row) for row in found]

    def put(self, trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows of one trunk."""
        shape = ",".join(map(str, rows.shape[1:]))
        records = [
            (trunk, key, rows.dtype.str, shape, np.ascontiguousarray(row).tobytes())
            for key, row in zip(keys, rows, strict=True)
        ]
        with self._connect() as connection:
            connection.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)", records)


class _Connection:
    """A connection for one transaction: processes fork, and threads come and go."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=60)

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("PRAGMA synchronous=NORMAL")
        return self._connection

    def __exit__(self, kind: type | None, *_: Any) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.close()


def _from_blob(dtype: str, shape: str, value: bytes) -> np.ndarray:
    sizes = [int(size) for size in shape.split(",") if size]
    return np.frombuffer(value, dtype=np.dtype(dtype)).reshape(sizes)


_IN_PROCESS = ActivationCache()


def _in_process() -> ActivationCache:
    return _IN_PROCESS


def activation_cache(memory: Any, *, create: bool) -> ActivationCache | DiskCache:
    """Return the cache that ``memory`` names.

    Parameters
    ----------
    memory : None, path or joblib.Memory
        None is the cache of this process.
    create : bool
        Whether to make a missing folder. A fitted model does not: it may have come from another
        machine, and uses the cache of its process there.
    """
    folder = memory if isinstance(memory, (str, os.PathLike, type(None))) else memory.location
    if folder is None or not (create or Path(folder).is_dir()):
        return _IN_PROCESS
    return DiskCache(folder)


def clear_cache() -> None:
    """Drop the activations that this process holds in memory."""
    _IN_PROCESS.clear()
