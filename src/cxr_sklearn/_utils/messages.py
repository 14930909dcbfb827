"""Text for messages: single lines, and the beginning of long lists."""

from __future__ import annotations

from collections.abc import Iterable


def one_line(text: str) -> str:
    r"""Replace line breaks and characters that cannot be printed by Python's escapes.

    Examples
    --------
    >>> one_line("a\nb\udcff")
    'a\\nb\\udcff'
    """
    characters = []
    for character in text:
        if not character.isprintable():
            character = character.encode("unicode_escape").decode("ascii")
        characters.append(character)
    return "".join(characters)


# A message lists at most this many names. A folder may contain thousands of bad files, and the
# first ones show what they have in common.
_N_NAMED = 10


def some(names: Iterable[str]) -> str:
    """Return the first names in one line, with the number of the other names."""
    names = list(names)
    more = len(names) - _N_NAMED
    shown = ", ".join(map(one_line, names[:_N_NAMED]))
    if more <= 0:
        return shown
    return f"{shown} and {more} more"
