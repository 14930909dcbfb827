"""Silence for what decoders say about a file, in whatever threads they run."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# pydicom quotes values of a patient's tags in its log too
_LOGGERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "PIL")

_lock = threading.Lock()
_readers = 0
_silence = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and the decoders' log records while any thread is in here.

    The filters of :mod:`warnings` belong to the process: threads that each saved and restored
    them would leave those of another behind. So the first to enter silences, and the last to leave
    restores.
    """
    if getattr(sys.flags, "context_aware_warnings", False):  # Python 3.14: each thread has its own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    global _readers
    with _lock:
        _readers += 1
        if _readers == 1:
            _silence.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for name in _LOGGERS:
                logger = logging.getLogger(name)
                _silence.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)  # for its children too
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                _silence.close()
