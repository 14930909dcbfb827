"""Activations in a folder that processes share."""

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
from .claims import claim, claimant, disclaim
from .memory import IN_PROCESS, Turn, one_thread
from .room import Room, row_bytes
from .sqlite import is_damage, is_ours, prepare, read_rows, to_records, write_records

# Increment when the database schema changes: older files are then ignored.
_STEM = "activations-v3"

# so many files that cannot be used are the fault of the disk
_MAX_FILES = 100

# folders some of whose rows this process keeps in memory, because they cannot be written
_DEGRADED: set[Path] = set()
T = TypeVar("T")


class DiskCache:
    """Rows of activations in a folder, shared by every process that names it.

    The folder contains one SQLite file. Rows are written in transactions, so a killed process
    leaves whole rows or none, and several processes may read and write at once. Every row has a
    checksum. A file with a row that does not match its checksum, a file that is damaged otherwise,
    and a file that this class did not make are marked, left unchanged, and replaced by another file
    in the same folder.

    Where the disk is nearly full, rows of other trunks make room, the rows written longest ago
    first. Where that is not enough, or the folder cannot be written to (it is read-only, or was
    deleted meanwhile), new rows are kept in the memory of the process instead, and stored rows are
    still read.

    Parameters
    ----------
    folder : path
        Created if it does not exist.
    max_bytes : int, default=None
        Maximum size of the pages of the file that are in use.

    Raises
    ------
    OSError
        If the folder can be neither written to nor read from.
    """

    def __init__(self, folder: str | os.PathLike, max_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        self._room = Room(self.folder, max_bytes)
        self._mode = "rw"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._choose_file()
        except (OSError, sqlite3.Error) as error:
            if not self._find_readable_file():
                raise OSError(
                    f"memory={str(folder)!r} cannot hold the activations ({error}); expected a "
                    "folder that can be written to"
                ) from error
            self._mode = "ro"
            self._degrade("written", error)
        for other in sorted(self.folder.glob("activations-v*.sqlite")):
            if not other.name.startswith(_STEM):
                _warn(
                    f"{str(other)!r} is of another version of cxr_sklearn and is not used; delete "
                    "it if no other version is"
                )

    def get(
        self, trunk: str, keys: Sequence[bytes], shape: tuple[int, ...] | None = None
    ) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None for each row that is not in the cache.

        Parameters
        ----------
        trunk : str
        keys : sequence of bytes
        shape : tuple of int, default=None
            Shape of a row. A file with a row of another shape is damaged.
        """
        rows: list[np.ndarray | None] = [None] * len(keys)
        try:
            rows = self._guarded(lambda connection: read_rows(connection, trunk, keys, shape), rows)
        except (OSError, sqlite3.Error) as error:
            self._degrade("read", error)
        if self.folder in _DEGRADED:
            held = IN_PROCESS.get(trunk, keys)
            rows = [other if row is None else row for row, other in zip(rows, held, strict=True)]
        return rows

    def put(self, trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows of one trunk."""
        if self._mode == "ro":
            IN_PROCESS.put(trunk, keys, rows)
            return
        records = to_records(trunk, keys, rows)

        def write(connection: sqlite3.Connection) -> None:
            self._room.make(connection, trunk, len(rows) * row_bytes(rows[0].nbytes))
            write_records(connection, trunk, records)

        try:
            self._guarded(write, None)
        except (OSError, sqlite3.Error) as error:
            self._degrade("written", error)
            IN_PROCESS.put(trunk, keys, rows)

    @contextlib.contextmanager
    def turn(self, trunk: str, keys: Sequence[bytes], wait: bool = True) -> Iterator[Turn]:
        """Return the rows that have been stored meanwhile, and the keys of those to compute now.

        Rows that another living process computes are in neither: call again later. The rows to
        compute are claimed by this process until the block ends.

        Parameters
        ----------
        trunk : str
        keys : sequence of bytes
        wait : bool
            Whether to leave to other processes the rows that they compute.
        """
        with one_thread(), self._claimant() as name:
            claimed: tuple[set[bytes], list[bytes]] | None = None
            # where no row can be stored, none can be shared
            with contextlib.suppress(OSError, sqlite3.Error):
                claimed = self._guarded(
                    lambda connection: claim(connection, self.folder, trunk, keys, name, wait),
                    None,
                )
            stored, mine = (set(), list(keys)) if claimed is None else claimed
            rows = dict(zip(stored, self.get(trunk, list(stored)), strict=True))
            ready = {key: row for key, row in rows.items() if row is not None}
            try:
                yield Turn(ready, [*mine, *(key for key in rows if key not in ready)])
            finally:
                if claimed is not None:
                    with contextlib.suppress(OSError, sqlite3.Error):
                        self._guarded(lambda c: disclaim(c, name), None)

    def _claimant(self) -> contextlib.AbstractContextManager[str]:
        # claims are written to the file
        return claimant(self.folder) if self._mode == "rw" else contextlib.nullcontext("")

    # -- the file ---------------------------------------------------------------------------------

    def _choose_file(self) -> None:
        """Take the first file that is not marked as unusable, and create its tables."""
        for path in self._unmarked_files():
            self.path = path
            if not _is_regular(path):
                self._set_aside("it is no regular file")
                continue
            try:
                with sqlite.Connection(self.path, "rwc") as connection:
                    problem = prepare(connection)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not is_damage(error):
                    raise
                problem = str(error)
            if not problem:
                return
            self._set_aside(problem)
        raise OSError(f"{_MAX_FILES} files there cannot be used")

    def _unmarked_files(self) -> Iterator[Path]:
        """Yield the paths of files that are not marked as unusable."""
        for number in range(_MAX_FILES):
            path = self.folder / f"{_STEM}{f'-{number}' if number else ''}.sqlite"
            if not os.path.lexists(_mark_of(path)):  # a mark may be anything, a broken link too
                yield path

    def _find_readable_file(self) -> bool:
        """Take the first file that can be read where nothing can be written, if there is one."""
        for path in self._unmarked_files():
            self.path = path
            try:
                if not _is_regular(path) or not path.exists():
                    return False
                with sqlite.Connection(self.path, "ro") as connection:
                    if is_ours(connection):
                        return True
            except (OSError, sqlite3.Error, UnicodeDecodeError):
                continue
        return False

    def _set_aside(self, problem: str) -> None:
        """Mark the file as unusable. It is not deleted: another process may have it open."""
        # a link of that name is not followed
        with contextlib.suppress(FileExistsError), open(_mark_of(self.path), "x"):
            pass
        _warn(
            f"{str(self.path)!r} cannot be used ({problem}); another file is begun in the same "
            "folder, and its activations are computed again. Delete it when no process uses it"
        )

    def _guarded(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return the result of `work`; begin another file if this one is damaged."""
        try:
            with sqlite.Connection(self.path, self._mode) as connection:
                return work(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            if self._mode == "ro":  # no other file can be begun
                return otherwise
            self._set_aside(str(error))
            self._choose_file()
            return otherwise

    def _degrade(self, what: str, error: Exception) -> None:
        _DEGRADED.add(self.folder)
        _warn(
            f"memory={str(self.folder)!r}: activations cannot be {what} ({error}) and are kept in "
            "the memory of the process; expected a folder that can be read and written to, with "
            "free space. Free some space, or pass another folder"
        )


def _is_regular(path: Path) -> bool:
    """Whether a file, and the files that SQLite keeps next to it, are no links or folders.

    Each may be missing, and those next to it come and go with the connections of others.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG(os.lstat(path.with_name(path.name + suffix)).st_mode):
                return False
    return True


def _mark_of(path: Path) -> Path:
    return path.with_suffix(".unusable")


def _warn(message: str) -> None:
    warnings.warn(message, CacheWarning, stacklevel=3)
