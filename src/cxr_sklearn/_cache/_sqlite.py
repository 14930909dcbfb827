"""The SQLite file that holds rows of activations, each with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_APPLICATION_ID = 0x43585241  # in the header of the file
# SQLite's maximum: rows below the head take 100 KB or more, and are read nearly twice as fast with
# pages of this size
PAGE_BYTES = 65536


class Damage(sqlite3.DatabaseError):
    """The file does not contain what was written to it."""


class Connection:
    """A connection for one transaction: processes fork, and threads come and go."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=60)

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
    application, _ = found()
    return "" if application == _APPLICATION_ID else "it is no file of cxr_sklearn"


def read_rows(
    connection: sqlite3.Connection, trunk: str, keys: Sequence[bytes]
) -> list[np.ndarray | None]:
    """Return the rows of one trunk, None for each row that is not stored.

    Raises
    ------
    Damage
        If a row does not match its checksum.
    """
    query = "SELECT dtype, shape, value, checksum FROM rows WHERE trunk = ? AND key = ?"
    rows: list[np.ndarray | None] = []
    for key in keys:
        record = connection.execute(query, (trunk, key)).fetchone()
        if record is not None and _checksum(trunk, key, *record[:3]) != record[3]:
            raise Damage("a row does not match its checksum")
        rows.append(None if record is None else _from_blob(*record[:3]))
    return rows


def to_records(trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> list[tuple]:
    """Return the records of some rows, in the columns of the table."""
    shape = ",".join(map(str, rows.shape[1:]))
    records = []
    for key, row in zip(keys, rows, strict=True):
        what = (trunk, key, rows.dtype.str, shape, np.ascontiguousarray(row).tobytes())
        records.append((*what, _checksum(*what)))
    return records


def write_records(connection: sqlite3.Connection, trunk: str, records: list[tuple]) -> None:
    """Write the records of one trunk, and the time of the writing."""
    connection.execute("INSERT OR REPLACE INTO trunks VALUES (?, ?)", (trunk, time.time()))
    connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", records)


def _checksum(trunk: str, key: bytes, dtype: Any, shape: Any, value: Any) -> bytes:
    """Return a checksum of a row and of its key, since the index may be damaged too."""
    if not isinstance(value, bytes):
        return b""
    digest = hashlib.blake2b(repr((trunk, key, dtype, shape)).encode(), digest_size=8)
    digest.update(value)
    return digest.digest()


def _from_blob(dtype: str, shape: str, value: bytes) -> np.ndarray:
    sizes = [int(size) for size in shape.split(",") if size]
    return np.frombuffer(value, dtype=np.dtype(dtype)).reshape(sizes)


def is_damage(error: Exception) -> bool:
    """Whether the cause of an error is the file, rather than the disk, a lock or a permission."""
    code = getattr(error, "sqlite_errorcode", None)
    # Python found an error without a code: invalid UTF-8, or a wrong checksum. A statement that
    # meets missing or other tables is an SQLITE_ERROR.
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return code is None or code & 0xFF in damage
