"""compare: differences between models on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..metrics._confusion import OVERALL, PER_CLASS
from ..metrics._figures import Figure, confusion_group, loss_group, ranking_group
from ..metrics._intervals import bootstrap_interval
from ..metrics._permutation import holm, permutation_p_values, with_ranks
from ..metrics._resampling import PatientResamples
from ..metrics._scored_images import ScoredImages
from ._comparison import Comparison
from ._evaluation import Evaluation

_DEFAULT_METRICS = ("balanced_accuracy", "f1_macro", "roc_auc_ovr", "log_loss", "brier_score")
_RANKING = ("roc_auc_ovr", "roc_auc")
_LOSSES = ("log_loss", "brier_score")
_KNOWN = (*OVERALL, *PER_CLASS, *_RANKING, *_LOSSES)


def compare(
    *evaluations: Evaluation | Mapping[str, Evaluation],
    reference: str | None = None,
    metrics: str | Sequence[str] | None = None,
    n_permutations: int = 2000,
) -> Comparison:
    """Compare models on the same images: difference, interval and p-value, by patient.

    Parameters
    ----------
    *evaluations : Evaluation
        One evaluation of several models, or several evaluations of the same images. A dict from
        names to evaluations renames the models.
    reference : str, default=None
        Name of the model that all others are compared with; it may be a baseline. By default every
        pair of models is compared, without baselines.
    metrics : str or list of str, default=None
        Metrics to compare: "accuracy", "balanced_accuracy", "f1_macro", "cohen_kappa",
        "matthews_corrcoef", "roc_auc_ovr", "log_loss", "brier_score", or per class "ppv", "npv",
        "sensitivity", "specificity", "f1" and "roc_auc". By default balanced accuracy, macro F1,
        AUC, log loss and Brier score.
    n_permutations : int, default=2000
        Number of permutations for the p-values, 100 or more.

    Returns
    -------
    comparison : Comparison
        Print it for a summary.

    Raises
    ------
    TypeError, ValueError
        If the evaluations are not of the same images, classes and patients, there are fewer than
        two models, or a name is unknown.

    Notes
    -----
    The metrics of both models are computed on the same resamples of the patients. The interval is
    that of the difference between them. The p-value is that of a permutation test: for random
    patients, the predictions of both models are exchanged. For the AUC, the ranks of the
    probabilities are exchanged instead of the probabilities, because two models may use different
    scales. ``p_adjusted`` is adjusted with Holm's method over the pairs of models, separately for
    each metric and class. It is not adjusted for the number of metrics and classes.

    See Also
    --------
    cxr_sklearn.metrics.delong_test : A test for one image per patient.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from cxr_sklearn.evaluation import compare, evaluate
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["a", "b"], 50)
    >>> X = rng.normal(size=(100, 1)) + 2 * (y == "b")[:, None]
    >>> train, test = slice(0, None, 2), slice(1, None, 2)
    >>> logistic = LogisticRegression().fit(X[train], y[train])
    >>> neighbours = KNeighborsClassifier(1).fit(X[train], y[train])
    >>> evaluation = evaluate(
    ...     {"logistic": logistic, "neighbours": neighbours},
    ...     X[test], y[test], groups=np.arange(50), random_state=0,
    ... )
    >>> compare(evaluation, metrics="log_loss").frame.loc[0, "p"] < 0.05
    np.True_
    """
    models = _joined(evaluations)
    first = next(iter(models.values()))[0]
    chosen = _check_metrics(metrics)
    if not isinstance(n_permutations, (int, np.integer)) or n_permutations < 100:
        raise ValueError(
            f"n_permutations={n_permutations!r} is invalid; expected an integer of 100 or more"
        )
    pairs = _pairs(models, reference)
    images = {name: one.scored_images(model) for name, (one, model) in models.items()}
    resamples = first._settings.resample(first._data)
    rows: list[dict[str, Any]] = []
    for name, other in pairs:
        differences = paired_differences(images[name], images[other], resamples, first, chosen)
        p_values = _p_values(images[name], images[other], first, chosen, int(n_permutations))
        for row in differences:
            key = (row["metric"], row.pop("label"))
            rows.append({"model": name, "reference": other, **row, "p": p_values[key]})
    frame = _with_adjusted(pd.DataFrame(rows))
    return Comparison(frame, first.confidence_level, int(n_permutations), first.unit)


def paired_differences(
    images: ScoredImages,
    reference: ScoredImages,
    resamples: PatientResamples,
    evaluation: Evaluation,
    metrics: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Yield the difference of each metric, with its interval.

    Parameters
    ----------
    images, reference : ScoredImages
        Predictions of the two models.
    resamples : PatientResamples
        Resamples of the patients.
    evaluation : Evaluation
        Evaluation with the settings of the intervals.
    metrics : sequence of str
        Names of metrics.

    Yields
    ------
    row : dict
        "metric", "label", "class", "difference", "low", "high", "method", "n_images" and
        "n_patients".
    """
    settings, labels = evaluation._settings, evaluation.classes.tolist()
    figures = _FigureChooser(metrics)
    for a, b in zip(figures(images, resamples), figures(reference, resamples), strict=True):
        level, method = settings.confidence_level, settings.method
        found = bootstrap_interval(resamples, a.values - b.values, level, method)
        yield {
            "metric": a.metric,
            "label": a.label,
            "class": "" if a.label is None else labels[a.label],
            "difference": found.value,
            "low": found.low,
            "high": found.high,
            "method": found.method,
            "n_images": images.n_images,
            "n_patients": evaluation.n_patients,
        }


