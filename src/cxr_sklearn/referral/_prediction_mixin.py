"""What a fitted ReferralClassifier computes for images."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar
from sklearn.utils.validation import _num_samples, check_is_fitted

from .._models.targets import check_labels
from .._utils.patient_numbers import check_length, patient_codes
from ..exceptions import ExchangeabilityWarning
from ._calibration_images import CalibrationImages
from ._clinic_table import clinic_table
from ._confidence import confidence_scores
from ._decisions import Decisions
from ._training_set import class_codes
from ._two_sample_test import ExchangeabilityTest

# What `decide` returns instead of a class.
REFER = "refer"

# `decide` warns if new images have a smaller p-value, and compares this many patients or more.
P_OF_WARNING = 0.01
FEWEST_NEW = 20


class ReferralPredictionMixin:
    """Methods of a fitted referral rule."""

    confidence: Any
    delta: float
    estimator_: Any
    classes_: np.ndarray
    threshold_: float
    _decisions: Decisions
    _images: CalibrationImages
    _set_limits: np.ndarray
    _has_warned: bool

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classifier.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def predict(self, X: Any) -> np.ndarray:
        """Return the classifier's prediction for each image, whether it is referred or not.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def confidence_scores(self, X: Any) -> np.ndarray:
        """Return the confidence that is compared with the threshold.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        scores : ndarray of shape (n_samples,), dtype float64
            Higher for more confidence.
        """
        proba = np.asarray(self.predict_proba(X))
        return confidence_scores(self.confidence, self.estimator_, X, proba)

    def refers(self, X: Any) -> np.ndarray:
        """Return which images are referred.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        is_referred : ndarray of shape (n_samples,), dtype bool
        """
        # An image whose confidence is NaN is referred.
        return ~(self.confidence_scores(X) >= self.threshold_)

    def decide(self, X: Any, *, groups: Any = None) -> np.ndarray:
        """Return the predicted class of each image, or "refer".

        Parameters
        ----------
        X : array-like
            Input of the classifier.
        groups : array-like of shape (n_samples,), default=None
            Patients, for the comparison with the calibration images.

        Returns
        -------
        decisions : ndarray of shape (n_samples,), dtype object
            A class, or the string "refer".

        Warns
        -----
        ExchangeabilityWarning
            If the images are unlike the calibration images (p < 0.01), so that nothing is
            guaranteed. It is given once per fitted object, and only for images of 20 patients or
            more. In a hundred calls with images like those of the calibration, one warning is to be
            expected.
        """
        decisions = self.predict(X).astype(object)
        decisions[self.refers(X)] = REFER
        self._warn_unlike(X, groups, len(decisions))
        return decisions

    def _warn_unlike(self, X: Any, groups: Any, n_images: int) -> None:
        n_patients = n_images
        if groups is not None:
            check_length("groups", groups, n_images)
            n_patients = len(set(np.asarray(groups).tolist()))
        if self._has_warned or n_patients < FEWEST_NEW or not self._images.names:
            return
        found = self.check_exchangeability(X, groups)
        if found.p_value >= P_OF_WARNING:
            return
        self._has_warned = True
        warnings.warn(
            f"the images are unlike the calibration images ({found}); expected images from the "
            "same place, and nothing is guaranteed for others. Calibrate the rule on patients of "
            "this place.",
            ExchangeabilityWarning,
            stacklevel=3,
        )

    def predict_set(self, X: Any) -> np.ndarray:
        """Return the set of classes that are plausible for each image.

        Of the patients of each class, one image drawn at random has its class in its set with a
        probability of at least 1 - `max_risk`. This holds on average over the random choice of the
        calibration patients. It is another statement than that on :meth:`decide`: it does not limit
        the errors among the sets of one class.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        sets : ndarray of shape (n_samples, n_classes), dtype bool
            Columns in the order of ``classes_``. Sets may be empty. A class of fewer than
            1 / `max_risk` - 1 calibration patients is in all sets. :func:`set_names` returns them
            in words.
        """
        proba = np.asarray(self.predict_proba(X), dtype=np.float64)
        # A probability of NaN excludes no class.
        return ~(1 - proba > self._set_limits)

    def check_exchangeability(
        self, X: Any, groups: Any = None, *, n_permutations: int = 999, random_state: Any = 0
    ) -> ExchangeabilityTest:
        """Test whether images look like the calibration images.

        Use it before you rely on the guarantee at another place or time. A linear classifier tries
        to distinguish both, by features of the frozen part of the network and by statistics of the
        pixels. A small p-value shows that they differ, so that nothing is guaranteed. A large one
        does not show that the guarantee holds: few patients reveal little, and a change of the
        labels is invisible.

        Parameters
        ----------
        X : array-like
            New images.
        groups : array-like of shape (n_samples,), default=None
            Their patients. One image of each is compared. Without them, every image counts as a
            patient, and several images of a patient make the p-value too small.
        n_permutations : int, default=999
            Number of random exchanges of patients. The smallest p-value is
            1 / (`n_permutations` + 1).
        random_state : int, RandomState or None, default=0
            Seed.

        Returns
        -------
        result : ExchangeabilityTest
            With the attributes ``p_value``, ``auc`` and ``differences``.

        Raises
        ------
        ValueError
            If there are fewer than two new patients, or if X contains neither images nor numbers.
        """
        check_is_fitted(self)
        check_scalar(n_permutations, "n_permutations", Integral, min_val=1)
        return self._images.compare(self.estimator_, X, groups, n_permutations, random_state)

    def clinic_table(
        self, X: Any = None, y: Any = None, *, groups: Any = None, per: int = 100
    ) -> pd.DataFrame:
        """Return what the rule means for 100 patients with one image each.

        Parameters
        ----------
        X : array-like, default=None
            Test images of patients that ``fit`` has not seen. By default, the calibration images
            that tested the threshold are counted.
        y : array-like of shape (n_samples,), default=None
            Labels of the test images.
        groups : array-like of shape (n_samples,), default=None
            Their patients. Without them, every image counts as a patient.
        per : int, default=100
            Number of patients.

        Returns
        -------
        table : DataFrame
            A row per count: patients sent to CT, those of them for whom the model was right, errors
            that are avoided and that remain, and errors without referral. The columns are
            ``patients`` (expected number), ``low`` and ``high`` (confidence level 1 - `delta`).

        Notes
        -----
        Without `X`, the numbers are those of the calibration patients that tested the threshold,
        and the intervals are those of a threshold that was fixed beforehand. The threshold was
        certified because few of these patients were errors, so that "errors that remain" tends to
        be too low if there are few patients. The certificate limits it, and test images show it.
        """
        check_is_fitted(self)
        check_scalar(per, "per", Integral, min_val=1)
        decisions = self._decisions
        if X is not None:
            decisions = self._decisions_on(X, y, groups)
        return clinic_table(decisions, self.threshold_, per, 1 - self.delta)

    def _decisions_on(self, X: Any, y: Any, groups: Any) -> Decisions:
        """Return the decisions on images whose patients need not follow each other."""
        n_images = _num_samples(X)
        labels = check_labels(y, n_images, type(self).__name__)
        patient = np.arange(n_images) if groups is None else patient_codes(groups, n_images)
        order = np.argsort(patient, kind="stable")
        return Decisions(
            score=self.confidence_scores(X)[order],
            codes=class_codes(labels, self.classes_)[order],
            predicted=class_codes(np.asarray(self.predict(X)), self.classes_)[order],
            patient=patient[order],
        )

    def __getstate__(self) -> dict[str, Any]:
        # A warning that was given here has not been seen where the rule is loaded.
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment] # the next class
        return {**state, "_has_warned": False} if "_has_warned" in state else state
