"""Hooks after a fork run in the new process only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_sklearn._utils import forks

SOURCES = Path(forks.__file__).parents[1]

_FORK = """\
import os
from cxr_sklearn._utils.forks import after_fork_in_child

calls = []

@after_fork_in_child
def remember():
    calls.append(os.getpid())

child = os.fork()
if not child:
    os._exit(0 if calls == [os.getpid()] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not calls
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_hook_is_called_once_in_the_child_and_not_in_the_parent():
    subprocess.run([sys.executable, "-c", _FORK], check=True)


def test_a_hook_is_ignored_where_processes_are_not_forked(monkeypatch):
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    assert forks.after_fork_in_child(print) is print


def test_all_modules_use_this_hook():
    users = [path.name for path in SOURCES.rglob("*.py") if "register_at_fork" in path.read_text()]
    assert users == ["forks.py"]
