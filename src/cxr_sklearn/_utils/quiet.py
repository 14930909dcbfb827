"""Silence warnings and log records of decoders, in all threads that decode."""

from __future__ import annotations

import logging
import re
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .forks import after_fork_in_child

# Loggers of the decoders. pydicom quotes values of a patient's elements in its log, too.
_LOGGERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "PIL")

# Guards the state below.
_lock = threading.Lock()
# Number of `quiet` blocks that each thread is in, by identifier of the thread.
_n_blocks: Counter[int] = Counter()
# Restores the levels of the loggers when the last block ends.
_logger_levels = ExitStack()


class _SilentThreads:
    """Pattern of a warning filter that matches in the threads that are in a `quiet` block.

    A filter contains a regular expression for names of modules. This class has the same interface,
    but tests the thread instead of the name. scikit-learn sends the filters to its workers, and
    makes new filters from their patterns there; the pattern of this class matches no module.
    """

    pattern = "(?!)"

    def match(self, _: str) -> bool:
        return _n_blocks[threading.get_ident()] > 0

    def __reduce__(self) -> tuple[Any, ...]:
        return re.compile, (self.pattern,)


_FILTER: Any = ("ignore", None, Warning, _SilentThreads(), 0)

# The filters when this module was imported. ``catch_warnings`` in another thread installs a copy
# of them, and at its end this list again.
_FIRST_FILTERS: list[Any] = warnings.filters  # type: ignore[assignment]
# The lists of filters that contain `_FILTER` because a block inserted it.
_changed_filters: list[list[Any]] = []


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings of this thread, and log records of the decoders in all threads.

    ``warnings.catch_warnings`` cannot be used in several threads: the filters belong to the
    process, and of two threads that overlap the one that ends last restores the filters of the
    other. Therefore nothing is replaced here. The first block inserts a filter that matches only
    in threads that are in a block, and the last block removes it.

    Where each thread has its own filters (Python 3.14 with ``-X context_aware_warnings``),
    ``catch_warnings`` is safe, and is used.
    """
    thread = threading.get_ident()
    with _lock:
        if not _n_blocks:
            _silence_loggers()
        _n_blocks[thread] += 1
        if not _filters_are_per_thread():
            _insert_filter()
    try:
        if _filters_are_per_thread():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        else:
            yield
    finally:
        with _lock:
            _n_blocks[thread] -= 1
            if not _n_blocks[thread]:
                del _n_blocks[thread]
            if not _n_blocks:
                _restore()


def _filters_are_per_thread() -> bool:
    return bool(getattr(sys.flags, "context_aware_warnings", False))


def _insert_filter() -> None:
    """Insert the filter before all others, each time that a block begins.

    Other threads may have added filters since, or installed another list. The list from the import
    is changed in addition to the installed one: a thread that entered ``catch_warnings`` before
    this block may install it again while this block runs.

    The list is changed without ``warnings.filterwarnings``, which would also make Python forget
    which warnings it has shown already.
    """
    for filters in (warnings.filters, _FIRST_FILTERS):
        if filters[:1] == [_FILTER]:
            continue
        _remove_filter(filters)
        filters.insert(0, _FILTER)  # type: ignore[union-attr]
        if not any(filters is changed for changed in _changed_filters):
            _changed_filters.append(filters)  # type: ignore[arg-type]


def _remove_filter(filters: Any) -> None:
    while _FILTER in filters:
        filters.remove(_FILTER)


def _silence_loggers() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        _logger_levels.callback(logger.setLevel, logger.level)
        # The level applies to the children of a logger as well.
        logger.setLevel(logging.CRITICAL + 1)


def _restore() -> None:
    """Restore filters and loggers after the last block."""
    # The installed list may be a copy that another thread made while the filter was in it.
    for filters in (*_changed_filters, warnings.filters):
        _remove_filter(filters)
    _changed_filters.clear()
    _logger_levels.close()


@after_fork_in_child
def _forget_other_threads() -> None:
    """End the blocks of threads that do not exist in a forked process."""
    global _lock
    _lock = threading.Lock()
    this_thread = threading.get_ident()
    for thread in list(_n_blocks):
        if thread != this_thread:
            del _n_blocks[thread]
    if not _n_blocks:
        _restore()
