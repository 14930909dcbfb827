"""PrevalenceAdjuster: probabilities for another prevalence than that of training."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .._utils.doc_link import DocLinkMixin
from .._utils.values import check_none_missing, check_one_column
from ..metrics._prevalence import target_prevalence
from ..metrics._resampling import resample_patients
from ._em import em_prevalence
from ._priors import Prior, posterior_at_shares, prior_of

# Probabilities are kept this far from 0, so that every class can be predicted after adjustment.
_LEAST = np.finfo(np.float64).tiny


class PrevalenceAdjuster(DocLinkMixin, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Adjust probabilities to the prevalence of the place where a model is used.

    If a third of the training images show COVID-19, but only one image in a hundred does where the
    model is used, the model predicts COVID-19 too often. If the classes look the same in both
    places, and only their shares differ, the right probabilities follow from Bayes' theorem. They
    depend on the prior: the shares of the classes for which the model's own probabilities hold.
    You do not need to know it, because models of this package store it in ``class_prior_``.

    Parameters
    ----------
    estimator : classifier
        Classifier with ``predict_proba``. Wrap a fitted one in
        :class:`sklearn.frozen.FrozenEstimator` to keep it as it is.
    prevalence : array-like of shape (n_classes,), dict or None, default=None
        Target shares of the classes, in the order of ``classes_`` or by class. A dict may name some
        classes only: the others keep their proportions of the training set. With None, the
        shares of the training set are used.
    prior : "auto", array-like of shape (n_classes,) or dict, default="auto"
        Shares for which the probabilities of `estimator` hold. "auto" reads the fitted attribute
        ``class_prior_`` of the classifier, of the last step of a pipeline or of the best estimator
        of a search. If the classifier has no such attribute, the shares are computed from `y` and
        its parameter ``class_weight``. The user guide lists all cases. If another estimator
        contains a classifier with class weights or a sampler, so that the prior cannot be
        determined, ``fit`` raises a ValueError.

    Attributes
    ----------
    estimator_ : classifier
        Fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        Classes.
    n_features_in_ : int
        Number of columns of X, if `estimator` defines it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if `estimator` defines them.
    prior_ : ndarray of shape (n_classes,)
        Shares for which the probabilities of `estimator` hold. For ``ResNetOvR`` those of its
        training set; see the notes.
    prevalence_ : ndarray of shape (n_classes,)
        Shares for which the adjusted probabilities hold.
    prevalence_interval_ : ndarray of shape (2, n_classes), or None
        Lower and upper limits of `prevalence_`, if :meth:`estimate_prevalence` has estimated it.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Calibrate probabilities at the prevalence of the
        training set.

    Notes
    -----
    The adjusted probability of class c is proportional to p_c · target_c / prior_c.

    ``ResNetOvR`` has one network per class, each with the prior of its own problem. No single prior
    of the classes describes their normalised outputs. There is a correction nevertheless. The
    odds of each network, multiplied by the ratio of its prior odds in the training set and in its
    own problem, are the posterior odds of its class in the training set. Normalisation has divided
    all sigmoids by an unknown number, but the posterior probabilities have the sum 1, and their sum
    increases with that number, so that it is determined. The correction is exact if the outputs of
    the networks are exact probabilities. It uses the fitted attributes ``class_prior_`` and
    ``binary_prior_``.

    If a sampler gives the pairs of ``ResNetOvO`` ratios that no class prior has, its
    ``class_prior_`` is the closest one by least squares of the log-odds.

    References
    ----------
    Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities: a simple procedure", Neural Computation 14 (2002).

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.calibration import PrevalenceAdjuster
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(60, image_size=32, random_state=0)
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> adjuster = PrevalenceAdjuster(model, prevalence={"COVID-19": 0.02}).fit(X, y)
    >>> adjuster.prior_.round(2).tolist()
    [0.33, 0.33, 0.33]
    >>> float(adjuster.prevalence_[0])
    0.02
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "prevalence": ["array-like", dict, None],
        "prior": [StrOptions({"auto"}), "array-like", dict],
    }

    # The classifier inside decides whether weights are used.
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"sample_weight": UNUSED}

    def __init__(self, estimator: Any, *, prevalence: Any = None, prior: Any = "auto") -> None:
        self.estimator = estimator
        self.prevalence = prevalence
        self.prior = prior

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any
    ) -> PrevalenceAdjuster:
        """Fit the classifier, and find out for which shares its probabilities hold.

        Parameters
        ----------
        X : array-like
            Input of `estimator`.
        y : array-like of shape (n_samples,)
            Labels. Their shares are those of the training set, for `prevalence` and `prior`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, which are passed on to `estimator`. The shares of the classes are weighted too.
        **fit_params
            Other arguments of the ``fit`` of `estimator`, such as ``groups``. With metadata
            routing, those that it requests.

        Returns
        -------
        self : PrevalenceAdjuster

        Raises
        ------
        ValueError
            If `prevalence` or `prior` is invalid, or cannot be determined. If a frozen classifier
            has other classes than `y`.
        """
        self._validate_params()
        passed = fit_params
        if sample_weight is not None:
            passed = {**passed, "sample_weight": sample_weight}
        if _routing_enabled():
            passed = dict(process_routing(self, "fit", **passed).estimator.fit)
        estimator = clone(self.estimator).fit(X, y, **passed)
        shares = _training_shares(y, estimator.classes_, _passed_weight(estimator, passed))
        prior = self._prior(estimator, shares)
        target = self._target(estimator.classes_, shares)
        # Nothing is stored before everything is valid.
        self.estimator_ = estimator
        self.classes_ = estimator.classes_
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        self.prior_ = prior.shares
        self._binary_prior = prior.binary
        self.prevalence_ = target
        self.prevalence_interval_: np.ndarray | None = None
        return self

    def _target(self, classes: np.ndarray, shares: np.ndarray) -> np.ndarray:
        target = target_prevalence(self.prevalence, classes, shares)
        if target is not None:
            return target
        if (shares == 0).any():
            raise ValueError(
                "prevalence=None is invalid: it stands for the class shares of y, and y has no "
                f"image of {classes[shares == 0].tolist()}; expected images of each class. Pass "
                "prevalence."
            )
        return shares

    def _prior(self, estimator: Any, shares: np.ndarray) -> Prior:
        if isinstance(self.prior, str):
            prior = prior_of(estimator, shares)
        else:
            given = target_prevalence(self.prior, estimator.classes_, shares, "prior")
            assert given is not None  # it is not None
            prior = Prior(given)
        if (prior.shares <= 0).any():
            absent = estimator.classes_[prior.shares <= 0].tolist()
            raise ValueError(
                f"prior of the classes {absent} is 0; expected shares above 0, because a class "
                "that was never seen has no probability to adjust. Pass prior, or images of each "
                "class whose sample_weight is not 0."
            )
        return prior

    def estimate_prevalence(
        self,
        X: Any,
        *,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 500,
        random_state: Any = None,
    ) -> PrevalenceAdjuster:
        """Estimate the prevalence in unlabelled images, and use it from now on.

        Parameters
        ----------
        X : array-like
            Images of the place where the model is used, as they come: without selection by class.
        groups : array-like of shape (n_samples,), default=None
            Patient of each image, for the interval. Without it, every image counts as a patient.
        confidence_level : float, default=0.95
            Confidence level of the interval.
        n_resamples : int, default=500
            Number of bootstrap resamples of the patients.
        random_state : int, RandomState or None, default=None
            Seed of the resamples.

        Returns
        -------
        self : PrevalenceAdjuster
            ``prevalence_`` and ``prevalence_interval_`` are set.

        Raises
        ------
        ValueError
            If an argument is invalid, or there are fewer than two patients.

        Warns
        -----
        ConvergenceWarning
            If the model hardly distinguishes the classes, so that their shares are not determined.

        Notes
        -----
        The estimate is the maximum of the likelihood of the classes' shares, found by expectation
        maximisation. The interval contains the variation between unlabelled patients (percentiles
        of a bootstrap of patients). It does not contain the error of the model's probabilities: if
        they are not calibrated, the estimate is biased.
        """
        check_is_fitted(self)
        _check_bootstrap(confidence_level, n_resamples)
        posterior = self._posterior(X)
        patients = _check_patients(groups, len(posterior))
        resamples = resample_patients(patients, None, n_resamples, random_state, jackknife=False)
        shares = np.empty((1 + n_resamples, len(self.classes_)))
        for rows, weights in resamples.blocks(len(posterior)):
            of_images = weights[:, resamples.patient].astype(np.float64)
            shares[rows] = em_prevalence(posterior, self.prior_, of_images)
        tails = [(1 - confidence_level) / 2, (1 + confidence_level) / 2]
        self.prevalence_ = shares[0]
        self.prevalence_interval_ = np.quantile(shares[1:], tails, axis=0)
        return self

    def _posterior(self, X: Any) -> np.ndarray:
        """Return probabilities that hold for ``prior_``."""
        proba = np.asarray(self.estimator_.predict_proba(X), dtype=np.float64).clip(_LEAST)
        return posterior_at_shares(proba, Prior(self.prior_, self._binary_prior))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class at ``prevalence_``.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), dtype float64
            Rows sum to 1.
        """
        check_is_fitted(self)
        weighted = self._posterior(X) * (self.prevalence_ / self.prior_)
        total = weighted.sum(axis=1, keepdims=True)
        # A class that was certain may have the target 0. Then nothing is known but the target.
        adjusted = np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0)
        return np.where(total > 0, adjusted, self.prevalence_)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class at ``prevalence_``.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing of metadata: ``fit`` passes it on to `estimator`.

        Returns
        -------
        routing : MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        return tags


