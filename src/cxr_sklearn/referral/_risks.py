"""Risks: the kinds of error that a referral rule limits, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

ERROR, MISSED, FALSE = "error", "missed", "false"


@dataclass(frozen=True)
class Risk:
    """A kind of error among the images that are not referred, and its limit.

    Attributes
    ----------
    kind : {"error", "missed", "false"}
        "error": the prediction is wrong. "missed": an image of the class is predicted as another
        one. "false": the class is predicted for an image of another one.
    bound : float in (0, 1)
        Limit of the share of errors.
    label : object
        Class, None for "error".
    code : int
        Index of the class, -1 for "error".
    """

    kind: str
    bound: float
    label: Any = None
    code: int = -1

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return self.kind if self.label is None else f"{self.kind} {self.label}"

    def concerns(self, codes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return which images the risk is a share of, if they are not referred."""
        if self.kind == MISSED:
            return codes == self.code
        if self.kind == FALSE:
            return predicted == self.code
        return np.ones(len(codes), dtype=bool)


def make_risks(risk: Any, max_risk: Any, classes: np.ndarray) -> tuple[Risk, ...]:
    """Return the risks that the parameters `risk` and `max_risk` stand for.

    Parameters
    ----------
    risk : "error", or dict of class to dict
        The inner dict has the limits by kind, "missed" or "false".
    max_risk : float
        Limit for "error".
    classes : ndarray of shape (n_classes,)
        Classes of the model.

    Returns
    -------
    risks : tuple of Risk

    Raises
    ------
    ValueError
        If a class, a kind or a limit is invalid.
    """
    if isinstance(risk, str) and risk == ERROR:
        return (Risk(ERROR, _check_bound("max_risk", max_risk)),)
    if not isinstance(risk, Mapping) or not risk:
        raise ValueError(
            f"risk={risk!r} is invalid; expected 'error', or a dict such as "
            f"{{{classes.tolist()[0]!r}: {{'missed': 0.05, 'false': 0.1}}}}"
        )
    code_of = {label: code for code, label in enumerate(classes.tolist())}
    risks = []
    for label, bounds in risk.items():
        if label not in code_of:
            raise ValueError(
                f"risk has the key {label!r}, which is not a class of the model; expected some of "
                f"{classes.tolist()}"
            )
        if not isinstance(bounds, Mapping) or not bounds:
            raise ValueError(
                f"risk[{label!r}]={bounds!r} is invalid; expected a dict with 'missed', 'false' or "
                "both, such as {'missed': 0.05}"
            )
        for kind, bound in bounds.items():
            if kind not in (MISSED, FALSE):
                raise ValueError(
                    f"risk[{label!r}] has the key {kind!r}; expected 'missed' (images of the class "
                    "with another prediction) or 'false' (images of other classes with this "
                    "prediction)"
                )
            checked = _check_bound(f"risk[{label!r}][{kind!r}]", bound)
            risks.append(Risk(kind, checked, label, code_of[label]))
    return tuple(risks)


def _check_bound(name: str, value: Any) -> float:
    # NaN fails the comparison too.
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ValueError(
            f"{name}={value!r} is invalid; expected a share between 0 and 1, such as 0.05"
        )
    return float(value)
