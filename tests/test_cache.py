"""Activations by content: in memory, on disk, and where neither holds them."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import GridSearchCV

from cxr_sklearn import (
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    _classifier,
    _images,
    _trunk,
    clear_cache,
)
from cxr_sklearn._cache import ActivationCache, DiskCache, activation_cache
from cxr_sklearn.exceptions import TrunkPassWarning

from .toys import IMAGES_SEEN, ToyResNet, spied_toy, toy

SPIED = {"backbone": spied_toy, "weights": None, "image_size": 16, "random_state": 0}


@pytest.fixture
def passes():
    """Return a function that tells how many images passed the trunk since it was last asked."""
    IMAGES_SEEN.clear()

    def count():
        total = sum(IMAGES_SEEN)
        IMAGES_SEEN.clear()
        return total

    return count


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_an_image_passes_once_however_it_is_asked_for(phantoms, passes):
    """Slices, copies, other estimators and other batch sizes find what is there."""
    X, y = phantoms
    ResNetFeatures(**SPIED).fit_transform(X)
    assert passes() == len(X)
    ResNetFeatures(**SPIED, batch_size=7).fit_transform(X[::-1].copy())
    ResNetOvO(**SPIED, max_epochs=2).fit(X[5:], y[5:]).predict(X[:20])
    ResNetFeatures(**SPIED).fit_transform(X.reshape(-1, 16, 16))
    assert passes() == 0


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("trainable", ["layer4", "layer1"])
def test_a_search_at_a_middle_cut_passes_each_image_once(trainable, phantoms, passes):
    """Below the head, too, folds and candidates share one pass."""
    X, y = phantoms
    model = ResNetOvO(**SPIED, trainable=trainable, max_epochs=2)
    GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(X, y)
    assert passes() == len(X)


def test_equal_images_pass_once(phantoms, passes):
    """The same image many times in one call passes once."""
    ResNetFeatures(**SPIED).fit_transform(np.repeat(phantoms[0][:3], 5, axis=0))
    assert passes() == 3


@pytest.mark.parametrize(
    "change",
    [{"image_size": 24}, {"trainable": "layer2"}, {"precision": "bf16"}, {"random_state": 1}],
)
def test_other_activations_are_not_mixed_up(change, phantoms, passes):
    """What changes the activations is part of the key."""
    X, _ = phantoms
    before = ResNetFeatures(**SPIED).fit_transform(X)
    passes()
    after = ResNetFeatures(**{**SPIED, **change}).fit_transform(X)
    assert passes() == len(X)
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_floats_and_integers_of_equal_bytes_differ(passes):
    """Standardised floats are not images in [0, 1], whatever their bytes."""
    X = np.random.default_rng(0).random((4, 64)).astype(np.float32)
    unit = ResNetFeatures(**SPIED).fit_transform(X)
    standardised = ResNetFeatures(**SPIED).fit(np.r_[X, -X]).transform(X)
    assert not np.allclose(unit, standardised)
    assert passes() == 8


def test_a_changed_file_is_another_image(tmp_path, passes):
    """Files are known by content; a file that was overwritten passes again."""
    path = tmp_path / "film.png"
    noise = np.random.default_rng(0).integers(0, 255, (2, 16, 16), np.uint8)
    Image.fromarray(noise[0]).save(path)
    features = ResNetFeatures(**SPIED).fit([path])
    first = features.transform([path])
    assert passes() == 1
    features.transform([str(path)])
    assert passes() == 0
    Image.fromarray(noise[1][:, ::-1].copy()).save(path, compress_level=1)
    assert not np.array_equal(features.transform([path]), first)
    assert passes() == 1


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_files_are_decoded_once_per_fit(grouped_files, monkeypatch):
    """Digests for the groups, the trunk and the tails share one decoding."""
    paths, y = grouped_files
    read = []
    original = _images.read_image
    monkeypatch.setattr(_images, "read_image", lambda p, *a: read.append(p) or original(p, *a))
    ResNetStacking(**{**SPIED, "backbone": toy}, cv=2, max_epochs=2).fit(paths, y)
    assert sorted(read) == sorted(paths[:, 0])


@pytest.fixture
def grouped_files(phantoms, tmp_path):
    """Return phantoms as files."""
    X, y = phantoms
    paths = [str(tmp_path / f"{i}.png") for i in range(len(X))]
    for path, row in zip(paths, X, strict=True):
        Image.fromarray(row.reshape(16, 16)).save(path)
    return np.array(paths, dtype=object)[:, None], y


@pytest.mark.parametrize("kind", ["str", "path", "joblib"])
def test_a_folder_keeps_activations_between_processes(kind, phantoms, passes, tmp_path):
    """Memory names a folder; what is there needs no pass, in whatever process."""
    X, _ = phantoms
    memory = {"str": str(tmp_path), "path": tmp_path, "joblib": joblib.Memory(tmp_path, verbose=0)}
    first = ResNetFeatures(**SPIED, memory=memory[kind]).fit_transform(X)
    assert passes() == len(X)
    clear_cache()
    second = ResNetFeatures(**SPIED, memory=memory[kind]).fit_transform(X)
    assert passes() == 0
    np.testing.assert_array_equal(first, second)


def test_a_bad_folder_is_named(phantoms, tmp_path):
    """A folder that cannot be made is an error at fit, in one line."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match=r"memory='.*file.*expected a folder") as caught:
        ResNetFeatures(backbone=toy, weights=None, image_size=16, memory=file / "x").fit(
            phantoms[0]
        )
    assert "\n" not in str(caught.value)


