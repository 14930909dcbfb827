"""Check that a result can be written to a file without replacing an input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .._images.formats import looks_like_image
from ._file_search import CURATION_MARKER

# Loaders read files with these names together with the images of their folder and of the folders
# in it, so a result with such a name would change what is loaded the next time.
_READ_WITH_IMAGES = ("metadata.csv", CURATION_MARKER)

# `metadata.csv` describes the images two folders below it: root/<source>/<class>/<image>.
_N_FOLDERS_ABOVE = 2


def check_target(
    path: str | os.PathLike[str],
    name: str,
    inputs: Iterable[str | os.PathLike[str] | None] = (),
    *,
    may_be_image: bool = False,
) -> None:
    """Raise if a result cannot or must not be written to a file.

    Call it before the computation, so that a long run does not fail at its end.

    Parameters
    ----------
    path : str or path
        File of the result. It may exist.
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
        if it is an image or has the suffix of an image, unless `may_be_image`; if it is one of
        `inputs` or is read together with them; or if it has the name of a file that loaders read
        together with images (``metadata.csv``), or is a link to such a file.
    """
    given = os.fspath(path)
    _check_regular_file(given, name)
    # A result is written to the file that a link points to, so the checks apply to both names.
    real = Path(os.path.realpath(given))
    if not may_be_image and (looks_like_image(given) or looks_like_image(real)):
        raise OSError(
            f"{name}={given!r} is invalid: it is an image, or has the suffix of an image; expected "
            "another kind of file for the result. Pass another name."
        )
    check_not_read(given, name, [value for value in inputs if value is not None])
    _check_not_reserved(given, real, name)
    _check_folder_is_writable(given, real.parent, name)


def check_not_read(
    path: str | os.PathLike[str], name: str, inputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Raise if the file of a result is one of the files that are read.

    The files are compared by their identity in the file system, so a hard link or a second
    spelling of the path is found too.

    Parameters
    ----------
    path : str or path
        As in :func:`check_target`.
    name : str
        As in :func:`check_target`.
    inputs : iterable of str or path
        Files and folders. The ``metadata.csv`` of a folder, of the folder of a file, and of the
        two folders above counts as an input too.

    Raises
    ------
    OSError
    """
    try:
        target_status = os.stat(path)
    except OSError:
        # A file that does not exist yet cannot be an input.
        return
    read_files = [os.fspath(read) for read in inputs]
    read_files += _files_read_with(read_files)
    for read_file in read_files:
        try:
            is_same = os.path.samestat(target_status, os.stat(read_file))
        except (OSError, ValueError):
            # A missing or invalid input is reported by the function that reads it.
            continue
        if is_same:
            raise OSError(
                f"{name}={os.fspath(path)!r} is invalid: it is the input {read_file!r}; expected "
                "another file for the result. Pass another name."
            )


def _files_read_with(inputs: list[str]) -> list[str]:
    """Return the files that loaders read together with the images of some files and folders."""
    # A dict without values keeps the order and drops repeated folders.
    parents: dict[str, None] = {}
    for read in inputs:
        parents[os.path.dirname(os.path.abspath(read))] = None
    folders: dict[str, None] = {}
    for parent in parents:
        folders[parent] = None
        for folder_above in list(Path(parent).parents)[:_N_FOLDERS_ABOVE]:
            folders[str(folder_above)] = None
    for read in inputs:
        folders[read] = None
    return [os.path.join(folder, name) for folder in folders for name in _READ_WITH_IMAGES]


def _check_regular_file(given: str, name: str) -> None:
    if not given:
        raise OSError(
            f"{name}='' is invalid: it is empty; expected the path of a file. Pass a file name."
        )
    if os.path.exists(given) and not os.path.isfile(given):
        raise OSError(
            f"{name}={given!r} is invalid: it is not a regular file; expected the path of a "
            "regular file. Pass another name."
        )


def _check_not_reserved(given: str, real: Path, name: str) -> None:
    # Some file systems ignore case, so METADATA.CSV is reserved as well.
    names = {Path(given).name.casefold(), real.name.casefold()}
    reserved = names.intersection(_READ_WITH_IMAGES)
    if reserved:
        raise OSError(
            f"{name}={given!r} is invalid: every file named {reserved.pop()} is read together with "
            "the images of its folder; expected another file for the result. Pass another name."
        )


def _check_folder_is_writable(given: str, folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise OSError(
            f"{name}={given!r} cannot be written: the folder {str(folder)!r} does not exist; "
            "expected an existing folder. Create it, or pass another."
        )
    if not os.access(folder, os.W_OK):
        raise OSError(
            f"{name}={given!r} cannot be written: the folder {str(folder)!r} is read-only; "
            "expected a writable folder. Change its permissions, or pass another."
        )
