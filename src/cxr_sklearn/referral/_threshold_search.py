"""Choose a threshold by learn-then-test with fixed-sequence testing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._decisions import Decisions
from ._p_values import BETTING, BINOMIAL, betting_p_value, binomial_p_value
from ._risks import Risk

# Share of the calibration patients whose scores fix the sequence of thresholds, and their greatest
# number. The others are tested.
_LEARNING_SHARE = 0.2
_MOST_LEARNING_PATIENTS = 30

# The sequence has several starts. The first accepts as many images as are needed to certify the
# limit without any error, with a margin, because the number that will be accepted is not known
# exactly.
# Each further start accepts so many times as many images, up to this share of all. The last start
# has this share of delta, and the others share the rest.
_MARGIN = 1.2
_RATIO = 4
_LAST_COVERAGE = 0.3
_LAST_SHARE = 0.6

# Betting needs about so many times as many patients as the exact test.
_BETTING_FACTOR = 1.3

# Number of scores of the learning images among which the first threshold is chosen, and of
# thresholds in a sequence. Thresholds between two scores are interpolated.
_N_CANDIDATES = 100
_N_STEPS = 200


@dataclass(frozen=True, eq=False)
class Search:
    """Result of the search for a threshold.

    Attributes
    ----------
    threshold : float
        Images whose score is lower are referred. Infinite if no threshold was certified.
    shown : float
        The threshold; if none was certified, the one with the smallest p-value.
    p_values : ndarray of shape (n_risks,)
        p-value of each risk at `shown`.
    test : {"exact binomial", "betting"}
        Test.
    """

    threshold: float
    shown: float
    p_values: np.ndarray
    test: str

    @property
    def is_certified(self) -> bool:
        """Whether a threshold was certified."""
        return self.threshold < np.inf


def divide_patients(decisions: Decisions, seed: int) -> tuple[Decisions, Decisions]:
    """Divide the patients at random into those that choose the sequence and those that test it.

    Parameters
    ----------
    decisions : Decisions
    seed : int

    Returns
    -------
    learning, testing : Decisions
        The patients are in random order.
    """
    order = np.random.default_rng(seed).permutation(decisions.n_patients)
    n_learning = min(round(_LEARNING_SHARE * len(order)), _MOST_LEARNING_PATIENTS)
    return decisions.of_patients(order[:n_learning]), decisions.of_patients(order[n_learning:])


def n_calibration_patients(n_testing: int) -> int:
    """Return how many calibration patients there must be, so that some number of them is tested."""
    n_learning = _LEARNING_SHARE / (1 - _LEARNING_SHARE) * n_testing
    return int(np.ceil(n_testing + min(n_learning, _MOST_LEARNING_PATIENTS)))


def search_threshold(
    learning: Decisions, testing: Decisions, risks: tuple[Risk, ...], delta: float
) -> Search:
    """Find the lowest threshold at which all risks are certified.

    The learning patients fix a sequence of thresholds, from a strict one downwards, with some
    starts among them. `delta` is divided between the starts. The testing patients test one
    threshold after the other. A start is tested at its own level, and a certified threshold passes
    its level on to the next one (the fallback procedure; with one start, it is fixed-sequence
    testing). The probability that any threshold is certified wrongly is at most `delta`. Several
    starts are needed because the strictest thresholds have the fewest errors, but accept few
    patients: an early failure must not end the search.

    A threshold is certified if the p-values of all risks are at most its level. This needs no
    correction for the number of risks, because a wrong certificate needs an error for one
    particular risk.

    Parameters
    ----------
    learning, testing : Decisions
        Different patients.
    risks : tuple of Risk
    delta : float
        Greatest probability of a wrong certificate.

    Returns
    -------
    Search

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms
    to achieve risk control", arXiv 2110.01052 (2021), sections 2 and 3.

    Wiens and Dmitrienko, "The fallback procedure for evaluating a single family of hypotheses",
    Journal of Biopharmaceutical Statistics 15 (2005).
    """
    sequence, levels = threshold_sequence(learning, testing, risks, delta)
    test = BINOMIAL if testing.has_single_images else BETTING
    p_values = np.array([p_value(learning, testing, risk, sequence, delta) for risk in risks])
    greatest = p_values.max(axis=0)
    certified, passed_on = -1, 0.0
    for number, own in enumerate(levels):
        level = own + passed_on
        passed_on = level if greatest[number] <= level else 0.0
        if passed_on:
            certified = number
    best = int(greatest.argmin())
    if certified < 0:
        return Search(np.inf, float(sequence[best]), p_values[:, best], test)
    return Search(
        float(sequence[certified]), float(sequence[certified]), p_values[:, certified], test
    )


def p_value(
    learning: Decisions, testing: Decisions, risk: Risk, thresholds: np.ndarray, delta: float
) -> np.ndarray:
    """Return the p-value of a risk at each threshold, of shape (n_thresholds,)."""
    if testing.has_single_images:
        return binomial_p_value(*testing.counts(risk, thresholds), risk.bound)
    known = learning.excess(risk, thresholds, risk.bound)
    prior = known.var(axis=0) if len(known) else np.zeros(len(thresholds))
    # Few patients may all be right, which does not mean that the variance is 0.
    prior = np.maximum(prior, risk.bound * (1 - risk.bound) / 4)
    excess = testing.excess(risk, thresholds, risk.bound)
    return betting_p_value(excess, risk.bound, delta, prior)


def threshold_sequence(
    learning: Decisions, testing: Decisions, risks: tuple[Risk, ...], delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds in the order in which they are tested, from the strictest to the loosest.

    Parameters
    ----------
    learning : Decisions
        Images that are not tested.
    testing : Decisions
        Only the number of patients is used, and whether each has one image.
    risks : tuple of Risk
    delta : float
        Level of all tests together.

    Returns
    -------
    thresholds : ndarray of shape (n_thresholds,)
        Descending. The last one accepts every image.
    levels : ndarray of shape (n_thresholds,)
        Level of the test of each start, and 0 for the other thresholds. Their sum is `delta`.
    """
    if not len(learning.score):
        # No image is known: accept all, or refer all.
        return np.array([-np.inf]), np.array([delta])
    scores = np.unique(learning.score)[::-1]
    n_candidates = min(len(scores), _N_CANDIDATES)
    candidates = scores[np.linspace(0, len(scores) - 1, n_candidates).round().astype(int)]
    places = np.linspace(0, len(candidates) - 1, _N_STEPS)
    thresholds = np.interp(places, np.arange(len(candidates)), candidates)
    starts = _starts(learning, testing, risks, delta, thresholds)
    shares = np.full(len(starts), (1 - _LAST_SHARE) / max(1, len(starts) - 1))
    shares[-1] = _LAST_SHARE if len(starts) > 1 else 1
    levels = np.zeros(len(thresholds) + 1)
    levels[starts] = delta * shares
    # Thresholds before the first start cannot be certified.
    return np.append(thresholds, -np.inf)[starts[0] :], levels[starts[0] :]


def _starts(
    learning: Decisions,
    testing: Decisions,
    risks: tuple[Risk, ...],
    delta: float,
    thresholds: np.ndarray,
) -> list[int]:
    """Return the numbers of the thresholds at which the sequence starts."""
    last, first = 0, 0
    for risk in risks:
        accepted = learning.shares(risk, thresholds)[1] * testing.n_patients
        # The first start has a part of delta only.
        required = _MARGIN * np.log(delta * (1 - _LAST_SHARE) / 2) / np.log1p(-risk.bound)
        alone = _MARGIN * np.log(delta) / np.log1p(-risk.bound)
        if not testing.has_single_images:
            required, alone = _BETTING_FACTOR * required, _BETTING_FACTOR * alone
        first = max(first, _first_above(accepted, required))
        last = max(last, _first_above(accepted, max(alone, _LAST_COVERAGE * accepted[-1])))
    starts = [last]
    while (earlier := starts[0] // _RATIO) >= first and earlier < starts[0]:
        starts.insert(0, earlier)
    return starts[-3:]


def _first_above(accepted: np.ndarray, required: float) -> int:
    is_enough = accepted >= required
    return int(is_enough.argmax()) if is_enough.any() else len(accepted) - 1
