"""Sentences that a reader of an evaluation must know."""

from __future__ import annotations

import numpy as np

from ._results import Results

_METRIC = "balanced_accuracy"


def gain_note(evaluation: Results, model: str | None, baseline: str) -> str:
    """Return a sentence if a model gains nothing over the same model on blanked lungs."""
    if model is None:
        return ""
    gains = evaluation.gains
    chosen = (gains["model"] == model) & (gains["baseline"] == baseline)
    row = gains[chosen & (gains["metric"] == _METRIC)].iloc[0]
    # A difference that never varies has no limits. It is 0 then.
    if np.isfinite(row["low"]) and row["low"] > 0:
        return ""
    return (
        f"{model} is not shown to use the lungs: its gain over the same model on images with "
        f"blanked lungs is {row['difference']:.2f} in balanced accuracy "
        f"({_interval(evaluation, row)}), and the interval {_position(row)}."
    )


def _position(row: dict[str, float]) -> str:
    """State where the interval of a gain lies that is not above 0."""
    if not np.isfinite(row["low"]):
        return "does not exist, because both models predict the same"
    if row["high"] < 0:
        return "lies below 0"
    return "contains 0"


def no_lungs_note(n_without_lungs: int, n_images: int) -> str:
    """Return a sentence about images of which another part was blanked than the lungs."""
    return (
        f"No lungs were found in {n_without_lungs} of {n_images} images. For the baseline with "
        "blanked lungs, the centre of these images was blanked."
    )


def transfer_note(evaluation: Results, model: str) -> str:
    """Return a sentence if figures on new sources differ from those on known sources."""
    transfer = evaluation.transfer
    row = transfer[(transfer["model"] == model) & (transfer["metric"] == _METRIC)].iloc[0]
    if not (row["low"] > 0 or row["high"] < 0):
        return ""
    direction = "lower" if row["difference"] < 0 else "higher"
    return (
        f"Internal and external figures of {model} disagree: on sources that it has not seen, its "
        f"balanced accuracy is {abs(row['difference']):.2f} {direction} "
        f"({row['external']:.2f} compared with {row['internal']:.2f}; "
        f"{_interval(evaluation, row)} for the difference)."
    )


def spread_note(evaluation: Results, model: str) -> str:
    """Return a sentence with the range of a figure over the sources."""
    subsets = evaluation.subsets
    chosen = (subsets["model"] == model) & (subsets["column"] == "source")
    rows = subsets[chosen & (subsets["metric"] == _METRIC)].sort_values("value")
    lowest, highest = rows.iloc[0], rows.iloc[-1]
    deviation = rows["value"].std(ddof=1)
    return (
        f"Balanced accuracy of {model} by source left out: from {lowest['value']:.2f} "
        f"({lowest['level']}) to {highest['value']:.2f} ({highest['level']}), standard deviation "
        f"{deviation:.2f}. For a source that lacks classes, it is the mean over the others."
    )


def _interval(evaluation: Results, row: dict[str, float]) -> str:
    level = f"{100 * evaluation.confidence_level:g} % interval"
    return f"{level} {row['low']:.2f} to {row['high']:.2f}"
