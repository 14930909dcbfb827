"""Hooks for processes that are forked from this one."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork_in_child(function: Callable[[], None]) -> Callable[[], None]:
    """Call a function in each process that is forked from this one, and return it.

    A forked process contains a copy of the memory of its parent, but of the threads of its parent
    only the one that forked. A lock that another thread held stays locked in the child for ever,
    so modules with locks, or with objects that depend on threads, make new ones here. On Windows,
    where no process is forked, the function is never called.

    Parameters
    ----------
    function : callable
        Function without parameters.

    Returns
    -------
    callable
        The same function, so that this can be used as a decorator.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function
