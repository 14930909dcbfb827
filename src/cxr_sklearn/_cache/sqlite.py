"""The SQLite file that contains rows of activations, each with a checksum."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import math
import os
import re
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

# The header of the file contains this number, by which files of this package are recognised.
_APPLICATION_ID = 0x43585241

# This is SQLite's maximum. Rows of a cut below the head take 100 KB or more, and are read nearly
# twice as fast with pages of this size.
PAGE_BYTES = 65536

# The only types that a row may have are float32 of either byte order.
_DTYPE = re.compile("[<>]f4")
# A shape is written as the sizes of its dimensions, separated by commas.
_SHAPE = re.compile(r"([0-9]{1,12}(,[0-9]{1,12})*)?")


class DamagedRow(sqlite3.DatabaseError):
    """A row of the file is not what was written to it."""


class Connection:
    """A connection to the file, as a context manager for one transaction.

    Connections are not kept for longer, because a connection must not be used by another thread or
    by a forked process.

    Parameters
    ----------
    path : path
    mode : {"rw", "rwc", "ro"}
        ``"rw"`` reads and writes, ``"rwc"`` also creates a missing file. ``"ro"`` reads a file in a
        folder that cannot be written to. SQLite then cannot lock the file either, so rows that
        another process writes meanwhile may be missing, or incomplete, which their checksums show.

    Raises
    ------
    FileNotFoundError
        If the file is missing and `mode` is not ``"rwc"``.
    """

    def __init__(self, path: Path, mode: str = "rw") -> None:
        if mode != "rwc" and not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        name = quote(os.fsencode(path.absolute().as_posix()))
        # On Windows a path begins with a drive letter, but the path of a URI begins with a slash.
        if not name.startswith("/"):
            name = f"/{name}"
        # The host between the slashes is empty, also for network shares on Windows.
        uri = f"file://{name}?mode={mode}"
        if mode == "ro":
            uri += "&immutable=1"
        self._connection = sqlite3.connect(uri, timeout=60, uri=True)

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            self._connection.close()
            raise
        return self._connection

    def __exit__(self, kind: type | None, *_: Any) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.close()


def prepare_file(connection: sqlite3.Connection) -> str:
    """Create the tables of a new file, and check an existing file.

    Returns
    -------
    problem : str
        The reason why an existing file cannot be used, or ``""``.
    """
    if _is_empty(connection):
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        # With a write-ahead log, processes can read while another one writes. This is a property of
        # the file, not of the connection. It fails if another process sets it at this moment.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have created the tables since the first check.
        if _is_empty(connection):
            _create_tables(connection)
        connection.commit()
    if not is_own_file(connection):
        return "cxr_sklearn did not create it"
    return ""


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Return whether a file has neither an application ID nor tables."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return application == 0 and n_tables == 0


def _create_tables(connection: sqlite3.Connection) -> None:
    # The table has no primary key, so values are appended in the order in which they are written,
    # and only the index is sorted by key. If the table were sorted by key, each row would be
    # written to a page of its own.
    connection.execute(
        "CREATE TABLE rows "
        "(trunk TEXT, key BLOB, dtype TEXT, shape TEXT, value BLOB, checksum BLOB)"
    )
    connection.execute("CREATE UNIQUE INDEX rows_by_key ON rows (trunk, key)")
    connection.execute("CREATE TABLE trunks (trunk TEXT PRIMARY KEY, written REAL)")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")


def is_own_file(connection: sqlite3.Connection) -> bool:
    """Return whether a file has the ID of this package, and contains only tables and indexes.

    Views, virtual tables and triggers, which another program may have added, would run when rows
    are read or written.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    query = (
        "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') OR rootpage = 0"
    )
    (n_others,) = connection.execute(query).fetchone()
    return application == _APPLICATION_ID and n_others == 0


