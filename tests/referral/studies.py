"""Simulated studies with a known risk, for the tests of the referral rule."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "referral.py"


def load_benchmark() -> ModuleType:
    """Return the module of the simulation that the documentation quotes."""
    spec = importlib.util.spec_from_file_location("referral_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def labelled_numbers(n_patients: int, seed: int, most_images: int = 1, steepness: float = 3.0):
    """Return X of one column, labels and patients; the label is less certain near X = 0."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), rng.integers(1, most_images + 1, n_patients))
    X = rng.normal(size=(len(patients), 1))
    y = np.where(rng.uniform(size=len(X)) < 1 / (1 + np.exp(-steepness * X[:, 0])), "ill", "well")
    return X, y, patients
