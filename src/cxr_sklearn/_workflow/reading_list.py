"""The reading list: the images that a referral rule refers to another examination."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from .._utils.files import replace_file
from ..datasets._output_files import check_not_read

PATHS, TABLE = "referred.txt", "referred.csv"


def check_reading_list(
    folder: str | os.PathLike[str], classifier: Any, inputs: Iterable[str]
) -> None:
    """Raise if a reading list cannot be written. Call it before the predictions.

    Parameters
    ----------
    folder : str or path
        Made if it does not exist.
    classifier : classifier
        Model of the pipeline.
    inputs : iterable of str
        Files that are read.

    Raises
    ------
    ValueError
        If the model refers no images.
    OSError
        If the folder cannot be made, or one of the files is an input.
    """
    if not hasattr(classifier, "decide"):
        raise ValueError(
            "--reading-list needs a model that refers images, and MODEL does not; expected a model "
            "of cxr-sklearn train --refer-risk. Train it again with --refer-risk."
        )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--reading-list {os.fspath(folder)!r} could not be made ({error.strerror}); expected "
            "a folder, or the name of a new one in a folder that can be written. Pass another name."
        ) from error
    inputs = list(inputs)
    for name in (PATHS, TABLE):
        check_not_read(Path(folder) / name, "--reading-list", inputs)


def write_reading_list(folder: str | os.PathLike[str], referred: pd.DataFrame) -> None:
    """Write the referred images, the least certain first.

    Parameters
    ----------
    folder : str or path
        Gets the files ``referred.txt``, with a path per line, and ``referred.csv``.
    referred : DataFrame
        Rows of the predictions of the referred images.
    """
    # Files that could not be read have no confidence, and come first.
    ordered = referred.sort_values("confidence", kind="stable", na_position="first")
    table = ordered.to_csv(index=False, float_format="%.6f").encode("utf-8", "backslashreplace")
    # Paths are written as they are, also those that are not valid text.
    lines = b"".join(os.fsencode(path) + b"\n" for path in ordered["path"])
    for name, content in ((PATHS, lines), (TABLE, table)):
        with replace_file(Path(folder) / name) as stream:
            stream.write(content)
