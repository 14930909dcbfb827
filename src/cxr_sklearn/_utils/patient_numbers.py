"""Check the patients of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .messages import some
from .values import check_none_blank, check_none_missing, check_one_column


def patient_codes(groups: Any, n_images: int) -> np.ndarray:
    """Return the number of the patient of each image.

    Parameters
    ----------
    groups : array-like of shape (n_images,)
        Patients.
    n_images : int
        Number of images.

    Returns
    -------
    ndarray of shape (n_images,), dtype int
        Numbers from 0 without gaps.

    Raises
    ------
    ValueError
        If a patient is missing, the number of values is another, or there is one patient only.
    """
    remedy = "Give each image of an unknown patient a value of its own."
    check_none_missing("groups", groups, remedy)
    check_none_blank("groups", groups, remedy)
    column = check_one_column("groups", groups)
    check_length("groups", column, n_images)
    try:
        names, patient = np.unique(column, return_inverse=True)
    except TypeError:
        kinds = some(sorted({type(group).__name__ for group in column}))
        raise ValueError(
            f"groups contains values of the types {kinds}; expected one type. Convert all to "
            "strings."
        ) from None
    if len(names) < 2:
        raise ValueError(
            f"groups contains one patient ({names.tolist()[0]!r}); expected 2 or more. Pass the "
            "patient of each image."
        )
    return patient


def check_length(name: str, values: Sequence[Any] | np.ndarray, n_images: int) -> None:
    """Raise if there is not one value per image."""
    if len(values) != n_images:
        raise ValueError(
            f"{name} has {len(values)} values for {n_images} images; expected one per image. "
            "Select the same rows of all arrays."
        )
