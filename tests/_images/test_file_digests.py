"""The cache of file digests: its keys, its limit, and its lock after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from cxr_sklearn._images.file_digests import FileDigestCache
from cxr_sklearn._utils.files import FileVersion

SHAPE = (8, 8)
VERSION = FileVersion("1.png", size=1, modified=2, changed=3, inode=4)

_FORK = """\
import os
import signal
from cxr_sklearn._images.file_digests import FILE_DIGESTS
from cxr_sklearn._utils.files import FileVersion

version = FileVersion("1.png", 1, 2, 3, 4)
# The lock is held during the fork, as by a thread that stores a digest.
with FILE_DIGESTS._lock:
    child = os.fork()
    if not child:
        # A child that waits for the lock for ever must not outlive the test.
        signal.alarm(20)
        FILE_DIGESTS.put(version, (8, 8), b"digest")
        os._exit(0 if FILE_DIGESTS.get(version, (8, 8)) == b"digest" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_digest_is_returned_until_it_is_removed():
    digests = FileDigestCache(max_size=3)
    assert digests.get(VERSION, SHAPE) is None
    digests.put(VERSION, SHAPE, b"digest")
    assert digests.get(VERSION, SHAPE) == b"digest"
    digests.remove(VERSION, SHAPE)
    assert digests.get(VERSION, SHAPE) is None


@pytest.mark.parametrize("field", FileVersion._fields)
def test_a_changed_file_has_another_digest(field):
    """Each property of a file that shows a change is a part of the key."""
    digests = FileDigestCache(max_size=3)
    digests.put(VERSION, SHAPE, b"digest")
    changed = VERSION._replace(**{field: "2.png" if field == "path" else 9})
    assert digests.get(changed, SHAPE) is None


def test_each_image_size_has_its_own_digest():
    digests = FileDigestCache(max_size=3)
    digests.put(VERSION, SHAPE, b"small")
    digests.put(VERSION, (16, 16), b"large")
    assert digests.get(VERSION, SHAPE) == b"small"
    assert digests.get(VERSION, (16, 16)) == b"large"


def test_the_oldest_digests_are_removed_beyond_the_limit():
    digests = FileDigestCache(max_size=3)
    versions = [VERSION._replace(path=f"{i}.png") for i in range(5)]
    for i, version in enumerate(versions):
        digests.put(version, SHAPE, bytes([i]))
    assert len(digests) == 3
    found = [digests.get(version, SHAPE) for version in versions]
    assert found == [None, None, b"\2", b"\3", b"\4"]


def test_storing_a_digest_again_needs_no_more_memory():
    digests = FileDigestCache(max_size=2)
    for _ in range(3):
        digests.put(VERSION, SHAPE, b"digest")
    assert len(digests) == 1


def test_a_missing_file_has_no_digest():
    digests = FileDigestCache(max_size=3)
    digests.remove(None, SHAPE)
    assert digests.get(None, SHAPE) is None


def test_a_path_that_is_not_valid_text_has_a_digest():
    digests = FileDigestCache(max_size=3)
    version = VERSION._replace(path="\udcff.png")
    digests.put(version, SHAPE, b"digest")
    assert digests.get(version, SHAPE) == b"digest"


def test_threads_keep_the_limit():
    """Threads that store digests at the same time neither fail nor exceed the limit."""
    digests = FileDigestCache(max_size=10)
    errors = []

    def store(thread: int) -> None:
        try:
            for i in range(500):
                digests.put(VERSION._replace(path=f"{thread}-{i}.png"), SHAPE, b"digest")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(digests) == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_can_store_digests():
    """A lock that is held at the moment of a fork is free in the new process."""
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=60)
