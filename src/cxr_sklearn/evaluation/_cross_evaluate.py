"""cross_evaluate: figures of models by cross-validation, next to those of baselines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from .._utils.progress import progress_bar
from .._utils.values import check_none_missing
from ..metrics._intervals import BCA
from ..metrics._prevalence import target_prevalence
from ..model_selection import LeaveOneSourceOut
from ..model_selection._fit_arguments import fit_arguments
from ..quality._measurements import ImageMeasurements
from ._baselines import Candidate, gain_pairs, make_baselines
from ._compare import paired_differences
from ._evaluate import IMAGE_LEVEL_NOTE, evaluation_of, named_models
from ._evaluation import Evaluation
from ._fitting import predict_fold
from ._folds import Fold, make_repeats
from ._interval_settings import Settings, check_settings
from ._notes import gain_note, no_lungs_note, spread_note, transfer_note
from ._test_data import TestData, check_lengths, check_probabilities, check_test_data
from ._transfer import transfer_table

_GAIN_METRICS = ("balanced_accuracy", "f1_macro", "roc_auc_ovr", "log_loss", "brier_score")
_N_INTERNAL_FOLDS = 5


def cross_evaluate(
    model: Any,
    X: Any,
    y: Any,
    *,
    groups: Any,
    sources: Any = None,
    subgroups: Any = None,
    cv: Any = 5,
    repeats: int = 1,
    baselines: Any = "auto",
    prevalence: Any = None,
    params: Mapping[str, Any] | None = None,
    measurements: ImageMeasurements | None = None,
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    method: str = BCA,
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Evaluation:
    """Evaluate models by cross-validation, next to baselines that do not see the lungs.

    Every image is predicted by a model that has not seen its patient. All models and baselines are
    fitted on the same folds. The frozen trunk runs once per image for all folds and models.

    Parameters
    ----------
    model : classifier, or dict of str to classifier
        One or several classifiers with ``predict_proba``, such as the models of this package,
        pipelines, searches and classifiers of scikit-learn. They are cloned and not changed.
    X : array-like of shape (n_images, ...)
        Images in the form that the models take.
    y : array-like of shape (n_images,)
        Labels.
    groups : array-like of shape (n_images,), or None
        Patient of each image. The patients are passed to the ``fit`` of each model that accepts
        ``groups``. With None, every image counts as a patient, and a warning states that intervals
        may be too narrow.
    sources : array-like of shape (n_images,), default=None
        Source of each image. Figures are then reported for each source.
    subgroups : DataFrame, or dict of str to array-like, default=None
        Columns with one value per image, such as age, sex and view.
    cv : int, splitter or list of (train, test), default=5
        Number of folds, or folds that test each image once. With
        :class:`~cxr_sklearn.model_selection.LeaveOneSourceOut`, each source is tested
        by models that were not trained on it. In addition, the models are evaluated on folds that
        contain all sources; see the table ``transfer``.
    repeats : int, default=1
        Number of repeats of the cross-validation, with other folds each. Figures are their means.
    baselines : "auto", None or list of str, default="auto"
        "thumbnail" (8 x 8 pixels), "header" (format and size of the files), "border" (the outermost
        eighth of the image), and "lungs blanked" (each of your models on images in which the box
        around the lungs is blanked). "auto" selects all that can be computed for X.
    prevalence : array-like of shape (n_classes,), or dict, default=None
        Target shares of the classes, for which PPV and NPV are reported in addition.
    params : dict, default=None
        Additional arguments of ``fit`` with one value per image, such as ``sample_weight``. The
        baselines "thumbnail", "header" and "border" do not receive them.
    measurements : ImageMeasurements, default=None
        Result of :func:`~cxr_sklearn.quality.measure_images` for X. The baselines then decode no
        file.
    confidence_level : float, default=0.95
        Confidence level of all intervals.
    n_resamples : int, default=2000
        Number of bootstrap resamples, 100 or more.
    method : {"bca", "percentile"}, default="bca"
        Bootstrap interval.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of the resamples.
    n_jobs : int, default=None
        Number of folds that are fitted at a time. Worker processes do not share the trunk's results
        unless the models have a `memory` folder.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    evaluation : Evaluation
        Print it for a summary. The summary begins with a sentence if the interval of the gain in
        balanced accuracy over "lungs blanked" is not entirely above 0. The baselines are models of
        its tables, and ``gains`` contains the differences.

    Raises
    ------
    ValueError
        If an argument is invalid, or if folds divide a patient or leave out a class.

    Warns
    -----
    ImageLevelWarning
        If `groups` is None.
    UserWarning
        If X is not images, so that there are no baselines.

    Notes
    -----
    Intervals describe other patients, for the models that were trained here. They do not contain
    the variation between training sets.

    See Also
    --------
    evaluate : Evaluate fitted models on a test set.
    compare : Differences between models, with p-values.

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.evaluation import cross_evaluate
    >>> X, y = make_chest_phantoms(60, image_size=32, random_state=0)
    >>> patients = [row // 2 for row in range(60)]
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> evaluation = cross_evaluate(model, X, y, groups=patients, cv=2, random_state=0)
    >>> evaluation.baselines
    ['thumbnail', 'border', 'ResNetOvO, lungs blanked']
    """
    models = named_models(model)
    check_lengths(X, y)
    check_none_missing("y", y, "Drop the images without a label.")
    classes = np.unique(np.asarray(y))
    data = check_test_data(
        y, classes, groups=groups, sources=sources, subgroups=subgroups, caller="cross_evaluate"
    )
    target = target_prevalence(prevalence, classes, np.bincount(data.codes))
    settings = check_settings(confidence_level, n_resamples, method, random_state, target)
    folds = make_repeats(cv, repeats, X, np.asarray(y), data, settings.random_state)
    controls = make_baselines(baselines, models, X, data.codes, measurements, n_jobs)
    own = [Candidate(name, one, X, takes_groups=True) for name, one in models.items()]
    runner = _FoldRunner(data, dict(params or {}), n_jobs, verbose)
    evaluation = evaluation_of(
        data,
        settings,
        runner.run([*own, *controls], folds),
        fold=_fold_numbers(folds, data.n_images),
        baselines=tuple(control.name for control in controls),
    )
    _add_gains(evaluation, controls)
    if isinstance(cv, LeaveOneSourceOut):
        known = make_repeats(_N_INTERNAL_FOLDS, 1, X, np.asarray(y), data, settings.random_state)
        _add_transfer(evaluation, runner.run(own, known))
    if not data.has_patients:
        evaluation.notes.append(IMAGE_LEVEL_NOTE)
    return evaluation


def _add_gains(evaluation: Evaluation, controls: Sequence[Candidate]) -> None:
    """Add the differences to baselines, and a sentence about models that do not need the lungs."""
    evaluation.gains = _gains(evaluation, gain_pairs(evaluation.models, controls))
    for control in controls:
        note = gain_note(evaluation, control.of_model, control.name)
        if note:
            evaluation.notes.append(note)
    without_lungs = {control.n_without_lungs for control in controls if control.of_model}
    if any(without_lungs):
        evaluation.notes.append(no_lungs_note(max(without_lungs), evaluation.n_images))


def _add_transfer(evaluation: Evaluation, internal: Mapping[str, np.ndarray]) -> None:
    """Add the comparison with folds of all sources, and sentences about new sources."""
    evaluation.transfer = transfer_table(evaluation, internal)
    for model in evaluation.models:
        note = transfer_note(evaluation, model)
        if note:
            evaluation.notes.append(note)
    for model in evaluation.models:
        evaluation.notes.append(spread_note(evaluation, model))


class _FoldRunner:
    """Fit candidates on folds, and collect the probabilities of the test parts."""

    def __init__(
        self, data: TestData, params: dict[str, Any], n_jobs: int | None, verbose: int
    ) -> None:
        self.data = data
        self.params = params
        self.n_jobs = n_jobs
        self.verbose = verbose
        self._y = data.classes[data.codes]

    def run(
        self, candidates: Sequence[Candidate], repeats: Sequence[Sequence[Fold]]
    ) -> dict[str, np.ndarray]:
        """Return the probabilities of each candidate, of shape (n_repeats, n, n_classes)."""
        shape = (len(repeats), self.data.n_images, len(self.data.classes))
        proba = {candidate.name: np.full(shape, np.nan) for candidate in candidates}
        tasks = []
        for candidate, (number, folds) in itertools.product(candidates, enumerate(repeats)):
            arguments = self._arguments(candidate)
            for fold in folds:
                tasks.append((candidate, number, fold, arguments))
        jobs = (
            delayed(predict_fold)(candidate.estimator, candidate.X, self._y, fold, arguments)
            for candidate, _, fold, arguments in tasks
        )
        results = Parallel(n_jobs=self.n_jobs, return_as="generator")(jobs)
        enabled = bool(self.verbose)
        with progress_bar(len(tasks), "fitting folds", unit="folds", enabled=enabled) as bar:
            for (candidate, number, fold, _), (classes, found) in zip(tasks, results, strict=True):
                self._store(proba[candidate.name][number], candidate.name, fold, classes, found)
                bar.update()
        return proba

    def _arguments(self, candidate: Candidate) -> dict[str, Any]:
        if not candidate.takes_groups:
            return {}
        # Without patients, each image is a patient of its own, and there is nothing to pass.
        if not self.data.has_patients:
            return dict(self.params)
        return fit_arguments(candidate.estimator, self.data.patient, self.params)

    def _store(
        self, target: np.ndarray, name: str, fold: Fold, classes: np.ndarray, found: np.ndarray
    ) -> None:
        if not np.array_equal(classes, self.data.classes):
            raise ValueError(
                f"model {name!r} learned the classes {classes.tolist()} in a fold; expected "
                f"{self.data.classes.tolist()}. Check what its steps do with labels."
            )
        n_test, n_classes = len(fold[1]), len(self.data.classes)
        target[fold[1]] = check_probabilities(name, found, n_test, n_classes)


def _fold_numbers(repeats: Sequence[Sequence[Fold]], n_images: int) -> np.ndarray:
    """Return the number of the fold that tests each image, of shape (n_repeats, n_images)."""
    numbers = np.empty((len(repeats), n_images), dtype=int)
    for repeat, folds in enumerate(repeats):
        for number, (_, test) in enumerate(folds):
            numbers[repeat, test] = number
    return numbers


def _gains(evaluation: Evaluation, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the differences between models and baselines."""
    settings: Settings = evaluation._settings
    resamples = settings.resample(evaluation._data)
    rows = []
    for model, baseline in pairs:
        images = evaluation.scored_images(model)
        reference = evaluation.scored_images(baseline)
        for row in paired_differences(images, reference, resamples, evaluation, _GAIN_METRICS):
            del row["label"], row["class"]
            rows.append({"model": model, "baseline": baseline, **row})
    return pd.DataFrame(rows)
