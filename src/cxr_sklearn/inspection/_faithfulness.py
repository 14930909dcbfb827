"""faithfulness: whether the maps of a model can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._images.images import Images
from .._images.inputs import check_images
from .._models.base import BaseResNet
from .._trunk.context import run_context
from .._utils.patient_numbers import check_length, patient_codes
from ..preprocessing._lung_segmentation import lung_masks, segment_lungs
from ._class_activation_map import check_method, class_activation_map, explained_model
from ._deletion import deletion_areas
from ._explained_images import network_sized_images
from ._explained_score import make_question
from ._faithfulness_report import MAX_SIMILARITY, Faithfulness, ImageFigures, make_report
from ._map_measures import energy_shares, is_hit, rank_correlations
from ._map_regions import box_masks, region_masks
from ._randomised import with_random_labels, with_random_weights


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is examined.

    Attributes
    ----------
    model : classifier
        Model of this package.
    X : array-like
        Its input.
    target : ndarray of shape (n,)
        Class that each map explains.
    y : ndarray of shape (n,), or None
        True classes.
    method : str
    groups : array-like of shape (n,), or None
    """

    model: BaseResNet
    X: Any
    target: np.ndarray
    y: np.ndarray | None
    method: str
    groups: Any

    def maps(self, model: BaseResNet) -> np.ndarray:
        """Return the maps of this model, or of a copy of it, for the same images and classes."""
        found = class_activation_map(model, self.X, target=self.target, method=self.method)
        return found.maps


def faithfulness(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    target: Any = None,
    masks: Any = None,
    boxes: Any = None,
    groups: Any = None,
    method: str = "grad-cam",
    n_random: int = 3,
    max_images: int = 50,
    confidence_level: float = 0.95,
    random_state: Any = None,
) -> Faithfulness:
    """Measure whether the maps of a model can be trusted.

    A map is persuasive whether or not it is right. Use this function before you show maps to
    anyone: it measures whether the maps point at the lungs and at marked findings, whether the
    pixels that they show matter to the model, and whether they change if the model has learned
    nothing.

    Parameters
    ----------
    model : classifier
        Fitted: a model of this package, or a pipeline or a search that contains one.
    X : array-like of n_images images
        Images in the form given to ``fit`` of `model`, preferably images that it has not seen.
    y : array-like of shape (n_images,), default=None
        Classes of the images, two or more. Without them, the check with randomised labels is left
        out.
    target : label, or array-like of shape (n_images,), default=None
        Class that the map of each image explains. By default its class in `y`; without `y`, the
        predicted class.
    masks : array-like of shape (n_images, side, side) or (n_images, side * side), default=None
        Lungs, different from 0 inside, in the size of the images that the network gets. By default
        they are found by :class:`~cxr_sklearn.preprocessing.LungFields`. Images with an empty mask
        are left out of this measure.
    boxes : array-like of shape (n_images, 4), or masks, default=None
        Findings: left, top, right and bottom in pixels of the images that the network gets, NaN for
        images without one. Several findings in an image can be passed as masks in the form of
        `masks`. By default the pointing game is left out.
    groups : array-like of shape (n_images,), default=None
        Patients. Without them, intervals count every image as a patient.
    method : str, default="grad-cam"
        Method of :func:`class_activation_map`.
    n_random : int, default=3
        Number of networks with random weights, and of models that are trained on shuffled labels.
    max_images : int, default=50
        Number of images for deletion and insertion, which need 44 forward passes per image. If
        there are more images, they are drawn at random.
    confidence_level : float, default=0.95
        Confidence level of the intervals, which resample patients.
    random_state : int, RandomState instance or None, default=None
        Seed of the random networks, labels, orders and intervals.

    Returns
    -------
    result : Faithfulness
        ``print(result)`` shows the figures. ``result.is_informative`` is False if the sanity checks
        do not distinguish the maps from those of a random network.

    Raises
    ------
    ValueError
        If masks have another size, or lengths differ. The message states what is expected.

    Notes
    -----
    *Energy*: the share of the positive values of the map inside the lungs, divided by the share of
    the area of the lungs. It is 1 for a map that ignores the lungs.

    *Pointing game*: the share of images in which the greatest value of the map is inside a box. A
    random point hits with a probability equal to the share of the area of the box.

    *Deletion* and *insertion*: the area under the curve of the probability of the class, while the
    cells of a grid of 16 by 16 are blurred, or shown in a blurred image, in the order of the map.
    The same map, moved to a random place and mirrored at random, is the baseline. (Cells in random
    order would be none, because many small holes damage an image more than one large hole.)

    *Sanity checks*: the mean absolute rank correlation of the maps with those of networks in which
    all weights are random, and with those of models that were trained on shuffled labels of `X`.
    Maps that do not depend on what the model has learned have a correlation near 1. The maps are
    called uninformative if the upper limit of an interval is 0.5 or more.

    References
    ----------
    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.

    Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016 (pointing game).

    Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models",
    BMVC 2018 (deletion and insertion).

    Saporta et al., "Benchmarking saliency methods for chest X-ray interpretation", Nature Machine
    Intelligence 4 (2022).

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.inspection import faithfulness
    >>> X, y, masks = make_chest_phantoms(
    ...     40, image_size=32, return_masks=True, random_state=0
    ... )
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> result = faithfulness(model.fit(X, y), X, y, masks=masks, n_random=1, random_state=0)
    >>> result.frame.index[0]
    'energy in the lungs'
    """
    _check_options(method, n_random, max_images, confidence_level)
    inner, rows = explained_model(model, X)
    images = check_images(inner, rows, reset=False)
    labels = None if y is None else np.asarray(y)
    if labels is not None:
        check_length("y", labels, len(images))
    if target is None:
        target = inner.predict(rows) if labels is None else labels
    codes = make_question(inner, len(images), target, None).target
    assert codes is not None
    if labels is not None:
        _check_classes(labels)
    patients = np.arange(len(images)) if groups is None else patient_codes(groups, len(images))
    subject = _Subject(inner, rows, inner.classes_[codes], labels, method, groups)
    rng = np.random.default_rng(_seed(random_state))
    maps = subject.maps(inner)
    pixels = network_sized_images(inner, rows)
    figures = [_energy(maps, masks, pixels)]
    if boxes is not None:
        figures.append(_pointing_game(maps, boxes))
    figures += _deletion(inner, images, maps, codes, max_images, rng)
    figures += _sanity_checks(subject, maps, n_random, rng)
    return make_report(figures, patients, method, confidence_level, int(rng.integers(2**31)))


