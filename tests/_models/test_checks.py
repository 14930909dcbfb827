"""Wrong arguments are one line: which, what it is, what was expected, and what to do."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torchvision
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    clear_cache,
)
from cxr_sklearn._trunk import imagenet_weights
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import DeviceWarning

from ..toys import MODELS, toy, write_images

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}
# two epochs are enough to accept an argument, not to learn
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


def error_of(model, X, y, *, expected="expected", **fit_params):
    """Return the one line of the ValueError that fit raises."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers look at the message
        model.fit(X, y, **fit_params)
    message = str(caught.value)
    assert "\n" not in message
    assert expected in message
    return message


# -- dense chains ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(0,), (8.0,), (16, -1), ("8",), (True,), [None], [[4, 4]]])
@pytest.mark.parametrize("name", ["hidden_layer_sizes", "final_hidden_layer_sizes"])
def test_a_dense_layer_has_a_whole_number_of_units(name, sizes, phantoms):
    """Widths that are no positive integers are refused before anything is trained."""
    message = error_of(ResNetStacking(**SMALL, **{name: sizes}), *phantoms)
    assert message.startswith(f"{name}={sizes!r}; expected integers of 1 or more")


@pytest.mark.parametrize("sizes", [[8], (np.int64(8),), np.array([8])], ids=["list", "np", "array"])
def test_widths_may_be_numpy_integers(sizes, phantoms):
    """A list, numpy's integers and an array mean what a tuple means."""
    X, y = phantoms
    expected = ResNetClassifier(**SMALL, hidden_layer_sizes=(8,)).fit(X, y).predict_proba(X)
    model = ResNetClassifier(**SMALL, hidden_layer_sizes=sizes).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), expected)


# -- labels and patients --------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
@pytest.mark.parametrize("kind", MODELS)
def test_an_image_without_a_label_is_named(kind, missing, phantoms):
    """A hole among labels is an error that names the first row, not a class of its own."""
    X, y = phantoms
    y = y.astype(object)
    y[[7, 9]] = missing
    message = error_of(kind(**SMALL), X, y)
    assert message.startswith(f"y[7] is {missing}; expected a value per image")
    assert "Drop the images without a label." in message


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
def test_an_image_without_a_patient_is_named(missing, phantoms):
    """A hole among patients would make one patient of all holes."""
    X, y = phantoms
    groups = np.arange(len(X)).astype(object)
    groups[[3, 4]] = missing
    message = error_of(ResNetClassifier(**SMALL, early_stopping=True), X, y, groups=groups)
    assert message.startswith(f"groups[3] is {missing}; expected a value per image")
    assert "a value of its own" in message


def test_nan_among_numeric_patients_is_named(phantoms):
    """NaN counts as missing in an array of floats too, as pandas makes it of a column of ids."""
    X, y = phantoms
    groups = pd.Series(np.arange(len(X), dtype=float))
    groups[5] = np.nan
    assert error_of(ResNetStacking(**SMALL), X, y, groups=groups).startswith("groups[5] is nan;")


