"""Claims on rows, so that only one of several processes computes a row.

A process that is about to compute a row writes a claim into the SQLite file. Other processes wait
for the row instead of computing it too. Each process that has claims, a *claimant*, keeps a lock on
a file of its own next to the SQLite file. The operating system releases the lock when the process
ends, also when it is killed. The claims of a claimant without a lock are therefore ignored.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "computing-"
_NAME = re.compile("[0-9a-f]{32}")


@contextlib.contextmanager
def claimant(folder: Path) -> Iterator[str]:
    """Yield a name for claims, and lock its file until the block or the process ends."""
    name = uuid.uuid4().hex
    path = _lock_path(folder, name)
    lock = FileLock(path)
    try:
        # FileLock would create a missing folder, but a folder that the user deleted stays deleted.
        if not folder.is_dir():
            raise FileNotFoundError
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):
        # The folder is missing, or its file system cannot lock files. Without a lock, other
        # processes consider the claims abandoned, and compute the rows too.
        yield name
        return
    try:
        yield name
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f"{_PREFIX}{name}.lock"


def _is_process_alive(folder: Path, name: str) -> bool:
    """Return whether the process of a claimant still holds its lock."""
    # A name that this module did not make could lead to a file outside of the folder.
    if not _NAME.fullmatch(str(name)):
        return False
    path = _lock_path(folder, name)
    if path.is_symlink() or not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    # The process has ended without deleting its file.
    lock.release()
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return False


class _Claimants:
    """Claimants of one folder, each of which is checked at most once.

    Parameters
    ----------
    folder : path
    wait : bool
        Whether to wait for rows that other processes compute. If False, all other claimants are
        treated as if their processes had ended.
    """

    def __init__(self, folder: Path, wait: bool) -> None:
        self.folder = folder
        self.wait = wait
        self._is_alive: dict[str, bool] = {}

    def is_alive(self, name: str) -> bool:
        """Return whether to leave the rows of a claimant to it."""
        if not self.wait:
            return False
        if name not in self._is_alive:
            self._is_alive[name] = _is_process_alive(self.folder, name)
        return self._is_alive[name]


def claim_rows(
    connection: sqlite3.Connection,
    folder: Path,
    trunk: str,
    keys: Sequence[bytes],
    name: str,
    wait: bool,
) -> tuple[set[bytes], list[bytes]]:
    """Claim the rows that are neither stored nor claimed by another process.

    Parameters
    ----------
    connection : sqlite3.Connection
    folder : path
        The folder of the file.
    trunk : str
    keys : sequence of bytes
    name : str
        Name of the claimant.
    wait : bool
        Whether to wait for rows that other processes compute. If False, these are claimed as well.

    Returns
    -------
    stored : set of bytes
        Keys of the rows that are stored already.
    claimed : list of bytes
        Keys of the rows that are claimed now.
    """
    # Reading and writing must be one transaction, or two processes could claim the same row.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS claims "
        "(trunk TEXT, key BLOB, name TEXT, PRIMARY KEY (trunk, key)) WITHOUT ROWID"
    )
    claimants = _Claimants(folder, wait)
    stored: set[bytes] = set()
    claimed: list[bytes] = []
    for key in keys:
        query = "SELECT 1 FROM rows WHERE trunk = ? AND key = ?"
        if connection.execute(query, (trunk, key)).fetchone():
            stored.add(key)
        elif not _is_claimed(connection, claimants, trunk, key):
            claimed.append(key)
    records = [(trunk, key, name) for key in claimed]
    connection.executemany("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", records)
    return stored, claimed


def _is_claimed(
    connection: sqlite3.Connection, claimants: _Claimants, trunk: str, key: bytes
) -> bool:
    """Return whether a living claimant has claimed a row."""
    query = "SELECT name FROM claims WHERE trunk = ? AND key = ?"
    found = connection.execute(query, (trunk, key)).fetchall()
    return any(claimants.is_alive(name) for (name,) in found)


def release_claims(connection: sqlite3.Connection, name: str) -> None:
    """Delete the claims of a claimant."""
    connection.execute("DELETE FROM claims WHERE name = ?", (name,))
