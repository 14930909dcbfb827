"""Report files that a list or a table names and that do not exist."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._images.formats import IMAGE_SUFFIXES
from .._utils.messages import some
from ._file_search import files_below, relative_path

# Values of the parameter on_missing of the loaders.
ON_MISSING = ("raise", "list")


def missing_files(
    names: Sequence[str],
    found: Mapping[str, Path | None],
    root: Path,
    where: str,
    may_be_incomplete: bool,
    option: str,
) -> list[str]:
    """Return the names of files that do not exist.

    Parameters
    ----------
    names : sequence of str
    found : mapping of str to Path or None
        As :func:`~cxr_sklearn.datasets._file_search.locate` returns it.
    root : Path
    where : str
        The list or table, for messages.
    may_be_incomplete : bool
        Whether some files may be missing. At least one file must exist in any case.
    option : str
        The parameter by which a user allows missing files, for messages.

    Returns
    -------
    missing : list of str

    Raises
    ------
    FileNotFoundError
        If files are missing that must exist.
    """
    missing = [name for name in names if found[name] is None]
    # If no file exists, the folder is wrong. An empty data set would hide that.
    if missing and (not may_be_incomplete or len(missing) == len(names)):
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} files in {where} do not exist below "
            f"{os.fspath(root)!r} ({some(missing)}); expected all files, or some of them with "
            f"{option}. {_remedy(missing, root)}"
        )
    return missing


def _remedy(missing: Sequence[str], root: Path) -> str:
    """Return what to do about missing files."""
    # Tables often name files relative to the parent of the folder that the user passed.
    folder_name = root.resolve().name
    first_parts = {name.replace("\\", "/").split("/")[0] for name in missing}
    if first_parts == {folder_name}:
        return f"Pass the folder that contains {folder_name!r} as root: the names begin with it."
    # A file that exists shows in which form the table should write the names.
    for path in files_below(root):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            example = some([relative_path(path, root)])
            return f"Compare the names with those of existing files, such as {example}."
    return "Pass another folder as root: there is no image below this folder."
