"""The network of the lungs is loaded and used without effects on other code."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch

from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.preprocessing._lung_network import NETWORK_SIDE, LungNetwork
from cxr_sklearn.preprocessing._lung_segmentation import (
    WEIGHTS_FILE,
    lung_masks,
    lung_network,
    network_with_weights,
    segment_lungs,
)


@pytest.fixture(scope="module")
def images():
    """Return phantoms of another size than the network takes."""
    return make_chest_phantoms(6, image_size=96, random_state=0)[0].reshape(-1, 96, 96)


@pytest.fixture
def content():
    """Return the file of weights."""
    return resources.files("cxr_sklearn.preprocessing").joinpath(WEIGHTS_FILE).read_bytes()


def test_loading_draws_no_random_numbers(content):
    """The global generator of PyTorch is left as it was."""
    state = torch.get_rng_state()
    net = network_with_weights(content)
    assert torch.equal(torch.get_rng_state(), state)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_default_type_of_pytorch_does_not_matter(content, images):
    """The network computes in float32 whatever type the user has chosen for new tensors."""
    expected = segment_lungs(images)
    torch.set_default_dtype(torch.float64)
    try:
        found = segment_lungs(images, network_with_weights(content))
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = segment_lungs(images)
    np.testing.assert_array_equal(found.quality, expected.quality)


def test_read_only_images_are_accepted(images):
    """Rows that are mapped from a file, as joblib's workers get them, give no warning."""
    expected = segment_lungs(images)
    mapped = images.copy()
    mapped.flags.writeable = False
    np.testing.assert_array_equal(segment_lungs(mapped).probabilities, expected.probabilities)


def test_result_does_not_depend_on_the_other_images(images):
    """An image has the same lungs alone and among others, up to rounding."""
    together = segment_lungs(images)
    alone = segment_lungs(images[3:4])
    np.testing.assert_allclose(alone.probabilities[0], together.probabilities[3], atol=1e-4)
    np.testing.assert_allclose(alone.quality[0], together.quality[3], atol=1e-4)


def test_another_network_can_be_used(images):
    """A network that finds lungs everywhere fills the masks of every size."""
    net = LungNetwork().eval()
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(net.mask.bias, 5.0)
    found = segment_lungs(images, net)
    assert found.probabilities.shape == (6, NETWORK_SIDE, NETWORK_SIDE)
    assert lung_masks(found, 50, 70).all()
    np.testing.assert_allclose(found.quality, 0.5)
    assert segment_lungs(images).probabilities.mean() < 0.9


def test_image_of_one_grey_level_has_a_finite_result():
    """There is no contrast to divide by."""
    found = segment_lungs(np.full((2, 30, 40), 7, np.uint8))
    assert np.isfinite(found.probabilities).all()
    assert np.isfinite(found.quality).all()


def test_network_is_loaded_once():
    """All transformers of a process share it."""
    assert lung_network() is lung_network()
