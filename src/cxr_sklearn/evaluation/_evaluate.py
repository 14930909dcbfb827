"""evaluate: figures of fitted models on images that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..metrics._intervals import BCA
from ..metrics._prevalence import target_prevalence
from ._evaluation import Evaluation
from ._interval_settings import check_settings
from ._tables import Measurer
from ._test_data import TestData, check_lengths, check_probabilities, check_test_data

IMAGE_LEVEL_NOTE = (
    "Intervals are at the level of the image, because no patients were passed. They are too narrow "
    "if patients have several images."
)


def evaluate(
    model: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    sources: Any = None,
    subgroups: Any = None,
    prevalence: Any = None,
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    method: str = BCA,
    random_state: Any = None,
) -> Evaluation:
    """Evaluate fitted models on images that they have not seen, with intervals by patient.

    Use it for a held-out test set or an external one. Without a test set, use
    :func:`cross_evaluate`.

    Parameters
    ----------
    model : classifier, or dict of str to classifier
        One or several fitted classifiers with ``predict_proba``. All must know the same classes.
    X : array-like of shape (n_images, ...)
        Images in the form that the models take.
    y : array-like of shape (n_images,)
        True labels.
    groups : array-like of shape (n_images,), default=None
        Patient of each image. Without it, every image counts as a patient, and a warning states
        that intervals may be too narrow.
    sources : array-like of shape (n_images,), default=None
        Source of each image, such as the hospital. Figures are then reported for each source.
    subgroups : DataFrame, or dict of str to array-like, default=None
        Columns with one value per image, such as age, sex and view. A numeric column whose name
        contains the word "age" is divided into age bands. Other numeric columns with more than 8
        different values are divided at their quartiles. A column has at most 25 subgroups.
    prevalence : array-like of shape (n_classes,), or dict, default=None
        Target shares of the classes, for which PPV and NPV are reported in addition. A dict may
        name some classes only: the others keep their proportions.
    confidence_level : float, default=0.95
        Confidence level of all intervals.
    n_resamples : int, default=2000
        Number of bootstrap resamples, 100 or more.
    method : {"bca", "percentile"}, default="bca"
        Bootstrap interval. Proportions of 0 or 1, and those of fewer than 10 patients, have exact
        intervals.
    random_state : int, RandomState or None, default=None
        Seed of the resamples.

    Returns
    -------
    evaluation : Evaluation
        Tables of figures. Print it for a summary.

    Raises
    ------
    ValueError
        If an argument is invalid, `y` has labels that the model does not know, or there are fewer
        than two classes or patients.

    Warns
    -----
    ImageLevelWarning
        If `groups` is missing.
    UserWarning
        If `y` has no image of one of the classes.

    Notes
    -----
    Resamples are drawn among the patients of each class, so that none of them lacks a class. The
    intervals therefore describe other patients in the same shares of the classes.

    See Also
    --------
    cross_evaluate : Evaluate models that are not fitted, by cross-validation.
    compare : Differences between models.

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.evaluation import evaluate
    >>> X, y = make_chest_phantoms(90, image_size=32, random_state=0)
    >>> patients = [row // 2 for row in range(90)]
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> model = model.fit(X[:60], y[:60], groups=patients[:60])
    >>> evaluation = evaluate(model, X[60:], y[60:], groups=patients[60:], random_state=0)
    >>> evaluation.n_images, evaluation.n_patients
    (30, 15)
    """
    models = named_models(model)
    classes = _shared_classes(models)
    check_lengths(X, y)
    data = check_test_data(
        y, classes, groups=groups, sources=sources, subgroups=subgroups, caller="evaluate"
    )
    target = target_prevalence(prevalence, classes, np.bincount(data.codes, minlength=len(classes)))
    settings = check_settings(confidence_level, n_resamples, method, random_state, target)
    proba = {}
    for name, fitted in models.items():
        found = fitted.predict_proba(X)
        proba[name] = check_probabilities(name, found, data.n_images, len(classes))[None]
    measurer = Measurer(data, settings)
    return Evaluation(
        data=data,
        settings=settings,
        proba=proba,
        tables=measured(measurer, proba),
        notes=() if data.has_patients else (IMAGE_LEVEL_NOTE,),
    )


def measured(measurer: Measurer, proba: Mapping[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """Return the tables of all models, joined."""
    of_models = [measurer.tables(name, values) for name, values in proba.items()]
    joined = {}
    for table in of_models[0]:
        joined[table] = pd.concat([tables[table] for tables in of_models], ignore_index=True)
    return joined


def named_models(model: Any) -> dict[str, Any]:
    """Return models by name. A single model is named by its class.

    Raises
    ------
    TypeError, ValueError
        If a model has no ``predict_proba``, or there is no model.
    """
    models = dict(model) if isinstance(model, Mapping) else {_name_of(model): model}
    if not models:
        raise ValueError("model is an empty dict; expected one classifier or more")
    for name, one in models.items():
        if not isinstance(name, str) or isinstance(one, type) or not hasattr(one, "predict_proba"):
            raise TypeError(
                f"model {name!r} is {one!r:.80}; expected a classifier with predict_proba, and not "
                "a class. Wrap it in CalibratedClassifierCV if it has no predict_proba."
            )
    return models


def _name_of(model: Any) -> str:
    """Return the name of the class of a model, or of the last step of a pipeline."""
    if hasattr(model, "steps"):
        return _name_of(model.steps[-1][1])
    return type(model).__name__


def _shared_classes(models: Mapping[str, Any]) -> np.ndarray:
    classes: np.ndarray | None = None
    for name, model in models.items():
        found = getattr(model, "classes_", None)
        if found is None:
            raise ValueError(
                f"model {name!r} has no classes_; expected a fitted classifier. Call fit, or use "
                "cross_evaluate for models that are not fitted."
            )
        if classes is None:
            classes = np.asarray(found)
        elif not np.array_equal(classes, found):
            raise ValueError(
                f"model {name!r} has the classes {list(found)}, and the first model has "
                f"{classes.tolist()}; expected the same classes. Evaluate these models separately."
            )
    assert classes is not None  # there is at least one model
    return classes


def evaluation_of(
    data: TestData, settings: Any, proba: Mapping[str, np.ndarray], **more: Any
) -> Evaluation:
    """Return the evaluation of probabilities that are already known."""
    tables = measured(Measurer(data, settings), proba)
    return Evaluation(data=data, settings=settings, proba=proba, tables=tables, **more)
