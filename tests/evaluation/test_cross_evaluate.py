"""cross_evaluate: out-of-fold figures, baselines, sources left out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneGroupOut,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_sklearn import ResNetClassifier, ResNetOvO, XRayLoader
from cxr_sklearn.datasets import make_chest_phantom_files, make_chest_phantoms
from cxr_sklearn.evaluation import Evaluation, compare, cross_evaluate
from cxr_sklearn.evaluation._blanking import blanked
from cxr_sklearn.exceptions import ImageLevelWarning
from cxr_sklearn.model_selection import LeaveOneSourceOut
from cxr_sklearn.preprocessing._pixel_input import pixel_input
from cxr_sklearn.quality import measure_images

from ..toys import IMAGES_SEEN, spied_toy, toy
from .toy_results import make_data

# Models that train for two epochs may not predict every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")

QUICK = {"n_resamples": 200, "random_state": 0}


@pytest.fixture(scope="module")
def images():
    """Return 60 phantoms of 20 patients, of which each has one class."""
    X, y = make_chest_phantoms(120, image_size=16, random_state=0)
    rows = np.concatenate([np.flatnonzero(y == label)[:20] for label in np.unique(y)])
    return X[rows], y[rows], np.arange(60) // 3


def toy_model(kind=ResNetOvO, backbone=toy, **settings):
    settings = {"max_epochs": 2, "random_state": 0} | settings
    return kind(backbone=backbone, weights=None, image_size=16, **settings)


def plain(**arguments):
    """Cross-evaluate a logistic regression on features that are not images."""
    X, y, patient = make_data()
    arguments = {"groups": patient, "baselines": None, **QUICK} | arguments
    return cross_evaluate(LogisticRegression(), X, y, **arguments)


# -- out-of-fold predictions ----------------------------------------------------------------------


class Recorder(ClassifierMixin, BaseEstimator):
    """Records the patients that it is trained on, in the probabilities that it returns."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.trained_ = set(np.asarray(X)[:, 0])
        return self

    def predict_proba(self, X):
        seen = np.array([row in self.trained_ for row in np.asarray(X)[:, 0]])
        return np.column_stack([seen, ~seen, np.zeros(len(seen))]).astype(float)


def test_no_image_is_predicted_by_a_model_that_saw_its_patient():
    _, y, patient = make_data()
    found = cross_evaluate(
        Recorder(), patient[:, None].astype(float), y, groups=patient, baselines=None, **QUICK
    )
    assert (found.predictions["p_COVID-19"] == 0).all()


def test_every_image_is_tested_once_per_repeat():
    found = plain(repeats=2, cv=3)
    table = found.predictions
    assert table.groupby("repeat")["index"].nunique().tolist() == [found.n_images] * 2
    assert set(table["fold"]) == {0, 1, 2}
    folds = [table.query(f"repeat == {repeat}")["fold"].to_numpy() for repeat in (0, 1)]
    assert (folds[0] != folds[1]).any()


def test_patients_are_in_one_fold():
    table = plain().predictions
    assert (table.groupby("patient")["fold"].nunique() == 1).all()


def test_splitters_and_lists_of_folds_are_accepted():
    X, y, patient = make_data()
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=0)
    by_splitter = plain(cv=splitter)
    by_list = plain(cv=list(splitter.split(X, y, patient)))
    assert by_splitter.to_frame().equals(by_list.to_frame())


def test_repeated_splitter_gives_repeats():
    _, y, _ = make_data()
    with pytest.warns(ImageLevelWarning):
        found = plain(cv=RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), groups=None)
    assert found.predictions["repeat"].nunique() == 2
    assert len(found.predictions) == 2 * len(y)


def test_scikit_learn_pipelines_and_searches_are_evaluated():
    X, y, patient = make_data()
    models = {
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
        "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=StratifiedGroupKFold(2)),
    }
    found = cross_evaluate(models, X, y, groups=patient, baselines=None, **QUICK)
    values = found.overall.query("metric == 'balanced_accuracy'").set_index("model")["value"]
    assert (values > 0.6).all()


@pytest.mark.parametrize("is_routed", [False, True])
def test_patients_reach_the_model(images, is_routed):
    """Early stopping inside a fold does not divide patients."""
    X, y, patient = images
    seen = []

    class Spy(ResNetOvO):
        def fit(self, X, y, *, groups=None, sample_weight=None):
            seen.append(groups)
            return super().fit(X, y, groups=groups, sample_weight=sample_weight)

    with config_context(enable_metadata_routing=is_routed):
        for model in (toy_model(Spy), make_pipeline(StandardScaler(), toy_model(Spy))):
            seen.clear()
            cross_evaluate(model, X, y, groups=patient, cv=2, baselines=None, **QUICK)
            assert len(seen) == 2
            assert all(len(np.unique(groups)) == 10 for groups in seen)


