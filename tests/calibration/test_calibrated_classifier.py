"""CalibratedClassifierCV of scikit-learn calibrates the models of this package by patient."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

from cxr_sklearn import ResNetOvO
from cxr_sklearn.calibration import PrevalenceAdjuster

from ..toys import MODELS
from .toy_models import toy_model

# Models that train for two epochs may not predict every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_folds_by_patient_are_passed_as_a_list(imbalanced, kind, method):
    """Without metadata routing, the folds are made before the fit."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    folds = list(StratifiedGroupKFold(2).split(X, y, groups))
    calibrated = CalibratedClassifierCV(toy_model(kind), method=method, cv=folds).fit(X, y)
    proba = calibrated.predict_proba(X)
    assert proba.shape == (len(y), 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert len(calibrated.calibrated_classifiers_) == 2


@pytest.mark.parametrize("is_routed", [False, True])
def test_patients_reach_the_model(imbalanced, is_routed):
    """Without routing, the folds are a list; with it, the splitter gets the patients too."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    folds = StratifiedGroupKFold(2)
    with config_context(enable_metadata_routing=is_routed):
        model = toy_model(ResNetOvO, early_stopping=True, validation_fraction=0.3)
        cv = folds if is_routed else list(folds.split(X, y, groups))
        calibrated = CalibratedClassifierCV(model, cv=cv).fit(X, y, groups=groups)
    for number, (train, _) in enumerate(StratifiedGroupKFold(2).split(X, y, groups)):
        fitted = calibrated.calibrated_classifiers_[number].estimator
        held = train[fitted.validation_indices_]
        assert not set(groups[held]) & set(groups[np.setdiff1d(train, held)])


@pytest.mark.parametrize("is_routed", [False, True])
def test_calibrated_model_is_tuned_in_a_grid_search(imbalanced, is_routed):
    """With routing, patients reach the splitters of the search and of the calibration."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    with config_context(enable_metadata_routing=is_routed):
        inner = StratifiedGroupKFold(2) if is_routed else 2
        calibrated = CalibratedClassifierCV(toy_model(ResNetOvO), method="temperature", cv=inner)
        search = GridSearchCV(
            calibrated,
            {"estimator__lr": [1e-3, 1e-2]},
            cv=StratifiedGroupKFold(2),
            error_score="raise",
        ).fit(X, y, groups=groups)
    assert search.predict_proba(X).shape == (len(y), 3)


@pytest.mark.parametrize("is_routed", [False, True])
def test_adjuster_is_put_around_and_inside(imbalanced, is_routed):
    """Patients reach the model through both meta-estimators."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    folds = StratifiedGroupKFold(2)
    with config_context(enable_metadata_routing=is_routed):
        model = toy_model(ResNetOvO, early_stopping=True, validation_fraction=0.3)
        cv = folds if is_routed else list(folds.split(X, y, groups))
        calibrated = CalibratedClassifierCV(PrevalenceAdjuster(model), cv=cv)
        adjuster = PrevalenceAdjuster(calibrated, prevalence={"COVID-19": 0.05})
        adjuster.fit(X, y, groups=groups)
    np.testing.assert_allclose(adjuster.prior_, [1 / 2, 1 / 3, 1 / 6])
    assert adjuster.predict_proba(X)[:, 0].mean() < 0.3
    first = adjuster.estimator_.calibrated_classifiers_[0].estimator.estimator_
    train = next(folds.split(X, y, groups))[0]
    held = train[first.validation_indices_]
    assert not set(groups[held]) & set(groups[np.setdiff1d(train, held)])
