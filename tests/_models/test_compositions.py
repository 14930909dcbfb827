"""What the models are put into: pipelines, searches and meta-estimators."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it enables the next import
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetOvR,
    ResNetStacking,
    XRayLoader,
    clear_cache,
)
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import TrunkPassWarning

from ..toys import IMAGES_SEEN, MODELS, Toy, is_probe, spied_toy, toy, wide_toy, write_images

TRUNK = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0}
TOY = {**TRUNK, "max_epochs": 10, "lr": 1e-2}
NAMES = np.array(["COVID-19", "Normal", "Pneumonia"])


def xrays(n, labels=NAMES, shares=None, seed=0):
    """Phantoms whose brightness tells the class, so that a tiny frozen net can learn it."""
    pixels, _ = make_chest_phantoms(n, image_size=16, random_state=seed)
    k = len(labels)
    shares = np.full(k, 1 / k) if shares is None else np.asarray(shares)
    bounds = np.round(np.cumsum(shares) * n).astype(int)
    codes = np.random.RandomState(seed).permutation(np.searchsorted(bounds, np.arange(n), "right"))
    light = (codes * 180 / (k - 1)).astype(np.uint8)
    return pixels // 4 + light[:, None], np.asarray(labels)[codes]


def column_of_images(folder: Path, X):
    """Write rows as PNG files, and return the column of their paths."""
    return np.array(write_images(folder, X), dtype=object)[:, None]


def assert_predicts(model, X, y, *, above=0.6):
    """Assert classes, the form of the probabilities, and a score well above chance."""
    assert model.classes_.tolist() == np.unique(y).tolist()
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(X), len(model.classes_))
    assert np.all(probabilities >= 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert set(model.predict(X)) <= set(y)
    assert model.score(X, y) > above


@pytest.fixture(scope="module")
def data():
    """Training and test xrays, classes equally frequent."""
    return *xrays(90), *xrays(60, seed=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths and labels, the first class scarce, to train and to test."""
    X, y = xrays(80, shares=[0.15, 0.4, 0.45])
    X_test, y_test = xrays(60, seed=1)
    train = column_of_images(tmp_path_factory.mktemp("train"), X)
    return train, y, column_of_images(tmp_path_factory.mktemp("test"), X_test), y_test


@pytest.fixture
def one_thread():
    """Run torch with the one thread that a worker gets, so that sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen():
    """Return the images that passed the spied toy, none yet and none cached."""
    clear_cache()
    IMAGES_SEEN.clear()
    yield IMAGES_SEEN
    clear_cache()


# -- imbalanced-learn's pipelines -----------------------------------------------------------------


def test_loader_and_oversampler_before_ovo(files):
    """An imblearn pipeline loads a path column, oversamples pixel rows, and trains on them."""
    train, y, test, y_test = files
    model = make_sampling_pipeline(
        XRayLoader(image_size=16), RandomOverSampler(random_state=0), ResNetOvO(**TOY)
    ).fit(train, y)
    assert model[-1].n_features_in_ == 256
    assert_predicts(model, test, y_test)


def test_undersampler_on_the_path_column(files):
    """An undersampler picks rows of the path column before any file is opened."""
    train, y, test, y_test = files
    model = make_sampling_pipeline(RandomUnderSampler(random_state=0), ResNetOvO(**TOY))
    model.fit(train, y)
    assert model[-1].n_features_in_ == 1
    assert_predicts(model, test, y_test)


def test_features_and_smote_before_sklearns_ovo(files):
    """SMOTE mixes the trunk's features, and scikit-learn's own OvO learns from them."""
    train, y, test, y_test = files
    model = make_sampling_pipeline(
        XRayLoader(image_size=16),
        ResNetFeatures(**TRUNK),
        SMOTE(random_state=0),
        OneVsOneClassifier(LogisticRegression(max_iter=1000)),
    ).fit(train, y)
    assert model.classes_.tolist() == NAMES.tolist()
    assert model[-1].n_features_in_ == 32
    assert model.decision_function(test).shape == (60, 3)
    assert model.score(test, y_test) > 0.6


@pytest.mark.parametrize("sampler", [RandomOverSampler(random_state=0), SMOTE(random_state=0)])
def test_sampler_inside_a_binary_problem_of_files(files, sampler):
    """A sampler given as a parameter resamples activations, whatever form X has."""
    train, y, test, y_test = files
    model = ResNetOvO(**TOY, sampler=sampler).fit(train, y)
    assert_predicts(model, test, y_test)


def test_paths_and_the_loaders_rows_agree(files):
    """A model of paths and a pipeline of the loader and the model give equal probabilities."""
    train, y, test, _ = files
    of_paths = ResNetOvO(**TOY).fit(train, y)
    of_rows = make_pipeline(XRayLoader(image_size=16), ResNetOvO(**TOY)).fit(train, y)
    np.testing.assert_array_equal(of_paths.predict_proba(test), of_rows.predict_proba(test))


# -- scikit-learn's meta-estimators ---------------------------------------------------------------


@pytest.mark.parametrize("meta", [OneVsOneClassifier, OneVsRestClassifier])
def test_sklearns_own_decompositions(data, meta):
    """scikit-learn's OvO and OvR fit one ResNetClassifier per problem on pixel rows."""
    X, y, X_test, y_test = data
    model = meta(ResNetClassifier(**TOY)).fit(X, y)
    assert model.classes_.tolist() == NAMES.tolist()
    assert len(model.estimators_) == 3
    assert model.decision_function(X_test).shape == (60, 3)
    assert model.score(X_test, y_test) > 0.6