class _FigureChooser:
    """Compute the figures of some metrics from images and weights."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = metrics

    def __call__(self, images: ScoredImages, resamples: PatientResamples) -> list[Figure]:
        """Return the figures. The Brier score is that of all classes."""
        figures: list[Figure] = []
        if set(self.metrics) & {*OVERALL, *PER_CLASS}:
            figures += confusion_group(images, resamples)
        if set(self.metrics) & set(_RANKING):
            figures += ranking_group(images, resamples, only_auc=True)
        if set(self.metrics) & set(_LOSSES):
            figures += [one for one in loss_group(images, resamples) if one.label is None]
        return [figure for figure in figures if figure.metric in self.metrics]


def _p_values(
    images: ScoredImages,
    reference: ScoredImages,
    evaluation: Evaluation,
    metrics: Sequence[str],
    n_permutations: int,
) -> dict[tuple[str, int | None], float]:
    """Return p-values; those of the AUC from ranks."""
    seed = evaluation._settings.random_state
    by_rank = [metric for metric in metrics if metric in _RANKING]
    by_value = [metric for metric in metrics if metric not in _RANKING]
    p = permutation_p_values(images, reference, _FigureChooser(by_value), n_permutations, seed)
    p |= permutation_p_values(
        with_ranks(images), with_ranks(reference), _FigureChooser(by_rank), n_permutations, seed
    )
    return p


def _with_adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """Add p-values that are adjusted over the pairs of models, for each metric and class."""
    frame["p_adjusted"] = frame.groupby(["metric", "class"])["p"].transform(holm)
    return frame[
        [
            "model",
            "reference",
            "metric",
            "class",
            "difference",
            "low",
            "high",
            "method",
            "p",
            "p_adjusted",
            "n_images",
            "n_patients",
        ]
    ]


# -- checks ---------------------------------------------------------------------------------------


def _joined(
    evaluations: Sequence[Evaluation | Mapping[str, Evaluation]],
) -> dict[str, tuple[Evaluation, str]]:
    """Return the evaluation and the model of each name, after checks."""
    named: list[tuple[str, Evaluation, str]] = []
    for entry in evaluations:
        items = entry.items() if isinstance(entry, Mapping) else [("", entry)]
        for name, one in items:
            if not isinstance(one, Evaluation):
                raise TypeError(
                    f"compare got {type(one).__name__}; expected evaluations. Pass the results of "
                    "evaluate or cross_evaluate."
                )
            for model in [*one.models, *one.baselines]:
                is_only = len(one.models) == 1 and model == one.models[0]
                named.append((name if name and is_only else model, one, model))
    if not named:
        raise TypeError("compare got no evaluation; expected one or more")
    _check_same_images([one for _, one, _ in named])
    models: dict[str, tuple[Evaluation, str]] = {}
    for name, one, model in named:
        if name in models and model in one.baselines:
            continue  # the same baseline on the same images
        unique = name
        for number in itertools.count(2):
            if unique not in models:
                break
            unique = f"{name} ({number})"
        models[unique] = (one, model)
    return models


def _check_same_images(evaluations: Sequence[Evaluation]) -> None:
    first = evaluations[0]
    for other in evaluations[1:]:
        if not np.array_equal(first.classes, other.classes):
            raise ValueError(
                f"the evaluations have the classes {first.classes.tolist()} and "
                f"{other.classes.tolist()}; expected the same. Evaluate the models on the same "
                "data."
            )
        if first.n_images != other.n_images:
            raise ValueError(
                f"the evaluations have {first.n_images} and {other.n_images} images; expected the "
                "same images in the same order. Evaluate the models on the same data."
            )
        for name, a, b in (
            ("true classes", first._data.codes, other._data.codes),
            ("patients", first._data.patient, other._data.patient),
        ):
            if not np.array_equal(a, b):
                row = int(np.flatnonzero(a != b)[0])
                raise ValueError(
                    f"the evaluations differ in their {name} (first in row {row}); expected the "
                    "same images in the same order. Evaluate the models on the same data."
                )
        if len(_any_proba(first)) != len(_any_proba(other)):
            raise ValueError(
                f"the evaluations have {len(_any_proba(first))} and {len(_any_proba(other))} "
                "repeats; expected the same number. Pass the same repeats to cross_evaluate."
            )


def _any_proba(evaluation: Evaluation) -> np.ndarray:
    return next(iter(evaluation._proba.values()))


def _pairs(
    models: Mapping[str, tuple[Evaluation, str]], reference: str | None
) -> list[tuple[str, str]]:
    own = [name for name, (one, model) in models.items() if model not in one.baselines]
    if reference is None:
        if len(own) < 2:
            raise ValueError(
                f"compare got one model ({own[0]!r}); expected two or more. Pass another "
                "evaluation, or the name of a baseline as reference."
            )
        return list(itertools.combinations(own, 2))
    if reference not in models:
        raise ValueError(f"reference={reference!r} is unknown; expected one of {list(models)}")
    pairs = [(name, reference) for name in own if name != reference]
    if not pairs:
        raise ValueError(
            f"reference={reference!r} is the only model; expected another model to compare with it"
        )
    return pairs


def _check_metrics(metrics: str | Sequence[str] | None) -> tuple[str, ...]:
    if metrics is None:
        return _DEFAULT_METRICS
    chosen = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for metric in chosen:
        if metric not in _KNOWN:
            raise ValueError(f"metrics contains {metric!r}; expected some of {list(_KNOWN)}")
    return chosen
