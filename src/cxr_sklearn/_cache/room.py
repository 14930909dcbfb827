"""Room for new rows: the limit of a folder, and the free space of its disk."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sqlite3
from pathlib import Path

from . import sqlite

# a cache on disk leaves the lesser of the two free
_RESERVED_BYTES, _RESERVED_SHARE = 2**30, 0.05

# an empty file with its log takes less
_FILE_BYTES = 2**20


class Room:
    """The room that an SQLite file in a folder may take.

    Parameters
    ----------
    folder : path
    max_bytes : int or None
        Maximum size of the pages of the file that are in use.
    """

    def __init__(self, folder: Path, max_bytes: int | None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def make(self, connection: sqlite3.Connection, trunk: str, n_bytes: int) -> None:
        """Drop rows of other trunks, the oldest first, until there is room for `n_bytes`.

        The connection gets the right to write, so what is found here holds until rows are written.

        Raises
        ------
        OSError
            If there cannot be enough room. No row is dropped where that is known beforehand.
        """
        connection.execute("BEGIN IMMEDIATE")
        lacking, reason = self._lack(connection, n_bytes)
        if not lacking:
            return
        query = "SELECT trunk FROM trunks WHERE trunk != ? ORDER BY written"
        others = [other for (other,) in connection.execute(query, (trunk,))]
        if sum(_held_bytes(connection, other) for other in others) < lacking:
            raise OSError(reason)
        for other in others:
            while lacking := self._lack(connection, n_bytes)[0]:
                if lacking == math.inf or not _drop(connection, other, int(lacking)):
                    break
            else:
                return
        lacking, reason = self._lack(connection, n_bytes)
        if lacking:  # the sum above counts values, but only whole pages become free
            connection.commit()  # what was dropped stays dropped
            raise OSError(reason)

    def _lack(self, connection: sqlite3.Connection, n_bytes: int) -> tuple[float, str]:
        """Return how many bytes of rows must go before others of `n_bytes` are written, and why."""
        unused, used = pages(connection)
        over = 0 if self.max_bytes is None else used + n_bytes - self.max_bytes
        if over > 0:
            return over, f"bytes_limit={self.max_bytes} is reached"
        disk = shutil.disk_usage(self.folder)
        spare = disk.free - min(_RESERVED_BYTES, _RESERVED_SHARE * disk.total)
        if spare <= 0:  # deleted rows do not make the file shorter
            return math.inf, os.strerror(errno.ENOSPC)
        # SQLite needs the pages a second time, for its log
        if spare >= 3 * n_bytes or unused >= 2 * n_bytes:
            return 0, ""
        return 2 * n_bytes - unused, os.strerror(errno.ENOSPC)


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an error of writing to a folder comes from a disk without room."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return code == sqlite3.SQLITE_FULL
    # SQLite reports what it could not do, not why
    try:
        return shutil.disk_usage(folder).free < _FILE_BYTES
    except OSError:
        return False


def pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the bytes of the unused and of the used pages of the file."""
    names = ("page_size", "freelist_count", "page_count")
    size, unused, n_pages = (connection.execute(f"PRAGMA {n}").fetchone()[0] for n in names)
    return unused * size, (n_pages - unused) * size


def row_bytes(n_bytes: int) -> int:
    """Return the maximum size in the file of a row whose value takes `n_bytes`.

    SQLite stores whole rows in a page, or most of one row in pages of its own
    (sqlite.org/fileformat2.html, "Cell Payload Overflow Pages"). The index is added.
    """
    page = sqlite.PAGE_BYTES
    size = n_bytes + 200
    per_page = (page - 100) // size
    n_pages_bytes = page // per_page if per_page else page * (1 + -(-size // (page - 4)))
    return n_pages_bytes + 400


def _row_size(connection: sqlite3.Connection, trunk: str) -> int:
    """Return the bytes of a value of a trunk, whose rows all have one size; 0 if it has none."""
    # a row that this package did not write may have no value
    query = "SELECT max(1, coalesce(length(value), 1)) FROM rows WHERE trunk = ? LIMIT 1"
    (size,) = connection.execute(query, (trunk,)).fetchone() or (0,)
    return size


def _held_bytes(connection: sqlite3.Connection, trunk: str) -> int:
    """Return the bytes of all values of a trunk."""
    query = "SELECT count(*) FROM rows WHERE trunk = ?"
    (n_rows,) = connection.execute(query, (trunk,)).fetchone()
    return n_rows * _row_size(connection, trunk)


def _drop(connection: sqlite3.Connection, trunk: str, n_bytes: int) -> bool:
    """Delete rows of a trunk that take at least `n_bytes`; return whether the trunk had rows."""
    size = _row_size(connection, trunk)
    if not size:
        connection.execute("DELETE FROM trunks WHERE trunk = ?", (trunk,))
        return False
    connection.execute(
        "DELETE FROM rows WHERE rowid IN (SELECT rowid FROM rows WHERE trunk = ? LIMIT ?)",
        (trunk, -(-n_bytes // size)),
    )
    return True