def test_sklearns_ovr_has_probabilities(data):
    """scikit-learn's OvR takes its probabilities from ResNetClassifier."""
    X, y, X_test, y_test = data
    assert_predicts(OneVsRestClassifier(ResNetClassifier(**TOY)).fit(X, y), X_test, y_test)


def test_stacking_of_ovo_and_ovr(data):
    """StackingClassifier learns from the probabilities of combined models."""
    X, y, X_test, y_test = data
    members = [("ovo", ResNetOvO(**TOY)), ("ovr", ResNetOvR(**TOY))]
    model = StackingClassifier(members, LogisticRegression(max_iter=1000)).fit(X, y)
    assert model.stack_method_ == ["predict_proba", "predict_proba"]
    assert model.transform(X_test).shape == (60, 6)
    assert_predicts(model, X_test, y_test)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration_by_cross_validation(data, method):
    """CalibratedClassifierCV calibrates a combined model on its decision function."""
    X, y, X_test, y_test = data
    model = CalibratedClassifierCV(ResNetOvO(**TOY), method=method, cv=3).fit(X, y)
    assert len(model.calibrated_classifiers_) == 3
    assert_predicts(model, X_test, y_test)


def test_calibration_of_a_fitted_model(data):
    """CalibratedClassifierCV calibrates a frozen model and does not fit it again."""
    X, y, X_test, y_test = data
    fitted = ResNetOvO(**TOY).fit(X, y)
    before = fitted.predict_proba(X_test)
    model = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X_test[:30], y_test[:30])
    np.testing.assert_array_equal(fitted.predict_proba(X_test), before)
    assert_predicts(model, X_test[30:], y_test[30:])


def test_bagging(data):
    """BaggingClassifier averages ResNetClassifiers of bootstrap samples."""
    X, y, X_test, y_test = data
    model = BaggingClassifier(ResNetClassifier(**TOY), n_estimators=3, random_state=0).fit(X, y)
    assert len(model.estimators_) == 3
    assert_predicts(model, X_test, y_test)


def test_halving_search_spends_epochs(data):
    """HalvingGridSearchCV takes max_epochs as its resource."""
    X, y, X_test, y_test = data
    base = ResNetOvO(**{**TOY, "max_epochs": 1})
    search = HalvingGridSearchCV(
        base,
        {"lr": [1e-4, 1e-3, 1e-2, 3e-2]},
        resource="max_epochs",
        min_resources=3,
        max_resources=12,
        factor=2,
        cv=3,
        error_score="raise",
        random_state=0,
    ).fit(X, y)
    assert sorted(set(search.cv_results_["n_resources"])) == [3, 6, 12]
    assert search.best_estimator_.max_epochs == 12
    assert_predicts(search, X_test, y_test)


