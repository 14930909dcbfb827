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

# The sequence begins where this share of the images is accepted, or more if that is too few to
# certify the limit without any error. A margin is added, because the number that will be accepted
# is not known exactly.
_FIRST_COVERAGE = 0.3
_MARGIN = 1.2

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
    start : float
        First threshold of the sequence.
    p_values : ndarray of shape (n_risks,)
        p-value of each risk at the threshold; at the first one, if it was not certified.
    test : {"exact binomial", "betting"}
        Test.
    """

    threshold: float
    start: float
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

    The learning patients fix a sequence of thresholds, from a strict one downwards. The testing
    patients test one after the other at the full level `delta`, until one is not certified. The
    probability that any threshold is certified wrongly is at most `delta`, because this needs an
    error at the first threshold whose risk exceeds the limit. A threshold is certified if the
    p-values of all risks are at most `delta`. This needs no correction for their number, because a
    wrong certificate needs an error for one particular risk.

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
    """
    sequence = threshold_sequence(learning, testing, risks, delta)
    test = BINOMIAL if testing.has_single_images else BETTING
    p_values = np.array([p_value(learning, testing, risk, sequence, delta) for risk in risks])
    is_certified = (p_values <= delta).all(axis=0)
    n_certified = len(sequence) if is_certified.all() else int(is_certified.argmin())
    last = max(0, n_certified - 1)
    threshold = float(sequence[last]) if n_certified else np.inf
    return Search(threshold, float(sequence[0]), p_values[:, last], test)


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
) -> np.ndarray:
    """Return thresholds in the order in which they are tested, from the strictest to the loosest.

    The first threshold is one that accepts few images, because these have the fewest errors, but
    enough of them to certify every limit if none of them is an error.

    Parameters
    ----------
    learning : Decisions
        Images that are not tested.
    testing : Decisions
        Only the number of patients is used, and whether each has one image.
    risks : tuple of Risk
    delta : float
        Level of the tests.

    Returns
    -------
    thresholds : ndarray, descending
    """
    if not len(learning.score):
        # No image is known: accept all, or refer all.
        return np.array([-np.inf])
    scores = np.unique(learning.score)[::-1]
    n_candidates = min(len(scores), _N_CANDIDATES)
    candidates = scores[np.linspace(0, len(scores) - 1, n_candidates).round().astype(int)]
    is_enough = np.ones(len(candidates), dtype=bool)
    for risk in risks:
        accepted = learning.shares(risk, candidates)[1] * testing.n_patients
        wanted = _MARGIN * np.log(delta) / np.log1p(-risk.bound)
        if not testing.has_single_images:
            wanted *= _BETTING_FACTOR
        is_enough &= accepted >= max(wanted, _FIRST_COVERAGE * accepted[-1])
    first = int(is_enough.argmax()) if is_enough.any() else len(candidates) - 1
    rest = candidates[first:]
    places = np.linspace(0, len(rest) - 1, _N_STEPS)
    sequence = np.interp(places, np.arange(len(rest)), rest)
    # The last threshold accepts every image.
    return np.append(np.unique(sequence)[::-1], -np.inf)
