"""Silence for decoders, in one thread while others have something to say."""

from __future__ import annotations

import logging
import pickle
import re
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from sklearn.utils.parallel import Parallel, delayed

from cxr_sklearn._utils.quiet import quiet


@pytest.fixture
def other():
    """Return a thread."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def test_a_thread_is_silent_and_others_are_heard(other):
    """What the trunk's thread warns of while another decodes is not lost."""

    def decode():
        with quiet():
            warnings.warn("of a file", UserWarning, stacklevel=1)
            inside.set()
            assert leave.wait(30)

    inside, leave = threading.Event(), threading.Event()
    decoding = other.submit(decode)
    assert inside.wait(30)
    with pytest.warns(UserWarning, match="of the cache") as caught:
        warnings.warn("of the cache", UserWarning, stacklevel=1)
    leave.set()
    decoding.result()
    assert len(caught) == 1


@pytest.mark.skipif(
    getattr(sys.flags, "context_aware_warnings", False), reason="each thread has its own filters"
)
def test_the_filters_are_those_of_before_whoever_ends_first(other):
    """A thread that leaves silence while another records warnings takes nothing from it."""
    with quiet():
        pass
    before, show = list(warnings.filters), warnings.showwarning

    def decode():
        with quiet():
            inside.set()
            assert leave.wait(30)

    inside, leave = threading.Event(), threading.Event()
    decoding = other.submit(decode)
    assert inside.wait(30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        leave.set()
        decoding.result()
        warnings.warn("of the export", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["of the export"]
    assert warnings.filters == before
    assert warnings.showwarning is show


@pytest.mark.parametrize("action", ["error", "always"])
def test_a_thread_stays_silent_whatever_others_filter(action, other):
    """Filters that another thread adds, or puts back, while one decodes come after silence."""

    def decode():
        with quiet():
            inside.set()
            assert leave.wait(30)
            with quiet():  # as for each file of many
                warnings.warn("a patient's name", UserWarning, stacklevel=1)

    inside, leave = threading.Event(), threading.Event()
    decoding = other.submit(decode)
    assert inside.wait(30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        leave.set()
        decoding.result()
    assert not caught


def test_the_filter_can_be_handed_on():
    """Workers get filters from scikit-learn, and must not load this package for one."""
    with quiet():
        module = pickle.loads(pickle.dumps(warnings.filters[0]))[3]
        assert isinstance(module, re.Pattern)
        assert not module.match("cxr_sklearn")
        assert Parallel(n_jobs=1)(delayed(abs)(x) for x in (-1, 2)) == [1, 2]
    assert Parallel(n_jobs=2)(delayed(abs)(x) for x in (-1, 2)) == [1, 2]


def test_decoders_log_nothing_while_any_thread_reads(caplog):
    """Blocks within blocks restore the level once."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    with quiet(), quiet():
        logger.error("a patient's name")
    with quiet():
        logger.error("a patient's name")
    assert logger.level == level
    assert not caplog.records
