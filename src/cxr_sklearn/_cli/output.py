"""Output of commands: lines of text, progress and JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import numpy as np
import pandas as pd

from .._utils.progress import progress_bar


def echo(text: str, err: bool = False) -> None:
    """Print a line. Characters that the terminal cannot show are escaped."""
    stream = sys.stderr if err else sys.stdout
    # File names may contain bytes that are not valid text.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], Any]]:
    """Show the progress of reading files on the error output.

    Yields
    ------
    advance : callable
        Function without arguments, to be called after each file.
    """
    with progress_bar(total, what, unit="files") as bar:
        yield bar.update


def print_json(value: Any) -> None:
    """Print a value as JSON, NaN as null."""
    # JSON has no NaN. The parser turns those that Python writes into None.
    plain = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
    echo(json.dumps(plain, indent=1, allow_nan=False))


def source_figures(sources: Any) -> dict[str, Any]:
    """Return the attributes of a SourceAssociation for JSON."""
    return {
        "sources": {
            "cramers_v": sources.cramers_v_,
            "p": sources.p_value_,
            "single_source_classes": sources.single_source_classes_,
            "unknown_cramers_v": sources.unknown_cramers_v_,
            "unknown_p": sources.unknown_p_value_,
            "warning": sources.message_ or None,
        }
    }


def referral_figures(model: Any) -> dict[str, Any]:
    """Return the guarantee of a ReferralClassifier for JSON; nothing for another model."""
    if not hasattr(model, "certificate_"):
        return {}
    certificate, rate = model.certificate_, model.referral_rate_
    return {
        "referral": {
            "certified": certificate.is_certified,
            "threshold": certificate.threshold if certificate.is_certified else None,
            "delta": certificate.delta,
            "patients": certificate.n_patients,
            "images": certificate.n_images,
            "patients_needed": certificate.patients_needed,
            "risks": certificate.risks,
            "referral_rate": {"value": rate.value, "low": rate.low, "high": rate.high},
        }
    }


def _plain(value: Any) -> Any:
    """Return a value of another type in a form that JSON has."""
    if isinstance(value, pd.DataFrame):
        named = value if value.index.name is None else value.reset_index()
        return named.astype(object).where(named.notna(), None).to_dict("records")
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
