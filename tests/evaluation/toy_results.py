"""Test results of simulated models, for the tests of evaluations."""

from __future__ import annotations

import numpy as np
from sklearn.dummy import DummyClassifier

CLASSES = np.array(["COVID-19", "Normal", "Pneumonia"])


def make_data(n_patients=120, seed=0):
    """Return features, labels and patients with one to five images each."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 6, size=n_patients))
    codes = patient % 3
    X = rng.normal(size=(len(patient), 3)) + 1.5 * np.eye(3)[codes]
    return X, CLASSES[codes], patient


class Fixed(DummyClassifier):
    """A fitted classifier that returns given probabilities."""

    def __init__(self, proba, classes=CLASSES):
        self.proba = proba
        self.classes_ = classes

    def predict_proba(self, X):
        return self.proba
