"""RiskCoverageDisplay: share of errors against coverage."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from ..metrics._display_data import line_style, make_axes


class RiskCoverageDisplay:
    """Share of errors among the images that are not referred, against coverage.

    Use it to see what a lower or a higher referral rate would cost. Coverage is the share of images
    that are not referred.

    Parameters
    ----------
    curve : DataFrame
        Attribute ``curve_`` of a :class:`ReferralClassifier`.
    certificate : Certificate, default=None
        Attribute ``certificate_``: draws the limits, and the threshold.
    coverage : float, default=None
        Coverage at the threshold.

    Attributes
    ----------
    curve : DataFrame
        What is drawn.
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cxr_sklearn.referral import ReferralClassifier, RiskCoverageDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 1))
    >>> y = rng.uniform(size=2000) < 1 / (1 + np.exp(-3 * X[:, 0]))
    >>> model = ReferralClassifier(
    ...     LogisticRegression(), max_risk=0.1, unit="image", random_state=0
    ... )
    >>> display = RiskCoverageDisplay.from_estimator(model.fit(X, y))
    >>> display.ax_.get_xlabel()
    'coverage: share of images that are not referred'
    """

    def __init__(
        self, curve: pd.DataFrame, *, certificate: Any = None, coverage: float | None = None
    ) -> None:
        self.curve = curve
        self.certificate = certificate
        self.coverage = coverage

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **options: Any) -> Self:
        """Draw the curve of a fitted :class:`ReferralClassifier`.

        Parameters
        ----------
        estimator : ReferralClassifier
            Fitted. The curve is that of its calibration patients.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : RiskCoverageDisplay

        Raises
        ------
        ValueError
            If `estimator` is not a fitted ReferralClassifier.
        """
        if not hasattr(estimator, "curve_"):
            raise ValueError(
                f"estimator={type(estimator).__name__} has no risk-coverage curve; expected a "
                "fitted ReferralClassifier. Call fit first."
            )
        display = cls(
            estimator.curve_,
            certificate=estimator.certificate_,
            coverage=1 - estimator.referral_rate_.value,
        )
        return display.plot(ax=ax, **options)

    def plot(self, ax: Any = None, *, band: bool = True) -> Self:
        """Draw the curve of each risk.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        band : bool, default=True
            Whether to draw the bands. A band contains the true values of a risk at all marked
            points with a probability of 1 - `delta`; between them, it is only an interpolation.

        Returns
        -------
        self : RiskCoverageDisplay
        """
        ax = make_axes(ax)
        highest = 0.0
        for number, (name, curve) in enumerate(self.curve.groupby("risk", sort=False)):
            style = line_style(number)
            known = curve[curve["accepted"] > 0].sort_values("coverage")
            ax.plot(known["coverage"], known["value"], label=str(name), marker=".", **style)
            if band:
                limits = (known["low"], known["high"])
                ax.fill_between(
                    known["coverage"], *limits, color=style["color"], alpha=0.2, linewidth=0
                )
            highest = max(highest, float(known["value"].max()))
            self._draw_limit(ax, str(name), style["color"])
        if self.certificate is not None and self.certificate.is_certified:
            ax.axvline(self.coverage, color="black", linewidth=0.8, label="certified threshold")
        # The band of few images reaches 1, which would hide the curve.
        top = np.clip(2.5 * highest, 0.1, 1)
        ax.set(xlim=(0, 1), ylim=(0, top))
        ax.set(xlabel="coverage: share of images that are not referred", ylabel="share of errors")
        ax.legend(loc="upper left")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_limit(self, ax: Any, name: str, colour: str) -> None:
        if self.certificate is None:
            return
        risks = self.certificate.risks
        for bound in risks.loc[risks["risk"] == name, "bound"]:
            ax.axhline(bound, color=colour, linewidth=0.8, linestyle=":", label=f"limit, {name}")
