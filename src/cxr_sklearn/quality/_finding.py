"""A finding of an audit, and the levels of severity."""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = ("serious", "warning", "note")

# Significance level of each check: its rate of findings in data without a flaw.
ALPHA = 0.01


@dataclass(frozen=True)
class Finding:
    """A finding of an audit.

    Attributes
    ----------
    check : str
        Name of the check that reported it.
    severity : {"serious", "warning", "note"}
        Serious: scores of a model that is trained on these images are likely to be wrong. Warning:
        they may be wrong. Note: information that helps to interpret the scores.
    found, meaning, remedy : str
        Sentences about what was found, what it means, and what to do.
    """

    check: str
    severity: str
    found: str
    meaning: str
    remedy: str
