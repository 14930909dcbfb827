"""What a referral rule means for 100 patients."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..metrics._intervals import EXACT, Interval, bootstrap_interval, exact_interval, is_extreme
from ..metrics._resampling import resample_patients
from ._decisions import Decisions

_N_RESAMPLES = 1000


def patient_share(decisions: Decisions, is_counted: np.ndarray, level: float) -> Interval:
    """Return the share of images with a property, of a random image of a random patient.

    The interval is exact (Clopper-Pearson) if each patient has one image, or if the share is 0 or
    1. Otherwise it is a bootstrap of patients.

    Parameters
    ----------
    decisions : Decisions
    is_counted : ndarray of shape (n_images,), dtype bool
        Images with the property.
    level : float in (0, 1)
        Confidence level.

    Returns
    -------
    Interval
    """
    share = float((is_counted * decisions.weight).sum() / max(1, decisions.n_patients))
    if decisions.has_single_images or is_extreme(share):
        return exact_interval(share, np.ones(decisions.n_patients), level)
    resamples = resample_patients(decisions.patient, None, _N_RESAMPLES, 0)
    sums = resamples.sums(
        np.column_stack([is_counted, np.ones(len(is_counted))]) * decisions.weight[:, None]
    )
    found = bootstrap_interval(resamples, sums[:, 0] / sums[:, 1], level)
    if np.isfinite(found.low):
        return found
    return exact_interval(share, np.ones(decisions.n_patients), level)


def referral_rate(decisions: Decisions, threshold: float, level: float) -> Interval:
    """Return the share of images that are referred."""
    if np.isinf(threshold):
        rate = float(threshold > 0)
        return Interval(rate, rate, rate, EXACT)
    return patient_share(decisions, decisions.is_referred(threshold), level)


def clinic_table(decisions: Decisions, threshold: float, per: int, level: float) -> pd.DataFrame:
    """Count patients who are referred, and errors that are avoided and that remain.

    Parameters
    ----------
    decisions : Decisions
        Images of patients that were not used to fit the model.
    threshold : float
        Images whose score is lower are referred.
    per : int
        Number of patients that the table describes.
    level : float
        Confidence level.

    Returns
    -------
    table : DataFrame
        A row per count, with the columns ``patients``, ``low`` and ``high``.
    """
    is_referred, is_wrong = decisions.is_referred(threshold), decisions.is_wrong()
    rows = {
        "to CT": is_referred,
        "to CT although the model was right": is_referred & ~is_wrong,
        "errors avoided": is_referred & is_wrong,
        "errors that remain": ~is_referred & is_wrong,
        "errors without referral": is_wrong,
    }
    found = {name: patient_share(decisions, counted, level) for name, counted in rows.items()}
    if np.isinf(threshold):
        # All images are referred, or none: these counts are known exactly.
        share = float(threshold > 0)
        found["to CT"] = Interval(share, share, share, EXACT)
        certain = "errors that remain" if share else "errors avoided"
        found[certain] = Interval(0, 0, 0, EXACT)
    values = [(share.value * per, share.low * per, share.high * per) for share in found.values()]
    index = pd.Index(list(found), name=f"of {per} patients")
    return pd.DataFrame(values, index=index, columns=["patients", "low", "high"])
