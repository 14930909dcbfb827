"""Pictures of maps: what is drawn, in which colours, and with which legend."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.inspection import ClassActivationDisplay, class_activation_map
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
    assert versus.axes_[0].get_title().startswith("Normal rather than COVID-19: ")


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
    before = dict(mpl.rcParams)
    ClassActivationDisplay.from_estimator(model, X[:2]).figure_.canvas.draw()
    assert dict(mpl.rcParams) == before


def lightness(rgb):
    """Return the lightness L* of CIELAB of sRGB colours."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(luminance) - 16


def test_colours_are_perceptually_uniform():
    """Lightness grows by equal steps on both arms, and opacity from the middle."""
    colours = map_colours(alpha=0.7)(np.linspace(0, 1, 256))
    for arm in (colours[127::-1], colours[128:]):
        steps = np.diff(lightness(arm[:, :3]))
        assert (steps > 0).all()
        assert steps.std() / steps.mean() < 0.35
        assert (np.diff(arm[:, 3]) > 0).all()
        assert arm[0, 3] < 0.05
        assert arm[-1, 3] == pytest.approx(0.7)
    # The arms are as light as each other, so that neither sign looks stronger.
    ends = lightness(colours[[0, -1], :3])
    assert abs(ends[0] - ends[1]) < 6


def test_colours_are_distinguished_without_green():
    """Blue and orange differ for people with deuteranopia, by the blue channel alone."""
    colours = map_colours()(np.linspace(0, 1, 256))
    blue = colours[:, 2]
    assert blue[0] - blue[-1] > 0.4
