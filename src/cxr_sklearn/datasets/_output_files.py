"""Files that results may be written to, without replacing what was read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .._images.formats import looks_like_image
from ._file_search import CURATION_MARKER

# Files with these names are read together with the images of their folder and of folders in it.
_READ_WITH_IMAGES = ("metadata.csv", CURATION_MARKER)


def check_target(
    path: str | os.PathLike,
    name: str,
    inputs: Iterable[str | os.PathLike | None] = (),
    *,
    may_be_image: bool = False,
) -> None:
    """Raise, before the work, if a result cannot be written to a file, or must not.

    Parameters
    ----------
    path : str or path
        File of the result, which may exist.
    name : str
        Name of the parameter, for messages.
    inputs : iterable of str, path or None
        Files and folders that are read.
    may_be_image : bool, default=False
        Whether the result is an image itself.

    Raises
    ------
    OSError
        If `path` is empty, is not a regular file, or is in a folder that is missing or read-only;
        if it is named as an image or is one, unless `may_be_image`; if it is one of `inputs` or is
        read together with them; or if it has the name of a file that loaders read together with
        images (``metadata.csv``), or is a link to such a file.
    """
    given = os.fspath(path)
    if not given:
        raise OSError(f"{name}='' is empty; expected the name of a file: give one")
    if os.path.exists(given) and not os.path.isfile(given):
        raise OSError(f"{name}={given!r} is not a regular file; expected the name of a file")
    # results are written to the file that a link leads to
    real = Path(os.path.realpath(given))
    if (looks_like_image(given) or looks_like_image(real)) and not may_be_image:
        raise OSError(
            f"{name}={given!r} is an image, or named as one; expected another file for the result: "
            "give another name"
        )
    check_not_read(given, name, [value for value in inputs if value is not None])
    names = {Path(given).name.casefold(), real.name.casefold()}
    if reserved := names.intersection(_READ_WITH_IMAGES):
        raise OSError(
            f"{name}={given!r} would be read together with the images of its folder, as every file "
            f"named {reserved.pop()}; expected another file for the result: give another name"
        )
    folder = real.parent
    if not folder.is_dir():
        raise OSError(
            f"{name}={given!r} cannot be written: the folder {str(folder)!r} does not exist; "
            "expected an existing folder: create it, or give another"
        )
    if not os.access(folder, os.W_OK):
        raise OSError(
            f"{name}={given!r} cannot be written: the folder {str(folder)!r} is read-only; "
            "expected a writable folder: change its permissions, or give another"
        )


def check_not_read(path: str | os.PathLike, name: str, inputs: Iterable[str | os.PathLike]) -> None:
    """Raise if a file for a result is one of the files that are read, under any name.

    Parameters
    ----------
    path : str or path
        File of the result, which may exist.
    name : str
        Name of the parameter, for messages.
    inputs : iterable of str or path
        Files and folders. The ``metadata.csv`` of a folder, of the folder of a file, and of the
        two folders above counts as read too.

    Raises
    ------
    OSError
    """
    try:
        status = os.stat(path)
    except OSError:  # the result creates it
        return
    paths = [os.fspath(read) for read in inputs]
    for read in [*paths, *_read_with(paths)]:
        try:
            is_same = os.path.samestat(status, os.stat(read))
        except (OSError, ValueError):
            continue
        if is_same:
            raise OSError(
                f"{name}={os.fspath(path)!r} is an input ({read!r}); expected another "
                "file for the result: give another name"
            )


def _read_with(inputs: Iterable[str]) -> list[str]:
    """Return the files that loaders read together with the images of some files and folders."""
    folders: dict[str, None] = {}
    for parent in dict.fromkeys(os.path.dirname(os.path.abspath(read)) for read in inputs):
        folders |= dict.fromkeys([parent, *map(str, list(Path(parent).parents)[:2])])
    folders |= dict.fromkeys(inputs)
    return [os.path.join(folder, name) for folder in folders for name in _READ_WITH_IMAGES]
