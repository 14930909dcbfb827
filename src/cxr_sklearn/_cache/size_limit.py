"""The limit on the size of a cache folder, and the free space of its disk."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple

from . import sqlite

# A cache leaves this much of its disk free, whichever of the two is less.
_RESERVED_BYTES = 2**30
_RESERVED_SHARE = 0.05

# An empty SQLite file takes less than this, together with its log.
_EMPTY_FILE_BYTES = 2**20

# Upper bounds on what SQLite stores with each row: the other columns of the record, the entry in
# the index, and the header of a page.
_RECORD_OVERHEAD = 200
_INDEX_BYTES = 400
_PAGE_HEADER_BYTES = 100


class _Shortage(NamedTuple):
    """Space that is lacking for new rows.

    Attributes
    ----------
    n_bytes : float
        Size of the rows that must be deleted first. It is 0 if there is enough space, and infinite
        if deleting rows cannot help.
    reason : str
        Reason for the shortage, for a message.
    """

    n_bytes: float
    reason: str


_NO_SHORTAGE = _Shortage(0, "")


class SizeLimit:
    """The size that an SQLite file in a folder may have.

    Parameters
    ----------
    folder : path
    max_bytes : int or None
        Maximum size of the pages of the file that are in use.
    """

    def __init__(self, folder: Path, max_bytes: int | None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def make_room(self, connection: sqlite3.Connection, trunk: str, n_bytes: int) -> None:
        """Delete rows of other trunks until there is enough space for new rows.

        The trunks that were written to longest ago come first. Other processes cannot write until
        the transaction ends, so the space is still free when the new rows are written.

        Parameters
        ----------
        connection : sqlite3.Connection
        trunk : str
            Trunk of the new rows, which keeps its rows.
        n_bytes : int
            Size of the new rows.

        Raises
        ------
        OSError
            If there is not enough space. If this is known beforehand, no row is deleted.
        """
        connection.execute("BEGIN IMMEDIATE")
        shortage = self._shortage(connection, n_bytes)
        if not shortage.n_bytes:
            return
        query = "SELECT trunk FROM trunks WHERE trunk != ? ORDER BY written"
        others = [other for (other,) in connection.execute(query, (trunk,))]
        available = sum(_stored_bytes(connection, other) for other in others)
        if available < shortage.n_bytes:
            raise OSError(shortage.reason)
        for other in others:
            shortage = self._delete_until_enough(connection, other, n_bytes)
            if not shortage.n_bytes:
                return
        # `available` counts values, but SQLite frees whole pages, so deleting all of them may
        # still be too little. The deletions are kept, because their space is free now.
        connection.commit()
        raise OSError(shortage.reason)

    def _delete_until_enough(
        self, connection: sqlite3.Connection, trunk: str, n_bytes: int
    ) -> _Shortage:
        """Delete rows of a trunk until there is enough space, or the trunk has no more rows."""
        shortage = self._shortage(connection, n_bytes)
        while 0 < shortage.n_bytes < math.inf:
            if not _delete_rows(connection, trunk, int(shortage.n_bytes)):
                break
            shortage = self._shortage(connection, n_bytes)
        return shortage

    def _shortage(self, connection: sqlite3.Connection, n_bytes: int) -> _Shortage:
        """Compare the size of new rows to the limit and to the free space of the disk."""
        unused, used = page_bytes(connection)
        if self.max_bytes is not None and used + n_bytes > self.max_bytes:
            excess = used + n_bytes - self.max_bytes
            return _Shortage(excess, f"bytes_limit={self.max_bytes} is reached")
        disk_full = os.strerror(errno.ENOSPC)
        disk = shutil.disk_usage(self.folder)
        spare = disk.free - min(_RESERVED_BYTES, _RESERVED_SHARE * disk.total)
        if spare <= 0:
            # Deleting rows does not make the file smaller, and the log needs free space as well.
            return _Shortage(math.inf, disk_full)
        # SQLite writes each page twice, first to its log.
        if spare >= 3 * n_bytes or unused >= 2 * n_bytes:
            return _NO_SHORTAGE
        return _Shortage(2 * n_bytes - unused, disk_full)


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Return whether an attempt to write to a folder failed because the disk is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return code == sqlite3.SQLITE_FULL
    # These two codes state what failed, but not why. Check whether a file could be created.
    try:
        return shutil.disk_usage(folder).free < _EMPTY_FILE_BYTES
    except OSError:
        return False


def page_bytes(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the size of the unused pages of the file, and the size of the used pages."""
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (n_unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
    return n_unused * size, (n_pages - n_unused) * size


def row_bytes(n_bytes: int) -> int:
    """Return the maximum size of a row in the file.

    SQLite stores several small records in one page. A large record takes a part of one page, and
    pages of its own for the rest (sqlite.org/fileformat2.html, "Cell Payload Overflow Pages").

    Parameters
    ----------
    n_bytes : int
        Size of the value of the row.
    """
    page = sqlite.PAGE_BYTES
    record = n_bytes + _RECORD_OVERHEAD
    n_per_page = (page - _PAGE_HEADER_BYTES) // record
    if n_per_page:
        return page // n_per_page + _INDEX_BYTES
    # Each of these pages begins with the number of the next page, in four bytes.
    n_overflow_pages = math.ceil(record / (page - 4))
    return page * (1 + n_overflow_pages) + _INDEX_BYTES


def _value_bytes(connection: sqlite3.Connection, trunk: str) -> int:
    """Return the size of one value of a trunk, or 0 if the trunk has no rows.

    All values of a trunk have the same size.
    """
    # A row that another program wrote may have no value. It counts as one byte, because 0 means
    # that there are no rows.
    query = "SELECT max(1, coalesce(length(value), 1)) FROM rows WHERE trunk = ? LIMIT 1"
    found = connection.execute(query, (trunk,)).fetchone()
    if found is None:
        return 0
    return found[0]


def _stored_bytes(connection: sqlite3.Connection, trunk: str) -> int:
    """Return the size of all values of a trunk."""
    query = "SELECT count(*) FROM rows WHERE trunk = ?"
    (n_rows,) = connection.execute(query, (trunk,)).fetchone()
    return n_rows * _value_bytes(connection, trunk)


def _delete_rows(connection: sqlite3.Connection, trunk: str, n_bytes: int) -> bool:
    """Delete rows of a trunk with at least `n_bytes` of values.

    A trunk without rows is removed from the table of trunks.

    Returns
    -------
    had_rows : bool
    """
    size = _value_bytes(connection, trunk)
    if not size:
        connection.execute("DELETE FROM trunks WHERE trunk = ?", (trunk,))
        return False
    n_rows = math.ceil(n_bytes / size)
    connection.execute(
        "DELETE FROM rows WHERE rowid IN (SELECT rowid FROM rows WHERE trunk = ? LIMIT ?)",
        (trunk, n_rows),
    )
    return True
