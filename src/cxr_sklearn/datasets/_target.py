"""Files that results may be written to, without replacing what was read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .._decode import looks_like_image
from ._files import CURATION_MARKER

# files with these names in a folder of images are read together with the images
_READ_WITH_IMAGES = ("metadata.csv", CURATION_MARKER)


def check_target(
    path: str | os.PathLike, name: str, inputs: Iterable[str | os.PathLike | None] = ()
) -> None:
    """Raise, before the work, if a result cannot be written to a file, or must not.

    Parameters
    ----------
    path : str or path
        File of the result, which may exist.
    name : str
        The parameter's, for messages.
    inputs : iterable of str, path or None
        Files and folders that are read.

    Raises
    ------
    OSError
        If `path` is empty, no regular file, or in a folder that is missing or read-only; if it is
        named as an image or is one; if it is one of `inputs`; or if it would be read together with
        the images of one of them.
    """
    given = os.fspath(path)
    if not given:
        raise OSError(f"{name}='' is empty; expected the name of a file: give one")
    if os.path.exists(given) and not os.path.isfile(given):
        raise OSError(f"{name}={given!r} is not a regular file; expected the name of a file")
    if looks_like_image(given):
        raise OSError(
            f"{name}={given!r} is an image, or named as one; expected another file for the result: "
            "give another name"
        )
    read_paths = [os.fspath(value) for value in inputs if value is not None]
    check_not_read(given, name, read_paths)
    folder = Path(os.path.realpath(given)).parent
    for read in read_paths:
        within = [folder, *folder.parents]
        is_inside = os.path.isdir(read) and Path(os.path.realpath(read)) in within
        if is_inside and Path(given).name in _READ_WITH_IMAGES:
            raise OSError(
                f"{name}={given!r} would be read together with the images of {read!r}; expected "
                "another file for the result: give another name"
            )
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "a folder that cannot be written to" if folder.is_dir() else "no such folder"
        raise OSError(
            f"{name}={given!r} cannot be written: {str(folder)!r} is {found}; expected a folder to "
            "write into: make it, or give another"
        )


def check_not_read(path: str | os.PathLike, name: str, inputs: Iterable[str | os.PathLike]) -> None:
    """Raise if a file for a result is one of the files that are read, by whatever name.

    Parameters
    ----------
    path : str or path
        File of the result, which may exist.
    name : str
        The parameter's, for messages.
    inputs : iterable of str or path

    Raises
    ------
    OSError
    """
    try:
        status = os.stat(path)
    except OSError:  # it is made by the result
        return
    for read in inputs:
        try:
            is_same = os.path.samestat(status, os.stat(read))
        except (OSError, ValueError):
            continue
        if is_same:
            raise OSError(
                f"{name}={os.fspath(path)!r} is an input ({os.fspath(read)!r}); expected another "
                "file for the result: give another name"
            )
