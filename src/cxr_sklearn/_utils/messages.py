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
_MAX_CHARACTERS = 200  # of one name


def some(names: Iterable[str], separator: str = ", ", most: int = _N_NAMED) -> str:
    """Return the first names in one line, with the number of the other names.

    Parameters
    ----------
    names : iterable of str
    separator : str, default=", "
    most : int, default=10
        Number of names that are shown. Each is cut after 200 characters.

    Examples
    --------
    >>> some(["a.png", "b.png", "c.png"], most=2)
    'a.png, b.png and 1 more'
    """
    names = list(names)
    shown = [one_line(name)[:_MAX_CHARACTERS] for name in names[:most]]
    text = separator.join(shown)
    if len(names) > most:
        text += f" and {len(names) - most} more"
    return text
