"""Claims on rows: of several processes that miss a row, one computes it."""

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
    """Yield a name for claims, whose file is locked until the block or the process ends."""
    name = uuid.uuid4().hex
    path = _lock_path(folder, name)
    lock = FileLock(path)
    try:
        if not folder.is_dir():  # FileLock would create it
            raise FileNotFoundError
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):
        # the folder is missing or cannot lock files: others take the claims for abandoned
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
    """Whether a claimant's process holds its lock."""
    if not _NAME.fullmatch(str(name)):  # claimants have no such names, and it may lead elsewhere
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
    lock.release()
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return False


def claim(
    connection: sqlite3.Connection,
    folder: Path,
    trunk: str,
    keys: Sequence[bytes],
    name: str,
    wait: bool,
) -> tuple[set[bytes], list[bytes]]:
    """Return the keys of stored rows, and the keys that this claimant claims from now on.

    Keys that another living process has claimed are in neither, unless `wait` is False.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS claims "
        "(trunk TEXT, key BLOB, name TEXT, PRIMARY KEY (trunk, key)) WITHOUT ROWID"
    )
    is_alive: dict[str, bool] = {}
    stored, mine = set(), []
    for key in keys:
        wanted = (trunk, key)
        query = "SELECT 1 FROM rows WHERE trunk = ? AND key = ?"
        if connection.execute(query, wanted).fetchone():
            stored.add(key)
            continue
        query = "SELECT name FROM claims WHERE trunk = ? AND key = ?"
        for (other,) in connection.execute(query, wanted).fetchall():
            if other not in is_alive:
                is_alive[other] = wait and _is_process_alive(folder, other)
            if is_alive[other]:
                break
        else:
            mine.append(key)
    connection.executemany(
        "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", [(trunk, key, name) for key in mine]
    )
    return stored, mine


def disclaim(connection: sqlite3.Connection, name: str) -> None:
    """Delete the claims of a claimant."""
    connection.execute("DELETE FROM claims WHERE name = ?", (name,))
