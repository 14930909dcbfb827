"""Silence for what decoders say about a file, in whatever threads they run."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

# pydicom quotes values of a patient's tags in its log too
_LOGGERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "PIL")
_lock = threading.Lock()
_readers: Counter[int] = Counter()
_loggers = ExitStack()


class _SilentThreads:
    """Stands in a filter where a pattern for modules does: it matches by thread.

    scikit-learn hands filters on to its workers, and makes new ones of their patterns; this one's
    matches nothing there.
    """

    pattern = "(?!)"

    def match(self, _: str) -> bool:
        return _readers[threading.get_ident()] > 0

    def __reduce__(self) -> tuple:
        return re.compile, (self.pattern,)


_FILTER = ("ignore", None, Warning, _SilentThreads(), 0)


def _put_first() -> None:
    """Have the filter before all others."""
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    if filters[:1] != [_FILTER]:
        filters.insert(0, _FILTER)
        while _FILTER in filters[1:]:
            del filters[1 + filters[1:].index(_FILTER)]


_put_first()  # in whatever list a thread that is not in here may put back it is then, too


def _forget_threads() -> None:
    global _lock
    _lock = threading.Lock()
    here = threading.get_ident()
    for thread in [*_readers]:
        if thread != here:
            del _readers[thread]
    if not _readers:
        _loggers.close()


if hasattr(os, "register_at_fork"):  # of the threads that were in here the child has none
    os.register_at_fork(after_in_child=_forget_threads)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop this thread's warnings, and the decoders' log records of any thread.

    The filters of :mod:`warnings` belong to the process, and so does what ``catch_warnings`` puts
    back: of two threads that use it at once the later leaves the other's filters behind. So nothing
    is put back here: a filter that matches only the threads in here stays where it is.
    """
    # Python 3.14 may be told to give each thread its own
    is_own = getattr(sys.flags, "context_aware_warnings", False)
    thread = threading.get_ident()
    with _lock:
        if not _readers:
            for name in _LOGGERS:
                logger = logging.getLogger(name)
                _loggers.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)  # for its children too
        _readers[thread] += 1
        if not is_own:
            _put_first()
    try:
        with warnings.catch_warnings() if is_own else nullcontext():
            if is_own:
                warnings.simplefilter("ignore")
            yield
    finally:
        with _lock:
            _readers[thread] -= 1
            if not _readers[thread]:
                del _readers[thread]
            if not _readers:
                _loggers.close()