def _check_options(method: str, n_random: int, max_images: int, confidence_level: float) -> None:
    check_method(method)
    for name, value in (("n_random", n_random), ("max_images", max_images)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(
                f"{name}={value!r} is invalid: it is a number of copies or images; expected an "
                "integer of 1 or more. Pass a positive integer."
            )
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level={confidence_level!r} is invalid: it is a probability; expected a "
            "number between 0 and 1. Pass 0.95 for 95 %."
        )


def _check_classes(labels: np.ndarray) -> None:
    classes = np.unique(labels).tolist()
    if len(classes) < 2:
        raise ValueError(
            f"y contains one class ({classes[0]!r}), so that shuffled labels would be the same; "
            "expected two classes or more. Pass y=None and target=<class> to leave out the check "
            "with shuffled labels."
        )


def _seed(random_state: Any) -> Any:
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return random_state


def _energy(maps: np.ndarray, masks: Any, pixels: np.ndarray) -> ImageFigures:
    """Measure the energy inside the lungs."""
    side = maps.shape[1]
    if masks is None:
        lungs = lung_masks(segment_lungs(pixels), side, side)
    else:
        lungs = region_masks("masks", masks, len(maps), side)
    area = lungs.mean((1, 2))
    ratio = energy_shares(maps, lungs) / np.where(area > 0, area, 1)
    return ImageFigures("energy in the lungs", ratio, np.ones(len(ratio)), 1)


def _pointing_game(maps: np.ndarray, boxes: Any) -> ImageFigures:
    """Measure whether maps point at findings."""
    findings = box_masks(boxes, len(maps), maps.shape[1])
    return ImageFigures("pointing game", is_hit(maps, findings), findings.mean((1, 2)), 1)


def _deletion(
    model: BaseResNet,
    images: Images,
    maps: np.ndarray,
    target: np.ndarray,
    max_images: int,
    rng: np.random.Generator,
) -> list[ImageFigures]:
    """Measure deletion and insertion on some images."""
    n = len(images)
    chosen = np.sort(rng.permutation(n)[:max_images])
    context = run_context(model, fitted=True)
    areas = deletion_areas(model, images.take(chosen), maps[chosen], target[chosen], context, rng)
    figures = []
    for name, found, baseline, sign in (
        ("deletion", areas.deletion, areas.random_deletion, -1),
        ("insertion", areas.insertion, areas.random_insertion, 1),
    ):
        values, references = np.full(n, np.nan), np.full(n, np.nan)
        values[chosen], references[chosen] = found, baseline
        figures.append(ImageFigures(name, values, references, sign))
    return figures


def _sanity_checks(
    subject: _Subject,
    maps: np.ndarray,
    n_random: int,
    rng: np.random.Generator,
) -> list[ImageFigures]:
    """Compare the maps to those of models that have learned nothing."""
    seeds = rng.integers(2**31 - 1, size=n_random).tolist()
    similarities: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        others = {"randomised weights": with_random_weights(subject.model, subject.X, seed)}
        if subject.y is not None:
            others["randomised labels"] = with_random_labels(
                subject.model, subject.X, subject.y, subject.groups, seed
            )
        for name, other in others.items():
            similarity = np.abs(rank_correlations(maps, subject.maps(other)))
            similarities.setdefault(name, []).append(similarity)
    figures = []
    for name, values in similarities.items():
        limit = np.full(len(maps), MAX_SIMILARITY)
        figures.append(ImageFigures(name, np.mean(values, axis=0), limit, -1, is_check=True))
    return figures
