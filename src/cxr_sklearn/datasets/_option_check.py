"""Check parameters that take one of a few values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def check_option(name: str, value: Any, options: Sequence[Any]) -> None:
    """Raise ValueError unless the value of the parameter `name` is one of `options`."""
    if value not in options:
        expected = ", ".join(map(repr, options))
        raise ValueError(
            f"{name}={value!r} is invalid; expected one of {expected}. Pass one of these values."
        )