def _passed_weight(estimator: Any, passed: dict[str, Any]) -> Any:
    """Return the sample weights that reached the classifier, also as the last step of pipelines."""
    name = "sample_weight"
    while isinstance(estimator, Pipeline) and name not in passed:
        step, estimator = estimator.steps[-1]
        name = f"{name.removesuffix('sample_weight')}{step}__sample_weight"
    return passed.get(name)


def _training_shares(y: Any, classes: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Return the shares of the classes in the training set."""
    labels = np.asarray(y).ravel()
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"y is invalid: {unknown.tolist()[0]!r} is not a class of the frozen estimator; "
            f"expected some of {classes.tolist()}. Leave out the images of other classes."
        )
    weight = np.ones(len(labels))
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, labels[:, None])
    mass = np.array([weight[labels == label].sum() for label in classes])
    # Without any weight, all shares are 0, which the checks of prior and prevalence report.
    return mass / max(mass.sum(), np.finfo(float).tiny)


def _check_bootstrap(confidence_level: Any, n_resamples: Any) -> None:
    if not isinstance(confidence_level, float) or not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level={confidence_level!r} is invalid; expected a number between 0 "
            "and 1, such as 0.95"
        )
    if not isinstance(n_resamples, int | np.integer) or n_resamples < 1:
        raise ValueError(
            f"n_resamples={n_resamples!r} is invalid; expected an integer of 1 or more, such as 500"
        )


def _check_patients(groups: Any, n_images: int) -> np.ndarray:
    """Return the patient of each image."""
    patients = np.arange(n_images)
    if groups is not None:
        check_none_missing("groups", groups, "Give each unknown patient a value of its own.")
        patients = check_one_column("groups", groups)
        if len(patients) != n_images:
            raise ValueError(
                f"groups has {len(patients)} values for {n_images} images; expected one per image"
            )
    if len(np.unique(patients)) < 2:
        raise ValueError(
            "X has images of one patient; expected 2 patients or more to estimate a prevalence"
        )
    return patients
