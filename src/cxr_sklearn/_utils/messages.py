"""Text for messages: one line, and lists that are cut short."""

from __future__ import annotations

from collections.abc import Iterable


def one_line(text: str) -> str:
    r"""Write what would break a line, or could not be printed, as Python's escapes.

    Examples
    --------
    >>> one_line("a\nb\udcff")
    'a\\nb\\udcff'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


# a message names this many files at most
_N_NAMED = 10


def some(names: Iterable[str]) -> str:
    """Return the first names as a list in one line, with the number of the others."""
    names = list(names)
    more = len(names) - _N_NAMED
    shown = ", ".join(map(one_line, names[:_N_NAMED]))
    return f"{shown} and {more} more" if more > 0 else shown