def test_threshold_tuned_for_two_classes():
    """TunedThresholdClassifierCV moves the threshold of a model of two classes."""
    X, y = xrays(80, ["Normal", "Pneumonia"], shares=[0.8, 0.2])
    X_test, y_test = xrays(60, ["Normal", "Pneumonia"], seed=1)
    model = TunedThresholdClassifierCV(ResNetClassifier(**TOY), cv=3).fit(X, y)
    assert 0 <= model.best_threshold_ <= 1
    assert_predicts(model, X_test, y_test)
    above = model.predict_proba(X_test)[:, 1] >= model.best_threshold_
    np.testing.assert_array_equal(model.predict(X_test) == "Pneumonia", above)


# -- searches and cross-validation ----------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["roc_auc_ovr", "neg_log_loss", "f1_macro"])
def test_grid_over_what_a_user_tunes(scoring):
    """A grid over lr, cut, sampler and dense chain is scored without a failure."""
    X, y = xrays(90, shares=[0.15, 0.4, 0.45])
    grid = [
        {
            "lr": [1e-2, 3e-2],
            "trainable": ["head"],
            "sampler": [None, RandomOverSampler(), SMOTE()],
            "hidden_layer_sizes": [(), (8,)],
        },
        {
            "lr": [1e-2],
            "trainable": ["layer4", "all"],
            "sampler": [None, RandomOverSampler()],
            "hidden_layer_sizes": [()],
        },
    ]
    search = GridSearchCV(
        ResNetOvO(**{**TOY, "max_epochs": 8}), grid, scoring=scoring, cv=2, error_score="raise"
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores.shape == (16,)
    assert np.all(np.isfinite(scores))
    assert search.best_score_ > {"roc_auc_ovr": 0.9, "neg_log_loss": -0.8, "f1_macro": 0.8}[scoring]
    if scoring == "neg_log_loss":  # the parameters do something
        assert len(np.unique(scores)) > 12
    assert_predicts(search.best_estimator_, *xrays(60, seed=1))


@pytest.mark.parametrize("kind", MODELS)
def test_a_search_passes_each_image_once(data, seen, kind):
    """Over all candidates, folds, the refit and a score, each image passes the trunk once."""
    X, y, _, _ = data
    model = kind(**{**TOY, "backbone": spied_toy, "max_epochs": 2})
    grid = {"lr": [1e-3, 1e-2], "sampler": [None, RandomOverSampler(), SMOTE()]}
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    assert np.isfinite(search.score(X, y))
    assert sum(seen) == len(X)


def test_different_models_share_the_trunk(data, seen):
    """Models of different kinds in one search share the activations of one trunk."""
    X, y, _, _ = data
    kinds = [kind(**{**TOY, "backbone": spied_toy, "max_epochs": 2}) for kind in MODELS]
    pipeline = Pipeline([("model", kinds[0])])
    search = GridSearchCV(pipeline, {"model": kinds}, cv=3, error_score="raise").fit(X, y)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert sum(seen) == len(X)


def test_files_and_rows_share_the_trunk(files, seen):
    """An image passes once, whether it comes as a path or as the loader's row."""
    train, y, _, _ = files
    rows = XRayLoader(image_size=16).fit_transform(train)
    model = ResNetOvO(**{**TOY, "backbone": spied_toy, "max_epochs": 2})
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    assert np.isfinite(search.fit(train, y).best_score_)
    assert np.isfinite(search.fit(rows, y).best_score_)
    assert sum(seen) == len(train)


@pytest.mark.parametrize("kind", MODELS)
def test_cross_validation_by_group(data, kind):
    """cross_validate with StratifiedGroupKFold keeps patients whole and scores every fold."""
    X, y, _, _ = data
    groups = np.random.RandomState(0).permutation(np.arange(len(X)) // 3)
    result = cross_validate(
        kind(**TOY),
        X,
        y,
        groups=groups,
        cv=StratifiedGroupKFold(3),
        scoring=["roc_auc_ovr", "neg_log_loss", "f1_macro", "balanced_accuracy"],
        error_score="raise",
        return_indices=True,
    )
    for train, test in zip(*result["indices"].values(), strict=True):
        assert not set(groups[train]) & set(groups[test])
    assert np.all(result["test_balanced_accuracy"] > 0.5)
    assert np.all(result["test_roc_auc_ovr"] > 0.7)
    assert np.all(np.isfinite(result["test_neg_log_loss"]))


# -- metadata routing -----------------------------------------------------------------------------


def divided(model, groups):
    """Return the groups on both sides of a model's own validation split."""
    held = model.validation_indices_
    return set(groups[held]) & set(np.delete(groups, held))


def patients(n):
    """Return groups of three rows that no split by row alone keeps whole."""
    return np.random.RandomState(0).permutation(np.arange(n) // 3)


@pytest.mark.parametrize("kind", MODELS)
def test_groups_are_routed_through_a_search(data, kind):
    """With metadata routing on, groups reach the split of early stopping inside GridSearchCV."""
    X, y, _, _ = data
    groups = patients(len(X))
    model = kind(**{**TOY, "max_epochs": 2}, early_stopping=True, validation_fraction=0.2)
    assert divided(clone(model).fit(X, y), groups)  # rows alone divide them
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            model, {"lr": [1e-3, 1e-2]}, cv=StratifiedGroupKFold(3), error_score="raise"
        ).fit(X, y, groups=groups)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert len(search.best_estimator_.validation_indices_)
    assert not divided(search.best_estimator_, groups)


def test_groups_are_routed_to_every_fold(data):
    """With metadata routing on, each fold's model gets the groups of its own training rows."""
    X, y, _, _ = data
    groups = patients(len(X))
    model = ResNetOvO(**{**TOY, "max_epochs": 2}, early_stopping=True, validation_fraction=0.2)
    with config_context(enable_metadata_routing=True):
        result = cross_validate(
            model,
            X,
            y,
            params={"groups": groups},
            cv=StratifiedGroupKFold(3),
            return_estimator=True,
            return_indices=True,
            error_score="raise",
        )
    for fitted, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        assert not divided(fitted, groups[train])


@pytest.mark.parametrize("searched", [False, True])
def test_groups_are_routed_through_a_pipeline(files, searched):
    """With metadata routing on, groups pass the loader and reach the model behind it."""
    train, y, _, _ = files
    groups = patients(len(train))
    model = ResNetOvR(**{**TOY, "max_epochs": 2}, early_stopping=True, validation_fraction=0.2)
    pipeline = make_pipeline(XRayLoader(image_size=16), model)
    assert divided(clone(pipeline).fit(train, y)[-1], groups)
    with config_context(enable_metadata_routing=True):
        if searched:
            grid = {"resnetovr__lr": [1e-3, 1e-2]}
            pipeline = GridSearchCV(pipeline, grid, cv=StratifiedGroupKFold(2), error_score="raise")
        pipeline.fit(train, y, groups=groups)
    fitted = pipeline.best_estimator_ if searched else pipeline
    assert not divided(fitted[-1], groups)


def test_group_by_survives_a_search_without_routing(files):
    """With metadata routing off, group_by keeps patients whole where groups cannot be passed."""
    train, y, _, _ = files
    model = ResNetOvO(
        **{**TOY, "max_epochs": 2},
        early_stopping=True,
        validation_fraction=0.2,
        group_by=third_of_number,
    )
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(train, y)
    groups = np.array([third_of_number(path) for path in train[:, 0]])
    assert not divided(search.best_estimator_, groups)


def third_of_number(path: str) -> int:
    """Return the patient that a test's file belongs to."""
    return int(Path(path).stem) // 3


# -- workers --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.TrunkPassWarning")
def test_search_in_two_workers_is_the_same_search(data, one_thread):
    """GridSearchCV(n_jobs=2) finds bit for bit what one process finds."""
    X, y, X_test, _ = data
    grid = {"lr": [1e-3, 1e-2], "sampler": [None, SMOTE()]}
    one, two = (
        GridSearchCV(
            ResNetOvO(**TOY), grid, cv=2, scoring="neg_log_loss", n_jobs=n, error_score="raise"
        ).fit(X, y)
        for n in (None, 2)
    )
    for fold in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[fold], two.cv_results_[fold])
    assert one.best_params_["lr"] == two.best_params_["lr"]
    np.testing.assert_array_equal(one.predict_proba(X_test), two.predict_proba(X_test))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", MODELS)
def test_problems_fitted_in_two_workers_are_the_same(data, one_thread, kind):
    """A model with n_jobs=2 fits bit for bit the model of one process, and warns of nothing."""
    X, y, X_test, _ = data
    one = kind(**TOY).fit(X, y)
    two = kind(**TOY, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X_test), two.predict_proba(X_test))
    assert one.loss_curve_ == two.loss_curve_
    saved = pickle.dumps(two)  # nothing of the workers' copies has stayed
    assert not any(row.tobytes() in saved for row in two.trunk_.transform(X))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_two_workers_with_files_sampler_and_early_stopping(files, one_thread, early_stopping):
    """Workers resample and stop early as one process does, on files too."""
    train, y, test, _ = files
    parameters = {**TOY, "sampler": SMOTE(k_neighbors=3), "early_stopping": early_stopping}
    one = ResNetOvO(**parameters).fit(train, y)
    two = ResNetOvO(**parameters, n_jobs=2).fit(train, y)
    np.testing.assert_array_equal(one.predict_proba(test), two.predict_proba(test))
    assert one.n_iter_ == two.n_iter_


