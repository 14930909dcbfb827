"""What a fit needs, what it leaves, and what it reads."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import torch

from cxr_sklearn import ResNetClassifier, ResNetFeatures
from cxr_sklearn._images import images as images_module

from ..toys import ToyResNet, toy, write_images

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}
# Two epochs are enough to have a model, and too few to learn every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


def test_net_is_available_after_fit():
    """Before fit, hasattr(model, 'net_') is False."""
    model = ResNetClassifier(**SMALL)
    assert not hasattr(model, "net_")
    with pytest.raises(AttributeError, match="net_ is available after fit"):
        _ = model.net_


def test_random_state_instance_gives_each_fit_other_draws(phantoms):
    """A RandomState gives each fit its own draws, and equal generators give equal models."""
    X, y = phantoms
    model = ResNetClassifier(**{**SMALL, "random_state": np.random.RandomState(7)})
    first, second = (model.fit(X, y).predict_proba(X) for _ in range(2))
    assert np.any(first != second)
    model.set_params(random_state=np.random.RandomState(7))
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), first)


def test_own_backbone_gets_weights_from_a_file(phantoms, tmp_path):
    """For a callable backbone, a file of its state dict replaces the initial weights."""
    X, _ = phantoms
    net = ToyResNet().eval()
    torch.save(net.state_dict(), tmp_path / "toy.pth")
    options = {"backbone": toy, "image_size": 16, "random_state": 0}
    made = ResNetFeatures(**options, weights=None).fit_transform(X)
    read = ResNetFeatures(**options, weights=tmp_path / "toy.pth").fit(X)
    assert torch.equal(read.module_.net.conv1.weight, net.conv1.weight)
    assert not np.allclose(read.transform(X), made)


def test_images_beyond_the_memory_limit_are_decoded_again(tmp_path, phantoms, monkeypatch):
    """Decoded images that need too much memory are not kept. The results are the same."""
    X, y = phantoms
    paths = write_images(tmp_path, X)
    read = []

    def count(paths, *args, **kwargs):
        read.extend(paths)
        return read_images(paths, *args, **kwargs)

    read_images = images_module.read_images
    monkeypatch.setattr(images_module, "read_images", count)
    options = {**SMALL, "trainable": "all", "max_epochs": 1}
    kept = ResNetClassifier(**options).fit(paths, y).predict_proba(paths)
    once = len(read)
    monkeypatch.setattr(images_module, "_DECODED_BYTES", 0)
    again = ResNetClassifier(**options).fit(paths, y).predict_proba(paths)
    np.testing.assert_array_equal(again, kept)
    assert len(read) - once >= once


def test_joblib_memory_names_the_folder_of_the_cache(phantoms, tmp_path):
    """A joblib.Memory without a location keeps activations in this process."""
    X, _ = phantoms
    options = {k: v for k, v in SMALL.items() if k != "max_epochs"}
    expected = ResNetFeatures(**options).fit_transform(X)
    for location in (str(tmp_path / "cache"), None):
        memory = joblib.Memory(location, verbose=0)
        found = ResNetFeatures(**options, memory=memory).fit_transform(X)
        np.testing.assert_array_equal(found, expected)
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 1


def test_path_with_a_null_byte_is_an_unreadable_file(phantoms, tmp_path):
    """A null byte in a path is an unreadable file like any other."""
    with pytest.raises(OSError, match="2 of 2 image files could not be read") as caught:
        ResNetClassifier(**SMALL).fit(["a\0b.png", str(tmp_path / "no.png")], ["a", "b"])
    assert "null byte" in str(caught.value)
