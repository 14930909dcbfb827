"""Silence for decoders, in one thread while others have something to say."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from cxr_sklearn._quiet import quiet


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
    with quiet():
        pass
    assert warnings.filters == before
    assert warnings.showwarning is show


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