def test_workers_without_memory_warn(data):
    """In a worker without memory the trunk runs again, and a warning says so."""
    X, y, _, _ = data
    search = GridSearchCV(
        ResNetOvO(**{**TOY, "backbone": Toy(width=4), "max_epochs": 2}),
        {"lr": [1e-3, 1e-2]},
        cv=2,
        n_jobs=2,
        error_score="raise",
    )
    with pytest.raises(TrunkPassWarning, match="memory=<folder>"):
        search.fit(X, y)  # warnings are errors here, in the workers too


class LoggedConv(nn.Conv2d):
    """A first layer that writes to a file how many images pass it, whichever process it is in."""

    log = ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not is_probe(x):
            with Path(self.log).open("a") as file:
                file.write(f"{len(x)}\n")
        return super().forward(x)


@dataclass(frozen=True)
class LoggedToy(Toy):
    """A toy with such a first layer."""

    log: str = ""

    def __call__(self) -> nn.Module:
        net = super().__call__()
        net.conv1 = LoggedConv(3, self.width, 3, stride=2, padding=1, bias=False)
        net.conv1.log = self.log
        return net


@pytest.mark.filterwarnings("error")
def test_workers_share_rows_on_disk(data, tmp_path):
    """With memory=folder no worker runs the trunk on an image whose activations stand there."""
    X, y, _, _ = data
    log = tmp_path / "passes"
    shared = {**TRUNK, "backbone": LoggedToy(log=str(log)), "memory": tmp_path / "cache"}
    ResNetFeatures(**shared).fit_transform(X)
    passes = sum(map(int, log.read_text().split()))
    assert passes == len(X)
    search = GridSearchCV(
        ResNetOvO(**shared, max_epochs=2),
        {"lr": [1e-3, 1e-2]},
        cv=2,
        n_jobs=2,
        error_score="raise",
    ).fit(X, y)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert sum(map(int, log.read_text().split())) == passes


