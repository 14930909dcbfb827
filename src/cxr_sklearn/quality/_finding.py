"""A finding of an audit, and the levels of severity."""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = ("serious", "warning", "note")

# what a test without a flaw behind it says by chance, per check
ALPHA = 0.01


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found.

    Attributes
    ----------
    check : str
        Which check found it.
    severity : {"serious", "warning", "note"}
        Serious: figures of a model trained on this are likely to be wrong. Warning: they may be.
        Note: to know when reading them.
    found, meaning, remedy : str
        What was found, what it means, what to do.
    """

    check: str
    severity: str
    found: str
    meaning: str
    remedy: str
