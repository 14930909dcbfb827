"""What the benchmarks share: taking turns, medians, peak memory, and the machine they ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# seconds until the threads of the candidate before have ceased to spin
_PAUSE = 0.1

REPO = Path(__file__).parents[1]


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(
    candidates: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, float]:
    """Return the median seconds of each candidate; they take turns, in another order each time.

    A machine that slows down for a while then slows all of them down.
    """
    for _ in range(warm_up):
        for work in candidates.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(_PAUSE)
            seconds[name].append(seconds_of(candidates[name]))
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_mib() -> float:
    """Return the peak of this process's resident memory so far, MiB (POSIX)."""
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def machine(*packages: str) -> str:
    """Return one line: processor, cores, Python, versions of `packages`, and the commit."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}, {versions}, commit {_commit()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