@pytest.mark.filterwarnings("error")
def test_workers_leave_their_rows_on_disk(data, tmp_path):
    """With memory=folder a search in two workers warns of nothing, and its rows are found again."""
    X, y, _, _ = data
    log = tmp_path / "passes"
    shared = {**TRUNK, "backbone": LoggedToy(log=str(log)), "memory": str(tmp_path / "cache")}
    search = GridSearchCV(
        ResNetOvO(**shared, max_epochs=2),
        {"lr": [1e-3, 1e-2]},
        cv=2,
        n_jobs=2,
        refit=False,
        error_score="raise",
    ).fit(X, y)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    passes = sum(map(int, log.read_text().split()))
    assert len(X) <= passes <= 2 * len(X)  # two workers may meet an image at the same moment
    ResNetFeatures(**shared).fit_transform(X)
    assert sum(map(int, log.read_text().split())) == passes


# -- scikit-learn's habits ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_clone_keeps_parameters_and_drops_the_fit(data, kind):
    """A clone has the parameters of a fitted model and nothing of its fit."""
    X, y, _, _ = data
    fitted = kind(**TOY, dropout=0.1, class_weight=dict.fromkeys(y, 1.5)).fit(X, y)
    twin = clone(fitted)
    assert twin.get_params(deep=False) == fitted.get_params(deep=False)
    with pytest.raises(NotFittedError):
        check_is_fitted(twin)
    with pytest.raises(NotFittedError):
        twin.predict(X)


