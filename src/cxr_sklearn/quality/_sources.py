"""Check whether each source can be left out, and find two spellings of one source."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from .._utils.values import is_blank, is_missing

# In words of this length or more, a difference of one letter counts as a typing error.
_LEAST_WORD = 4


def check_sources(y: Any, sources: Any) -> None:
    """Raise if some source cannot be left out of training.

    Parameters
    ----------
    y, sources : array-like of shape (n_samples,)
        Classes, and the source of each image.

    Raises
    ------
    ValueError
        If a source is unknown, there is one source only, or a class comes from one only.
    """
    values = np.asarray(sources, dtype=object)
    unknown = sum(is_missing(value) or is_blank(value) for value in values)
    if unknown:
        raise ValueError(
            f"groups: the source of {unknown} images is not known; expected one for every image. "
            "Leave these images out, because they would count as a hospital of their own."
        )
    found = pd.crosstab(np.asarray(y), values) > 0
    if found.shape[1] < 2:
        raise ValueError(
            f"all images come from one source ({found.columns[0]}); expected 2 or more, because no "
            "split of one source shows how a model performs elsewhere. Add images of other sources."
        )
    single = found.index[found.sum(axis=1) == 1]
    if len(single):
        source = found.columns[found.loc[single[0]].to_numpy().argmax()]
        raise ValueError(
            f"class {single[0]!r} comes from one source only ({source}), so a model that has not "
            "seen this source cannot know the class; expected 2 or more sources of each class. Add "
            "images of the class from other sources, or leave the class out."
        )


def remedy_for_sources(y: np.ndarray, sources: np.ndarray) -> str:
    """Return a remedy for associated sources. LeaveOneSourceOut is part of it if it does not raise.

    Parameters
    ----------
    y, sources : ndarray of shape (n_samples,), of str
        Classes, and the source of each image; ``""`` where it is unknown.

    Returns
    -------
    str
        A sentence.
    """
    known = sources != ""
    if set(y[known]) != set(y):
        return "Give the source of images of every class."
    try:
        check_sources(y[known], sources[known])
    except ValueError:
        return "Add images, so that each class has images of the same sources."
    which = "" if known.all() else " on the images whose source is known"
    return f"Test with LeaveOneSourceOut{which}, or balance the sources within each class."


def similar_sources(names: Iterable[Any]) -> list[tuple[str, str]]:
    """Return pairs of names that may be two spellings of one source.

    Parameters
    ----------
    names : iterable
        Values other than strings are ignored.

    Returns
    -------
    pairs : list of (str, str)
        Names that differ only in case, spaces, hyphens and underscores, or by one letter within a
        word of 4 letters or more: inserted, left out, replaced (but not the last one) or swapped
        with its neighbour. Names that count sources differ by a digit, by a letter that is
        a word or by the last letter ("site 1" and "site 2", "hospital-a" and "hospital-b"), and are
        not similar.
    """
    # Comparing every name with every other one takes a minute for some thousands of names. Two
    # names with a typing error between them become equal if one letter of either, or of both, is
    # left out, so that names without such a string in common need no comparison.
    equal, near = defaultdict(list), defaultdict(list)
    for text in sorted({str(name) for name in names if isinstance(name, str)}):
        equal[_plain(text)].append(text)
        for shorter in _with_one_letter_less(_folded(text)):
            near[shorter].append(text)
    pairs = _pairs(equal.values())
    candidates = _pairs(near.values()) - pairs
    pairs |= {(a, b) for a, b in candidates if _is_typing_error(_folded(a), _folded(b))}
    return sorted(pairs)


def _pairs(groups: Iterable[list[str]]) -> set[tuple[str, str]]:
    return {pair for group in groups for pair in itertools.combinations(group, 2)}


def _with_one_letter_less(name: str) -> set[str]:
    """Return a name, and the name without each letter of a word in which errors are searched."""
    places = (
        place
        for word in re.finditer(rf"[^\W\d_]{{{_LEAST_WORD},}}", name)
        for place in range(*word.span())
    )
    return {name, *(name[:place] + name[place + 1 :] for place in places)}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _plain(name: str) -> str:
    """Return a name without what separates its words; between digits it separates numbers."""
    return re.sub(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)", "", _folded(name))


def _is_typing_error(a: str, b: str) -> bool:
    if abs(len(a) - len(b)) > 1:
        return False
    n_before = _n_common(a, b)
    rest = a[n_before:], b[n_before:]
    n_after = _n_common(rest[0][::-1], rest[1][::-1])
    before, after = a[:n_before], a[len(a) - n_after :]
    x, y = (part[: len(part) - n_after] for part in rest)
    letters = r"[^\W\d_]*"
    head = re.search(f"{letters}$", before).group()  # type: ignore[union-attr]
    tail = re.match(letters, after).group()  # type: ignore[union-attr]
    if not (x + y).isalpha() or len(head) + max(len(x), len(y)) + len(tail) < _LEAST_WORD:
        return False
    is_inserted = {len(x), len(y)} == {0, 1} and bool(head or tail)
    is_replaced = len(x) == len(y) == 1 and bool(tail)
    return is_inserted or is_replaced or (len(x) == 2 and x == y[::-1])


def _n_common(a: str, b: str) -> int:
    """Return the length of the longest common beginning."""
    return sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    )
