"""The measures of maps find good maps good, and bad ones bad."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetOvO, ResNetStacking
from cxr_sklearn._images.inputs import check_images
from cxr_sklearn._trunk.context import run_context
from cxr_sklearn.inspection import _faithfulness, class_activation_map, faithfulness
from cxr_sklearn.inspection._deletion import deletion_areas
from cxr_sklearn.inspection._faithfulness_report import mean_interval
from cxr_sklearn.inspection._map_measures import energy_shares, is_hit, rank_correlations
from cxr_sklearn.inspection._randomised import with_random_weights

from ..toys import tails, toy

SIDE = 32


def striped(n, seed):
    """Return images with upright stripes (class 0), level stripes (class 1), or none (class 2).

    Bright squares that mean nothing are in all images. The third array is the mask of the stripes.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.uniform(0.2, 0.5, (n, SIDE, SIDE)).astype(np.float32)
    masks = np.zeros((n, SIDE, SIDE), dtype=bool)
    stripes = 0.25 * (np.indices((8, 8)) % 2)
    for image, mask, label in zip(X, masks, y, strict=True):
        for top, left in rng.integers(0, SIDE - 6, (3, 2)):
            image[top : top + 6, left : left + 6] += 0.3
        if label < 2:
            top, left = rng.integers(0, SIDE - 8, 2)
            mask[top : top + 8, left : left + 8] = True
            image[mask] += stripes[label].ravel()
    return X.clip(0, 1).reshape(n, -1), y, masks


def layers(n_in, n_out, stride):
    """Return a convolution with its normalisation."""
    convolution = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


class StripeNet(nn.Sequential):
    """A network of three convolutions."""

    stages = ("stage1", "stage2", "stage3", "fc")

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                stage1=layers(1, 16, 1),
                stage2=layers(16, 16, 2),
                stage3=layers(16, 16, 2),
                pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                fc=nn.Linear(16, 3),
            )
        )


def stripe_net():
    """Return an untrained network."""
    return StripeNet()


@pytest.fixture(scope="module")
def trained():
    """Return a model that finds stripes, with test images, labels and masks."""
    X, y, _ = striped(600, seed=0)
    model = ResNetClassifier(
        backbone=stripe_net,
        weights=None,
        image_size=SIDE,
        trainable="all",
        lr=1e-2,
        max_epochs=12,
        label_smoothing=0.1,
        random_state=0,
    ).fit(X, y)
    X, y, masks = striped(60, seed=1)
    assert (model.predict(X) == y).mean() > 0.95
    return model, X, y, masks


# -- single measures ------------------------------------------------------------------------------