def test_arguments_of_fit_are_divided_into_folds():
    """A weight of 0 for one class in training makes its sensitivity 0."""
    _, y, _ = make_data()
    weight = np.where(y == "Normal", 1e-9, 1.0)
    found = plain(params={"sample_weight": weight})
    table = found.per_class.query("metric == 'sensitivity'").set_index("class")["value"]
    assert table["Normal"] < 0.1
    assert table["COVID-19"] > 0.5


def test_worker_processes_give_the_same_result():
    assert plain(n_jobs=2).to_frame().equals(plain().to_frame())


# -- the trunk, and the baselines -----------------------------------------------------------------


def test_each_image_passes_the_trunk_once(images):
    """Once for all folds, repeats and models, and once more with blanked lungs."""
    X, y, patient = images
    IMAGES_SEEN.clear()
    models = {
        "ovo": toy_model(backbone=spied_toy),
        "single": toy_model(ResNetClassifier, backbone=spied_toy),
    }
    cross_evaluate(models, X, y, groups=patient, cv=2, repeats=2, baselines=None, **QUICK)
    assert sum(IMAGES_SEEN) == len(X)
    cross_evaluate(models, X, y, groups=patient, cv=2, baselines="lungs blanked", **QUICK)
    assert sum(IMAGES_SEEN) == 2 * len(X)


def test_pixels_have_three_baselines(images):
    X, y, patient = images
    found = cross_evaluate(toy_model(), X, y, groups=patient, cv=2, **QUICK)
    assert found.baselines == ["thumbnail", "border", "ResNetOvO, lungs blanked"]
    assert found.models == ["ResNetOvO"]
    gains = found.gains.query("metric == 'balanced_accuracy'")
    assert gains["baseline"].tolist() == found.baselines
    values = found.overall.query("metric == 'balanced_accuracy'").set_index("model")["value"]
    for row in gains.to_dict("records"):
        assert row["difference"] == pytest.approx(values["ResNetOvO"] - values[row["baseline"]])


def test_files_have_four_baselines(tmp_path):
    bunch = make_chest_phantom_files(tmp_path, 60, image_size=32, random_state=0)
    model = make_pipeline(XRayLoader(image_size=16), toy_model())
    found = cross_evaluate(model, bunch.data, bunch.target, groups=bunch.groups, cv=2, **QUICK)
    assert found.baselines == ["thumbnail", "header", "border", "ResNetOvO, lungs blanked"]
    direct = cross_evaluate(
        toy_model(),
        bunch.data,
        bunch.target,
        groups=bunch.groups,
        cv=2,
        measurements=measure_images(bunch),
        **QUICK,
    )
    assert direct.baselines == found.baselines
    assert direct.to_frame().equals(found.to_frame())


def test_shortcut_at_the_border_is_found_and_lungs_are_not():
    """A model that learns a marker outside the lungs gains nothing over blanked lungs."""
    rng = np.random.default_rng(0)
    y = np.tile(["a", "b"], 60)
    X = rng.integers(0, 200, size=(120, 16, 16), dtype=np.uint8)
    X[y == "b", :2, :2] = 255
    model = toy_model(max_epochs=8, class_weight=None)
    found = cross_evaluate(model, X, y, groups=np.arange(120), cv=2, **QUICK)
    assert "is not shown to use the lungs" in str(found).split("\n\n")[0]
    assert "ResNetOvO" in found.notes[0]


def test_signal_in_the_lungs_leaves_no_note():
    rng = np.random.default_rng(0)
    y = np.tile(["a", "b"], 60)
    X = rng.integers(0, 200, size=(120, 16, 16), dtype=np.uint8)
    X[y == "b", 6:10, 6:10] = 255
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    found = cross_evaluate(
        model,
        X.reshape(120, -1),
        y,
        groups=np.arange(120),
        cv=2,
        baselines="lungs blanked",
        **QUICK,
    )
    # The images are noise, in which there are no lungs. Their centre is blanked.
    (note,) = found.notes
    assert note.startswith("No lungs were found in 120 of 120 images")
    assert found.gains.query("metric == 'balanced_accuracy'")["low"].iloc[0] > 0


