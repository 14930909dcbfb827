"""Check, list and find files and folders, in the same order on every file system."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from .._images.formats import IMAGE_SUFFIXES
from .._utils.messages import one_line, some

# Curation writes this file into each of its output folders. The loaders recognise such a folder by
# it and do not load the images in it a second time.
CURATION_MARKER = ".cxr-curation.json"


# -- checks of paths that users pass --------------------------------------------------------------


def check_folder(path: str | os.PathLike[str], name: str, expected: str) -> Path:
    """Return `path` as a Path, or raise if images cannot be loaded from it.

    The output folder of :func:`curate` is refused: in addition to the images to learn from, it
    contains reviewed images and contact sheets.

    Parameters
    ----------
    path : str or path
    name : str
        Name of the parameter, for messages.
    expected : str
        Description of the folder, for messages.

    Returns
    -------
    folder : Path

    Raises
    ------
    NotADirectoryError
        If `path` is not a folder.
    ValueError
        If `path` is the output of :func:`curate`.
    """
    if not os.path.isdir(path):
        reason = "it is not a folder" if os.path.exists(path) else "it does not exist"
        raise NotADirectoryError(
            f"{name}={os.fspath(path)!r} is invalid: {reason}; expected {expected}. Correct the "
            "path."
        )
    if is_curated(path):
        kept = os.path.join(path, "kept")
        raise ValueError(
            f"{name}={os.fspath(path)!r} is invalid: it is the output of curate; expected "
            f"{expected}. Pass {kept!r}."
        )
    return Path(path)


def check_file(path: str | os.PathLike[str], name: str, expected: str) -> Path:
    """Return `path` as a Path, or raise FileNotFoundError if it is not a file.

    `name` is the name of the parameter, and `expected` describes the file, for messages.
    """
    if not os.path.isfile(path):
        reason = "it is a folder" if os.path.isdir(path) else "it does not exist"
        raise FileNotFoundError(
            f"{name}={os.fspath(path)!r} is invalid: {reason}; expected {expected}. Correct the "
            "path."
        )
    return Path(path)


def check_empty_folder(path: str | os.PathLike[str], name: str) -> Path:
    """Return `path` as a Path, or raise FileExistsError if it is not a new or empty folder."""
    folder = Path(path)
    reason = ""
    if folder.exists() and not folder.is_dir():
        reason = "it is a file"
    elif folder.exists() and any(folder.iterdir()):
        reason = "it contains files"
    if reason:
        raise FileExistsError(
            f"{name}={str(folder)!r} is invalid: {reason}; expected an empty folder. Pass a new "
            "or an empty folder."
        )
    return folder


# -- contents of one folder -----------------------------------------------------------------------


def visible_entries(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files and folders in a folder that are not hidden, sorted by code points."""
    # The operating system lists names in any order. Without sorting, the rows of a bunch, and with
    # them the splits of a cross-validation, would differ between computers.
    names = sorted(os.listdir(folder))
    return [Path(folder, name) for name in names if not name.startswith(".")]


def visible_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the entries of a folder that are neither hidden nor folders."""
    return [path for path in visible_entries(folder) if not os.path.isdir(path)]


def subfolders(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the folders in a folder, except hidden ones and the output of :func:`curate`."""
    entries = visible_entries(folder)
    return [path for path in entries if os.path.isdir(path) and not is_curated(path)]


