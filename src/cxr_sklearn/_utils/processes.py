"""Information about the current process."""

from __future__ import annotations

import multiprocessing


def in_worker() -> bool:
    """Return whether this process is a worker of another process, for instance of joblib."""
    # Workers of joblib's loky are recognised by their name.
    name = multiprocessing.current_process().name
    return multiprocessing.parent_process() is not None or name.startswith("LokyProcess")
