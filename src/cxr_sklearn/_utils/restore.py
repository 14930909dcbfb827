"""Leave an object as it was if something fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def restored_on_failure(obj: Any) -> Iterator[None]:
    """Restore all attributes of an object if the block fails or is interrupted."""
    before = dict(vars(obj))
    try:
        yield
    except BaseException:
        obj.__dict__.clear()
        obj.__dict__.update(before)
        raise
