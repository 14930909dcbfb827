"""What damaged files of activations do to a process: DiskCache and LMDB.

    python benchmarks/damage.py [--times 15]

Forty rows of 8 KiB are written. The file is then cut off at a place drawn at random, or 64 bytes of
a page are overwritten, or a bit is flipped; and a process of its own reads all rows. What it comes
to is counted: every row is there, some are missing (they would be computed again), a wrong one is
returned, an exception ends the reading, or a signal the process.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from measuring import machine

from cxr_sklearn._cache import DiskCache

KEYS = [bytes([i]) * 16 for i in range(40)]
OUTCOMES = {0: "whole", 10: "rows missing", 11: "a wrong row", 1: "an exception"}


def rows() -> np.ndarray:
    """Return what is written."""
    return np.random.default_rng(0).standard_normal((len(KEYS), 2048)).astype(np.float32)


def write(store: str, folder: Path) -> Path:
    """Write all rows, and return the file that holds them."""
    if store == "DiskCache":
        DiskCache(folder).put("trunk", KEYS, rows())
        return next(folder.glob("*.sqlite"))
    import lmdb

    with (
        lmdb.open(str(folder), map_size=2**30) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, row in zip(KEYS, rows(), strict=True):
            transaction.put(key, row.tobytes())
    return folder / "data.mdb"


def read(store: str, folder: Path) -> int:
    """Read all rows, and return the exit status that tells what came of it."""
    warnings.simplefilter("ignore")
    if store == "DiskCache":
        found = DiskCache(folder).get("trunk", KEYS)
        values = [None if row is None else row.tobytes() for row in found]
    else:
        import lmdb

        with lmdb.open(str(folder), map_size=2**30) as environment, environment.begin() as reading:
            values = [reading.get(key) for key in KEYS]
    pairs = list(zip(values, rows(), strict=True))
    if any(value is not None and value != row.tobytes() for value, row in pairs):
        return 11
    return 10 if any(value is None for value in values) else 0


def spoilt(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Return a file with damage of some kind."""
    changed = bytearray(data)
    if kind == "cut off":
        del changed[rng.integers(len(data)) :]
    elif kind == "overwritten":
        start = 4096 * int(rng.integers(len(data) // 4096))
        changed[start : start + 64] = b"\xff" * 64
    else:
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def main() -> None:
    """Damage files, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        sys.exit(read(options.read[0], Path(options.read[1])))
    stores = ["DiskCache"]
    if importlib.util.find_spec("lmdb") is None:
        print("lmdb is not installed: LMDB is left out")
    else:
        stores.append("LMDB")
    for store in stores:
        with tempfile.TemporaryDirectory() as folder:
            path = write(store, Path(folder))
            name, data = path.name, path.read_bytes()
        for kind in ("cut off", "overwritten", "bit flipped"):
            rng = np.random.default_rng(0)
            counts: collections.Counter = collections.Counter()
            for _ in range(options.times):
                folder = tempfile.mkdtemp()
                (Path(folder) / name).write_bytes(spoilt(data, kind, rng))
                command = [sys.executable, __file__, "--read", store, folder]
                status = subprocess.run(command, capture_output=True, check=False).returncode
                counts[OUTCOMES.get(status, f"killed by signal {-status}")] += 1
                shutil.rmtree(folder)
            outcomes = ", ".join(f"{outcome} {n}" for outcome, n in counts.most_common())
            print(f"{store:10} {kind:12} {outcomes}", flush=True)
    print(machine("numpy", *(["lmdb"] if "LMDB" in stores else [])))


if __name__ == "__main__":
    main()
