"""Settings of an evaluation that all of its figures share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..metrics._intervals import BCA, PERCENTILE
from ..metrics._resampling import PatientResamples, resample_patients
from ._test_data import TestData


@dataclass(frozen=True)
class Settings:
    """Settings of the intervals.

    Attributes
    ----------
    confidence_level : float
        Confidence level of all intervals.
    n_resamples : int
        Number of bootstrap resamples.
    method : {"bca", "percentile"}
        Bootstrap interval.
    random_state : int
        Seed of the resamples. Two evaluations of the same images with the same seed have the same
        resamples.
    prevalence : tuple of float, or None
        Target share of each class.
    """

    confidence_level: float = 0.95
    n_resamples: int = 2000
    method: str = BCA
    random_state: int = 0
    prevalence: tuple[float, ...] | None = None

    def resample(self, data: TestData) -> PatientResamples:
        """Return the resamples of the patients, stratified by class."""
        return resample_patients(data.patient, data.codes, self.n_resamples, self.random_state)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dict of plain values."""
        return asdict(self)


def check_settings(
    confidence_level: float,
    n_resamples: int,
    method: str,
    random_state: Any,
    prevalence: np.ndarray | None,
) -> Settings:
    """Check the settings that a user passes.

    Raises
    ------
    ValueError
        If one is invalid.
    """
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level={confidence_level!r} is invalid; expected a number between 0 and 1, "
            "such as 0.95"
        )
    if not isinstance(n_resamples, (int, np.integer)) or n_resamples < 100:
        raise ValueError(
            f"n_resamples={n_resamples!r} is invalid; expected an integer of 100 or more, because "
            "the limits of an interval are among the extremes of the resamples"
        )
    if method not in (BCA, PERCENTILE):
        raise ValueError(f"method={method!r} is invalid; expected {BCA!r} or {PERCENTILE!r}")
    return Settings(
        confidence_level=float(confidence_level),
        n_resamples=int(n_resamples),
        method=method,
        random_state=_seed_of(random_state),
        prevalence=None if prevalence is None else tuple(float(share) for share in prevalence),
    )


def _seed_of(random_state: Any) -> int:
    """Return an integer, so that the same resamples can be drawn again."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    if isinstance(random_state, (int, np.integer)) and random_state >= 0:
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    raise ValueError(
        f"random_state={random_state!r} is invalid; expected None, an integer of 0 or more, or a "
        "RandomState"
    )
