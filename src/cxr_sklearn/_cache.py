"""Activations by content: an image passes the trunk once, whoever asks."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import math
import operator
import os
import shutil
import sqlite3
import threading
import time
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from joblib.disk import memstr_to_bytes

from .exceptions import CacheWarning

IN_PROCESS_BYTES = 2**30
_STEM = "activations-v3"  # changes with the tables
_APPLICATION_ID = 0x43585241  # in the header of the file
# SQLite's greatest: rows below the head are some 100 KB, and are read nearly twice as fast
_PAGE = 65536
# what a cache on disk leaves free: the lesser of the two
_RESERVED_BYTES, _RESERVED_SHARE = 2**30, 0.05

T = TypeVar("T")


class CacheInfo(NamedTuple):
    """How often activations were asked for in a fit.

    Attributes
    ----------
    hits : int
        Images whose activations were there before.
    misses : int
        Images that passed the trunk.
    passes_saved : int
        How often the tails used an image, in every epoch of every one of them and for predictions,
        less the misses: passes that networks which share nothing would have made besides.
    """

    hits: int
    misses: int
    passes_saved: int


@dataclass(frozen=True)
class CacheFolder:
    """A folder for activations, with a bound: what ``memory`` takes besides a path.

    Parameters
    ----------
    location : str or path
        Made at ``fit`` if it does not exist.
    bytes_limit : int or str
        Bound on what is kept, in bytes, or with a suffix as in ``"500M"`` or ``"20G"`` (powers of
        1,024). Beyond it rows of other trunks make room, those written longest ago first; rows
        for which there is no room still are kept in the memory of the process, up to 1 GiB there.
        SQLite's log, some batches of activations, comes on top.

    Raises
    ------
    ValueError
        If `bytes_limit` is no positive number of bytes.

    See Also
    --------
    clear_cache : Lets go of what the process holds in memory.

    Examples
    --------
    >>> from cxr_sklearn import CacheFolder, ResNetOvO
    >>> model = ResNetOvO(memory=CacheFolder("activations", bytes_limit="20G"))
    """

    location: str | os.PathLike
    bytes_limit: int | str

    def __post_init__(self) -> None:
        if self.n_bytes is None:
            raise ValueError(
                f"bytes_limit={self.bytes_limit!r}; expected a positive number of bytes, or a text "
                "such as '500M' or '20G'"
            )

    @property
    def n_bytes(self) -> int | None:
        """The bound as a number, None where it is none."""
        try:
            limit = self.bytes_limit
            bound = memstr_to_bytes(limit) if isinstance(limit, str) else operator.index(limit)
        except (ValueError, KeyError, IndexError, TypeError):
            return None
        return bound if bound > 0 else None


class Turn(NamedTuple):
    """What a process is to do about rows that it misses.

    Attributes
    ----------
    ready : dict of bytes to ndarray
        Rows that have come meanwhile.
    mine : list of bytes
        Keys of those to be computed and put now.
    """

    ready: dict[bytes, np.ndarray]
    mine: list[bytes]


class ActivationCache:
    """Rows of activations in memory, shared by every estimator of the process.

    Full, it makes room by dropping other trunks' rows, one for one: of the trunk written to longest
    ago, the last rows first. A trunk's own rows are never dropped for its newer ones: folds scan
    the same rows in the same order, and a cache that drops the least recently used would then hold
    none of them when they are asked for.

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
                    oldest, others = next(iter(self._trunks.items()))
                    if others:
                        self._bytes -= others.popitem()[1].nbytes
                    if not others:
                        del self._trunks[oldest]
                if self._bytes + row.nbytes > self.max_bytes:
                    return
                held[key] = row.copy()
                self._bytes += row.nbytes

    @contextlib.contextmanager
    def turn(self, trunk: str, keys: Sequence[bytes], patient: bool = True) -> Iterator[Turn]:
        """Give the rows that have come meanwhile, and the keys of those to be computed now.

        Threads take turns, so that two that miss the same row do not both compute it.
        """
        with _TURN:
            rows = dict(zip(keys, self.get(trunk, keys), strict=True))
            ready = {key: row for key, row in rows.items() if row is not None}
            yield Turn(ready, [key for key in keys if key not in ready])

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
    none, and several processes may read and write at once. Every row has a checksum. A file with a
    row that does not match it, one that is damaged otherwise, or one that this class did not make,
    is left where it is, marked, and replaced by another beside it.

    Where the disk is nearly full, rows of other trunks make room, those written longest ago first.
    Where that is not enough, or the folder cannot be written to any more, rows are kept in the
    memory of the process instead.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    max_bytes : int, default=None
        Bound on the pages of the file that hold something.
    """

    def __init__(self, folder: str | os.PathLike, max_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._choose_file()
        except (OSError, sqlite3.Error) as error:
            raise OSError(
                f"memory={str(folder)!r} cannot hold the activations ({error}); expected a folder "
                "that can be written to"
            ) from error
        for other in sorted(self.folder.glob("activations-v*.sqlite")):
            if not other.name.startswith(_STEM):
                _warn(
                    f"{str(other)!r} is of another version of cxr_sklearn and is not used; delete "
                    "it if no other version is"
                )

    def get(self, trunk: str, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """Return the rows of one trunk, None where a row is not held."""
        rows: list[np.ndarray | None] = [None] * len(keys)
        try:
            rows = self._guarded(lambda connection: _read(connection, trunk, keys), rows)
        except (OSError, sqlite3.Error) as error:
            self._degrade("read", error)
        if self.folder in _DEGRADED:
            held = _IN_PROCESS.get(trunk, keys)
            rows = [other if row is None else row for row, other in zip(rows, held, strict=True)]
        return rows

    def put(self, trunk: str, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows of one trunk."""
        shape = ",".join(map(str, rows.shape[1:]))
        records = []
        for key, row in zip(keys, rows, strict=True):
            what = (trunk, key, rows.dtype.str, shape, np.ascontiguousarray(row).tobytes())
            records.append((*what, _checksum(*what)))

        def write(connection: sqlite3.Connection) -> None:
            self._make_room(connection, trunk, len(rows) * _row_bytes(rows[0].nbytes))
            connection.execute("INSERT OR REPLACE INTO trunks VALUES (?, ?)", (trunk, time.time()))
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", records)

        try:
            self._guarded(write, None)
        except (OSError, sqlite3.Error) as error:
            self._degrade("written", error)
            _IN_PROCESS.put(trunk, keys, rows)

    @contextlib.contextmanager
    def turn(self, trunk: str, keys: Sequence[bytes], patient: bool = True) -> Iterator[Turn]:
        """Give the rows that have come meanwhile, and the keys of those to be computed now.

        What another process that lives is computing is neither: ask again. The rows given are this
        process's to compute until the block ends.

        Parameters
        ----------
        trunk : str
        keys : sequence of bytes
        patient : bool
            Whether to leave to others what they are computing.
        """
        with _TURN, _claimant(self.folder) as name:
            there: set[bytes] = set()
            mine = list(keys)
            # where nothing can be kept there is nothing to share
            with contextlib.suppress(OSError, sqlite3.Error):
                there, mine = self._guarded(
                    lambda connection: _claim(connection, self.folder, trunk, keys, name, patient),
                    (there, mine),
                )
            rows = dict(zip(there, self.get(trunk, list(there)), strict=True))
            ready = {key: row for key, row in rows.items() if row is not None}
            try:
                yield Turn(ready, [*mine, *(key for key in rows if key not in ready)])
            finally:
                with contextlib.suppress(OSError, sqlite3.Error):
                    self._guarded(lambda c: _disclaim(c, name), None)

    # -- the file ---------------------------------------------------------------------------------

    def _connect(self) -> _Connection:
        return _Connection(self.path)

    def _choose_file(self) -> None:
        """Take the first file that is not marked as unusable, and make its tables."""
        for number in itertools.count():
            self.path = self.folder / f"{_STEM}{f'-{number}' if number else ''}.sqlite"
            if self._mark.exists():
                continue
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
                self._set_aside("it is no regular file")
                continue
            try:
                with self._connect() as connection:
                    problem = _prepared(connection)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise
                problem = str(error)
            if not problem:
                return
            self._set_aside(problem)

    @property
    def _mark(self) -> Path:
        return self.path.with_suffix(".unusable")

    def _set_aside(self, problem: str) -> None:
        """Mark the file: nothing is deleted that another process may have open."""
        self._mark.touch()
        _warn(
            f"{str(self.path)!r} cannot be used ({problem}); another file is begun beside it, and "
            "its activations are computed again: delete it when no process uses it"
        )

    def _guarded(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return what `work` makes of a connection; begin another file if this one is damaged."""
        try:
            with self._connect() as connection:
                return work(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damage(error):
                raise
            self._set_aside(str(error))
            self._choose_file()
            return otherwise

    def _make_room(self, connection: sqlite3.Connection, trunk: str, n_bytes: int) -> None:
        """Drop other trunks' rows, oldest first, until there is room.

        Raise, and drop nothing, where that would not be enough. The connection has the right to
        write, so what is found here holds until the rows are written.
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
        if lacking:  # what counted above were values, and what gets free are pages
            connection.commit()  # what was dropped stays dropped
            raise OSError(reason)

    def _lack(self, connection: sqlite3.Connection, n_bytes: int) -> tuple[float, str]:
        """Return how many bytes of rows must go before others of `n_bytes` are written, and why."""
        unused, used = _pages(connection)
        over = 0 if self.max_bytes is None else used + n_bytes - self.max_bytes
        if over > 0:
            return over, f"bytes_limit={self.max_bytes} is reached"
        disk = shutil.disk_usage(self.folder)
        spare = disk.free - min(_RESERVED_BYTES, _RESERVED_SHARE * disk.total)
        if spare <= 0:  # rows that go leave the file as long as it is
            return math.inf, os.strerror(errno.ENOSPC)
        # SQLite needs the pages once more, for its log
        if spare >= 3 * n_bytes or unused >= 2 * n_bytes:
            return 0, ""
        return 2 * n_bytes - unused, os.strerror(errno.ENOSPC)

    def _degrade(self, what: str, error: Exception) -> None:
        _DEGRADED.add(self.folder)
        _warn(
            f"memory={str(self.folder)!r}: activations cannot be {what} ({error}), and are kept in "
            "the memory of the process; expected a folder with room that can be read and written "
            "to: free some, or name another"
        )


# one thread of a process computes at a time: the others would compute the same, on the same cores
_TURN = threading.RLock()

_CLAIMANT = "computing-"


def _new_locks() -> None:
    global _TURN
    _TURN = threading.RLock()
    _IN_PROCESS._lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # a thread that held one does not live on in the child
    os.register_at_fork(after_in_child=_new_locks)


@contextlib.contextmanager
def _claimant(folder: Path) -> Iterator[str]:
    """Give a name for claims, whose file is locked until the block or the process ends."""
    name = uuid.uuid4().hex
    path = folder / f"{_CLAIMANT}{name}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):  # no folder, or one without locks: claims count for dead
        yield name
        return
    try:
        yield name
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _lives(folder: Path, name: str) -> bool:
    """Whether a claimant's process holds its lock."""
    path = folder / f"{_CLAIMANT}{name}.lock"
    if not path.exists():
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


def _claim(
    connection: sqlite3.Connection,
    folder: Path,
    trunk: str,
    keys: Sequence[bytes],
    name: str,
    patient: bool,
) -> tuple[set[bytes], list[bytes]]:
    """Return the keys whose rows are there, and those that are this claimant's from now on."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS claims "
        "(trunk TEXT, key BLOB, name TEXT, PRIMARY KEY (trunk, key)) WITHOUT ROWID"
    )
    lives: dict[str, bool] = {}
    there, mine = set(), []
    for key in keys:
        wanted = (trunk, key)
        query = "SELECT 1 FROM rows WHERE trunk = ? AND key = ?"
        if connection.execute(query, wanted).fetchone():
            there.add(key)
            continue
        query = "SELECT name FROM claims WHERE trunk = ? AND key = ?"
        for (other,) in connection.execute(query, wanted).fetchall():
            if other not in lives:
                lives[other] = patient and _lives(folder, other)
            if lives[other]:
                break
        else:
            mine.append(key)
    connection.executemany(
        "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", [(trunk, key, name) for key in mine]
    )
    return there, mine


def _disclaim(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM claims WHERE name = ?", (name,))


# folders whose rows this process has in memory, in part, for want of a better place
_DEGRADED: set[Path] = set()


class _Damage(sqlite3.DatabaseError):
    """What is in the file is not what was written to it."""


class _Connection:
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


def _prepared(connection: sqlite3.Connection) -> str:
    """Make the tables of a new file, and return what is wrong with one that is there, or ``""``."""

    def found() -> tuple[int, int]:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return application, n_tables

    if found() == (0, 0):
        connection.execute(f"PRAGMA page_size={_PAGE}")
        # readers and a writer at once; a setting of the file, not of the connection
        with contextlib.suppress(sqlite3.OperationalError):  # another process sets it now
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        if found() == (0, 0):
            # values stand in the order in which they come, and only the index by the digests:
            # in their order each row would change a page of its own
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


def _read(
    connection: sqlite3.Connection, trunk: str, keys: Sequence[bytes]
) -> list[np.ndarray | None]:
    query = "SELECT dtype, shape, value, checksum FROM rows WHERE trunk = ? AND key = ?"
    rows: list[np.ndarray | None] = []
    for key in keys:
        record = connection.execute(query, (trunk, key)).fetchone()
        if record is not None and _checksum(trunk, key, *record[:3]) != record[3]:
            raise _Damage("a row does not match its checksum")
        rows.append(None if record is None else _from_blob(*record[:3]))
    return rows


def _checksum(trunk: str, key: bytes, dtype: Any, shape: Any, value: Any) -> bytes:
    """Return a checksum of a row, and of what it was asked for by: damage may be in the index."""
    if not isinstance(value, bytes):
        return b""
    digest = hashlib.blake2b(repr((trunk, key, dtype, shape)).encode(), digest_size=8)
    digest.update(value)
    return digest.digest()


def _from_blob(dtype: str, shape: str, value: bytes) -> np.ndarray:
    sizes = [int(size) for size in shape.split(",") if size]
    return np.frombuffer(value, dtype=np.dtype(dtype)).reshape(sizes)


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the bytes of the file that hold nothing, and those that hold something."""
    names = ("page_size", "freelist_count", "page_count")
    size, unused, pages = (connection.execute(f"PRAGMA {n}").fetchone()[0] for n in names)
    return unused * size, (pages - unused) * size


def _row_bytes(n_bytes: int) -> int:
    """Return the most that a row of some bytes takes in the file.

    SQLite keeps whole rows in a page, or the most of one in pages of its own
    (sqlite.org/fileformat2.html, "Cell Payload Overflow Pages"). The index comes on top.
    """
    size = n_bytes + 200
    per_page = (_PAGE - 100) // size
    pages = _PAGE // per_page if per_page else _PAGE * (1 + -(-size // (_PAGE - 4)))
    return pages + 400


def _row_size(connection: sqlite3.Connection, trunk: str) -> int:
    """Return the bytes of a value of a trunk, whose rows are all of one size; 0 if it has none."""
    query = "SELECT length(value) FROM rows WHERE trunk = ? LIMIT 1"
    (size,) = connection.execute(query, (trunk,)).fetchone() or (0,)
    return size


def _held_bytes(connection: sqlite3.Connection, trunk: str) -> int:
    """Return the bytes of all values of a trunk."""
    query = "SELECT count(*) FROM rows WHERE trunk = ?"
    (n_rows,) = connection.execute(query, (trunk,)).fetchone()
    return n_rows * _row_size(connection, trunk)


def _drop(connection: sqlite3.Connection, trunk: str, n_bytes: int) -> bool:
    """Delete as many rows of a trunk as make up some bytes; return whether it had any."""
    size = _row_size(connection, trunk)
    if not size:
        connection.execute("DELETE FROM trunks WHERE trunk = ?", (trunk,))
        return False
    connection.execute(
        "DELETE FROM rows WHERE rowid IN (SELECT rowid FROM rows WHERE trunk = ? LIMIT ?)",
        (trunk, -(-n_bytes // size)),
    )
    return True


def _is_damage(error: Exception) -> bool:
    """Whether a file is what is wrong, rather than the disk, a lock or a permission."""
    code = getattr(error, "sqlite_errorcode", None)
    # without a code Python found it: text that is none, or a checksum; without tables, or with
    # others, a statement is an SQLITE_ERROR
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return code is None or code & 0xFF in damage


def _warn(message: str) -> None:
    warnings.warn(message, CacheWarning, stacklevel=2)


_IN_PROCESS = ActivationCache()


def _in_process() -> ActivationCache:
    return _IN_PROCESS


def activation_cache(memory: Any, *, create: bool) -> ActivationCache | DiskCache:
    """Return the cache that ``memory`` names.

    Parameters
    ----------
    memory : None, path, CacheFolder or joblib.Memory
        None is the cache of this process.
    create : bool
        Whether to make a missing folder. A fitted model does not: it may have come from another
        machine, and uses the cache of its process there.
    """
    folder = memory if isinstance(memory, (str, os.PathLike, type(None))) else memory.location
    if folder is None or not (create or Path(folder).is_dir()):
        return _IN_PROCESS
    try:
        return DiskCache(folder, memory.n_bytes if isinstance(memory, CacheFolder) else None)
    except OSError as error:
        if create:
            raise
        _warn(f"{error}; the memory of the process is used")
        return _IN_PROCESS


def clear_cache() -> None:
    """Drop the activations that this process holds in memory."""
    _IN_PROCESS.clear()
