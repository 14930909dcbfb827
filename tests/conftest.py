"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes empty files, and metadata.csv, in a new folder."""

    def make(*names: str, metadata: str | None = None) -> Path:
        root = tmp_path / "xrays"
        root.mkdir()
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if metadata is not None:
            (root / "metadata.csv").write_text(metadata, encoding="utf-8")
        return root

    return make


@pytest.fixture(params=["shuffled", "reversed"])
def other_listing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """List folders in another order than the file system does."""
    real, generator = os.listdir, np.random.default_rng(0)

    def listed(path: str = ".") -> list[str]:
        names = sorted(real(path), reverse=True)
        return list(generator.permutation(names)) if request.param == "shuffled" else names

    monkeypatch.setattr(os, "listdir", listed)