def test_memory_is_bounded_and_survives_a_scan():
    """A full cache keeps what it has of a trunk; another trunk's rows make room."""
    cache = ActivationCache(max_bytes=400)
    rows = np.zeros((15, 10), np.float32)  # 40 bytes each
    keys = [bytes([i]) for i in range(15)]
    cache.put("one", keys, rows)
    for _ in range(2):
        held = [row is not None for row in cache.get("one", keys)]
        assert held == [True] * 10 + [False] * 5
        cache.put("one", keys[10:], rows[10:])
    cache.put("two", keys[:3], rows[:3])
    assert all(row is not None for row in cache.get("two", keys[:3]))
    assert all(row is None for row in cache.get("one", keys))
    cache.clear()
    assert cache.get("two", keys[:1]) == [None]


def test_threads_share_both_caches(tmp_path):
    """Rows put by many threads at once come back whole."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((64, 3, 5)).astype(np.float32)
    keys = [bytes([i]) for i in range(64)]
    for cache in (ActivationCache(), DiskCache(tmp_path)):
        with ThreadPoolExecutor(8) as pool:
            starts = range(0, 64, 4)
            jobs = [pool.submit(cache.put, "t", keys[s : s + 8], rows[s : s + 8]) for s in starts]
            for job in jobs:
                job.result()
        np.testing.assert_array_equal(np.stack(cache.get("t", keys)), rows)


def test_loading_elsewhere_makes_no_folder(tmp_path):
    """A model brought to a machine without its folder uses the memory of its process."""
    assert isinstance(activation_cache(tmp_path / "gone", create=False), ActivationCache)
    assert not (tmp_path / "gone").exists()
    assert isinstance(activation_cache(tmp_path / "new", create=True), DiskCache)


@pytest.fixture
def small_bound(monkeypatch):
    """Shrink every cache to 20 rows of the toy's features."""
    bound = 20 * 32 * 4
    monkeypatch.setattr(_trunk.activation_cache.__globals__["_IN_PROCESS"], "max_bytes", bound)
    monkeypatch.setattr(_classifier, "IN_PROCESS_BYTES", bound)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_activations_beyond_the_bound_are_computed_again(phantoms, passes, small_bound):
    """Without memory a warning names it, and the model is the same."""
    X, y = phantoms
    with pytest.warns(TrunkPassWarning, match=r"memory=<folder>"):
        lazy = ResNetOvO(**SPIED, max_epochs=3).fit(X, y)
    assert passes() > 3 * len(X)
    p = lazy.predict_proba(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_classifier, "IN_PROCESS_BYTES", 2**30)
        pinned = ResNetOvO(**SPIED, max_epochs=3).fit(X, y)
    np.testing.assert_allclose(pinned.predict_proba(X), p, atol=1e-4)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_a_folder_has_no_bound(phantoms, passes, small_bound, tmp_path):
    """With memory each image still passes once, and nothing warns."""
    X, y = phantoms
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrunkPassWarning)
        ResNetStacking(**SPIED, max_epochs=2, cv=2, memory=tmp_path).fit(X, y)
    assert passes() == len(X)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_workers_can_compute_beyond_the_bound(phantoms, small_bound):
    """Rows that no process holds whole are computed in the workers."""
    with pytest.warns(TrunkPassWarning, match=r"memory=<folder>"):
        model = ResNetOvO(**{**SPIED, "backbone": toy}, max_epochs=2, n_jobs=2).fit(*phantoms)
    assert len(model.estimators_) == 3


class Negating(ToyResNet):
    def __init__(self, negate):
        super().__init__()
        self.negate = negate

    def forward(self, x):
        return super().forward(-x if self.negate else x)


def test_equal_weights_with_another_setting_are_not_mixed_up(phantoms):
    """Two nets that differ in a setting of their code have activations of their own."""
    options = {"weights": None, "image_size": 16}
    one, two = (
        ResNetFeatures(backbone=lambda n=n: Negating(n), **options).fit_transform(phantoms[0])
        for n in (False, True)
    )
    assert not np.allclose(one, two)
