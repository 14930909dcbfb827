"""The SQLite file that holds rows of activations, each with a checksum."""

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

_APPLICATION_ID = 0x43585241  # in the header of the file

# SQLite's maximum: rows below the head take 100 KB or more, and are read nearly twice as fast with
# pages of this size
PAGE_BYTES = 65536

# what rows may have: float32 of either byte order, and the sizes of dimensions
_DTYPE = re.compile("[<>]f4")
_SHAPE = re.compile(r"([0-9]{1,12}(,[0-9]{1,12})*)?")


class Damage(sqlite3.DatabaseError):
    """The file does not contain what was written to it."""


class Connection:
    """A connection for one transaction: processes fork, and threads come and go.

    Parameters
    ----------
    path : path
    mode : {"rw", "rwc", "ro"}
        Read and write; the same, and create a missing file; or read where nothing can be written,
        not even the files in which SQLite notes who reads. What another process writes meanwhile
        may then be missing or, which checksums find, torn.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    """

    def __init__(self, path: Path, mode: str = "rw") -> None:
        if mode != "rwc" and not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        name = quote(os.fsencode(path.absolute().as_posix()))
        # an empty host before the path, also of a network share on Windows
        uri = f"file://{name if name.startswith('/') else '/' + name}?mode={mode}"
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


def prepare(connection: sqlite3.Connection) -> str:
    """Create the tables of a new file; return what is wrong with an existing one, or ``""``."""

    def found() -> tuple[int, int]:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return application, n_tables

    if found() == (0, 0):
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        # readers and a writer at once; a setting of the file, not of the connection
        with contextlib.suppress(sqlite3.OperationalError):  # another process sets it now
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        if found() == (0, 0):
            # values are stored in the order in which they come, and only the index is in the order
            # of the digests: otherwise each row would change a page of its own
            connection.execute(
                "CREATE TABLE rows "
                "(trunk TEXT, key BLOB, dtype TEXT, shape TEXT, value BLOB, checksum BLOB)"
            )
            connection.execute("CREATE UNIQUE INDEX rows_by_key ON rows (trunk, key)")
            connection.execute("CREATE TABLE trunks (trunk TEXT PRIMARY KEY, written REAL)")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.commit()
    return "" if is_ours(connection) else "it is no file of cxr_sklearn"


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether a file has the mark of this package, and nothing but tables and indexes.

    Views, virtual tables and triggers of somebody else would run when rows are read or written.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    query = (
        "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') OR rootpage = 0"
    )
    (n_others,) = connection.execute(query).fetchone()
    return application == _APPLICATION_ID and not n_others


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
        Shape of a row, if it is known. Rows of one trunk all have one shape in any case.

    Raises
    ------
    Damage
        If a row does not match its checksum, or is not a row of such a trunk: anybody can compute
        a checksum.
    """
    query = "SELECT dtype, shape, value, checksum FROM rows WHERE trunk = ? AND key = ?"
    rows: list[np.ndarray | None] = []
    for key in keys:
        record = connection.execute(query, (trunk, key)).fetchone()
        if record is None:
            rows.append(None)
            continue
        if not isinstance(record[2], bytes) or _checksum(trunk, key, *record[:3]) != record[3]:
            raise Damage("a row does not match its checksum")
        row = _to_array(*record[:3])
        shape = row.shape if shape is None else shape
        if row.shape != shape:
            raise Damage(f"a row has the shape {row.shape} instead of {shape}")
        rows.append(row)
    return rows


def to_records(trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> list[tuple]:
    """Return the records of some rows, float32, in the columns of the table."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    shape = ",".join(map(str, rows.shape[1:]))
    records = []
    for key, row in zip(keys, rows, strict=True):
        what = (trunk, key, rows.dtype.str, shape, row.tobytes())
        records.append((*what, _checksum(*what)))
    return records


def write_records(connection: sqlite3.Connection, trunk: str, records: list[tuple]) -> None:
    """Write the records of one trunk, and the time of the writing."""
    connection.execute("INSERT OR REPLACE INTO trunks VALUES (?, ?)", (trunk, time.time()))
    connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", records)


def _checksum(trunk: str, key: bytes, dtype: Any, shape: Any, value: bytes) -> bytes:
    """Return a checksum of a row and of its key, since the index may be damaged too."""
    digest = hashlib.blake2b(repr((trunk, key, dtype, shape)).encode(), digest_size=8)
    digest.update(value)
    return digest.digest()


def _to_array(dtype: Any, shape: Any, value: bytes) -> np.ndarray:
    """Return the array of a record; what has a checksum may still not be one."""
    kind, sizes = _form(dtype, shape)
    if math.prod(sizes) * kind.itemsize != len(value):
        raise Damage("a row has more or fewer values than its shape")
    return np.frombuffer(value, dtype=kind).reshape(sizes)


@functools.lru_cache(maxsize=64)
def _form(dtype: Any, shape: Any) -> tuple[np.dtype, tuple[int, ...]]:
    if not (isinstance(dtype, str) and _DTYPE.fullmatch(dtype)):
        raise Damage("a row is not of float32")
    if not (isinstance(shape, str) and _SHAPE.fullmatch(shape)):
        raise Damage("a row has no shape")
    return np.dtype(dtype), tuple(int(size) for size in shape.split(",") if size)


def is_damage(error: Exception) -> bool:
    """Whether the cause of an error is the file, rather than the disk, a lock or a permission."""
    code = getattr(error, "sqlite_errorcode", None)
    # Python found an error without a code: invalid UTF-8, or a wrong checksum. A statement that
    # meets missing or other tables is an SQLITE_ERROR.
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return code is None or code & 0xFF in damage