def test_images_without_lungs_keep_their_margin_only():
    """The centre of images in which no lungs are found is blanked."""
    images = np.random.default_rng(0).integers(0, 256, size=(4, 20, 20), dtype=np.uint8)
    without_lungs, n_without_lungs = blanked(pixel_input(toy_model(), images))
    assert n_without_lungs == 4
    inside = without_lungs[:, 3:17, 3:17]
    assert (inside == inside[:, :1, :1]).all()
    margin = np.ones((20, 20), dtype=bool)
    margin[3:17, 3:17] = False
    np.testing.assert_array_equal(without_lungs[:, margin], images[:, margin])
    assert inside[0, 0, 0] == round(images[0][margin].mean())
    # Pixels in the centre change nothing.
    other = images.copy()
    other[:, 3:17, 3:17] = 0
    np.testing.assert_array_equal(blanked(pixel_input(toy_model(), other))[0], without_lungs)


def test_lungs_of_radiographs_are_blanked_and_not_the_centre():
    """The box encloses the drawn lungs, and its pixels have one grey level."""
    X, _, masks = make_chest_phantoms(20, image_size=64, return_masks=True, random_state=0)
    images, lungs = X.reshape(-1, 64, 64), masks.reshape(-1, 64, 64) > 0
    without_lungs, n_without_lungs = blanked(pixel_input(toy_model(), images))
    assert n_without_lungs == 0
    is_changed = without_lungs != images
    assert is_changed[lungs].mean() > 0.95
    for before, after, lung in zip(images, without_lungs, lungs, strict=True):
        assert (after[lung] == after[32, 32]).mean() > 0.98
        lines = np.flatnonzero((before != after).any(axis=1))
        assert abs(lines[0] - np.flatnonzero(lung.any(axis=1))[0]) <= 6


