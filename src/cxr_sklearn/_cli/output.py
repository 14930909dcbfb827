"""Results of commands: where they may be written, progress, and JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import numpy as np
import pandas as pd
from tqdm import tqdm


def echo(text: str, err: bool = False) -> None:
    """Print a line; what the terminal cannot show, such as names that are no text, is escaped."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], Any]]:
    """Show a bar on the error output, if that is a terminal."""
    with tqdm(total=total, desc=what, unit=" files", disable=None, file=sys.stderr) as bar:
        yield lambda: bar.update()


def print_json(value: Any) -> None:
    """Print a value as JSON, NaN as null."""
    plain = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
    echo(json.dumps(plain, indent=1, allow_nan=False))  # ASCII, also for names that are no text


def source_figures(sources: Any) -> dict[str, Any]:
    """Return what JSON reports of a SourceAssociation."""
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


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        named = value if value.index.name is None else value.reset_index()
        return named.astype(object).where(named.notna(), None).to_dict("records")
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
