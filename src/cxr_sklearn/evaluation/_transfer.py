"""Compare figures on sources left out with those on folds of all sources."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..metrics._figures import figure_intervals, subset_figures
from ..metrics._intervals import bootstrap_interval
from ..metrics._scored_images import ScoredImages
from ._results import Results


def transfer_table(evaluation: Results, internal: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Compute internal and external figures, and their difference on the same images.

    Parameters
    ----------
    evaluation : Results
        Results on sources left out: the external figures.
    internal : dict of str to ndarray of shape (n_repeats, n_images, n_classes)
        Probabilities of the same models on folds by patient.

    Returns
    -------
    table : DataFrame
        ``model``, ``metric``, ``class``, ``internal``, ``internal_low``, ``internal_high``,
        ``external``, ``external_low``, ``external_high``, ``difference`` (external less internal),
        ``low`` and ``high``.
    """
    settings, labels = evaluation._settings, evaluation.classes.tolist()
    resamples = settings.resample(evaluation._data)
    rows = []
    for model, proba in internal.items():
        known = ScoredImages(evaluation._data.codes, proba, resamples.patient)
        new = evaluation.scored_images(model)
        level, method = settings.confidence_level, settings.method
        figures = [subset_figures(images, resamples) for images in (known, new)]
        limits = [
            figure_intervals(images, resamples, found, level, method)
            for images, found in zip((known, new), figures, strict=True)
        ]
        for a, b, inside, outside in zip(*figures, *limits, strict=True):
            found = bootstrap_interval(resamples, b.values - a.values, level, method)
            rows.append(
                {
                    "model": model,
                    "metric": a.metric,
                    "class": "" if a.label is None else labels[a.label],
                    "internal": inside.value,
                    "internal_low": inside.low,
                    "internal_high": inside.high,
                    "external": outside.value,
                    "external_low": outside.low,
                    "external_high": outside.high,
                    "difference": found.value,
                    "low": found.low,
                    "high": found.high,
                }
            )
    return pd.DataFrame(rows)
