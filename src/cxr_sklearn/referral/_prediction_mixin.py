"""What a fitted ReferralClassifier computes for images."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ..exceptions import ExchangeabilityWarning
from ._calibration_images import CalibrationImages
from ._clinic_table import clinic_table
from ._confidence import confidence_scores
from ._decisions import Decisions
from ._two_sample_test import ExchangeabilityTest

# What `decide` returns instead of a class.
REFER = "refer"

# `decide` warns if new images have a smaller p-value, and compares this many patients or more.
_P_OF_WARNING = 0.01
_FEWEST_NEW = 20


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
        """Return the most probable class of each image, whether it is referred or not.

        Parameters
        ----------
        X : array-like
            Input of the classifier.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        most_probable = np.asarray(self.predict_proba(X)).argmax(axis=1)
        return self.classes_[most_probable]

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
        return self.confidence_scores(X) < self.threshold_

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
            guaranteed. It is given once per fit, and only for images of 20 patients or more.
        """
        decisions = self.predict(X).astype(object)
        decisions[self.refers(X)] = REFER
        self._warn_unlike(X, groups, len(decisions))
        return decisions

    def _warn_unlike(self, X: Any, groups: Any, n_images: int) -> None:
        if self._has_warned or n_images < _FEWEST_NEW:
            return
        if groups is not None and len(np.unique(np.asarray(groups))) < _FEWEST_NEW:
            return
        found = self.check_exchangeability(X, groups)
        if found.p_value >= _P_OF_WARNING:
            return
        self._has_warned = True
        warnings.warn(
            f"the images are unlike the calibration images ({found}); expected images from the "
            "same place, and nothing is guaranteed for others. Fit ReferralClassifier on patients "
            "of this place.",
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
        return 1 - proba <= self._set_limits

    def check_exchangeability(
        self, X: Any, groups: Any = None, *, n_permutations: int = 999, random_state: Any = 0
    ) -> ExchangeabilityTest:
        """Test whether images look like the calibration images.

        Use it before you rely on the guarantee at another place or time. A linear classifier tries
        to tell both apart, by features of the frozen part of the network and by statistics of the
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
            If there are fewer than two new patients.
        """
        check_is_fitted(self)
        return self._images.compare(self.estimator_, X, groups, n_permutations, random_state)

    def clinic_table(self, *, per: int = 100) -> pd.DataFrame:
        """Return what the rule means for 100 patients with one image each.

        Parameters
        ----------
        per : int, default=100
            Number of patients.

        Returns
        -------
        table : DataFrame
            A row per count: patients sent to CT, those of them for whom the model was right, errors
            that are avoided and that remain, and errors without referral. The columns are
            ``patients`` (expected number), ``low`` and ``high`` (confidence level 1 - `delta`, of
            the calibration patients that tested the threshold).
        """
        check_is_fitted(self)
        return clinic_table(self._decisions, self.threshold_, per, 1 - self.delta)
