"""Results of commands: where they may be written, progress, and JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from tqdm import tqdm


def check_target(file: str | None, *inputs: str | None) -> None:
    """Raise, before the work, if a result cannot be written or would replace one of its inputs."""
    if file is None:
        return
    for given in inputs:
        if given is not None and os.path.exists(file) and os.path.samefile(file, given):
            raise OSError(f"{file!r} is what is to be read; expected another file for the result")
    folder = Path(os.path.realpath(file)).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "a folder that cannot be written to" if folder.is_dir() else "no such folder"
        raise OSError(
            f"{file!r} cannot be written: {str(folder)!r} is {found}; expected a folder to write "
            "into: make it, or give another"
        )


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], Any]]:
    """Show a bar on the error output, if that is a terminal."""
    with tqdm(total=total, desc=what, unit=" files", disable=None, file=sys.stderr) as bar:
        yield lambda: bar.update()


def print_json(value: Any) -> None:
    """Print a value as JSON, NaN as null."""
    plain = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
    click.echo(json.dumps(plain, indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return json.loads(value.reset_index().to_json(orient="records"))
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
