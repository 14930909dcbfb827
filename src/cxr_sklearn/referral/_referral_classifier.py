"""ReferralClassifier: refer to CT when unsure, at a risk that is guaranteed."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, check_random_state, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _check_sample_weight

from .._utils.doc_link import DocLinkMixin
from .._utils.restore import restored_on_failure
from ..exceptions import NotCertifiableWarning
from ..metrics._intervals import Interval as ConfidenceInterval
from ..model_selection._fit_arguments import fit_arguments
from ._calibration_images import CalibrationImages
from ._certificate import make_certificate, not_certified_message
from ._clinic_table import referral_rate
from ._confidence import check_confidence, confidence_scores
from ._curve import curve_thresholds, risk_coverage_curve
from ._decisions import Decisions
from ._prediction_mixin import REFER, ReferralPredictionMixin
from ._prediction_sets import class_limits
from ._risks import make_risks
from ._threshold_search import divide_patients, search_threshold
from ._training_set import (
    check_probabilities,
    check_training_set,
    class_codes,
    divide_training_set,
    rows_of,
)


class ReferralClassifier(
    ReferralPredictionMixin, DocLinkMixin, ClassifierMixin, MetaEstimatorMixin, BaseEstimator
):
    """Refer the images of which a classifier is not sure, so that few of the others are wrong.

    You state which share of errors is acceptable among the images that are *not* referred. ``fit``
    keeps some patients apart, and finds the lowest of many thresholds of the confidence at which
    this share is guaranteed.
    :meth:`decide` then returns a class, or "refer": the patient needs another examination, such as
    CT. If the patients kept apart cannot show that the share is small enough, all images are
    referred, and a warning states how many patients would suffice.

    The guarantee: of many patients like those kept apart, one image is drawn at random from each;
    the expected share of errors among the drawn images that are not referred is at most `max_risk`.
    This holds except with a probability of at most `delta`, over the random choice of the patients
    kept apart. It holds for no other patients: see :meth:`check_exchangeability`.

    Parameters
    ----------
    estimator : classifier
        Classifier with ``predict_proba``. Wrap a fitted one in
        :class:`sklearn.frozen.FrozenEstimator`, a pipeline as a whole, to keep it as it is; all
        images that are passed to ``fit`` then choose the threshold, and must be of patients that
        it was not trained on.
    max_risk : float, default=0.05
        Greatest share of errors among the images that are not referred, between 0 and 1. It is also
        the greatest error of :meth:`predict_set`.
    delta : float, default=0.05
        Greatest probability that the guarantee is wrong, between 0 and 1.
    risk : "error" or dict, default="error"
        Errors to limit. "error" counts all wrong predictions. A dict has limits by class, such as
        ``{"COVID-19": {"missed": 0.05, "false": 0.1}}``: at most 5 % of the COVID-19 images that
        are not referred have another prediction, and at most 10 % of the predictions COVID-19 that
        are not referred are wrong. All limits hold together.
    confidence : {"max_probability", "margin", "entropy", "pair_agreement"} or callable, \
            default="max_probability"
        Confidence in a prediction: the greatest probability; its difference to the second; the
        negative entropy of the probabilities; or, for :class:`~cxr_sklearn.ResNetOvO` with three
        classes or more, how little the networks of the pairs contradict each other. A function is
        called with the fitted estimator and X, and returns a number per image, higher for more
        confidence.
    unit : {"patient", "image"}, default="patient"
        What is independent. With "image", every image counts as a patient, and the guarantee is
        wrong if patients have several images.
    calibration_size : float, default=0.3
        Share of the patients that are kept apart, between 0 and 1. Not used for a frozen estimator.
    random_state : int, RandomState or None, default=None
        Seed of the choice of patients.

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
    calibration_indices_ : ndarray of int
        Rows of X whose patients were kept apart.
    threshold_ : float
        Confidence below which an image is referred. Infinite if no threshold was certified, so that
        all images are referred.
    certificate_ : Certificate
        What is guaranteed, with the numbers of patients, images and errors, and the test.
    referral_rate_ : Interval
        Share of the images that are referred, with the attributes ``value``, ``low`` and ``high``
        (confidence level 1 - `delta`), of the patients that tested the threshold.
    curve_ : DataFrame
        Share of errors against coverage, the share of images that are not referred, at some
        thresholds. The band from ``low`` to ``high`` contains the true shares of a risk at all
        these thresholds with a probability of 1 - `delta`.

    See Also
    --------
    RiskCoverageDisplay : Draws the curve.
    sklearn.model_selection.TunedThresholdClassifierCV : Tune the threshold between two classes.

    Notes
    -----
    Pipelines belong inside: ``ReferralClassifier(make_pipeline(...))`` has all its methods, and a
    pipeline has those of scikit-learn only. A search passes the patients on with metadata routing
    (``sklearn.set_config(enable_metadata_routing=True)``).

    The guarantee holds for a rule that is calibrated once. Trying several seeds, limits or
    confidences on the same patients until one is certified breaks it.

    A fifth of the patients kept apart, at most 30, choose a sequence of thresholds, which the
    others test one after the other (learn-then-test with fixed-sequence testing, from a few
    starts). The test is the exact binomial one if each
    patient has one image, and otherwise a test by betting on the mean of the images of a patient.

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms
    to achieve risk control", arXiv 2110.01052 (2021).

    Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
    the Royal Statistical Society B 86 (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cxr_sklearn.referral import ReferralClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 1))
    >>> y = np.where(rng.uniform(size=2000) < 1 / (1 + np.exp(-3 * X[:, 0])), "ill", "well")
    >>> patients = np.arange(2000) // 2
    >>> model = ReferralClassifier(LogisticRegression(), max_risk=0.1, random_state=0)
    >>> model = model.fit(X, y, groups=patients)
    >>> model.certificate_.is_certified
    True
    >>> model.decide([[3.0], [0.1]]).tolist()
    ['ill', 'refer']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "max_risk": [Interval(Real, 0, 1, closed="neither")],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "risk": [StrOptions({"error"}), dict],
        "confidence": [str, callable],
        "unit": [StrOptions({"patient", "image"})],
        "calibration_size": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    # Patients reach fit without a request, as in the models of the package. The classifier inside
    # decides whether weights are used.
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"groups": True, "sample_weight": UNUSED}

    def __init__(
        self,
        estimator: Any,
        *,
        max_risk: float = 0.05,
        delta: float = 0.05,
        risk: Any = "error",
        confidence: Any = "max_probability",
        unit: str = "patient",
        calibration_size: float = 0.3,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.max_risk = max_risk
        self.delta = delta
        self.risk = risk
        self.confidence = confidence
        self.unit = unit
        self.calibration_size = calibration_size
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> ReferralClassifier:
        """Fit the classifier, and choose the threshold on patients that it has not seen.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Input of `estimator`.
        y : array-like of shape (n_samples,)
            Labels.
        groups : array-like of shape (n_samples,), default=None
            Patients. They are also passed to `estimator`, if its ``fit`` takes them. Without them,
            every image counts as a patient, and a warning says so unless ``unit="image"``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the fit of `estimator`. Images of weight 0 are left out. All others count
            alike when the threshold is chosen.
        **fit_params
            Other arguments of the ``fit`` of `estimator`. Those with one value per image are
            restricted to the images that it is fitted on. With metadata routing, those that it
            requests.

        Returns
        -------
        self : ReferralClassifier

        Raises
        ------
        ValueError
            If a parameter or an argument is invalid, if there are too few patients, or if a frozen
            estimator does not know a label.

        Warns
        -----
        NotCertifiableWarning
            If no threshold is certified. All images are referred.
        ImageLevelWarning
            If `groups` is missing, or if ``unit="image"`` and patients have several images.
        """
        with restored_on_failure(self):
            self._fit(X, y, groups, sample_weight, fit_params)
        return self

    def _fit(
        self, X: Any, y: Any, groups: Any, sample_weight: Any, fit_params: dict[str, Any]
    ) -> None:
        self._validate_params()
        (X,) = indexable(X)
        labels, patient = check_training_set(X, y, groups, self.unit)
        self._check_classes(np.unique(labels))
        is_used = np.ones(len(labels), dtype=bool)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, labels[:, None], ensure_non_negative=True)
            is_used, fit_params = weight > 0, {**fit_params, "sample_weight": weight}
        draw = check_random_state(self.random_state)
        seeds = draw.randint(2**31 - 1, size=2).tolist()
        size = 0.0 if isinstance(self.estimator, FrozenEstimator) else self.calibration_size
        training, calibration = divide_training_set(
            labels, patient, np.flatnonzero(is_used), size, seeds[0]
        )
        passed = self._arguments_of_fit(None if groups is None else patient, fit_params)
        of_training = rows_of(passed, training, len(labels))
        estimator = clone(self.estimator).fit(
            _safe_indexing(X, training), labels[training], **of_training
        )
        self.estimator_ = estimator
        self.classes_ = np.asarray(estimator.classes_)
        self.calibration_indices_ = calibration
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        self._calibrate(
            _safe_indexing(X, calibration), labels[calibration], patient[calibration], seeds[1]
        )

    def _check_classes(self, classes: np.ndarray) -> None:
        """Raise before the training, if parameters do not fit the classes."""
        if isinstance(self.estimator, FrozenEstimator):
            classes = np.asarray(getattr(self.estimator, "classes_", classes))
        make_risks(self.risk, self.max_risk, classes)
        check_confidence(self.confidence, len(classes))
        if any(str(label) == REFER for label in classes):
            raise ValueError(
                f"a class has the name {REFER!r}, which decide returns for referred images; "
                "expected another name. Rename the class."
            )

    def _arguments_of_fit(self, patient: np.ndarray | None, params: dict[str, Any]) -> Any:
        """Return the arguments that the ``fit`` of the classifier takes."""
        if _routing_enabled():
            passed = params if patient is None else {**params, "groups": patient}
            return dict(process_routing(self, "fit", **passed).estimator.fit)
        if patient is None:
            return params
        return fit_arguments(self.estimator, patient, params)

    def _calibrate(self, X: Any, labels: np.ndarray, patient: np.ndarray, seed: int) -> None:
        """Choose the threshold, and store everything that describes it."""
        codes = class_codes(labels, self.classes_)
        risks = make_risks(self.risk, self.max_risk, self.classes_)
        # The images of a patient follow each other.
        order = np.argsort(patient, kind="stable")
        X, codes, patient = _safe_indexing(X, order), codes[order], patient[order]
        self.calibration_indices_ = self.calibration_indices_[order]
        proba = check_probabilities(self.estimator_.predict_proba(X))
        unit = np.unique(patient, return_inverse=True)[1]
        if self.unit == "image":
            unit = np.arange(len(codes))
        decisions = Decisions(
            score=confidence_scores(self.confidence, self.estimator_, X, proba),
            codes=codes,
            predicted=class_codes(np.asarray(self.estimator_.predict(X)), self.classes_),
            patient=unit,
        )
        learning, testing = divide_patients(decisions, seed)
        search = search_threshold(learning, testing, risks, self.delta)
        self.threshold_ = search.threshold
        self.certificate_ = make_certificate(
            search, learning, testing, risks, self.delta, self.unit
        )
        self.referral_rate_: ConfidenceInterval = referral_rate(
            testing, self.threshold_, 1 - self.delta
        )
        self.curve_ = risk_coverage_curve(testing, risks, curve_thresholds(learning), self.delta)
        self._decisions = testing
        self._set_limits = class_limits(1 - proba, codes, unit, self.max_risk)
        self._images = CalibrationImages(self.estimator_, X, unit, seed)
        self._has_warned = False
        if not search.is_certified:
            message = not_certified_message(self.certificate_)
            warnings.warn(message, NotCertifiableWarning, stacklevel=4)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing of metadata: ``fit`` takes patients, and passes on the rest.

        Returns
        -------
        routing : MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        return tags
