"""Read and write evaluations as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._interval_settings import Settings
from ._results import Results
from ._test_data import TestData

FORMAT = "cxr_sklearn.evaluation"

# Increment when files of this version cannot be read by earlier versions of the package.
VERSION = 1

_TABLES = ("figures", "confusion", "subsets", "reliability", "decision_curves")


def to_dict(evaluation: Results) -> dict[str, Any]:
    """Return an evaluation as plain values."""
    from .. import __version__

    data = evaluation._data
    tables = {
        "figures": evaluation._figures,
        "confusion": evaluation.confusion,
        "subsets": evaluation.subsets,
        "reliability": evaluation.reliability,
        "decision_curves": evaluation.decision_curves,
        "gains": evaluation.gains,
        "transfer": evaluation.transfer,
    }
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "cxr_sklearn": __version__,
        "settings": evaluation._settings.to_dict(),
        "classes": data.classes.tolist(),
        "models": evaluation.models,
        "baselines": evaluation.baselines,
        "notes": evaluation.notes,
        "n_images": evaluation.n_images,
        "n_patients": evaluation.n_patients,
        "has_patients": data.has_patients,
    }
    for name, table in tables.items():
        content[name] = _records(table)
    content["images"] = {
        "true": data.codes.tolist(),
        "patient": data.patient.tolist(),
        "fold": None if evaluation._fold is None else evaluation._fold.tolist(),
        "columns": {name: list(values) for name, values in data.columns.items()},
    }
    content["probabilities"] = {model: proba.tolist() for model, proba in evaluation._proba.items()}
    return content


def arguments_from(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arguments of :class:`Evaluation` that a file, or JSON, describes."""
    content, name = _parse(source)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"{name} is not an evaluation; expected JSON that Evaluation.to_json wrote. Run "
            "evaluate again."
        )
    if content["version"] > VERSION:
        raise ValueError(
            f"{name} has version {content['version']} of the format; expected at most {VERSION}. "
            "Install a newer version of cxr_sklearn."
        )
    try:
        return _arguments(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{name} is damaged ({type(error).__name__}: {error}); expected JSON that "
            "Evaluation.to_json wrote. Run evaluate again."
        ) from error


def _arguments(content: dict[str, Any]) -> dict[str, Any]:
    images = content["images"]
    columns = {}
    for name, values in images["columns"].items():
        columns[name] = np.array(values, dtype=object)
    data = TestData(
        classes=np.array(content["classes"]),
        codes=np.array(images["true"], dtype=int),
        patient=np.array(images["patient"], dtype=int),
        has_patients=content["has_patients"],
        columns=columns,
    )
    settings = dict(content["settings"])
    if settings["prevalence"] is not None:
        settings["prevalence"] = tuple(settings["prevalence"])
    proba = {}
    for model, values in content["probabilities"].items():
        proba[model] = np.array(values, dtype=np.float64)
        if proba[model].shape[1:] != (data.n_images, len(data.classes)):
            raise ValueError(f"probabilities of {model!r} have the shape {proba[model].shape}")
    return {
        "data": data,
        "settings": Settings(**settings),
        "proba": proba,
        "tables": {name: _frame(content[name]) for name in _TABLES},
        "fold": None if images["fold"] is None else np.array(images["fold"], dtype=int),
        "baselines": tuple(content["baselines"]),
        "gains": _frame(content["gains"]),
        "transfer": _frame(content["transfer"]),
        "notes": tuple(content["notes"]),
    }


def _parse(source: str | os.PathLike[str]) -> tuple[Any, str]:
    """Return the content, and a name for messages."""
    is_text = isinstance(source, str) and source.lstrip().startswith("{")
    name = "source" if is_text else repr(os.fspath(source))
    text = str(source) if is_text else Path(source).read_text(encoding="utf-8")
    try:
        return json.loads(text), name
    except ValueError as error:
        raise ValueError(
            f"{name} is not JSON ({error}); expected a file that Evaluation.to_json wrote. Run "
            "evaluate again."
        ) from error


def _records(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the columns of a table, with null for NaN and infinity, which JSON lacks."""
    columns = {}
    for name in table.columns:
        values = []
        for value in table[name].tolist():
            is_undefined = isinstance(value, float) and not np.isfinite(value)
            values.append(None if is_undefined else value)
        columns[str(name)] = values
    return columns


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Return a table, with NaN for null."""
    table = pd.DataFrame(columns)
    for name in table.columns:
        # pandas keeps a column of nothing but null as objects.
        if len(table) and table[name].isna().all():
            table[name] = np.nan
    return table
