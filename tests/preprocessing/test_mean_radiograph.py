"""Tests of MeanRadiograph: it recognises images that are not upright chest radiographs."""

from __future__ import annotations

import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from cxr_sklearn.datasets import make_chest_phantom_files, make_chest_phantoms
from cxr_sklearn.exceptions import OutOfDistributionWarning
from cxr_sklearn.preprocessing import MeanRadiograph, _mean_radiograph


@pytest.fixture(scope="module")
def phantoms():
    """Return phantoms as rows of pixels."""
    return make_chest_phantoms(80, image_size=64, random_state=0)[0]


def test_images_of_the_same_kind_are_inliers(phantoms):
    """Nearly all phantoms that were not in ``fit`` are inliers."""
    guard = MeanRadiograph().fit(phantoms[:40])
    assert (guard.predict(phantoms[40:]) == 1).mean() > 0.95
    assert guard.mean_.shape == (1024,)
    assert np.linalg.norm(guard.mean_) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 255 - x,
        lambda x: np.random.default_rng(0).integers(0, 256, x.shape).astype(np.uint8),
        np.zeros_like,
    ],
    ids=["inverted", "noise", "black"],
)
def test_images_of_another_kind_are_outliers(phantoms, change):
    """Inverted images correlate negatively; noise and black images do not correlate."""
    guard = MeanRadiograph().fit(phantoms)
    assert (guard.predict(change(phantoms)) == -1).mean() > 0.95


def test_black_margins_of_the_loader_do_not_change_the_score(phantoms):
    """A landscape radiograph has the same score with and without padding to a square."""
    wide = phantoms.reshape(-1, 64, 64)[:, 12:52].copy()
    wide[wide == 0] = 1
    padded = np.pad(wide, ((0, 0), (12, 12), (0, 0)))
    expected = MeanRadiograph().fit(wide).score_samples(wide)
    np.testing.assert_allclose(MeanRadiograph().fit(padded).score_samples(padded), expected)
    # Margins on the left and on the right are removed too.
    columns = padded.transpose(0, 2, 1)
    found = MeanRadiograph().fit(columns).score_samples(columns)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_black_image_is_an_outlier(phantoms):
    """A black image consists of margins only, and is not cut."""
    guard = MeanRadiograph().fit(phantoms)
    assert (guard.predict(np.zeros((2, 4096), np.uint8)) == -1).all()


