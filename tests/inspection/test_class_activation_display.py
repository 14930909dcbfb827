"""Pictures of maps: what is drawn, in which colours, and with which legend."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.inspection import ActivationMaps, ClassActivationDisplay, class_activation_map
from cxr_sklearn.inspection._map_colours import map_colours

from ..toys import toy

plt = pytest.importorskip("matplotlib.pyplot")

SIDE = 32


@pytest.fixture(autouse=True)
def _without_a_screen():
    """Draw without a screen, and close what was drawn."""
    before = mpl.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture(scope="module")
def fitted():
    """Return a model, and phantoms with their classes and lungs."""
    X, y, masks = make_chest_phantoms(60, image_size=SIDE, return_masks=True, random_state=0)
    model = ResNetOvO(
        backbone=toy, weights=None, image_size=SIDE, max_epochs=5, lr=1e-2, random_state=0
    )
    return model.fit(X, y), X, y, masks


def bar_of(display):
    """Return the axes of the colour bar."""
    (bar,) = [ax for ax in display.figure_.axes if ax not in list(display.axes_)]
    return bar


def test_one_image_per_axes_with_class_and_probability(fitted):
    """The title names class, probability and true class; the map lies over the image."""
    model, X, y, _ = fitted
    display = ClassActivationDisplay.from_estimator(model, X[:5], y=y[:5])
    assert len(display.axes_) == 5
    p = model.predict_proba(X[:5])
    for row, ax in enumerate(display.axes_):
        predicted = model.classes_[p[row].argmax()]
        expected = f"{predicted}: {100 * p[row].max():.0f} %\ntrue class: {y[row]}"
        assert ax.get_title() == expected
        radiograph, mapped = ax.images
        np.testing.assert_allclose(radiograph.get_array() * 255, X[row].reshape(SIDE, SIDE))
        assert mapped.get_array().shape == (SIDE, SIDE)


def test_legend_is_the_first_order_change_of_the_probability(fitted):
    """A small step along the map changes the probability by what the legend says."""
    model, X, _, _ = fitted
    found = class_activation_map(model, X[:4], target="Normal")
    display = ClassActivationDisplay.from_estimator(model, X[:4], target="Normal")
    p = model.predict_proba(X[:4])[:, 1]
    np.testing.assert_allclose(display.changes, 100 * p[:, None, None] * found.maps, rtol=1e-4)
    limits = [ax.images[1].get_clim() for ax in display.axes_]
    greatest = np.abs(display.changes).max()
    np.testing.assert_allclose(limits, [(-greatest, greatest)] * 4)
    assert "first-order change of the probability" in bar_of(display).get_ylabel()
    versus = ClassActivationDisplay.from_estimator(model, X[:4], target="Normal", versus="COVID-19")
    odds = class_activation_map(model, X[:4], target="Normal", versus="COVID-19")
    slope = odds.probabilities * (1 - odds.probabilities)
    np.testing.assert_allclose(versus.changes, 100 * slope[:, None, None] * odds.maps, rtol=1e-4)
    percent = f"{100 * odds.probabilities[0]:.0f} %"
    assert versus.axes_[0].get_title() == f"Normal: {percent}\nrather than COVID-19"


def test_computed_maps_are_drawn_as_those_of_the_model(fitted):
    """Maps that were computed before need no model."""
    model, X, y, _ = fitted
    found = class_activation_map(model, X[:2])
    images = X[:2].reshape(2, SIDE, SIDE) / 255
    display = ClassActivationDisplay.from_maps(found, images, y=y[:2], colorbar=False)
    expected = ClassActivationDisplay.from_estimator(model, X[:2], y=y[:2])
    np.testing.assert_array_equal(display.changes, expected.changes)
    for ax, other in zip(display.axes_, expected.axes_, strict=True):
        assert ax.get_title() == other.get_title()


def test_errors_are_drawn_from_the_most_confident(fitted):
    """Only wrong predictions, in the order of their probability."""
    model, X, y, _ = fitted
    p = model.predict_proba(X)
    predicted = model.classes_[p.argmax(axis=1)]
    wrong = np.flatnonzero(predicted != y)
    assert len(wrong) > 3
    display = ClassActivationDisplay.from_errors(model, X, y, n_images=3)
    expected = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:3]
    np.testing.assert_allclose(display.found.probabilities, p[expected].max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(display.found.target, predicted[expected])
    for row, ax in zip(expected, display.axes_, strict=True):
        assert f"true class: {y[row]}" in ax.get_title()
    with pytest.raises(ValueError, match="y agrees with all 60 predictions"):
        ClassActivationDisplay.from_errors(model, X, predicted)


def test_errors_show_their_own_lungs_and_each_patient_once(fitted):
    """Masks and patients are those of all images; a patient has the most confident error."""
    model, X, y, masks = fitted
    p = model.predict_proba(X)
    predicted = model.classes_[p.argmax(axis=1)]
    wrong = np.flatnonzero(predicted != y)
    ordered = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]
    groups = np.array([f"p{row}" for row in range(len(X))])
    groups[ordered[1]] = groups[ordered[0]]
    display = ClassActivationDisplay.from_errors(
        model, X, y, n_images=2, groups=groups, masks=masks, method="grad-cam++"
    )
    shown = ordered[[0, 2]]
    np.testing.assert_allclose(display.found.probabilities, p[shown].max(axis=1), rtol=1e-5)
    expected = ClassActivationDisplay.from_estimator(
        model, X[shown], y=y[shown], masks=masks[shown], method="grad-cam++"
    )
    for ax, other in zip(display.axes_, expected.axes_, strict=True):
        assert ax.get_title() == other.get_title()
        assert "in the lungs" in ax.get_title()
    with pytest.raises(ValueError, match="masks has 3 values for 60 images"):
        ClassActivationDisplay.from_errors(model, X, y, masks=masks[:3])


def test_map_without_positive_values_has_no_share_in_the_lungs():
    """The title has a dash instead of a number."""
    maps = np.full((1, 4, 4), -0.5, np.float32)
    found = ActivationMaps(maps, np.array([0.5]), np.array(["Normal"]), None, "grad-cam")
    lungs = np.ones((1, 4, 4), dtype=bool)
    display = ClassActivationDisplay.from_maps(found, np.zeros((1, 4, 4)), masks=lungs)
    assert display.axes_[0].get_title() == "Normal: 50 %\nin the lungs: –"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_columns": 0}, "n_columns=0 is invalid: it is a number of images or columns"),
        ({"alpha": 2}, "alpha=2 is invalid: it is an opacity"),
        ({"limit": 0}, "limit=0 is invalid: it is the value of the strongest colour"),
        ({"limit": np.nan}, "limit=nan is invalid"),
    ],
)
def test_invalid_options_raise(fitted, options, message):
    """One line states the option, and nothing is drawn."""
    model, X, _, _ = fitted
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=message) as caught:
        ClassActivationDisplay.from_estimator(model, X[:2], **options)
    assert "\n" not in str(caught.value)
    assert plt.get_fignums() == before
    with pytest.raises(ValueError, match="n_images=0 is invalid"):
        ClassActivationDisplay.from_errors(model, X, np.zeros(len(X)), n_images=0)


def test_colour_map_and_scale_can_be_chosen(fitted):
    """By name, with one opacity; the limit holds for all images."""
    model, X, _, _ = fitted
    display = ClassActivationDisplay.from_estimator(
        model, X[:2], cmap="PuOr_r", alpha=0.3, limit=5.0
    )
    for ax in display.axes_:
        mapped = ax.images[1]
        assert mapped.get_cmap().name == "PuOr_r"
        assert mapped.get_alpha() == 0.3
        assert mapped.get_clim() == (-5, 5)


def test_outlines_of_lungs_and_boxes(fitted):
    """They are drawn where they are given, and not for images without one."""
    model, X, _, masks = fitted
    boxes = np.array([[4, 4, 20, 20], [np.nan] * 4])
    display = ClassActivationDisplay.from_estimator(model, X[:2], masks=masks[:2], boxes=boxes)
    first, second = display.axes_
    assert len(first.collections) == 2
    inside = masks[0].reshape(SIDE, SIDE) > 0
    positive = np.maximum(display.found.maps[0], 0)
    ratio = positive[inside].sum() / positive.sum() / inside.mean()
    assert first.get_title().endswith(f"\nin the lungs: {ratio:.1f} × their area")
    assert len(second.collections) == 1


def test_grid_and_given_axes(fitted):
    """A grid has as many columns as requested; given axes are used."""
    model, X, _, _ = fitted
    display = ClassActivationDisplay.from_estimator(model, X[:5], n_columns=3, colorbar=False)
    assert len(display.figure_.axes) == 5
    assert display.axes_[0].get_subplotspec().get_gridspec().get_geometry() == (2, 3)
    _, axes = plt.subplots(1, 2)
    other = ClassActivationDisplay.from_estimator(model, X[:2], axes=axes)
    assert list(other.axes_) == list(axes)
    with pytest.raises(ValueError, match="axes has 2 values for 5 images"):
        ClassActivationDisplay.from_estimator(model, X[:5], axes=axes)


def test_images_and_masks_of_another_size_raise(fitted):
    """The message states both sizes."""
    model, X, _, _ = fitted
    found = class_activation_map(model, X[:2], size=8)
    with pytest.raises(ValueError, match=r"images has the shape \(2, 32, 32\), and the maps have"):
        ClassActivationDisplay(found, X[:2].reshape(2, SIDE, SIDE))
    with pytest.raises(ValueError, match=r"masks has the shape \(2, 8, 8\)"):
        ClassActivationDisplay.from_estimator(model, X[:2], masks=np.ones((2, 8, 8)))


def test_settings_of_matplotlib_do_not_change(fitted):
    """Other figures of the user look as before."""
    model, X, _, _ = fitted
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    ClassActivationDisplay.from_estimator(model, X[:2]).figure_.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend


def test_import_does_not_import_matplotlib():
    """Maps can be computed on machines without it."""
    code = "import sys, cxr_sklearn.inspection; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# From linear sRGB to the cones of OKLab, to its lightness, and to XYZ.
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LIGHTNESS = np.array([0.2104542553, 0.7936177850, -0.0040720468])
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])

# Machado, Oliveira and Fernandes (2009): colours as seen with deuteranopia, in linear sRGB.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def linear(rgb):
    """Return linear sRGB of sRGB colours."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(values):
    """Return CIELAB of linear sRGB colours."""
    x, y, z = np.cbrt((values @ XYZ.T).clip(0.009)).T
    return np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def arms(alpha=1.0):
    """Return the colours for negative and for positive values, from weak to strong."""
    colours = map_colours(alpha)(np.linspace(0, 1, 256))
    return colours[127::-1], colours[128:]


def test_colours_are_perceptually_uniform():
    """Lightness grows by equal steps on both arms, and opacity from the middle."""
    for arm in arms(alpha=0.7):
        steps = np.diff(np.cbrt(linear(arm[:, :3]) @ CONES.T) @ LIGHTNESS)
        # Colours outside of sRGB would be cut off, and their steps would differ.
        np.testing.assert_allclose(steps, steps.mean(), rtol=0.02)
        assert steps.mean() > 0
        assert (np.diff(arm[:, 3]) > 0).all()
        assert arm[0, 3] < 0.05
        assert arm[-1, 3] == pytest.approx(0.7)
    # The arms are as light as each other, so that neither sign looks stronger.
    negative, positive = (lab(linear(arm[:, :3]))[:, 0] for arm in arms())
    assert np.abs(negative - positive).max() < 6


def test_signs_are_distinguished_with_deuteranopia():
    """Colours of equal strength differ by several times what the eye distinguishes."""
    for seen in (np.eye(3), DEUTERANOPIA):
        negative, positive = (lab(linear(arm[:, :3]) @ seen.T) for arm in arms())
        assert np.linalg.norm(negative - positive, axis=1).min() > 25