@pytest.mark.parametrize("kind", MODELS)
def test_a_deep_copy_predicts_the_same(data, kind):
    """copy.deepcopy of a fitted model predicts what the model predicts."""
    X, y, X_test, _ = data
    fitted = kind(**TOY).fit(X, y)
    twin = copy.deepcopy(fitted)
    np.testing.assert_array_equal(twin.predict_proba(X_test), fitted.predict_proba(X_test))


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures, XRayLoader])
def test_html_names_the_class(data, kind):
    """The HTML representation names the class, before and after fit, alone and in a pipeline."""
    if kind is XRayLoader:
        assert "XRayLoader" in kind(image_size=16)._repr_html_()
        return
    X, y, _, _ = data
    model = kind(**TRUNK)
    assert kind.__name__ in model._repr_html_()
    if kind is not ResNetFeatures:
        model.set_params(max_epochs=1, lr=1e-2)
    assert kind.__name__ in make_pipeline(XRayLoader(), model)._repr_html_()
    assert kind.__name__ in model.fit(X, y)._repr_html_()


@pytest.mark.parametrize("kind", MODELS)
def test_repr_shows_what_was_set(kind):
    """The representation shows the parameters that differ from their defaults."""
    text = repr(kind(lr=0.5))
    assert text == f"{kind.__name__}(lr=0.5)"


@pytest.mark.parametrize(("trainable", "n_values"), [("head", 32), ("layer4", 256), ("all", 256)])
def test_features_have_names_and_come_as_data_frames(data, trainable, n_values):
    """ResNetFeatures names its columns, and set_output makes a data frame of them."""
    X, _, _, _ = data
    features = ResNetFeatures(**TRUNK, trainable=trainable).fit(X)
    names = features.get_feature_names_out()
    assert names.tolist() == [f"resnetfeatures{i}" for i in range(n_values)]
    plain = features.transform(X)
    assert plain.shape == (len(X), n_values)
    assert plain.dtype == np.float32
    index = np.arange(len(X)) + 100
    frame = features.set_output(transform="pandas").transform(pd.DataFrame(X, index=index))
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names.tolist()
    assert frame.index.tolist() == index.tolist()
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    polar = features.set_output(transform="polars").transform(X)
    assert isinstance(polar, pl.DataFrame)
    assert polar.columns == names.tolist()


def test_loader_output_can_be_a_data_frame(files):
    """XRayLoader names its pixels, and a pipeline of transformers returns a data frame."""
    train, _, _, _ = files
    pipeline = make_pipeline(XRayLoader(image_size=16), ResNetFeatures(**TRUNK))
    frame = pipeline.set_output(transform="pandas").fit_transform(train)
    assert frame.shape == (len(train), 32)
    assert pipeline[0].get_feature_names_out()[0] == "pixel0"
    assert pipeline.get_feature_names_out().tolist() == frame.columns.tolist()


@pytest.mark.parametrize("kind", MODELS)
def test_data_frames_of_pixels(data, kind):
    """Data frames of pandas and of polars give what their arrays give."""
    X, y, X_test, _ = data
    expected = kind(**TOY).fit(X, y).predict_proba(X_test)
    names = [f"p{i}" for i in range(256)]
    index = np.random.RandomState(0).permutation(len(X))  # an index that is no position
    frame = pd.DataFrame(X, columns=names, index=index)
    model = kind(**TOY).fit(frame, pd.Series(y, index=index))
    assert model.feature_names_in_.tolist() == names
    result = model.predict_proba(pd.DataFrame(X_test, columns=names))
    np.testing.assert_array_equal(result, expected)
    model = kind(**TOY).fit(pl.DataFrame(X, schema=names), pl.Series(y))
    result = model.predict_proba(pl.DataFrame(X_test, schema=names))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("form", ["list", "pandas", "polars", "frame", "polars frame", "path"])
