"""Certificate: what is guaranteed about a threshold, and from which patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from ._decisions import Decisions
from ._risks import Risk
from ._threshold_search import Search, n_calibration_patients

# Power at which the number of patients that would suffice is computed.
_POWER = 0.8

# Share of delta at which a threshold is assumed to be tested.
_SHARE_OF_DELTA = 0.2

# Number of thresholds at which it is computed.
_N_THRESHOLDS = 20
_MOST_PATIENTS = 10_000_000


@dataclass(frozen=True, eq=False)
class Certificate:
    """Guarantee of a referral rule, with the numbers that it is based on.

    Print it for a summary.

    Attributes
    ----------
    is_certified : bool
        Whether a threshold was certified. If not, all images are referred.
    delta : float
        Probability that the guarantee is wrong is at most this, over random calibration patients.
    threshold : float
        Confidence below which an image is referred. Infinite without a certificate.
    n_patients : int
        Number of patients that tested the threshold.
    n_learning_patients : int
        Number of other patients, who chose where the sequence of tests begins.
    n_images : int
        Number of images of the testing patients.
    unit : {"patient", "image"}
        What is assumed to be independent.
    test : {"exact binomial", "betting"}
        Test: exact binomial if each patient has one image, otherwise betting.
    risks : DataFrame
        A row per risk: ``risk``, ``bound`` (limit), ``errors`` and ``accepted`` (images among those
        not referred), ``accepted_patients``, ``observed`` (share of errors, of a random image of a
        random patient), ``p_value`` and ``least_patients`` (calibration patients that are needed
        even if there is no error). Without a certificate, the row describes the
        threshold with the smallest p-value.
    patients_needed : int or None
        Number of calibration patients that would suffice with a probability of 80 %, if accuracy
        is as observed, at the threshold that needs the fewest. None if the certificate exists, or
        if the observed risk is not below its limit at any threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cxr_sklearn.referral import ReferralClassifier
    >>> X = np.random.default_rng(0).normal(size=(1000, 1))
    >>> y = X[:, 0] > 0
    >>> rule = ReferralClassifier(LogisticRegression(), unit="image", random_state=0).fit(X, y)
    >>> rule.certificate_.n_patients, rule.certificate_.test
    (270, 'exact binomial')
    """

    is_certified: bool
    delta: float
    threshold: float
    n_patients: int
    n_learning_patients: int
    n_images: int
    unit: str
    test: str
    risks: pd.DataFrame
    patients_needed: int | None

    def __str__(self) -> str:
        """Return the guarantee in words, and the table of risks."""
        sure = f"{100 * (1 - self.delta):.10g}%"
        if self.is_certified:
            text = (
                f"Certified with {sure} confidence at threshold {self.threshold:.4g}: of the "
                "images that are not referred, the expected shares of errors are at most these "
                "bounds"
            )
        else:
            text = f"Not certified with {sure} confidence: all images are referred"
        origin = f"{self.n_patients} patients, {self.n_images} images, {self.test} test"
        return f"{text} ({origin}).\n\n{self.risks.to_string(index=False)}"


def make_certificate(
    search: Search,
    learning: Decisions,
    testing: Decisions,
    risks: tuple[Risk, ...],
    delta: float,
    unit: str,
) -> Certificate:
    """Describe the result of a search for a threshold."""
    shown = search.shown
    at = np.array([shown])
    rows = []
    for risk, p in zip(risks, search.p_values, strict=True):
        n_errors, n_accepted = testing.counts(risk, at)
        errors, accepted = testing.shares(risk, at)
        rows.append(
            {
                "risk": risk.name,
                "bound": risk.bound,
                "errors": int(n_errors[0]),
                "accepted": int(n_accepted[0]),
                "accepted_patients": _accepted_patients(testing, risk, shown),
                "observed": errors[0] / accepted[0] if accepted[0] else np.nan,
                "p_value": p,
                "least_patients": _least_patients(testing, risk, delta),
            }
        )
    needed = None
    if not search.is_certified:
        needed = patients_needed(learning, testing, risks, delta)
    return Certificate(
        is_certified=search.is_certified,
        delta=delta,
        threshold=search.threshold,
        n_patients=testing.n_patients,
        n_learning_patients=learning.n_patients,
        n_images=len(testing.score),
        unit=unit,
        test=search.test,
        risks=pd.DataFrame(rows),
        patients_needed=needed,
    )


def _accepted_patients(decisions: Decisions, risk: Risk, threshold: float) -> int:
    is_accepted = decisions.score >= threshold
    is_counted = is_accepted & risk.concerns(decisions.codes, decisions.predicted)
    return len(np.unique(decisions.patient[is_counted]))


def not_certified_message(certificate: Certificate) -> str:
    """Return why a certificate does not exist, and how many patients would suffice."""
    worst = certificate.risks.sort_values("p_value", ascending=False).iloc[0]
    remedy = (
        "at the observed accuracy, no number of patients suffices. Allow a greater risk, or "
        "improve the model."
    )
    least = int(worst["least_patients"])
    if certificate.n_patients + certificate.n_learning_patients < least:
        remedy = (
            f"at least {least} calibration patients are needed, even if there is no error. Add "
            "patients, raise calibration_size, or allow a greater risk."
        )
    elif certificate.patients_needed is not None:
        remedy = (
            f"about {certificate.patients_needed} calibration patients would suffice. Add "
            "patients, raise calibration_size, or allow a greater risk."
        )
    return (
        f"ReferralClassifier refers all images: the risk {worst['risk']!r} could not be certified "
        f"to be at most {worst['bound']:g} with delta={certificate.delta:g} "
        f"({worst['errors']} errors in {worst['accepted']} images of {worst['accepted_patients']} "
        f"patients at the best threshold); {remedy}"
    )


def _least_patients(testing: Decisions, risk: Risk, delta: float) -> int:
    """Return how many calibration patients are needed at least: all accepted, and no error."""
    share = _accepted_patients(testing, risk, -np.inf) / max(1, testing.n_patients)
    # Without any patient that the risk concerns, at most one in n is expected.
    share = max(share, 1 / (testing.n_patients + 1))
    n_tested = np.log(delta) / np.log1p(-risk.bound) / share
    return n_calibration_patients(int(np.ceil(n_tested - 1e-9)))


def patients_needed(
    learning: Decisions, testing: Decisions, risks: tuple[Risk, ...], delta: float
) -> int | None:
    """Estimate how many calibration patients would suffice, at the best threshold.

    Returns
    -------
    int or None
        None if the observed risk is not below its limit at any threshold.
    """
    parts = (learning, testing)
    sizes = np.array([part.n_patients for part in parts])
    scores = np.concatenate([part.score for part in parts])
    thresholds = np.unique(np.quantile(scores, np.linspace(0, 1, _N_THRESHOLDS, endpoint=False)))
    needed = np.zeros(len(thresholds))
    for risk in risks:
        shares = np.array([part.shares(risk, thresholds) for part in parts])
        errors, accepted = np.einsum("p,pst->st", sizes / sizes.sum(), shares)
        # Half an error in addition: a few images without an error do not show that there is none.
        half = 0.5 / sizes.sum()
        rate = (errors + half) / (accepted + 2 * half)
        tested = [
            _patients_at(*values, risk.bound, _SHARE_OF_DELTA * delta)
            for values in zip(rate, accepted, strict=True)
        ]
        needed = np.maximum(needed, tested)
    if np.isinf(needed.min()):
        return None
    # As many patients as there are did not suffice.
    return max(n_calibration_patients(int(np.ceil(needed.min()))), int(1.2 * sizes.sum()) + 1)


def _patients_at(rate: float, accepted: float, bound: float, delta: float) -> float:
    """Return how many tested patients suffice at one threshold, infinite if none do."""
    n_accepted = accepted_needed(rate, bound, delta)
    if n_accepted is None or accepted == 0:
        return np.inf
    return n_accepted / accepted


def accepted_needed(rate: float, bound: float, delta: float) -> int | None:
    """Return how many accepted patients certify a limit with a probability of 80 %.

    Parameters
    ----------
    rate : float in [0, 1]
        Error probability.
    bound : float in (0, 1)
        Limit.
    delta : float in (0, 1)
        Level of the test.

    Returns
    -------
    int or None
        None if `rate` is not below `bound`, or if more than ten million patients are needed.

    Examples
    --------
    Without any error, 59 accepted patients certify a risk of 5 % at the level 5 %:

    >>> from cxr_sklearn.referral._certificate import accepted_needed
    >>> accepted_needed(0, 0.05, 0.05)
    59
    """
    if rate >= bound:
        return None
    low, high = 0, int(np.ceil(np.log(delta) / np.log1p(-bound)))
    while not _is_powerful(high, rate, bound, delta):
        low, high = high, 2 * high
        if high > _MOST_PATIENTS:
            return None
    # The power is not quite monotone, because the number of errors is an integer. That does not
    # matter for a number that is an estimate.
    while high - low > 1:
        middle = (low + high) // 2
        if _is_powerful(middle, rate, bound, delta):
            high = middle
        else:
            low = middle
    return high


def _is_powerful(n: int, rate: float, bound: float, delta: float) -> bool:
    """Whether n accepted patients certify a limit with a probability of 80 %."""
    # the greatest number of errors with a p-value of at most delta
    most = int(binom.ppf(delta, n, bound))
    if binom.cdf(most, n, bound) > delta:
        most -= 1
    return most >= 0 and bool(binom.cdf(most, n, rate) >= _POWER)