def read_rows(
    connection: sqlite3.Connection,
    trunk: str,
    keys: Sequence[bytes],
    shape: tuple[int, ...] | None = None,
) -> list[np.ndarray | None]:
    """Return the rows of one trunk, None for each row that is not stored.

    Parameters
    ----------
    connection : sqlite3.Connection
    trunk : str
    keys : sequence of bytes
    shape : tuple of int, default=None
        Shape of a row, if it is known. If not, all rows must have the shape of the first row.

    Raises
    ------
    DamagedRow
        If a row does not match its checksum, or is not a row of this trunk. Both are checked,
        because anybody can compute a checksum.
    """
    query = "SELECT dtype, shape, value, checksum FROM rows WHERE trunk = ? AND key = ?"
    rows: list[np.ndarray | None] = []
    for key in keys:
        record = connection.execute(query, (trunk, key)).fetchone()
        if record is None:
            rows.append(None)
            continue
        row = _checked_row(trunk, key, record)
        if shape is None:
            shape = row.shape
        if row.shape != shape:
            raise DamagedRow(f"a row has the shape {row.shape} instead of {shape}")
        rows.append(row)
    return rows


def _checked_row(trunk: str, key: bytes, record: tuple[Any, ...]) -> np.ndarray:
    """Return the array of a record after comparing it to its checksum."""
    dtype, shape, value, checksum = record
    is_intact = isinstance(value, bytes) and checksum == row_checksum(
        trunk, key, dtype, shape, value
    )
    if not is_intact:
        raise DamagedRow("a row does not match its checksum")
    return _to_array(dtype, shape, value)


def to_records(trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> list[tuple[Any, ...]]:
    """Convert rows to float32, and return them as records for the columns of the table."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    dtype = rows.dtype.str
    shape = ",".join(map(str, rows.shape[1:]))
    records = []
    for key, row in zip(keys, rows, strict=True):
        value = row.tobytes()
        checksum = row_checksum(trunk, key, dtype, shape, value)
        records.append((trunk, key, dtype, shape, value, checksum))
    return records


def write_records(
    connection: sqlite3.Connection, trunk: str, records: list[tuple[Any, ...]]
) -> None:
    """Write the records of one trunk, and the current time as the last time it was written to."""
    connection.execute("INSERT OR REPLACE INTO trunks VALUES (?, ?)", (trunk, time.time()))
    connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", records)


def row_checksum(trunk: str, key: bytes, dtype: Any, shape: Any, value: bytes) -> bytes:
    """Return the checksum of a row and of its key, because the index may be damaged too."""
    digest = hashlib.blake2b(repr((trunk, key, dtype, shape)).encode(), digest_size=8)
    digest.update(value)
    return digest.digest()


def _to_array(dtype: Any, shape: Any, value: bytes) -> np.ndarray:
    """Return the array of a record, which may be invalid in spite of a correct checksum."""
    kind, sizes = _parse_form(dtype, shape)
    if math.prod(sizes) * kind.itemsize != len(value):
        raise DamagedRow("a row has more or fewer values than its shape")
    return np.frombuffer(value, dtype=kind).reshape(sizes)


# The rows of a trunk all have the same type and shape, so these are parsed once.
@functools.lru_cache(maxsize=64)
def _parse_form(dtype: Any, shape: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """Return the type and the shape of an array from the strings in a record."""
    if not (isinstance(dtype, str) and _DTYPE.fullmatch(dtype)):
        raise DamagedRow("a row is not of type float32")
    if not (isinstance(shape, str) and _SHAPE.fullmatch(shape)):
        raise DamagedRow("a row has an invalid shape")
    if shape == "":
        return np.dtype(dtype), ()
    return np.dtype(dtype), tuple(map(int, shape.split(",")))


def is_damage(error: Exception) -> bool:
    """Return whether an error shows that the file is damaged, or that another program made it.

    Other causes are the disk, a lock or missing permissions.
    """
    code = getattr(error, "sqlite_errorcode", None)
    # Errors that Python found have no code: invalid UTF-8, or a wrong checksum.
    if code is None:
        return True
    # SQLITE_ERROR is what a statement raises if tables or columns are missing. The higher bits of a
    # code are details.
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return code & 0xFF in damage