def test_energy_share_counts_positive_values_only():
    """Negative values neither count nor cancel; maps without positive values have no share."""
    maps = np.array([[[2.0, 1.0], [-5.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]])
    masks = np.array([[[True, False], [True, False]]] * 2)
    np.testing.assert_allclose(energy_shares(maps, masks), [0.5, np.nan])
    assert np.isnan(energy_shares(maps, np.zeros_like(masks))).all()


def test_hits_share_ties():
    """A map with several greatest values hits with the share of these inside."""
    maps = np.array([[[3.0, 3.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]]])
    masks = np.array([[[True, False], [False, False]]] * 2)
    np.testing.assert_allclose(is_hit(maps, masks), [0.5, 0.0])
    assert np.isnan(is_hit(maps, np.zeros_like(masks))).all()


def test_rank_correlation_is_spearmans():
    """It is 1 for a monotonic change, -1 for the negative, and 0 for a constant map."""
    maps = np.random.default_rng(0).standard_normal((3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(rank_correlations(maps, np.exp(maps)), 1, atol=1e-6)
    np.testing.assert_allclose(rank_correlations(maps, -maps), -1, atol=1e-6)
    np.testing.assert_array_equal(rank_correlations(maps, np.ones_like(maps)), 0)


def test_deletion_prefers_the_true_region_to_random_and_to_the_opposite(trained):
    """A map of the stripes is better than the moved map; the negative of the map is worse."""
    model, X, y, masks = trained
    rows = check_images(model, X[y < 2], reset=False)
    context = run_context(model, fitted=True)
    truth = masks[y < 2].astype(np.float32)
    for maps, sign in ((truth, 1), (-truth, -1)):
        rng = np.random.default_rng(0)
        areas = deletion_areas(model, rows, maps, y[y < 2], context, rng)
        assert (sign * (areas.random_deletion - areas.deletion)).mean() > 0.1
        assert (sign * (areas.insertion - areas.random_insertion)).mean() > 0.1


def test_interval_of_a_mean_counts_patients_and_not_images():
    """In 200 studies with correlated images, 95 % intervals contain the mean of all patients.

    Intervals that count images as patients contain it too rarely.
    """
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 6)
    covered = {"patient": 0, "image": 0}
    for seed in range(200):
        values = rng.standard_normal(30)[patients] + 0.3 * rng.standard_normal(180)
        for name, groups in (("patient", patients), ("image", np.arange(180))):
            found = mean_interval(values, groups, 0.95, seed)
            covered[name] += found.low < 0 < found.high
    # Three standard errors of a share of .95 in 200 studies are .046.
    assert covered["patient"] / 200 > 0.95 - 0.046
    assert covered["image"] / 200 < 0.8


# -- copies that have learned nothing -------------------------------------------------------------


@pytest.mark.parametrize("trainable", ["head", "layer4"])
@pytest.mark.parametrize("cls", [ResNetOvO, ResNetStacking])
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_every_weight_of_a_random_copy_is_another(cls, trainable, phantoms):
    """Trunk, tails and MLP head; the model itself and the global generator do not change."""
    X, y = phantoms
    model = cls(
        backbone=toy,
        weights=None,
        image_size=16,
        trainable=trainable,
        lr=1e-2,
        max_epochs=1,
        random_state=0,
    ).fit(X, y)
    before, generator = copy.deepcopy(model), torch.get_rng_state()
    other = with_random_weights(model, X, seed=3)
    assert torch.equal(torch.get_rng_state(), generator)
    for name, weight in weights_of(model):
        assert torch.equal(weight, dict(weights_of(before))[name])
        if weight.ndim > 1:  # normalisation layers begin with the same weights
            assert (weight != dict(weights_of(other))[name]).float().mean() > 0.99, name
    assert np.isfinite(other.predict_proba(X)).all()
    again = with_random_weights(model, X, seed=3)
    np.testing.assert_array_equal(other.predict_proba(X), again.predict_proba(X))
    assert not np.allclose(other.predict_proba(X), model.predict_proba(X), atol=1e-3)


def weights_of(model):
    """Return all weights of a model by name."""
    found = [(f"trunk.{name}", weight) for name, weight in model.trunk_.module_.named_parameters()]
    for number, tail in enumerate(tails(model)):
        for name, weight in tail.net_.module_.named_parameters():
            found.append((f"{number}.{name}", weight))
    return found


# -- the whole report -----------------------------------------------------------------------------


def test_good_maps_are_informative_and_point_at_the_stripes(trained):
    """All measures agree: energy, pointing, deletion, insertion, and the sanity checks."""
    model, X, y, masks = trained
    result = faithfulness(model, X, y, masks=masks, boxes=masks, random_state=0)
    frame = result.frame
    assert list(frame.index) == [
        "energy in the lungs",
        "pointing game",
        "deletion",
        "insertion",
        "randomised weights",
        "randomised labels",
    ]
    assert frame.loc["energy in the lungs", "low"] > 3
    assert frame.loc["pointing game", "value"] > 0.8
    assert (frame["gain_low"] > 0).all(), frame.to_string()
    assert frame.loc["pointing game", "n_images"] == (y < 2).sum()
    assert frame.loc["deletion", "n_images"] == 50
    assert result.is_informative
    assert "The maps depend on what the model has learned" in str(result)
    assert len(result.images) == 60


def test_maps_of_edges_are_reported_as_uninformative(trained, monkeypatch):
    """They look convincing, but do not depend on the model: the sanity checks find it."""
    model, X, y, masks = trained

    def edges(self, model):
        images = self.X.reshape(-1, SIDE, SIDE)
        return np.abs(np.gradient(images, axis=1)) + np.abs(np.gradient(images, axis=2))

    monkeypatch.setattr(_faithfulness._Subject, "maps", edges)
    result = faithfulness(model, X, y, masks=masks, n_random=1, random_state=0)
    assert not result.is_informative
    assert result.frame.loc["randomised weights", "value"] == pytest.approx(1)
    assert "UNINFORMATIVE: the check with randomised weights and with randomised labels" in str(
        result
    )


def test_random_maps_have_no_gain(trained, monkeypatch):
    """Maps of noise contain no energy, hit no box, and delete like chance."""
    model, X, y, masks = trained
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        _faithfulness._Subject,
        "maps",
        lambda self, model: rng.uniform(size=(60, SIDE, SIDE)).astype(np.float32),
    )
    frame = faithfulness(model, X, y, masks=masks, boxes=masks, n_random=1, random_state=0).frame
    for name in ("energy in the lungs", "pointing game", "deletion", "insertion"):
        assert frame.loc[name, "gain_low"] <= 0.02, frame.to_string()


def test_labels_are_optional_and_patients_widen_the_intervals(trained):
    """Without labels, the predicted class is explained, and labels are not shuffled."""
    model, X, _, masks = trained
    result = faithfulness(model, X, masks=masks, n_random=1, random_state=0)
    assert "randomised labels" not in result.frame.index
    by_patient = faithfulness(
        model, X, masks=masks, n_random=1, groups=np.arange(60) // 12, random_state=0
    )
    assert "60 images of 5 patients" in str(by_patient)
    np.testing.assert_allclose(result.frame["value"], by_patient.frame["value"], rtol=1e-9)


def test_a_single_image_has_no_verdict(trained):
    """Neither good nor bad: the text states what is missing."""
    model, X, _, masks = trained
    result = faithfulness(model, X[:1], masks=masks[:1], n_random=1, random_state=0)
    assert "1 image of 1 patient, " in str(result)
    assert "(no interval)" in str(result)
    assert not result.is_informative
    assert result.verdict.startswith("It is not known whether these maps can be trusted")


def test_target_is_independent_of_the_labels(trained):
    """Another class can be explained, while the labels are shuffled as usual."""
    model, X, y, masks = trained
    options = {"masks": masks, "n_random": 1, "random_state": 0}
    one = faithfulness(model, X, y, target=y, **options)
    assert one.frame.equals(faithfulness(model, X, y, **options).frame)
    other = faithfulness(model, X, y, target=2, **options)
    assert "randomised labels" in other.frame.index
    assert other.frame.loc["energy in the lungs", "value"] < 1  # no stripes support class 2


def test_networks_of_classes_that_cannot_be_pickled(trained):
    """A class that is defined in a function is copied too."""

    class Local(StripeNet):
        pass

    X, y, masks = trained[1][:15], trained[2][:15], trained[3][:15]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ResNetOvO(
            backbone=lambda: Local(),
            weights=None,
            image_size=SIDE,
            trainable="stage3",
            max_epochs=1,
            random_state=0,
        ).fit(X, y)
    result = faithfulness(model, X, masks=masks, n_random=1, random_state=0)
    assert np.isfinite(result.frame.loc["randomised weights", "value"])


def test_results_are_reproducible_and_nothing_changes(trained):
    """The same seed gives the same figures, and global generators are left alone."""
    model, X, y, masks = trained
    np.random.seed(0)
    state, generator = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = faithfulness(model, X[:20], y[:20], masks=masks[:20], n_random=1, random_state=1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), generator)
    second = faithfulness(model, X[:20], y[:20], masks=masks[:20], n_random=1, random_state=1)
    assert first.frame.equals(second.frame)


