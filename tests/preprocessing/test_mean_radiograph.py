"""The mean radiograph tells what is no upright chest film."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from cxr_sklearn.datasets import make_chest_phantom_files, make_chest_phantoms
from cxr_sklearn.exceptions import OutOfDistributionWarning
from cxr_sklearn.preprocessing import MeanRadiograph


@pytest.fixture(scope="module")
def phantoms():
    """Return rows of pixels."""
    return make_chest_phantoms(80, image_size=64, random_state=0)[0]


def test_films_of_the_set_are_inliers(phantoms):
    """Of phantoms that it has not seen either, nearly all."""
    guard = MeanRadiograph().fit(phantoms[:40])
    assert (guard.predict(phantoms[40:]) == 1).mean() > 0.95
    assert guard.mean_.shape == (1024,)
    assert np.linalg.norm(guard.mean_) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: 255 - x,
        lambda x: np.random.default_rng(0).integers(0, 256, x.shape).astype(np.uint8),
        np.zeros_like,
    ],
    ids=["inverted", "noise", "black"],
)
def test_other_images_are_outliers(phantoms, spoil):
    """Inverted films correlate negatively; noise and black images not at all."""
    guard = MeanRadiograph().fit(phantoms)
    assert (guard.predict(spoil(phantoms)) == -1).mean() > 0.95


def test_black_margins_of_the_loader_do_not_count(phantoms):
    """A landscape radiograph scores the same padded to a square as it does without margins."""
    wide = phantoms.reshape(-1, 64, 64)[:, 12:52].copy()
    wide[wide == 0] = 1
    padded = np.pad(wide, ((0, 0), (12, 12), (0, 0)))
    guard = MeanRadiograph().fit(phantoms)
    expected = MeanRadiograph().fit(wide).score_samples(wide)
    np.testing.assert_allclose(MeanRadiograph().fit(padded).score_samples(padded), expected)
    columns = padded.transpose(0, 2, 1)  # margins on the left and on the right
    found = MeanRadiograph().fit(columns).score_samples(columns)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (guard.predict(np.zeros((2, 4096), np.uint8)) == -1).all()  # nothing but margin


def test_other_content_is_an_outlier_even_if_it_resembles_the_mean(phantoms):
    """Components that explain the set do not explain a pattern that the set does not contain."""
    phantoms = make_chest_phantoms(120, image_size=64, random_state=0)[0]
    stripes = 255 * (np.arange(64) // 4 % 2)
    mixed = (0.5 * phantoms.reshape(-1, 64, 64) + 0.5 * stripes).astype(np.uint8)
    mixed = mixed.reshape(len(phantoms), -1)
    guard = MeanRadiograph().fit(phantoms)
    few = MeanRadiograph().fit(phantoms[:40])  # too few for components: correlation alone
    assert guard.components_.shape == (15, 1024)
    assert 0 < guard.max_unexplained_ < 1
    assert few.components_.shape == (0, 1024)
    assert (few.predict(mixed) == 1).mean() > 0.8
    assert (guard.predict(mixed) == -1).all()
    assert (guard.predict(phantoms) == 1).mean() > 0.95


def test_exposure_does_not_matter(phantoms):
    """Grey levels count by their order only."""
    guard = MeanRadiograph().fit(phantoms)
    lighter = np.rint(255 * (phantoms / 255) ** 0.5).astype(np.uint8)
    scores = guard.score_samples(phantoms)
    np.testing.assert_allclose(guard.score_samples(lighter), scores, atol=0.1)


def test_a_few_turned_films_do_not_spoil_the_mean(phantoms):
    """They are left out of it, and found."""
    mixed = phantoms.copy()
    mixed[:8] = 255 - mixed[:8]
    found = MeanRadiograph().fit(mixed).predict(mixed)
    assert (found[:8] == -1).all()
    assert (found[8:] == 1).mean() > 0.95


def test_files_and_their_rows_are_alike(tmp_path):
    """A guard takes paths as well, and keeps to what it was fitted on."""
    bunch = make_chest_phantom_files(tmp_path, 20, random_state=0)
    guard = MeanRadiograph().fit(bunch.data)
    assert guard.n_features_in_ == 1
    assert (guard.predict(bunch.data) == 1).all()
    with pytest.raises(ValueError, match="1 features"):
        guard.predict(np.zeros((2, 64)))


def test_rows_then_paths_is_an_error(phantoms):
    """The other way round too."""
    guard = MeanRadiograph().fit(phantoms)
    with pytest.raises(ValueError, match="column of paths, but MeanRadiograph was fitted on 4096"):
        guard.predict([["film.png"]])  # which is not even opened


def test_images_of_every_form_are_alike(phantoms):
    """Rows, stacks, colour and floats give the same, as they do to the classifiers."""
    stack = phantoms.reshape(-1, 64, 64)
    expected = MeanRadiograph().fit(phantoms).score_samples(phantoms)
    for X in (stack, np.repeat(stack[..., None], 3, axis=3), phantoms / np.float32(255)):
        found = MeanRadiograph().fit(X).score_samples(X)
        np.testing.assert_allclose(found, expected, atol=1e-2)
    wide = stack[:, 8:56]
    assert (MeanRadiograph().fit(wide).predict(wide) == 1).mean() > 0.95


def test_a_guarded_pipeline_can_put_out_frames(phantoms):
    """As without a guard."""
    pipeline = make_pipeline(MeanRadiograph()).set_output(transform="pandas")
    assert pipeline.fit_transform(phantoms[:5]).shape == (5, 4096)


def test_what_is_too_small_is_an_error():
    """A row whose length is no square is an image of one line."""
    with pytest.raises(ValueError, match="X holds images of 1×10 pixels"):
        MeanRadiograph().fit(np.zeros((4, 10)))


def test_a_pipeline_warns_of_other_images_when_it_predicts(phantoms):
    """It says which rows, changes nothing, and is silent about the images it is fitted on."""
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
    with pytest.warns(OutOfDistributionWarning, match=r"80 \(rows 0, 1, 2, 3, 4, …,"):
        guard.transform(255 - phantoms)


def test_a_guarded_pipeline_predicts_as_without(phantoms):
    """The classifier behind it sees what it would see."""
    y = np.repeat([0, 1], 40)
    plain = KNeighborsClassifier(1).fit(phantoms, y)
    guarded = make_pipeline(MeanRadiograph(), KNeighborsClassifier(1)).fit(phantoms, y)
    np.testing.assert_array_equal(guarded.predict(phantoms), plain.predict(phantoms))


def test_it_is_an_estimator(phantoms):
    """It must be fitted, checks its parameter, and survives a pickle."""
    with pytest.raises(NotFittedError):
        MeanRadiograph().predict(phantoms)
    with pytest.raises(ValueError, match="threshold"):
        MeanRadiograph(threshold=2).fit(phantoms)
    guard = MeanRadiograph(threshold=0.5).fit(phantoms)
    again = joblib.hash(guard.decision_function(phantoms))
    import pickle

    copy = pickle.loads(pickle.dumps(guard))
    assert joblib.hash(copy.decision_function(phantoms)) == again
