"""ClassActivationDisplay: radiographs with their activation maps."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import _safe_indexing

from .._utils.patient_numbers import check_length, patient_codes
from ._class_activation_map import ActivationMaps, class_activation_map, explained_model
from ._explained_images import network_sized_images
from ._image_grid import check_count, check_drawing, image_axes
from ._map_colours import map_colours
from ._map_measures import energy_shares
from ._map_regions import box_masks, region_masks

_CHANGE = "first-order change of the probability\nby one {} (percentage points)"

_LABELS = {
    "grad-cam": _CHANGE.format("cell of the layer"),
    "grad-cam++": "Grad-CAM++ (no unit)",
    "integrated-gradients": _CHANGE.format("pixel"),
    "occlusion": _CHANGE.format("square"),
}

# Grey level behind the colour bar. Its colours are transparent, and look as they do on an image.
_BEHIND_BAR = "0.35"


class ClassActivationDisplay:
    """Radiographs with their activation maps.

    The map is drawn over the image that the network gets. Orange parts support the class, blue
    parts speak against it, and parts without colour do not matter. The lightness of both colours
    grows by equal steps with the value.

    If masks are given, the title states how much of the positive values lies in the lungs: their
    share divided by the share of the area. 1 means that the map does not prefer the lungs. A map
    without positive values has no such figure.

    The colour bar is in percentage points of probability: the map multiplied by the derivative of
    the probability with respect to the explained score, p for the logarithm of a probability and
    p (1 - p) for log-odds. This is the first-order change of the probability that one cell of the
    layer makes.

    Parameters
    ----------
    found : ActivationMaps
        Maps in the size of the images.
    images : ndarray of shape (n_images, height, width)
        Images that the network gets, in [0, 1].
    masks : array-like of shape (n_images, side, side) or (n_images, side * side), default=None
        Lungs, whose outline is drawn.
    boxes : array-like of shape (n_images, 4), or masks, default=None
        Findings: left, top, right and bottom in pixels of the images, NaN for images without one.
    y : array-like of shape (n_images,), default=None
        True classes for the titles.

    Attributes
    ----------
    found : ActivationMaps
        The maps.
    changes : ndarray of shape (n_images, height, width)
        What is drawn: the maps in percentage points of probability.
    axes_ : ndarray of matplotlib.axes.Axes
        Axes of the images, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    See Also
    --------
    class_activation_map : Compute the maps.
    faithfulness : Measure whether the maps can be trusted.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.inspection import ClassActivationDisplay
    >>> X, y = make_chest_phantoms(30, image_size=64, random_state=0)
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=64, random_state=0)
    >>> display = ClassActivationDisplay.from_estimator(model.fit(X, y), X[:6], y=y[:6])
    >>> len(display.axes_)
    6
    """

    def __init__(
        self,
        found: ActivationMaps,
        images: Any,
        *,
        masks: Any = None,
        boxes: Any = None,
        y: Any = None,
    ) -> None:
        images = np.asarray(images)
        if images.shape != found.maps.shape:
            raise ValueError(
                f"images has the shape {images.shape}, and the maps have {found.maps.shape}; "
                "expected images in the size of the maps. Compute the maps with size=None."
            )
        n, side = len(images), images.shape[1]
        self.found = found
        self.changes = found.maps * _points(found)[:, None, None]
        self._images = images
        self._masks = None if masks is None else region_masks("masks", masks, n, side)
        self._boxes = None if boxes is None else box_masks(boxes, n, side)
        self._y = None if y is None else np.asarray(y)
        if self._y is not None:
            check_length("y", self._y, n)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        y: Any = None,
        target: Any = None,
        versus: Any = None,
        method: str = "grad-cam",
        masks: Any = None,
        boxes: Any = None,
        axes: Any = None,
        **options: Any,
    ) -> Self:
        """Compute the maps of some images, and draw them.

        Parameters
        ----------
        estimator : classifier
            Fitted: a model of this package, or a pipeline or a search that contains one.
        X : array-like
            Images in the form given to ``fit``.
        y : array-like of shape (n_images,), default=None
            True classes for the titles.
        target, versus, method
            As in :func:`class_activation_map`.
        masks, boxes
            As in the class.
        axes : matplotlib.axes.Axes, or sequence of them, default=None
            Axes to draw on, one per image; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : ClassActivationDisplay
        """
        # The steps of a pipeline run once for both.
        inner, rows = explained_model(estimator, X)
        found = class_activation_map(inner, rows, target=target, versus=versus, method=method)
        images = network_sized_images(inner, rows)
        return cls.from_maps(found, images, y=y, masks=masks, boxes=boxes, axes=axes, **options)

    @classmethod
    def from_maps(
        cls,
        found: ActivationMaps,
        images: Any,
        *,
        y: Any = None,
        masks: Any = None,
        boxes: Any = None,
        axes: Any = None,
        **options: Any,
    ) -> Self:
        """Draw maps that have been computed before.

        Parameters
        ----------
        found : ActivationMaps
            Result of :func:`class_activation_map` with ``size=None``.
        images : ndarray of shape (n_images, height, width)
            Images that the network gets, in [0, 1].
        y, masks, boxes
            As in the class.
        axes : matplotlib.axes.Axes, or sequence of them, default=None
            Axes to draw on, one per image; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : ClassActivationDisplay
        """
        return cls(found, images, masks=masks, boxes=boxes, y=y).plot(axes, **options)

    @classmethod
    def from_errors(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_images: int = 12,
        groups: Any = None,
        method: str = "grad-cam",
        masks: Any = None,
        boxes: Any = None,
        axes: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the most confident errors: what the model saw in the class that it predicted.

        Parameters
        ----------
        estimator : classifier
            Fitted: a model of this package, or a pipeline or a search that contains one.
        X : array-like
            Images, preferably ones that the model has not seen.
        y : array-like of shape (n_images,)
            True classes.
        n_images : int, default=12
            Largest number of images. The first one has the highest probability of a wrong class.
        groups : array-like of shape (n_images,), default=None
            Patients. If they are given, each patient has one image at most: the most confident
            error.
        method
            As in :func:`class_activation_map`.
        masks, boxes
            As in the class, for all images in `X`.
        axes : matplotlib.axes.Axes, or sequence of them, default=None
            Axes to draw on, one per image; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : ClassActivationDisplay

        Raises
        ------
        ValueError
            If all predictions are correct.
        """
        check_count("n_images", n_images)
        labels = np.asarray(y)
        proba = np.asarray(estimator.predict_proba(X))
        check_length("y", labels, len(proba))
        predicted = np.asarray(estimator.classes_)[proba.argmax(axis=1)]
        wrong = np.flatnonzero(predicted != labels)
        if not len(wrong):
            raise ValueError(
                f"y agrees with all {len(labels)} predictions; expected at least one error to "
                "draw. Pass more test images, or use from_estimator."
            )
        rows = wrong[np.argsort(-proba[wrong].max(axis=1), kind="stable")]
        if groups is not None:
            rows = rows[_first_of_each(patient_codes(groups, len(labels))[rows])]
        rows = rows[:n_images]
        return cls.from_estimator(
            estimator,
            _safe_indexing(X, rows),
            y=labels[rows],
            target=predicted[rows],
            method=method,
            masks=_selected("masks", masks, rows, len(labels)),
            boxes=_selected("boxes", boxes, rows, len(labels)),
            axes=axes,
            **options,
        )

    def plot(
        self,
        axes: Any = None,
        *,
        n_columns: int = 4,
        cmap: Any = None,
        alpha: float = 0.8,
        limit: float | None = None,
        colorbar: bool = True,
    ) -> Self:
        """Draw the images and their maps.

        Parameters
        ----------
        axes : matplotlib.axes.Axes, or sequence of them, default=None
            Axes to draw on, one per image; by default new ones in a grid.
        n_columns : int, default=4
            Number of columns of the grid.
        cmap : str or matplotlib.colors.Colormap, default=None
            Colour map, drawn with the opacity `alpha`. By default orange and blue, whose opacity
            grows with the value.
        alpha : float, default=0.8
            Opacity of the strongest values.
        limit : float, default=None
            Value of the strongest colour in percentage points. By default the greatest absolute
            value of all images, so that they can be compared.
        colorbar : bool, default=True
            Whether to draw a colour bar.

        Returns
        -------
        self : ClassActivationDisplay
        """
        check_drawing(n_columns, alpha, limit)
        titles = list(map(self._title, range(len(self._images))))
        figure, axes = image_axes(axes, titles, n_columns)
        greatest = float(np.abs(self.changes).max()) if limit is None else float(limit)
        scale = greatest if greatest > 0 else 1.0
        colours: dict[str, Any] = {"cmap": map_colours(alpha)}
        if cmap is not None:
            colours = {"cmap": cmap, "alpha": alpha}
        mesh: Any = None
        for row, ax in enumerate(axes):
            ax.imshow(self._images[row], cmap="gray", vmin=0, vmax=1)
            mesh = ax.imshow(self.changes[row], vmin=-scale, vmax=scale, **colours)
            self._outline(ax, row)
            ax.set_title(titles[row], fontsize=9)
            ax.set_axis_off()
        if colorbar:
            bar = figure.colorbar(mesh, ax=list(axes), shrink=0.8, fraction=0.05)
            bar.set_label(_LABELS[self.found.method], fontsize=8)
            bar.ax.set_facecolor(_BEHIND_BAR)
        self.axes_, self.figure_ = axes, figure
        return self

    def _outline(self, ax: Any, row: int) -> None:
        """Draw the outline of lungs and findings."""
        for masks, colour in ((self._masks, "white"), (self._boxes, "yellow")):
            if masks is not None and masks[row].any():
                ax.contour(masks[row], levels=[0.5], colors=colour, linewidths=1)

    def _title(self, row: int) -> str:
        title = f"{self.found.target[row]}: {100 * self.found.probabilities[row]:.0f} %"
        if self.found.versus is not None:
            # On a line of its own, or titles of neighbours would touch each other.
            title += f"\nrather than {self.found.versus}"
        if self._y is not None:
            title += f"\ntrue class: {self._y[row]}"
        if self._masks is not None and self._masks[row].any():
            part = slice(row, row + 1)
            share = energy_shares(self.found.maps[part], self._masks[part])[0]
            ratio = "–"
            if np.isfinite(share):
                ratio = f"{share / self._masks[row].mean():.1f} × their area"
            title += f"\nin the lungs: {ratio}"
        return title


def _first_of_each(codes: np.ndarray) -> np.ndarray:
    """Return the positions at which values occur for the first time, in ascending order."""
    return np.sort(np.unique(codes, return_index=True)[1])


def _selected(name: str, regions: Any, rows: np.ndarray, n_images: int) -> Any:
    """Return the masks or boxes of some images."""
    if regions is None:
        return None
    values = np.asarray(regions)
    check_length(name, values, n_images)
    return values[rows]


def _points(found: ActivationMaps) -> np.ndarray:
    """Return the percentage points of probability per unit of each map."""
    p = found.probabilities
    if found.method == "grad-cam++":
        return np.ones_like(p)
    return 100 * (p if found.versus is None else p * (1 - p))
