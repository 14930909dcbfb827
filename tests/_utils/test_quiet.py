"""Decoders are silent in the threads that decode, and warnings of other threads are shown."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from sklearn.utils.parallel import Parallel, delayed

from cxr_sklearn._utils import quiet as quiet_module
from cxr_sklearn._utils.quiet import quiet

filters_of_the_process = pytest.mark.skipif(
    getattr(sys.flags, "context_aware_warnings", False), reason="each thread has its own filters"
)


class Decoding:
    """A decoder in a thread of its own, which stays in a `quiet` block until it is ended."""

    def __init__(self, threads: ThreadPoolExecutor, is_nested: bool = True) -> None:
        self._is_nested = is_nested
        self._may_warn, self._has_warned = threading.Event(), threading.Event()
        self._may_end, self._has_begun = threading.Event(), threading.Event()
        self._result: Future = threads.submit(self._decode)
        assert self._has_begun.wait(30)

    def _decode(self) -> None:
        with quiet():
            self._has_begun.set()
            assert self._may_warn.wait(30)
            # The functions of this package that read one file of many begin a block of their own.
            with quiet() if self._is_nested else nullcontext():
                warnings.warn("name of a patient", UserWarning, stacklevel=1)
            self._has_warned.set()
            assert self._may_end.wait(30)

    def warn(self) -> None:
        """Emit a warning in the thread."""
        self._may_warn.set()
        assert self._has_warned.wait(30)

    def end(self) -> None:
        """End the block, and raise what was raised in it."""
        self._may_warn.set()
        self._may_end.set()
        self._result.result(30)


@pytest.fixture
def start_decoding():
    """Return a function that starts a decoder in a new thread."""
    with ThreadPoolExecutor(2) as threads:
        yield lambda **options: Decoding(threads, **options)


# -- silence ----------------------------------------------------------------------------------


def test_warnings_of_two_decoding_threads_are_ignored(start_decoding):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        first, second = start_decoding(), start_decoding()
        first.warn()
        first.end()
        second.warn()
        second.end()
        assert list(warnings.filters) == before
    assert not caught


def test_warnings_of_other_threads_are_shown(start_decoding):
    decoding = start_decoding()
    with pytest.warns(UserWarning, match="the cache is full") as caught:
        warnings.warn("the cache is full", UserWarning, stacklevel=1)
    decoding.end()
    assert len(caught) == 1


def test_warnings_after_a_block_are_shown():
    with quiet():
        warnings.warn("ignored", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", UserWarning, stacklevel=1)


@pytest.mark.parametrize("action", ["error", "always"])
def test_filters_that_another_thread_adds_do_not_end_the_silence(action, start_decoding):
    decoding = start_decoding()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        decoding.warn()
        decoding.end()
    assert not caught


@filters_of_the_process
def test_filters_that_another_thread_restores_do_not_end_the_silence(start_decoding, monkeypatch):
    """Another thread installs the filters of the process again, after the decoder has begun."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkeypatch.setattr(quiet_module, "_FIRST_FILTERS", warnings.filters)
        with warnings.catch_warnings():
            decoding = start_decoding(is_nested=False)
        decoding.warn()
        decoding.end()
    assert not caught


def test_decoders_log_nothing_while_a_thread_decodes(caplog):
    logger = logging.getLogger("pydicom")
    level = logger.level
    with quiet(), quiet():
        logger.error("name of a patient")
    with quiet():
        logger.error("name of a patient")
    assert logger.level == level
    assert not caplog.records


# -- filters ----------------------------------------------------------------------------------

_IMPORT = """\
import warnings
# Some of the libraries change the filters when they are imported.
import imagehash, imblearn, pandas, safetensors, skorch, sklearn, torch, torchvision

before = list(warnings.filters)
import cxr_sklearn
from cxr_sklearn import datasets, model_selection, preprocessing, quality
from cxr_sklearn._images import reading

cxr_sklearn.ResNetOvO()
cxr_sklearn.XRayLoader()
assert list(warnings.filters) == before, set(warnings.filters) - set(before)
"""


def test_importing_the_package_leaves_the_filters_unchanged():
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_filters_are_unchanged_after_nested_blocks():
    before = list(warnings.filters)
    with quiet(), quiet():
        warnings.warn("ignored", UserWarning, stacklevel=1)
    assert list(warnings.filters) == before


def test_filters_are_unchanged_after_an_error():
    before = list(warnings.filters)
    with pytest.raises(OSError, match="damaged"), quiet():
        raise OSError("damaged")
    assert list(warnings.filters) == before


def test_filters_are_unchanged_whichever_thread_ends_first(start_decoding):
    before = list(warnings.filters)
    first = start_decoding()
    with quiet():
        first.end()
        warnings.warn("ignored", UserWarning, stacklevel=1)
    assert list(warnings.filters) == before
    second = start_decoding()
    with quiet():
        pass
    second.warn()
    second.end()
    assert list(warnings.filters) == before


@filters_of_the_process
def test_catch_warnings_of_another_thread_is_not_disturbed(start_decoding):
    """A thread that ends its block while another one records warnings changes nothing for it."""
    before, show = list(warnings.filters), warnings.showwarning
    decoding = start_decoding()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoding.end()
        warnings.warn("of the export", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["of the export"]
    assert list(warnings.filters) == before
    assert warnings.showwarning is show


def test_filters_of_each_thread_are_used_where_python_has_them(monkeypatch):
    """Python 3.14 can give each thread its own filters, which catch_warnings replaces."""

    class Flags:
        context_aware_warnings = True

    monkeypatch.setattr("cxr_sklearn._utils.quiet.sys.flags", Flags)
    before = list(warnings.filters)
    with quiet():
        assert quiet_module._FILTER not in warnings.filters
        warnings.warn("ignored", UserWarning, stacklevel=1)
    assert list(warnings.filters) == before


@filters_of_the_process
def test_workers_of_scikit_learn_receive_a_filter_that_matches_nothing():
    """Workers must not import this package for it, nor ignore warnings because of it."""
    with quiet():
        pattern = pickle.loads(pickle.dumps(warnings.filters[0]))[3]
        assert isinstance(pattern, re.Pattern)
        assert not pattern.match("cxr_sklearn")
        assert Parallel(n_jobs=1)(delayed(abs)(x) for x in (-1, 2)) == [1, 2]
    assert Parallel(n_jobs=2)(delayed(abs)(x) for x in (-1, 2)) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_forgets_blocks_of_other_threads(start_decoding):
    decoding = start_decoding()
    child = os.fork()
    if not child:
        is_restored = quiet_module._FILTER not in warnings.filters and not quiet_module._n_blocks
        # Without a new lock this would wait for ever.
        with quiet():
            pass
        os._exit(0 if is_restored else 1)
    _, status = os.waitpid(child, 0)
    decoding.end()
    assert os.waitstatus_to_exitcode(status) == 0
