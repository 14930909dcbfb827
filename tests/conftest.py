"""Fixtures shared by the tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cxr_sklearn import clear_cache
from cxr_sklearn.datasets import make_chest_phantoms


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Toys gain nothing from threads, and xdist's workers would compete for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """No test profits from activations that another one computed."""
    clear_cache()


@pytest.fixture(scope="session")
def phantoms() -> tuple[np.ndarray, np.ndarray]:
    """Return 60 phantoms of 16 x 16 pixels, three classes."""
    return make_chest_phantoms(60, image_size=16, random_state=0)
