"""Silence for what decoders say about a file, in whatever threads they run."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# pydicom quotes values of a patient's tags in its log too
_LOGGERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "PIL")

_lock = threading.Lock()
_readers: Counter[int] = Counter()
_loggers = ExitStack()


class _SilentThreads:
    """Stands in a filter where a pattern for modules does: it matches by thread."""

    def match(self, _: str) -> bool:
        return _readers[threading.get_ident()] > 0


_FILTER = ("ignore", None, Warning, _SilentThreads(), 0)


def _forget_threads() -> None:
    global _lock
    _lock = threading.Lock()
    _readers.clear()
    _loggers.close()


if hasattr(os, "register_at_fork"):  # of the threads that were in here the child has none
    os.register_at_fork(after_in_child=_forget_threads)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop this thread's warnings, and the decoders' log records of any thread.

    The filters of :mod:`warnings` belong to the process, and so does what ``catch_warnings`` puts
    back: of two threads that use it at once the later leaves the other's filters behind. So nothing
    is put back here; a filter that matches only the threads in here comes and goes.
    """
    if getattr(sys.flags, "context_aware_warnings", False):  # Python 3.14: each thread has its own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    thread = threading.get_ident()
    with _lock:
        if not _readers.total():
            for name in _LOGGERS:
                logger = logging.getLogger(name)
                _loggers.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)  # for its children too
        _readers[thread] += 1
        if _FILTER not in warnings.filters:
            warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with _lock:
            _readers[thread] -= 1
            if not _readers[thread]:
                del _readers[thread]
            if not _readers.total():
                while _FILTER in warnings.filters:
                    warnings.filters.remove(_FILTER)  # type: ignore[attr-defined]
                _loggers.close()