def curated_subfolders(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the folders in a folder that :func:`curate` has written, except hidden ones."""
    entries = visible_entries(folder)
    return [path for path in entries if os.path.isdir(path) and is_curated(path)]


def is_curated(folder: str | os.PathLike[str]) -> bool:
    """Return whether :func:`curate` has written a folder.

    The hidden marker file is missing where the folder was copied without hidden files. Such a
    folder is recognised by its other files.
    """
    if os.path.exists(os.path.join(folder, CURATION_MARKER)):
        return True
    manifest = os.path.join(folder, "manifest.csv")
    kept_metadata = os.path.join(folder, "kept", "metadata.csv")
    return os.path.isfile(manifest) and os.path.isfile(kept_metadata)


class _Entries(NamedTuple):
    """Entries of one folder that are not hidden, by kind."""

    files: list[Path]
    # Folders that are not links, and links to folders. Neither includes the output of curate.
    folders: list[Path]
    linked_folders: list[Path]
    curated: list[Path]


def _entries_of(folder: str | os.PathLike[str]) -> _Entries:
    entries = _Entries([], [], [], [])
    for path in visible_entries(folder):
        if not os.path.isdir(path):
            # A named pipe is left out, because opening it would wait for a writer forever. A
            # broken link is kept, so that reading it reports which file is missing.
            if os.path.isfile(path) or path.is_symlink():
                entries.files.append(path)
            continue
        if is_curated(path):
            entries.curated.append(path)
        elif path.is_symlink():
            entries.linked_folders.append(path)
        else:
            entries.folders.append(path)
    return entries


# -- search at any depth --------------------------------------------------------------------------


def files_below(root: str | os.PathLike[str], skipped: list[str] | None = None) -> list[Path]:
    """Return all files below a folder, sorted by path.

    Hidden files and folders, named pipes, and folders below `root` that :func:`curate` has written
    are left out. Links to folders are followed, except links to `root` or to a folder above it.

    Parameters
    ----------
    root : str or path
        Folder to search.
    skipped : list of str, default=None
        The function appends the folders that :func:`curate` has written to this list.

    Returns
    -------
    files : list of Path
    """
    real_root = Path(os.path.realpath(root))
    visited: set[Path] = set()
    found: list[Path] = []
    folders = [Path(root)]
    linked_folders: list[Path] = []
    while folders or linked_folders:
        # Links wait until all other folders are visited: a folder that is reached both directly
        # and by a link then has its own path in the result, not that of the link.
        folder = folders.pop() if folders else linked_folders.pop(0)
        # Each real folder is visited once, so that a loop of links ends and no file is found
        # under two names.
        real_folder = Path(os.path.realpath(folder))
        if real_folder in visited or real_folder in real_root.parents:
            continue
        visited.add(real_folder)
        entries = _entries_of(folder)
        found += entries.files
        folders += entries.folders
        linked_folders += entries.linked_folders
        if skipped is not None:
            skipped += map(str, entries.curated)
    return sorted(found, key=lambda path: path.parts)


def locate(root: Path, names: Iterable[str]) -> dict[str, Path | None]:
    """Return the file of each name, or None if it does not exist.

    Parameters
    ----------
    root : Path
        Folder to search.
    names : iterable of str
        Paths relative to `root`, or names of files in `root` or in a folder below it. The suffix
        may be missing, as it is in the image identifiers of many tables.

    Returns
    -------
    found : dict of str to Path or None

    Raises
    ------
    ValueError
        If several files below `root` have one of the names and `root` itself contains none.
    """
    found: dict[str, Path | None] = {}
    for name in names:
        path = root / name
        found[name] = path if os.path.isfile(path) else None
    remaining = [name for name, path in found.items() if path is None]
    # Searching a large tree takes long, so it is done only where a path does not exist as given.
    if remaining:
        found.update(_search_below(root, remaining))
    return found


def _search_below(root: Path, names: list[str]) -> dict[str, Path | None]:
    """Return the one file below `root` with each name, or None if there is none."""
    searched = set(names)
    searched_without_suffix = set()
    for name in names:
        # The part behind the last dot of an identifier such as 1.2.840.113 is not a suffix.
        if PurePath(name).suffix.lower() not in IMAGE_SUFFIXES:
            searched_without_suffix.add(name)

    by_name = defaultdict(list)
    by_stem = defaultdict(list)
    for path in files_below(root):
        if path.name in searched:
            by_name[path.name].append(path)
        if searched_without_suffix and path.suffix.lower() in IMAGE_SUFFIXES:
            # The name may be a bare stem, or a path relative to the root without its suffix.
            stems = {path.stem, relative_path(path.with_suffix(""), root)}
            for stem in stems & searched_without_suffix:
                by_stem[stem].append(path)

    located: dict[str, Path | None] = {}
    for name in names:
        # A file with exactly this name takes precedence over a file with another suffix.
        candidates = by_name[name] or by_stem[name]
        if len(candidates) > 1:
            shown = some(relative_path(path, root) for path in candidates)
            raise ValueError(
                f"{len(candidates)} files below {os.fspath(root)!r} have the name {one_line(name)} "
                f"({shown}); expected one file of each name. Pass the folder that contains the "
                "right file, or name the files by relative paths."
            )
        located[name] = candidates[0] if candidates else None
    return located


def relative_path(path: Path, root: Path) -> str:
    """Return the path of a file relative to `root`, with forward slashes."""
    return path.relative_to(root).as_posix()