def test_unexplained_pattern_is_an_outlier_despite_its_correlation():
    """Components of the set do not explain a pattern that no image of the set contains."""
    phantoms = make_chest_phantoms(120, image_size=64, random_state=0)[0]
    stripes = 255 * (np.arange(64) // 4 % 2)
    mixed = (0.5 * phantoms.reshape(-1, 64, 64) + 0.5 * stripes).astype(np.uint8)
    mixed = mixed.reshape(len(phantoms), -1)
    guard = MeanRadiograph().fit(phantoms)
    assert guard.components_.shape == (15, 1024)
    assert 0 < guard.max_unexplained_ < 1
    assert (guard.predict(mixed) == -1).all()
    assert (guard.predict(phantoms) == 1).mean() > 0.95
    # Fewer than 100 images have no components, and their correlation is not low enough.
    small_set_guard = MeanRadiograph().fit(phantoms[:40])
    assert small_set_guard.components_.shape == (0, 1024)
    assert (small_set_guard.predict(mixed) == 1).mean() > 0.8


def test_exposure_hardly_changes_the_score(phantoms):
    """Only the order of the grey levels matters."""
    guard = MeanRadiograph().fit(phantoms)
    lighter = np.rint(255 * (phantoms / 255) ** 0.5).astype(np.uint8)
    scores = guard.score_samples(phantoms)
    np.testing.assert_allclose(guard.score_samples(lighter), scores, atol=0.1)


def test_a_few_inverted_images_do_not_change_the_mean(phantoms):
    """They are left out of the mean, and are outliers."""
    mixed = phantoms.copy()
    mixed[:8] = 255 - mixed[:8]
    found = MeanRadiograph().fit(mixed).predict(mixed)
    assert (found[:8] == -1).all()
    assert (found[8:] == 1).mean() > 0.95


def test_column_of_paths_is_accepted(tmp_path):
    """An estimator that was fitted on paths does not accept pixels."""
    bunch = make_chest_phantom_files(tmp_path, 20, random_state=0)
    guard = MeanRadiograph().fit(bunch.data)
    assert guard.n_features_in_ == 1
    assert (guard.predict(bunch.data) == 1).all()
    with pytest.raises(ValueError, match="1 features"):
        guard.predict(np.zeros((2, 64)))


def test_column_of_paths_is_parsed_once(tmp_path, monkeypatch):
    """The elements of a column of paths are inspected once per call of a method."""
    bunch = make_chest_phantom_files(tmp_path, 5, random_state=0)
    calls = []
    as_paths = _mean_radiograph.as_paths

    def counting_as_paths(X):
        calls.append(X)
        return as_paths(X)

    # Every module that could parse the column gets the counting function.
    for module in ("preprocessing._mean_radiograph", "_images.inputs", "_images.loader"):
        monkeypatch.setattr(f"cxr_sklearn.{module}.as_paths", counting_as_paths)
    guard = MeanRadiograph().fit(bunch.data)
    assert len(calls) == 1
    guard.transform(bunch.data)
    assert len(calls) == 2


def test_paths_after_a_fit_on_pixels_raise(phantoms):
    """The files are not opened."""
    guard = MeanRadiograph().fit(phantoms)
    with pytest.raises(ValueError, match="column of paths, but MeanRadiograph was fitted on 4096"):
        guard.predict([["missing.png"]])


def test_images_of_every_form_have_the_same_score(phantoms):
    """Rows, stacks, colour images and floats are equivalent, as in the classifiers."""
    stack = phantoms.reshape(-1, 64, 64)
    expected = MeanRadiograph().fit(phantoms).score_samples(phantoms)
    for X in (stack, np.repeat(stack[..., None], 3, axis=3), phantoms / np.float32(255)):
        found = MeanRadiograph().fit(X).score_samples(X)
        np.testing.assert_allclose(found, expected, atol=1e-2)
    wide = stack[:, 8:56]
    assert (MeanRadiograph().fit(wide).predict(wide) == 1).mean() > 0.95


def test_output_can_be_a_data_frame(phantoms):
    """``set_output`` works as it does for other transformers."""
    pipeline = make_pipeline(MeanRadiograph()).set_output(transform="pandas")
    assert pipeline.fit_transform(phantoms[:5]).shape == (5, 4096)


def test_too_small_images_raise():
    """A row with a length that is not a square number is an image of one line."""
    with pytest.raises(ValueError, match="X contains images of 1×10 pixels"):
        MeanRadiograph().fit(np.zeros((4, 10)))


def test_transform_warns_of_outliers_and_returns_the_images_unchanged(phantoms):
    """The warning lists the rows. ``fit_transform`` does not warn."""
    mixed = phantoms.copy()
    mixed[[3, 5]] = 255 - mixed[[3, 5]]
    guard = MeanRadiograph()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert guard.fit_transform(mixed) is mixed
        np.testing.assert_array_equal(guard.transform(phantoms[:8]), phantoms[:8])
    with pytest.warns(OutOfDistributionWarning, match=r"training set: 2 \(rows 3, 5, counted"):
        passed = guard.transform(mixed)
    assert passed is mixed


def test_long_lists_of_outliers_are_shortened(phantoms):
    """The warning lists the first rows, and the number of the others."""
    guard = MeanRadiograph().fit(phantoms)
    with pytest.warns(OutOfDistributionWarning, match=r"80 \(rows 0, 1, 2, .* and 70 more, count"):
        guard.transform(255 - phantoms)


def test_predictions_of_a_pipeline_do_not_change(phantoms):
    """The classifier gets the same images with and without the step."""
    y = np.repeat([0, 1], 40)
    plain = KNeighborsClassifier(1).fit(phantoms, y)
    guarded = make_pipeline(MeanRadiograph(), KNeighborsClassifier(1)).fit(phantoms, y)
    np.testing.assert_array_equal(guarded.predict(phantoms), plain.predict(phantoms))


def test_unfitted_estimator_and_invalid_threshold_raise(phantoms):
    """The conventions of scikit-learn apply."""
    with pytest.raises(NotFittedError):
        MeanRadiograph().predict(phantoms)
    with pytest.raises(ValueError, match="threshold"):
        MeanRadiograph(threshold=2).fit(phantoms)


def test_pickled_estimator_gives_equal_scores(phantoms):
    """A fitted estimator can be saved and loaded."""
    guard = MeanRadiograph(threshold=0.5).fit(phantoms)
    copy = pickle.loads(pickle.dumps(guard))
    expected = joblib.hash(guard.decision_function(phantoms))
    assert joblib.hash(copy.decision_function(phantoms)) == expected
