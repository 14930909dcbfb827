"""Images with classes of different frequency."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn.datasets import make_chest_phantoms

from .gaussians import CLASSES


@pytest.fixture(scope="session")
def imbalanced():
    """Return phantoms with 30, 20 and 10 images of the classes."""
    X, y = make_chest_phantoms(240, image_size=16, random_state=0)
    rows = np.concatenate(
        [np.flatnonzero(y == c)[:n] for c, n in zip(CLASSES, (30, 20, 10), strict=True)]
    )
    return X[rows], y[rows]
