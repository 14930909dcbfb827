"""Compare stores for activations on disk: ours, SQLite alone, LMDB, files, and diskcache.

    python benchmarks/store.py [--rows-small 1000] [--rows-large 96] [--repeats 3]
        [--folder FOLDER]

Rows of 8 KiB (what is kept for ``trainable="head"``: 2,048 float32) and of 784 KiB (``"layer4"`` at
224 pixels: 200,704 float32) are written and read in batches of 32. The values of a batch are the
same each time, under other keys; none of the stores compresses or compares values.

- *DiskCache* is ours: SQLite with a checksum per row, a connection per call.
- *SQLite* is the table alone, without checksums, in pages of the size that ours have or, of 4 KiB,
  that SQLite has by default; with a connection that stays open, or one per call as ours. The last
  connection that closes carries the log over into the file and waits for the disk, so a connection
  per call does that for every batch.
- *LMDB* waits for the disk at each commit; with ``metasync=False`` for all but its last page, so a
  power cut may undo the last commit; with ``sync=False`` for nothing.
- *npy files* have a temporary name until they are whole. Nothing waits for the disk.
- *diskcache* keeps a connection, and puts values of 32 KiB or more in files.

A killed process leaves whole rows or none in all of them. A power cut does not damage DiskCache,
SQLite and LMDB, except with ``sync=False``; it may leave empty or partial files, diskcache's too.
In WAL mode with ``synchronous=NORMAL`` it may undo the last commits. *Written* is up to the closing
of the store, *on disk* up to the end of an ``os.sync()`` after it, which waits for what other
programs wrote too.

Reading gives an array of 32 rows, each store by its shortest way. The pages are in the memory of
the system by then: this is not the speed of the disk. In random order is how training reads. Of two
processes at once each reads all rows in an order of its own, or writes half of them; the rates are
of both together.

The stores take turns. Every table has medians, and ratios to DiskCache: above 1 is faster than it.
A store whose package is not installed is left out, with a line.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import itertools
import multiprocessing
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measuring import in_turns, machine, peak_mib, seconds_of

from cxr_sklearn._cache import DiskCache
from cxr_sklearn._cache.sqlite import PAGE_BYTES
from cxr_sklearn.exceptions import CacheWarning

BATCH = 32
SMALL, LARGE = 2048, 200_704  # float32 values per row
TRUNK = "0123456789abcdef0123456789abcdef|head|224|None|cpu|onnxruntime"
OURS = "DiskCache"


class Ours:
    """The cache of the package."""

    def __init__(self, folder: Path) -> None:
        self._cache = DiskCache(folder)

    def write(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Write a batch."""
        self._cache.put(TRUNK, keys, rows)

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Read a batch."""
        return np.stack(self._cache.get(TRUNK, keys))

    def close(self) -> None:
        """Do nothing: every call has closed its connection."""


class Bare:
    """A table of SQLite, as ours without checksums.

    Parameters
    ----------
    folder : Path
    per_call : bool
        Whether each call opens a connection, as ours do.
    page : int
        Bytes of a page.
    """

    def __init__(self, folder: Path, per_call: bool = False, page: int = PAGE_BYTES) -> None:
        self._path, self._per_call = folder / "rows.sqlite", per_call
        self._kept = None if per_call else self._connect()
        with self._connection() as connection:
            connection.execute(f"PRAGMA page_size={page}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows "
                "(trunk TEXT, key BLOB, value BLOB, PRIMARY KEY (trunk, key)) WITHOUT ROWID"
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._kept or self._connect()
        yield connection
        connection.commit()
        if self._per_call:
            connection.close()

    def write(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Write a batch in one transaction."""
        records = [(TRUNK, key, row.tobytes()) for key, row in zip(keys, rows, strict=True)]
        with self._connection() as connection:
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", records)

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Read a batch."""
        query = "SELECT value FROM rows WHERE trunk = ? AND key = ?"
        with self._connection() as connection:
            found = [connection.execute(query, (TRUNK, key)).fetchone()[0] for key in keys]
        return np.stack([np.frombuffer(value, np.float32) for value in found])

    def close(self) -> None:
        """Close the connection, which carries the log over into the file."""
        if self._kept is not None:
            self._kept.close()


class Lmdb:
    """An LMDB environment.

    Parameters
    ----------
    folder : Path
    **options
        Of ``lmdb.open``.
    """

    def __init__(self, folder: Path, **options: bool) -> None:
        import lmdb

        self._environment = lmdb.open(str(folder), map_size=2**36, **options)
        self._prefix = hashlib.blake2b(TRUNK.encode(), digest_size=16).digest()

    def write(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Write a batch in one transaction."""
        with self._environment.begin(write=True) as transaction:
            for key, row in zip(keys, rows, strict=True):
                transaction.put(self._prefix + key, row.data)

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Read a batch, out of the map of the file."""
        with self._environment.begin(buffers=True) as transaction:
            found = (transaction.get(self._prefix + key) for key in keys)
            return np.stack([np.frombuffer(value, np.float32) for value in found])

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()


class Files:
    """A file per row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Write each row to a file of another name, which then takes its own."""
        for key, row in zip(keys, rows, strict=True):
            path = self._folder / f"{key.hex()}.npy"
            partial = path.with_suffix(f".{os.getpid()}.partial")
            with open(partial, "wb") as file:
                np.save(file, row)
            os.replace(partial, path)

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Read a batch."""
        return np.stack([np.load(self._folder / f"{key.hex()}.npy") for key in keys])

    def close(self) -> None:
        """Do nothing."""


