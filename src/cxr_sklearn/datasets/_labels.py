"""Map the labels of a table to classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._utils.messages import some
from ._columns import as_strings, without_decimal_zeros


def map_labels(
    labels: Sequence[str], label_map: Any, *, leaves_out_several: bool
) -> tuple[list[str | None], list[str]]:
    """Return the class of each label, and lines of ``DESCR`` about the labels without a class.

    Parameters
    ----------
    labels : sequence of str
    label_map : mapping, callable or None
        As in :func:`load_xray_table`.
    leaves_out_several : bool
        Whether labels such as ``Effusion|Mass`` have no class if `label_map` is None.

    Returns
    -------
    classes : list of str or None
        None for rows that are left out.
    notes : list of str

    Raises
    ------
    TypeError
        If `label_map` is of another type.
    ValueError
        If it gives a label an empty class, or two classes.
    """
    class_of = _function_of(label_map, leaves_out_several)
    # A callable is called once for each label, and not once for each row.
    class_of_label = {label: class_of(label) for label in set(labels)}
    without_name = []
    for label, name in class_of_label.items():
        if name is not None and not str(name):
            without_name.append(label)
    if without_name:
        raise ValueError(
            f"label_map is invalid: it gives an empty class to the labels "
            f"{some(sorted(without_name))}; expected a class. Use None to leave out their rows."
        )
    classes: list[str | None] = []
    for label in labels:
        name = class_of_label[label]
        classes.append(None if name is None else str(name))
    return classes, _notes(labels, classes, label_map)


def _function_of(label_map: Any, leaves_out_several: bool) -> Callable[[str], Any]:
    """Return a function from a label to its class, or to None."""
    if isinstance(label_map, Mapping):
        class_of_key = _by_spelling(label_map)
        return lambda label: class_of_key.get(without_decimal_zeros(label))
    if callable(label_map):
        # A callable need not be prepared for labels that are missing.
        return lambda label: label_map(label) if label else None
    if label_map is not None:
        raise TypeError(
            f"label_map is invalid: its type is {type(label_map).__name__}; expected a dict from "
            "label to class, or a callable. Pass, for example, {'No Finding': 'Normal'}."
        )
    if leaves_out_several:
        return lambda label: None if "|" in label else label
    return lambda label: label


def _by_spelling(label_map: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a map in which 1, 1.0, "1" and "1.0" are one key."""
    class_of_key: dict[str, Any] = {}
    for text, name in zip(as_strings(label_map), label_map.values(), strict=True):
        key = without_decimal_zeros(text)
        if key in class_of_key and class_of_key[key] != name:
            raise ValueError(
                "label_map is invalid: it gives one label two classes by keys such as 1 and 1.0, "
                "or 1 and '1'; expected one key for each label. Remove the others."
            )
        class_of_key[key] = name
    return class_of_key


def _notes(labels: Sequence[str], classes: Sequence[str | None], label_map: Any) -> list[str]:
    """Return lines about labels without a class, and about keys without a label."""
    left_out: Counter[str] = Counter()
    for label, name in zip(labels, classes, strict=True):
        if name is None:
            left_out[label] += 1
    notes = []
    if left_out:
        counts = []
        for label, n_rows in sorted(left_out.items()):
            counts.append(f"{label or 'without a label'} ({n_rows})")
        notes.append(f"left out by label: {left_out.total()} rows, {some(counts)}")
    if isinstance(label_map, Mapping):
        unused = set(_by_spelling(label_map)) - set(map(without_decimal_zeros, labels))
        if unused:
            named = some(sorted(unused))
            notes.append(f"labels of label_map that the table does not have: {named}")
    return notes