def test_columns_of_paths(files, form):
    """A list, a Series or a data frame of paths is a column of paths."""
    train, y, test, _ = files
    expected = ResNetClassifier(**TOY).fit(train, y).predict_proba(test)
    make = {
        "list": list,
        "pandas": lambda c: pd.Series(c, index=np.arange(len(c))[::-1]),
        "polars": lambda c: pl.Series("path", list(c)),
        "frame": lambda c: pd.DataFrame({"path": c}, index=np.arange(len(c))[::-1]),
        "polars frame": lambda c: pl.DataFrame({"path": list(c)}),
        "path": lambda c: [Path(p) for p in c],
    }[form]
    model = ResNetClassifier(**TOY).fit(make(train[:, 0]), y)
    np.testing.assert_array_equal(model.predict_proba(make(test[:, 0])), expected)


def test_weights_and_groups_as_series(data):
    """A Series of weights or of groups is read by position, whatever its index."""
    X, y, X_test, _ = data
    weight, groups = np.random.RandomState(0).uniform(0.5, 2, len(X)), patients(len(X))
    index = np.arange(len(X))[::-1]
    parameters = {**TOY, "early_stopping": True}
    plain = ResNetOvO(**parameters).fit(X, y, sample_weight=weight, groups=groups)
    series = ResNetOvO(**parameters).fit(
        X,
        pd.Series(y, index=index),
        sample_weight=pd.Series(weight, index=index),
        groups=pd.Series(groups, index=index),
    )
    np.testing.assert_array_equal(plain.predict_proba(X_test), series.predict_proba(X_test))


def test_a_search_over_a_data_frame(data):
    """GridSearchCV slices a pandas data frame and its labels."""
    X, y, X_test, y_test = data
    frame = pd.DataFrame(X, index=np.arange(len(X)) + 7).add_prefix("p")
    search = GridSearchCV(
        ResNetOvO(**TOY), {"lr": [1e-3, 1e-2]}, cv=StratifiedKFold(2), error_score="raise"
    ).fit(frame, pd.Series(y, index=frame.index))
    assert_predicts(search, pd.DataFrame(X_test).add_prefix("p"), y_test)


# -- labels ---------------------------------------------------------------------------------------

LABELS = {
    "two strings": np.array(["Normal", "Pneumonia"]),
    "two integers": np.array([-1, 1]),
    "two booleans": np.array([False, True]),
    "three strings": NAMES,
    "three objects": NAMES.astype(object),
    "three integers": np.array([2, 5, 40]),
    "ten strings": np.array([f"finding {i}" for i in range(10)]),
    "ten integers": np.arange(10) * 3,
}


# ten classes of three test xrays each are not all told apart by a trunk that is never trained
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("kind", MODELS)
def test_labels_of_every_type(kind, labels):
    """Two, three or ten labels, of any type, come back as they were given."""
    k = len(labels)
    X, y = xrays(12 * k, labels)
    X_test, y_test = xrays(6 * k, labels, seed=1)
    model = kind(**TOY, **({"cv": 3} if kind is ResNetStacking else {})).fit(X, y)
    assert model.classes_.dtype == y.dtype
    assert model.predict(X_test).dtype == y.dtype
    assert model.decision_function(X_test).shape == ((6 * k,) if k == 2 else (6 * k, k))
    assert_predicts(model, X_test, y_test, above=1.6 / k)
    if kind is ResNetOvO:
        assert len(model.pairs_) == len(model.estimators_) == k * (k - 1) // 2


def test_the_order_of_labels_does_not_matter(data):
    """Under names that sort otherwise the classes are told apart as well."""
    X, y, X_test, y_test = data
    model = ResNetOvO(**{**TOY, "max_epochs": 30}).fit(X, y)
    order = {"COVID-19": "c", "Normal": "a", "Pneumonia": "b"}
    renamed = ResNetOvO(**{**TOY, "max_epochs": 30}).fit(X, [order[label] for label in y])
    score = renamed.score(X_test, [order[label] for label in y_test])
    assert abs(score - model.score(X_test, y_test)) < 0.1


def test_wider_backbone(data):
    """Another backbone in the same grid has a trunk of its own."""
    X, y, X_test, y_test = data
    grid = {"backbone": [toy, wide_toy]}
    search = GridSearchCV(ResNetOvO(**TOY), grid, cv=2, error_score="raise").fit(X, y)
    assert_predicts(search, X_test, y_test)
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 2 or search.best_score_ == 1
