"""Checks of parameters that scikit-learn's constraints cannot express."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from skorch.callbacks import Callback

from .._utils.messages import one_line, some


def check_layer_sizes(name: str, sizes: Any) -> None:
    """Raise unless a parameter contains the widths of hidden layers."""
    # bool is a subclass of int, and is excluded below.
    integers = (int, np.integer)
    if not all(isinstance(n, integers) and not isinstance(n, bool) and n >= 1 for n in sizes):
        raise ValueError(
            f"{name}={sizes!r}; expected integers of 1 or more, one per hidden layer. Pass () for "
            "no hidden layers."
        )


# Names of the callbacks that every tail has: those of this package, and those of skorch.
_OWN_CALLBACKS = {
    *("best_epoch", "epoch_line", "epoch_progress", "schedule", "stopping", "task"),
    *("epoch_timer", "print_log", "train_loss", "valid_acc", "valid_loss"),
}


def check_callbacks(callbacks: Sequence[Any] | None) -> None:
    """Raise unless each item is a callback of skorch's kind that can be copied."""
    for i, item in enumerate(callbacks or ()):
        named = isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str)
        callback = item[1] if named else item
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"callbacks[{i}] is {item!r}; expected a skorch callback, its class, or a pair "
                "(name, callback). Derive your own callbacks from skorch.callbacks.Callback."
            )
        if named and item[0] in _OWN_CALLBACKS:
            raise ValueError(
                f"callbacks[{i}] has the name {item[0]!r} of a built-in callback; expected another "
                "name. Rename the callback."
            )
        try:
            copy.deepcopy(callback)
        # An object can raise any error when it is copied.
        except Exception as error:
            reason = one_line(str(error))
            raise ValueError(
                f"callbacks[{i}] is a {kind.__name__} that cannot be copied ({reason}); expected "
                "one that can, because each network trains with a copy of its own. Open files and "
                "connections in on_train_begin, and close them in on_train_end."
            ) from error


def check_targets_are_labels(y: Any) -> None:
    """Raise if y has several columns: one-hot codes, or several labels per image."""
    # A column vector is accepted, and flattened later.
    values = np.asarray(y)
    shape = values.shape
    if len(shape) != 2 or shape[1] < 2:
        return
    is_one_hot = values.dtype.kind in "biuf" and bool(
        np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()
    )
    if is_one_hot:
        labels = "y.idxmax(axis=1)" if hasattr(y, "idxmax") else "np.argmax(y, axis=1)"
        remedy = f"Convert the one-hot codes with {labels}, or pass the original labels."
    else:
        remedy = "Fit one model per column, if the images have several labels."
    raise ValueError(
        f"y has shape {shape}; expected one label per image, of shape ({shape[0]},). {remedy}"
    )


def class_weights(given: dict[str, Any], classes: np.ndarray) -> np.ndarray:
    """Return the weight of each class from a dict by label.

    Parameters
    ----------
    given : dict
        The parameter ``class_weight``.
    classes : ndarray of shape (n_classes,)
        The labels of the rows that are trained on.

    Returns
    -------
    ndarray of shape (n_classes,), dtype float64
    """
    labels = classes.tolist()
    for label in given:
        if label not in labels:
            raise ValueError(
                f"class_weight has a weight for {label!r}, which is not a label of y "
                f"({_shown(labels)}); expected a weight per label. Correct or remove this key."
            )
    for label in labels:
        if label not in given:
            raise ValueError(
                f"class_weight has no weight for {label!r}, which is a label of y; expected a "
                "weight per label. Add a weight, such as 1."
            )
        weight = given[label]
        numbers = (int, float, np.integer, np.floating)
        if not isinstance(weight, numbers) or not 0 < weight < np.inf:
            raise ValueError(
                f"class_weight gives {label!r} the weight {weight!r}; expected positive weights. "
                "Drop the images of a class to leave it out."
            )
    return np.array([given[label] for label in labels], dtype=np.float64)


def _shown(labels: list[Any]) -> str:
    """Return labels for a message."""
    return some([repr(label) for label in labels])