def test_boxes_are_converted_to_pixels(trained):
    """A box of coordinates gives the same result as its mask."""
    model, X, y, masks = trained
    boxes = np.full((60, 4), np.nan)
    for row, mask in enumerate(masks):
        if mask.any():
            lines, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes[row] = columns[0], lines[0], columns[-1] + 1, lines[-1] + 1
    options = {"masks": masks, "n_random": 1, "random_state": 0}
    by_box = faithfulness(model, X, y, boxes=boxes, **options).frame.loc["pointing game"]
    by_mask = faithfulness(model, X, y, boxes=masks, **options).frame.loc["pointing game"]
    assert by_box.equals(by_mask)


def test_pictures_of_another_size_than_the_network(trained):
    """Rows that are not square, and larger than the network's images, are resized."""
    model = trained[0]
    X, y, _ = striped(30, seed=2)
    wide = np.repeat(np.repeat(X.reshape(-1, SIDE, SIDE), 2, axis=2), 3, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = copy.deepcopy(model).set_params(max_epochs=1).fit(wide, y)
    result = faithfulness(other, wide, y, n_random=1, random_state=0)
    assert class_activation_map(other, wide).maps.shape == (30, SIDE, SIDE)
    assert np.isfinite(result.frame.loc["deletion", "value"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": np.ones((60, 8, 8))}, r"masks has the shape \(60, 8, 8\); expected \(60, 32, 3"),
        ({"boxes": np.ones((60, 5))}, r"boxes has the shape \(60, 5\)"),
        ({"boxes": np.full((60, 4), 900.0)}, r"boxes\[0\]=\[900.0, 900.0, 900.0, 900.0\] is inval"),
        ({"y": ["flu"] * 60}, "target='flu' is invalid"),
        ({"target": "flu"}, "target='flu' is invalid"),
        ({"y": [0] * 5}, "y has 5 values for 60 images"),
        ({"y": [1] * 60}, r"y contains one class \(1\), so that shuffled labels would be the same"),
        ({"groups": [1] * 60}, "groups contains one patient"),
        ({"method": "cam"}, "method='cam' is invalid"),
        ({"n_random": 0}, "n_random=0 is invalid"),
        ({"max_images": 1.5}, r"max_images=1\.5 is invalid"),
        ({"confidence_level": 95}, "confidence_level=95 is invalid"),
    ],
)
def test_invalid_parameters_raise(trained, options, message):
    """One line states the parameter, the value, what is expected, and the remedy."""
    model, X, _, _ = trained
    with pytest.raises(ValueError, match=message) as caught:
        faithfulness(model, X, **options)
    assert "\n" not in str(caught.value)