@pytest.mark.parametrize("is_blanked", [True, False])
def test_classes_that_differ_in_the_lungs_only_need_the_lungs(is_blanked):
    """With blanked lungs, a model is at chance. With images that are not blanked it is not."""
    X, y = make_chest_phantoms(600, image_size=64, random_state=0)
    images = X.reshape(-1, 64, 64)
    if is_blanked:
        images, _ = blanked(pixel_input(toy_model(), images))
    features = images.reshape(-1, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(600, -1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
    found = cross_evaluate(model, features, y, groups=np.arange(600), baselines=None, **QUICK)
    row = found.overall.query("metric == 'balanced_accuracy'").iloc[0]
    if is_blanked:
        assert row["low"] < 1 / 3 + 0.02, row
    else:
        assert row["low"] > 0.4, row


@pytest.mark.parametrize("form", ["rows", "stack", "colour", "floats"])
def test_all_forms_of_pixels_can_be_blanked(form):
    stack = np.random.default_rng(0).integers(0, 256, size=(4, 16, 16), dtype=np.uint8)
    X = {
        "rows": stack.reshape(4, -1),
        "stack": stack,
        "colour": np.stack([stack] * 3, axis=-1),
        "floats": stack.astype(np.float32) / 255,
    }[form]
    without_lungs, _ = blanked(pixel_input(toy_model(), X))
    assert without_lungs.shape == X.shape
    assert without_lungs.dtype == X.dtype
    assert not np.array_equal(without_lungs, X)


def test_data_that_are_not_images_warn_and_have_no_baselines():
    with pytest.warns(UserWarning, match="baselines are left out, because the 3 columns of X"):
        found = plain(baselines="auto")
    assert found.baselines == []
    assert found.gains.empty


def test_requested_baseline_that_cannot_be_computed_raises(images):
    X, y, patient = images
    with pytest.raises(ValueError, match="baselines='lungs blanked' cannot be computed"):
        plain(baselines="lungs blanked")
    with pytest.raises(ValueError, match="pixels, which have no file header"):
        cross_evaluate(toy_model(), X, y, groups=patient, baselines=["header"], **QUICK)
    with pytest.raises(ValueError, match="baselines contains 'lungs'; expected 'auto', None"):
        plain(baselines=["lungs"])


def test_models_are_compared_with_their_baselines(images):
    X, y, patient = images
    found = cross_evaluate(toy_model(), X, y, groups=patient, cv=2, baselines="thumbnail", **QUICK)
    frame = compare(found, reference="thumbnail", metrics="accuracy", n_permutations=200).frame
    assert frame["model"].tolist() == ["ResNetOvO"]


def test_json_restores_gains_and_folds(images):
    X, y, patient = images
    found = cross_evaluate(toy_model(), X, y, groups=patient, cv=2, **QUICK)
    loaded = Evaluation.from_json(found.to_json())
    assert str(loaded) == str(found)
    assert loaded.gains.equals(found.gains)
    assert loaded.predictions.equals(found.predictions)


# -- sources left out -----------------------------------------------------------------------------


def test_sources_left_out_have_rows_spread_and_internal_figures():
    _, _, patient = make_data()
    sources = np.array(["A", "B", "C"])[(patient // 3) % 3]
    found = plain(cv=LeaveOneSourceOut(), sources=sources)
    table = found.subsets.query("metric == 'balanced_accuracy' and column == 'source'")
    assert table["level"].tolist() == ["A", "B", "C"]
    assert any("by source left out: from" in note for note in found.notes)
    assert set(found.transfer.columns) >= {"internal", "external", "difference", "low", "high"}
    assert not any("disagree" in note for note in found.notes)
    loaded = Evaluation.from_json(found.to_json())
    assert loaded.transfer.equals(found.transfer)


def test_disagreement_of_internal_and_external_figures_is_stated():
    """Where each source has a marker of its own for the classes, other sources are not known."""
    rng = np.random.default_rng(0)
    patient = np.arange(240)
    codes, source = patient % 2, (patient // 2) % 3
    X = 0.3 * rng.normal(size=(240, 6))
    X[np.arange(240), 2 * source + codes] += 2
    y = np.array(["a", "b"])[codes]
    found = cross_evaluate(
        LogisticRegression(),
        X,
        y,
        groups=patient,
        sources=np.array(["A", "B", "C"])[source],
        cv=LeaveOneSourceOut(),
        baselines=None,
        **QUICK,
    )
    assert found.notes[0].startswith("Internal and external figures of LogisticRegression disagree")
    row = found.transfer.query("metric == 'balanced_accuracy'").iloc[0]
    assert row["internal"] > 0.9
    assert row["external"] < 0.7
    assert row["high"] < 0


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cv": 1}, "cv=1 is invalid; expected 2 folds or more"),
        ({"cv": 100}, "cv=100 is invalid: class .* has 40 patients"),
        ({"cv": "five"}, "cv='five' is invalid"),
        ({"cv": LeaveOneSourceOut()}, "sources is missing. Pass sources"),
        ({"cv": ShuffleSplit(2)}, "does not test every image once"),
        ({"cv": [(np.arange(200), np.arange(200, 250))]}, "does not test every image once"),
        ({"repeats": 0}, "repeats=0 is invalid"),
        ({"repeats": 2, "cv": LeaveOneGroupOut()}, "repeats=2 needs a number of folds"),
    ],
)
def test_invalid_folds_raise(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        plain(**arguments)
    assert "\n" not in str(error.value)


def test_folds_that_divide_patients_raise():
    X, _, _ = make_data()
    rows = np.arange(len(X))
    folds = [(rows[rows % 2 == part], rows[rows % 2 != part]) for part in (0, 1)]
    with pytest.raises(ValueError, match="patients in training and in test; expected none"):
        plain(cv=folds)


def test_patients_in_several_sources_raise():
    X, _, _ = make_data()
    sources = np.array(["A", "B", "C"])[np.arange(len(X)) % 3]
    with pytest.raises(ValueError, match="patients in several sources must be left out"):
        plain(cv=LeaveOneSourceOut(), sources=sources)


def test_fold_without_a_class_raises():
    _, y, patient = make_data()
    test = np.isin(patient, np.unique(patient[y == "Normal"]))
    rows = np.arange(len(y))
    folds = [(rows[~test], rows[test]), (rows[test], rows[~test])]
    with pytest.raises(ValueError, match="fold 0 has no training image of 'Normal'"):
        plain(cv=folds)


def test_missing_labels_raise():
    X, y, patient = make_data()
    with pytest.raises(ValueError, match=r"y\[0\] is None; expected a value per image"):
        cross_evaluate(LogisticRegression(), X, [None] * len(y), groups=patient)
    with pytest.raises(ValueError, match="images and y has 3 labels"):
        cross_evaluate(LogisticRegression(), X, y[:3], groups=patient)


def test_search_without_group_splitter_is_not_given_patients():
    """Its splitter would warn that it ignores them."""
    X, y, patient = make_data()
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_evaluate(search, X, y, groups=patient, baselines=None, **QUICK)


def test_missing_groups_warn():
    with pytest.warns(ImageLevelWarning, match="cross_evaluate: groups is missing"):
        found = plain(groups=None)
    assert found.notes[-1].startswith("Intervals are at the level of the image")


def test_failed_fit_raises_its_own_error(images):
    X, y, patient = images
    with warnings.catch_warnings(), pytest.raises(ValueError, match="lr"):
        cross_evaluate(toy_model(lr=-1), X, y, groups=patient, baselines=None, **QUICK)


def test_measurements_of_other_files_raise(tmp_path):
    bunch = make_chest_phantom_files(tmp_path, 30, image_size=32, random_state=0)
    measurements = measure_images(bunch).take(np.arange(10))
    with pytest.raises(ValueError, match="measurements has 10 images, and X has 30"):
        cross_evaluate(
            toy_model(),
            bunch.data,
            bunch.target,
            groups=bunch.groups,
            cv=2,
            measurements=measurements,
            **QUICK,
        )
