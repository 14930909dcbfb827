"""Activations in a folder that several processes share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..exceptions import CacheWarning
from . import sqlite
from .claims import claim_rows, claimant, release_claims
from .memory import IN_PROCESS, Turn, one_thread
from .size_limit import SizeLimit, row_bytes
from .sqlite import is_damage, is_own_file, prepare_file, read_rows, to_records, write_records

# Increment when the database schema changes: older files are then ignored.
_STEM = "activations-v3"

# If so many files in a folder are unusable, the disk is to blame, and no other file is begun.
MAX_FILES = 100

# Folders that could not be read or written to. This process keeps some of their rows in memory.
FAILED_FOLDERS: set[Path] = set()

T = TypeVar("T")


class DiskCache:
    """Rows of activations in a folder, shared by every process that uses the folder.

    The folder contains an SQLite file. Rows are written in transactions, so a killed process never
    leaves half a row, and several processes can read and write at once. Every row has a checksum.
    A file that is damaged, or that another program created, is marked as unusable and not changed.
    Another file is then begun in the same folder.

    If the disk is nearly full, rows of other trunks are deleted, beginning with the trunk that was
    written to longest ago. If that is not enough, or the folder cannot be written to (because it is
    read-only or was deleted, for example), new rows are kept in the memory of the process. Stored
    rows can still be read.

    Parameters
    ----------
    folder : path
        The folder, which is created if it does not exist.
    max_bytes : int, default=None
        Maximum size of the pages of the file that are in use.

    Raises
    ------
    OSError
        If the folder can be neither written to nor read from.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        self._limit = SizeLimit(self.folder, max_bytes)
        self._mode = "rw"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._choose_file()
        except (OSError, sqlite3.Error) as error:
            if not self._find_readable_file():
                raise OSError(
                    f"memory={str(folder)!r} is invalid: activations cannot be stored there "
                    f"({error}); expected a writable folder. Pass another folder, or correct the "
                    "cause."
                ) from error
            self._mode = "ro"
            self._use_memory("written", error)
        self._warn_of_other_versions()

    def get(
        self, trunk: str, keys: Sequence[bytes], shape: tuple[int, ...] | None = None
    ) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None for each row that is not in the cache.

        Parameters
        ----------
        trunk : str
        keys : sequence of bytes
        shape : tuple of int, default=None
            Shape of a row. A file that contains a row of another shape is damaged.
        """
        # If the file cannot be read, all rows are missing, and the caller computes them.
        rows: list[np.ndarray | None] = [None] * len(keys)
        try:
            rows = self._transaction(
                lambda connection: read_rows(connection, trunk, keys, shape), default=rows
            )
        except (OSError, sqlite3.Error) as error:
            self._use_memory("read", error)
        if self.folder in FAILED_FOLDERS:
            for i, row in enumerate(IN_PROCESS.get(trunk, keys)):
                if rows[i] is None:
                    rows[i] = row
        return rows

    def put(self, trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Store rows of one trunk."""
        # A folder that is read-only provides rows, and new rows are kept in memory.
        if self._mode == "ro":
            IN_PROCESS.put(trunk, keys, rows)
            return
        records = to_records(trunk, keys, rows)
        n_bytes = len(rows) * row_bytes(rows[0].nbytes)

        def write(connection: sqlite3.Connection) -> None:
            self._limit.make_room(connection, trunk, n_bytes)
            write_records(connection, trunk, records)

        try:
            self._transaction(write, default=None)
        except (OSError, sqlite3.Error) as error:
            self._use_memory("written", error)
            IN_PROCESS.put(trunk, keys, rows)

    @contextlib.contextmanager
    def turn(self, trunk: str, keys: Sequence[bytes], wait: bool = True) -> Iterator[Turn]:
        """Yield the rows that are stored by now, and the keys of those to compute.

        The rows to compute are claimed by this process until the block ends. Rows that another
        living process has claimed are neither returned nor to be computed: call this method again
        later.

        Parameters
        ----------
        trunk : str
        keys : sequence of bytes
        wait : bool
            Whether to wait for rows that other processes compute. If False, this process computes
            them as well.
        """
        with one_thread(), self._claimant() as name:
            # A cache that cannot store claims cannot store rows either, so there is nothing to
            # share, and this process computes all rows.
            is_claimed = False
            stored: set[bytes] = set()
            to_compute = list(keys)
            with contextlib.suppress(OSError, sqlite3.Error):
                found = self._transaction(
                    lambda connection: claim_rows(connection, self.folder, trunk, keys, name, wait),
                    default=None,
                )
                if found is not None:
                    is_claimed = True
                    stored, to_compute = found
            try:
                yield self._read_turn(trunk, list(stored), to_compute)
            finally:
                if is_claimed:
                    self._release(name)

    def _read_turn(self, trunk: str, stored: list[bytes], to_compute: list[bytes]) -> Turn:
        """Read stored rows, and add those that cannot be read to the rows to compute."""
        ready: dict[bytes, np.ndarray] = {}
        to_compute = list(to_compute)
        for key, row in zip(stored, self.get(trunk, stored), strict=True):
            if row is None:
                to_compute.append(key)
            else:
                ready[key] = row
        return Turn(ready, to_compute)

    def _claimant(self) -> contextlib.AbstractContextManager[str]:
        """Return a context manager that yields a name for the claims of this process."""
        # Claims are stored in the file, so there are none if it cannot be written to.
        if self._mode == "ro":
            return contextlib.nullcontext("")
        return claimant(self.folder)

    def _release(self, name: str) -> None:
        # Claims that cannot be deleted do no harm: they end with the lock of the claimant.
        with contextlib.suppress(OSError, sqlite3.Error):
            self._transaction(lambda connection: release_claims(connection, name), default=None)

    # -- the file ---------------------------------------------------------------------------------

    def _choose_file(self) -> None:
        """Choose the first file that is not marked as unusable, and create its tables."""
        for path in self._unmarked_files():
            self.path = path
            problem = self._prepare_file()
            if not problem:
                return
            self._mark_unusable(problem)
        raise OSError(f"{MAX_FILES} files in the folder are unusable")

    def _prepare_file(self) -> str:
        """Create the file or check it, and return the reason why it cannot be used, or ``""``."""
        if not _is_regular(self.path):
            return "it is not a regular file"
        try:
            with sqlite.Connection(self.path, "rwc") as connection:
                return prepare_file(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            return str(error)

    def _unmarked_files(self) -> Iterator[Path]:
        """Yield the paths of files that are not marked as unusable."""
        for number in range(MAX_FILES):
            name = f"{_STEM}-{number}.sqlite"
            if number == 0:
                name = f"{_STEM}.sqlite"
            path = self.folder / name
            # Any kind of file is a mark, also a link that leads nowhere.
            if not os.path.lexists(_mark_path(path)):
                yield path

    def _find_readable_file(self) -> bool:
        """Choose a file of a folder that cannot be written to; return whether there is one."""
        for path in self._unmarked_files():
            self.path = path
            try:
                if not _is_regular(path) or not path.exists():
                    return False
                with sqlite.Connection(self.path, "ro") as connection:
                    if is_own_file(connection):
                        return True
            except (OSError, sqlite3.Error, UnicodeDecodeError):
                continue
        return False

    def _mark_unusable(self, problem: str) -> None:
        """Mark the file as unusable. It is not deleted, because another process may use it."""
        # Mode "x" does not follow a link, and so cannot create a file outside of the folder.
        with contextlib.suppress(FileExistsError), open(_mark_path(self.path), "x"):
            pass
        _warn(
            f"{str(self.path)!r} is unusable: {problem}; its activations are computed again and "
            "stored in another file of the folder. Delete it when no process uses it."
        )

    def _transaction(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Return the result of `work`, or `default` after another file replaced a damaged one."""
        try:
            with sqlite.Connection(self.path, self._mode) as connection:
                return work(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            # A folder that is read-only cannot have another file.
            if self._mode == "rw":
                self._mark_unusable(str(error))
                self._choose_file()
            return default

    def _use_memory(self, attempt: str, error: Exception) -> None:
        """Keep rows in memory from now on, and warn that they cannot be read or written."""
        FAILED_FOLDERS.add(self.folder)
        _warn(
            f"memory={str(self.folder)!r}: activations cannot be {attempt} ({error}) and are kept "
            "in the memory of the process; expected a folder that can be read and written to, and "
            "free disk space. Free some space, or pass another folder."
        )

    def _warn_of_other_versions(self) -> None:
        for path in sorted(self.folder.glob("activations-v*.sqlite")):
            if not path.name.startswith(_STEM):
                _warn(
                    f"{str(path)!r} was created by another version of cxr_sklearn and is ignored. "
                    "Delete it if no other version uses it."
                )


def _is_regular(path: Path) -> bool:
    """Return whether a file is a regular file, and the files that SQLite keeps next to it too.

    A link or a folder is not. Missing files are not checked: SQLite creates and deletes the files
    next to it when processes connect and disconnect.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(path.with_name(path.name + suffix))
            if not stat.S_ISREG(status.st_mode):
                return False
    return True


def _mark_path(path: Path) -> Path:
    """Return the path of the empty file that marks another file as unusable."""
    return path.with_suffix(".unusable")


def _warn(message: str) -> None:
    warnings.warn(message, CacheWarning, stacklevel=3)