class Diskcache:
    """The package diskcache, which drops nothing here."""

    def __init__(self, folder: Path) -> None:
        import diskcache

        self._cache = diskcache.Cache(
            str(folder), eviction_policy="none", cull_limit=0, size_limit=2**40
        )

    def write(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Write a batch in one transaction."""
        with self._cache.transact(retry=True):
            for key, row in zip(keys, rows, strict=True):
                self._cache.set(key, row.tobytes(), retry=True)

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Read a batch."""
        found = (self._cache.get(key, retry=True) for key in keys)
        return np.stack([np.frombuffer(value, np.float32) for value in found])

    def close(self) -> None:
        """Close its connection."""
        self._cache.close()


Make = Callable[[Path], Any]

STORES: dict[str, tuple[str, Make]] = {  # by name: the package it needs, and how it is opened
    OURS: ("cxr_sklearn", Ours),
    "SQLite, connection kept": ("sqlite3", Bare),
    "SQLite, pages of 4 KiB, kept": ("sqlite3", functools.partial(Bare, page=4096)),
    "SQLite, connection per call": ("sqlite3", functools.partial(Bare, per_call=True)),
    "LMDB": ("lmdb", Lmdb),
    "LMDB, metasync=False": ("lmdb", functools.partial(Lmdb, metasync=False)),
    "LMDB, sync=False": ("lmdb", functools.partial(Lmdb, sync=False)),
    "npy files": ("numpy", Files),
    "diskcache": ("diskcache", Diskcache),
}


def installed() -> dict[str, Make]:
    """Return how to open each store whose package is installed; name the others."""
    found = {}
    for name, (package, make) in STORES.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: {name} is left out")
        else:
            found[name] = make
    return found


# -- what is measured -----------------------------------------------------------------------------


@functools.cache
def some_rows(width: int) -> np.ndarray:
    """Return the values of one batch."""
    return np.random.default_rng(0).random((BATCH, width), dtype=np.float32)


def key_of(number: int) -> bytes:
    """Return the key of a row, as spread as digests are."""
    return hashlib.blake2b(number.to_bytes(8, "little"), digest_size=18).digest()


def batches_of(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield numbers of rows, 32 at a time."""
    iterator = iter(numbers)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch


def write_all(make: Make, folder: Path, numbers: Iterable[int], width: int) -> None:
    """Open a store, write rows and close it."""
    store, rows = make(folder), some_rows(width)
    for batch in batches_of(numbers):
        store.write([key_of(i) for i in batch], rows[np.array(batch) % BATCH])
    store.close()


def read_all(make: Make, folder: Path, numbers: Iterable[int], width: int) -> None:
    """Open a store, read rows and close it."""
    store, total = make(folder), 0
    for batch in batches_of(numbers):
        total += store.read([key_of(i) for i in batch]).size
    store.close()
    if total != len(numbers) * width:
        raise AssertionError("a store gave other rows than were written")


def check(make: Make, folder: Path, n: int, width: int) -> None:
    """Raise if a store gives other values than were written."""
    store, rows = make(folder), some_rows(width)
    for batch in batches_of(range(n)):
        found = store.read([key_of(i) for i in batch])
        if not np.array_equal(found, rows[np.array(batch) % BATCH]):
            raise AssertionError("a store gave other values than were written")
    store.close()


def shuffled(n: int, seed: int) -> list[int]:
    """Return the numbers of all rows in random order."""
    return np.random.default_rng(seed).permutation(n).tolist()


def rotated(stores: dict[str, Make], turn: int) -> list[str]:
    """Return the names of the stores, in another order for each turn."""
    names = list(stores)
    return names[turn % len(names) :] + names[: turn % len(names)]


def new_folder(root: Path) -> Path:
    """Return a new, empty folder."""
    return Path(tempfile.mkdtemp(dir=root))


def sync_ms(root: Path) -> float:
    """Return how long the disk takes for 4 KiB, in milliseconds."""

    def work() -> None:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())

    with tempfile.TemporaryFile(dir=root) as file:
        return 1e3 * statistics.median(seconds_of(work) for _ in range(25))


def bytes_on_disk(folder: Path) -> int:
    """Return what the files of a folder take on the disk; holes take nothing."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


# -- two processes --------------------------------------------------------------------------------

_both: Any = None


def _set_up(barrier: Any) -> None:
    global _both
    _both = barrier
    warnings.simplefilter("error", CacheWarning)


def _together(work: Callable, *arguments: Any) -> tuple[float, float]:
    """Start a work when the other process has come as far; return when it began and ended."""
    some_rows(arguments[-1])
    _both.wait(60)
    start = time.monotonic()  # of the system, so both processes have the same
    work(*arguments)
    return start, time.monotonic()


class Pair:
    """Two processes that work at once, and stay for the next work."""

    def __enter__(self) -> Pair:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(2, context, _set_up, (context.Barrier(2),))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def seconds_of(
        self, work: Callable, make: Make, folder: Path, parts: Sequence, width: int
    ) -> float:
        """Return the seconds from the beginning of the first to the end of the last."""
        running = [self._pool.submit(_together, work, make, folder, part, width) for part in parts]
        times = [each.result() for each in running]
        return max(end for _, end in times) - min(start for start, _ in times)


# -- the measurements -----------------------------------------------------------------------------


def writing(
    stores: dict[str, Make], root: Path, n: int, width: int, repeats: int, pair: Pair
) -> dict[str, tuple[float, ...]]:
    """Return median seconds of writing, of writing to the disk, and of two writers, by store.

    Every turn writes to an empty folder and leaves nothing for the next: what one store leaves for
    the system to write would count for another that waits for the disk.
    """
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in stores}
    halves = (range(0, n, 2), range(1, n, 2))
    for turn in range(repeats + 1):  # the first is not counted
        for name in rotated(stores, turn):
            make, one, other = stores[name], new_folder(root), new_folder(root)
            make(other).close()  # the tables are there when two begin
            os.sync()
            closed = seconds_of(functools.partial(write_all, make, one, range(n), width))
            on_disk = closed + seconds_of(os.sync)
            both = pair.seconds_of(write_all, make, other, halves, width)
            if turn:
                found[name].append((closed, on_disk, both))
            else:
                check(make, other, n, width)
            shutil.rmtree(one)
            shutil.rmtree(other)
    return {
        name: tuple(statistics.median(column) for column in zip(*values, strict=True))
        for name, values in found.items()
    }


def reading(
    stores: dict[str, Make], folders: dict[str, Path], n: int, width: int, repeats: int, pair: Pair
) -> dict[str, tuple[float, ...]]:
    """Return median seconds of reading in order, in random order, and of two readers, by store."""
    orders = {"in order": range(n), "random": shuffled(n, 0)}
    medians = [
        in_turns(
            {
                name: functools.partial(read_all, stores[name], folders[name], numbers, width)
                for name in stores
            },
            repeats,
        )
        for numbers in orders.values()
    ]
    parts = (shuffled(n, 1), shuffled(n, 2))
    both: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(repeats):
        for name in rotated(stores, turn):
            both[name].append(pair.seconds_of(read_all, stores[name], folders[name], parts, width))
    return {name: (*(m[name] for m in medians), statistics.median(both[name])) for name in stores}


def table(
    title: str,
    heads: Sequence[str],
    counts: Sequence[int],
    seconds: dict[str, tuple[float, ...]],
    row_bytes: int,
    last: tuple[str, dict[str, str]] = ("", {}),
) -> None:
    """Print rows/s, MB/s and the ratio to ours of each measurement, and perhaps a last column."""
    print(f"\n{title:28}" + "".join(f"  {head:>23}" for head in heads))
    units = f"  {'rows/s':>8} {'MB/s':>7} {'ratio':>6}"
    print(f"{'':28}" + units * len(heads) + (f"  {last[0]}" if last[0] else ""))
    for name, values in seconds.items():
        line = f"{name:28}"
        for count, value, own in zip(counts, values, seconds[OURS], strict=True):
            rate = count / value
            line += f"  {rate:8.0f} {rate * row_bytes / 1e6:7.0f} {own / value:6.2f}"
        print(line + (f"  {last[1][name]:>{len(last[0])}}" if last[0] else ""))


def compare(
    stores: dict[str, Make], root: Path, n: int, width: int, repeats: int, pair: Pair
) -> None:
    """Measure rows of one size, and print two tables."""
    row_bytes, before = 4 * width, sync_ms(root)
    written = writing(stores, root, n, width, repeats, pair)
    folders = {name: new_folder(root) for name in stores}
    for name, make in stores.items():
        write_all(make, folders[name], range(n), width)
        check(make, folders[name], n, width)
    os.sync()
    disk = {name: f"{bytes_on_disk(folders[name]) / (n * row_bytes):.3f}" for name in stores}
    read = reading(stores, folders, n, width, repeats, pair)
    print(
        f"\n{n} rows of {row_bytes / 1024:.0f} KiB, batches of {BATCH}, medians of {repeats}; to "
        f"write 4 KiB to the disk took {before:.2f} ms before and {sync_ms(root):.2f} ms after"
    )
    table(
        "writing",
        ("written", "on disk", "two processes, written"),
        (n, n, n),
        written,
        row_bytes,
        ("bytes on disk per byte", disk),
    )
    table(
        "reading",
        ("in the order written", "random order", "two processes, random"),
        (n, n, 2 * n),
        read,
        row_bytes,
    )
    for folder in folders.values():
        shutil.rmtree(folder)


def main() -> None:
    """Measure rows of both sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows-small", type=int, default=1000)
    parser.add_argument("--rows-large", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where the stores are made; a temporary folder by default")
    options = parser.parse_args()
    warnings.simplefilter("error", CacheWarning)  # else rows would go to memory, unnoticed
    stores = installed()
    with tempfile.TemporaryDirectory(dir=options.folder) as root, Pair() as pair:
        for n, width in ((options.rows_small, SMALL), (options.rows_large, LARGE)):
            if n:
                compare(stores, Path(root), n, width, options.repeats, pair)
    there = [name for name in ("lmdb", "diskcache") if importlib.util.find_spec(name)]
    print(f"\nSQLite {sqlite3.sqlite_version}, peak memory {peak_mib():.0f} MiB")
    print(machine("numpy", *there))


if __name__ == "__main__":
    main()