def test_patients_of_several_types_are_an_error(phantoms):
    """Values that have no order are not compared: whether 1 is "1" is the user's to say."""
    X, y = phantoms
    groups = np.array([1, "a"] * (len(X) // 2), dtype=object)
    message = error_of(ResNetClassifier(**SMALL, early_stopping=True), X, y, groups=groups)
    assert message.startswith("groups holds values of the types int, str; expected one type")


ONE_HOT = pd.get_dummies(pd.Series(["a", "b", "c"] * 20))


@pytest.mark.parametrize(
    ("targets", "remedy"),
    [
        (ONE_HOT, "Convert the one-hot codes with y.idxmax(axis=1)"),
        (ONE_HOT.to_numpy(float), "Convert the one-hot codes with np.argmax(y, axis=1)"),
        (ONE_HOT.to_numpy().tolist(), "Convert the one-hot codes with np.argmax(y, axis=1)"),
        (np.ones((60, 2), int), "Fit one model per column"),
    ],
    ids=["frame", "floats", "lists", "multilabel"],
)
@pytest.mark.parametrize("kind", MODELS)
def test_targets_of_several_columns_are_explained(kind, targets, remedy, phantoms):
    """One-hot codes are recognised, and several labels per image are refused."""
    message = error_of(kind(**SMALL), phantoms[0], targets)
    assert message.startswith(f"y has shape {np.shape(targets)}; expected one label per image")
    assert remedy in message


def test_patients_of_several_columns_are_an_error(phantoms):
    """The error names groups, not y."""
    X, y = phantoms
    message = error_of(ResNetOvO(**SMALL), X, y, groups=np.ones((len(X), 2)))
    assert message.startswith("groups has shape (60, 2); expected one value per image")


def test_a_blank_patient_is_named(phantoms):
    """An empty cell of a table is not one patient of many images."""
    X, y = phantoms
    groups = np.array(["", "p1", ""] * 20)
    message = error_of(ResNetClassifier(**SMALL, early_stopping=True), X, y, groups=groups)
    assert message.startswith("groups[0] is an empty string; expected a value per image")
    groups = np.array(["p0", "  ", "p1"] * 20).tolist()
    message = error_of(ResNetClassifier(**SMALL, early_stopping=True), X, y, groups=groups)
    assert message.startswith("groups[1] is the blank string '  '; expected a value per image")


@pytest.mark.parametrize("missing", [np.nan, pd.NA, None], ids=repr)
@pytest.mark.parametrize("as_given", [list, tuple, lambda v: [[x] for x in v]])
def test_a_missing_value_in_a_list_of_strings_is_named(missing, as_given, phantoms):
    """A list is checked before it becomes an array, in which NaN is the string "nan"."""
    X, y = phantoms
    model = ResNetClassifier(**SMALL, early_stopping=True)
    groups = [f"p{i}" for i in range(len(X))]
    groups[2] = groups[4] = missing
    message = error_of(model, X, y, groups=as_given(groups))
    assert message.startswith(f"groups[2] is {missing}; expected a value per image")
    labels = y.tolist()
    labels[3] = missing
    if as_given in (list, tuple):
        message = error_of(model, X, as_given(labels))
        assert message.startswith(f"y[3] is {missing}; expected a value per image")


@pytest.fixture
def xrays(phantoms, tmp_path):
    """Return the paths of phantoms in files, named by number, and their labels."""
    X, y = phantoms
    paths = write_images(tmp_path, X)
    return paths, y


@pytest.mark.parametrize(
    "unknown", [None, np.nan, pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT"), ""], ids=repr
)
def test_path_without_a_known_patient_raises(unknown, xrays):
    """Files that a function does not recognise are not taken for images of one patient."""

    def group_by(path):
        return unknown if path.endswith("7.png") else path

    message = error_of(ResNetStacking(**SMALL, group_by=group_by), *xrays)
    assert message.startswith(f"group_by returns {unknown!r} for {xrays[0][7]!r}; expected a pat")
    assert "Return the path itself" in message


@pytest.mark.parametrize(
    "wrong", [["a"], {"a": 1}, {1}, np.arange(2), re.match("a", "a")], ids=repr
)
def test_a_patient_that_cannot_be_compared_is_an_error(wrong, xrays):
    """A match of a regular expression, say, equals no other, and would be a patient of its own."""
    model = ResNetOvO(**SMALL, group_by=lambda path: wrong, early_stopping=True)
    message = error_of(model, *xrays)
    assert message.startswith(f"group_by returns a value of type {type(wrong).__name__} for ")
    assert "match.group(1)" in message


def test_patients_by_path_may_be_any_plain_value(xrays):
    """Integers, tuples and strings divide the images as the same groups do."""
    paths, y = xrays
    options = {**SMALL, "early_stopping": True, "validation_fraction": 0.3}

    def number(path):
        return int(Path(path).stem) // 4

    groups = [str(number(path)) for path in paths]
    expected = ResNetOvO(**options).fit(paths, y, groups=groups).validation_indices_
    model = ResNetOvO(**options, group_by=number).fit(paths, y)
    np.testing.assert_array_equal(model.validation_indices_, expected)
    by_tuple = ResNetOvO(**options, group_by=lambda path: (number(path), "a")).fit(paths, y)
    held = {groups[i] for i in by_tuple.validation_indices_}
    assert held.isdisjoint(np.delete(groups, by_tuple.validation_indices_))


# -- class weights --------------------------------------------------------------------------------

WEIGHTS = {"COVID-19": 2.0, "Normal": 1.0, "Pneumonia": 1.0}


@pytest.mark.parametrize("kind", MODELS)
def test_a_weight_for_an_unknown_label_is_an_error(kind, phantoms):
    """A misspelt label is not passed over in silence."""
    message = error_of(kind(**SMALL, class_weight={**WEIGHTS, "covid": 2.0}), *phantoms)
    assert message.startswith("class_weight has a weight for 'covid', which is not a label of y")
    assert "'COVID-19', 'Normal', 'Pneumonia'" in message


@pytest.mark.parametrize("kind", MODELS)
def test_a_label_without_a_weight_is_an_error(kind, phantoms):
    """A label that a dict leaves out does not silently weigh 1."""
    weights = {label: w for label, w in WEIGHTS.items() if label != "Normal"}
    message = error_of(kind(**SMALL, class_weight=weights), *phantoms)
    assert message.startswith("class_weight has no weight for 'Normal'")


def test_a_label_is_shown_as_the_type_it_has(phantoms):
    """The key "0" is not the label 0, and the message shows the difference."""
    X, y = phantoms
    codes = np.unique(y, return_inverse=True)[1]
    message = error_of(ResNetClassifier(**SMALL, class_weight={"0": 1, 1: 1, 2: 1}), X, codes)
    assert message.startswith(
        "class_weight has a weight for '0', which is not a label of y (0, 1, 2)"
    )


@pytest.mark.parametrize("weight", [0, -1.0, np.nan, np.inf, "2", None])
def test_a_weight_is_a_positive_number(weight, phantoms):
    """Whatever else a dict holds is an error that names the label."""
    message = error_of(ResNetOvO(**SMALL, class_weight={**WEIGHTS, "Normal": weight}), *phantoms)
    assert message.startswith(f"class_weight gives 'Normal' the weight {weight!r}; expected pos")


def test_many_labels_are_shortened(phantoms):
    """A message lists ten labels at most."""
    X, _ = phantoms
    y = np.arange(len(X)) % 12
    message = error_of(ResNetClassifier(**SMALL, class_weight={99: 1.0}), X, y)
    assert "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more)" in message


def test_weights_of_labels_that_a_fold_lost_are_an_error(phantoms):
    """A class whose rows all have weight 0 is no label any more."""
    X, y = phantoms
    model = ResNetClassifier(**SMALL, class_weight=WEIGHTS)
    message = error_of(model, X, y, sample_weight=(y != "Normal").astype(float))
    assert message.startswith("class_weight has a weight for 'Normal', which is not a label of y")


# -- callbacks ------------------------------------------------------------------------------------


class Counter(Callback):
    """Count epochs of all nets."""

    epochs = 0

    def on_epoch_end(self, net, **kwargs):
        Counter.epochs += 1


@pytest.mark.parametrize("wrong", ["x", print, ("name", "x"), ("a", "b", "c"), (1, Callback()), 3])
def test_what_is_no_callback_is_an_error(wrong, phantoms):
    """The position and the value are named before anything is trained."""
    message = error_of(ResNetOvO(**SMALL, callbacks=[Counter(), wrong]), *phantoms)
    assert message.startswith(f"callbacks[1] is {wrong!r}; expected a skorch callback")


@pytest.mark.parametrize("given", [Counter(), Counter, ("mine", Counter()), ["mine", Counter]])
def test_every_form_of_a_callback_that_skorch_takes(given, phantoms):
    """An instance, a class, and a pair of a name and either of them run in each tail."""
    Counter.epochs = 0
    ResNetOvO(**SMALL, callbacks=[given]).fit(*phantoms)
    assert Counter.epochs == 3 * SMALL["max_epochs"]


def test_callbacks_of_skorch_are_taken(phantoms):
    """Its own schedulers and gradient tools are callbacks, and act."""
    X, y = phantoms
    callbacks = [LRScheduler("StepLR", step_size=1), ("clip", GradientNormClipping(1e-12))]
    model = ResNetClassifier(**SMALL, hidden_layer_sizes=(4,), weight_decay=0.0)
    plain = clone(model).fit(X, y).predict_proba(X)
    assert not np.allclose(model.set_params(callbacks=callbacks).fit(X, y).predict_proba(X), plain)


# -- workers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [0, 1.5, "all"])
@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
def test_invalid_number_of_workers_raises(kind, n_jobs, phantoms):
    """n_jobs=0 has no meaning in joblib, and is refused by name."""
    with pytest.raises(InvalidParameterError, match=f"The 'n_jobs' parameter of {kind.__name__}"):
        kind(**{k: v for k, v in SMALL.items() if k in kind().get_params()}, n_jobs=n_jobs).fit(
            *phantoms
        )


@pytest.fixture(scope="module")
def fitted_models():
    """Return a fitted model of each kind, and rows to predict."""
    X, y = make_chest_phantoms(30, image_size=16, random_state=0)
    kinds = (*MODELS, ResNetFeatures)
    options = {kind: {k: v for k, v in SMALL.items() if hasattr(kind(), k)} for kind in kinds}
    return {kind: kind(**options[kind]).fit(X, y) for kind in kinds}, X[:3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", None),
        ("device", 0),
        ("precision", "int8"),
        ("precision", None),
        ("engine", "tensorrt"),
        ("memory", 5),
        ("n_jobs", 0),
        ("n_jobs", "all"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("verbose", "loud"),
    ],
)
@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
def test_a_parameter_set_after_fit_is_checked_before_predictions(kind, name, value, fitted_models):
    """Parameters that act on predictions are checked there as fit checks them."""
    models, X = fitted_models
    model = copy.deepcopy(models[kind]).set_params(**{name: value})
    predict = model.transform if kind is ResNetFeatures else model.predict
    with pytest.raises(InvalidParameterError, match=rf"^The '{name}' parameter of {kind.__name__}"):
        predict(X)


@pytest.mark.parametrize(("name", "value"), [("trainable", "layer4"), ("image_size", 8)])
def test_a_trunk_is_not_used_at_another_cut_or_size_than_it_was_fitted_at(name, value, phantoms):
    """Features of one cut would be stored, and returned to other models, as those of another."""
    X, _ = phantoms
    options = {"backbone": toy, "weights": None, "image_size": 16}
    features = ResNetFeatures(**options).fit(X).set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"^{name}={value!r} was set after fit, which had"):
        features.transform(X)
    clear_cache()
    expected = ResNetFeatures(**{**options, name: value}).fit_transform(X)
    np.testing.assert_array_equal(features.fit(X).transform(X), expected)


def test_a_device_without_values_is_an_error(fitted_models, phantoms):
    """PyTorch's device "meta" computes nothing; weights moved to it would be lost."""
    message = error_of(ResNetOvO(**SMALL, device="meta"), *phantoms, expected="Pass device='auto'")
    assert message.startswith("device='meta' is not available here")
    models, X = fitted_models
    model = models[ResNetOvO].set_params(device="meta")
    with pytest.warns(DeviceWarning, match="device='meta' is not available here"):
        on_meta = model.predict_proba(X)
    np.testing.assert_array_equal(on_meta, model.set_params(device="auto").predict_proba(X))


# -- folds of the stacked chain -------------------------------------------------------------------


def test_an_iterator_of_folds_lasts_for_one_fit(phantoms):
    """A used-up generator is told from a wrong partition."""
    X, y = phantoms
    folds = StratifiedKFold(3, shuffle=True, random_state=0).split(X, y)
    model = ResNetStacking(**SMALL, cv=folds).fit(X, y)
    message = error_of(model, X, y)
    assert message.startswith("cv contains no fold;")
    assert "Convert an iterator to a list" in message


def test_listed_folds_and_weights_of_zero(phantoms):
    """Row numbers are those of the rows trained on, and the message says which are not."""
    X, y = phantoms
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    weight = np.ones(len(X))
    weight[:2] = 0
    message = error_of(ResNetStacking(**SMALL, cv=folds), X, y, sample_weight=weight)
    assert message.startswith("cv names row 59, but 58 rows are trained on")
    assert "sample_weight 0" in message
    splitter = StratifiedKFold(3, shuffle=True, random_state=0)
    by_splitter = ResNetStacking(**SMALL, cv=splitter).fit(X, y, sample_weight=weight)
    dropped = ResNetStacking(**SMALL, cv=list(splitter.split(X[2:], y[2:]))).fit(X[2:], y[2:])
    np.testing.assert_array_equal(by_splitter.predict_proba(X), dropped.predict_proba(X))


@pytest.mark.parametrize("item", [3, [[0, 1]], ([True], [False]), ([[0]], [[1]]), "ab"], ids=repr)
def test_folds_are_pairs_of_row_numbers(item, phantoms):
    """An item of another form is named by its position."""
    X, y = phantoms
    first = next(StratifiedKFold(2).split(X, y))
    message = error_of(ResNetStacking(**SMALL, cv=[first, item]), X, y)
    assert message.startswith(
        "cv is invalid: its item 1 is not a pair of row numbers; expected (train, test)"
    )


def test_no_cv_is_five_folds(phantoms):
    """cv=None is the default number, by patient, as scikit-learn's 5 is."""
    X, y = phantoms
    groups = np.arange(len(X)) // 2
    by_none = ResNetStacking(**SMALL, cv=None).fit(X, y, groups=groups)
    by_number = ResNetStacking(**SMALL, cv=5).fit(X, y, groups=groups)
    np.testing.assert_array_equal(by_none.predict_proba(X), by_number.predict_proba(X))


def test_folds_that_divide_a_patient_are_an_error(phantoms):
    """A splitter that ignores patients is refused where it divides one."""
    X, y = phantoms
    groups = np.arange(len(X)) // 4
    model = ResNetStacking(**SMALL, cv=StratifiedKFold(3, shuffle=True, random_state=0))
    message = error_of(model, X, y, groups=groups)
    assert "in training and in test; expected none" in message
    ResNetStacking(**SMALL, cv=StratifiedGroupKFold(3)).fit(X, y, groups=groups)


# -- weights --------------------------------------------------------------------------------------


@pytest.fixture
def paths_that_fail_to_read(tmp_path):
    """Return 12 paths without files, and labels: reading any of them raises another error."""
    paths = np.array([[str(tmp_path / f"{i}.png")] for i in range(12)], dtype=object)
    return paths, np.array(["a", "b"] * 6)


@pytest.fixture
def fits(monkeypatch):
    """Return a list that grows by one with every fit of a ResNetOvO."""
    begun = []
    fit = ResNetOvO._fit
    monkeypatch.setattr(ResNetOvO, "_fit", lambda *given: begun.append(1) or fit(*given))
    return begun


def test_missing_weights_stop_a_search_at_its_first_fit(paths_that_fail_to_read, fits, tmp_path):
    """With error_score="raise" a search ends in the line that names the file and the remedy."""
    file = tmp_path / "resnet50.pth"
    model = ResNetOvO(weights=str(file))
    search = GridSearchCV(model, {"lr": [1e-4, 1e-3]}, cv=2, error_score="raise")
    with pytest.raises(FileNotFoundError) as caught:
        search.fit(*paths_that_fail_to_read)
    message = str(caught.value)
    expected = f"weights={str(file)!r} is invalid: {file} does not exist; expected the path"
    assert message.startswith(expected)
    assert "\n" not in message
    assert len(fits) == 1


def test_missing_weights_fail_every_fit_of_a_search_alike(paths_that_fail_to_read, fits, tmp_path):
    """By default scikit-learn tries every fit; no image is read, and the last line is ours."""
    search = GridSearchCV(ResNetOvO(weights=tmp_path / "a.pth"), {"lr": [1e-4, 1e-3]}, cv=2)
    with pytest.raises(ValueError, match="All the 4 fits failed") as caught:
        search.fit(*paths_that_fail_to_read)
    lines = str(caught.value).strip().splitlines()
    assert lines[-1].startswith("FileNotFoundError: weights=")
    assert "4 fits failed with the following error" in str(caught.value)
    assert len(fits) == 4


def test_a_folder_of_weights_is_named_as_one(phantoms, tmp_path):
    """A folder in place of a weight file is not reported as missing."""
    with pytest.raises(FileNotFoundError, match="is a folder; expected the path of a state dict"):
        ResNetOvO(weights=tmp_path).fit(*phantoms)


@pytest.fixture
def downloads(monkeypatch):
    """Return a list that grows by one with every attempt to download weights, all of which fail."""
    attempts = []

    def get_state_dict(self, **options):
        attempts.append(self.url)
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", get_state_dict)
    monkeypatch.setattr(imagenet_weights, "FAILED_DOWNLOADS", {})
    return attempts


def test_a_search_tries_a_failed_download_once(paths_that_fail_to_read, downloads):
    """Without a network the fits of a search do not wait for a timeout each."""
    search = GridSearchCV(ResNetOvO(backbone="resnet18"), {"lr": [1e-4, 1e-3]}, cv=2)
    with pytest.raises(ValueError, match="All the 4 fits failed") as caught:
        search.fit(*paths_that_fail_to_read)
    last = str(caught.value).strip().splitlines()[-1]
    assert re.match(r"OSError: weights='imagenet': https\S+ could not be downloaded", last)
    assert "no route to host" in last
    assert "During handling" not in str(caught.value)  # urllib's traceback is longer than a screen
    assert len(downloads) == 1


def test_a_failed_download_is_tried_again_later(paths_that_fail_to_read, downloads, monkeypatch):
    """A user who has connected the machine meanwhile does not have to restart Python."""
    model = ResNetOvO(backbone="resnet18")
    for attempts in (1, 2):
        with pytest.raises(OSError, match="could not be downloaded"):
            model.fit(*paths_that_fail_to_read)
        assert len(downloads) == attempts
        monkeypatch.setattr(imagenet_weights, "RETRY_SECONDS", -1)
