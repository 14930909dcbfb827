"""Files and folders, in an order that no file system decides."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath

from .._images.formats import IMAGE_SUFFIXES
from .._utils.messages import one_line, some

# in every folder that curation writes
CURATION_MARKER = ".cxr-curation.json"


def check_folder(path: str | os.PathLike, name: str, expected: str) -> Path:
    """Return `path` as a Path if it is a folder of input; `name` is the parameter's.

    A folder that :func:`curate` has written is refused: it contains reviewed images and contact
    sheets besides those to learn from.
    """
    if os.path.isdir(path):
        if is_curated(path):
            raise ValueError(
                f"{name}={os.fspath(path)!r} is the output of curate; expected {expected}: pass "
                f"{os.path.join(path, 'kept')!r}"
            )
        return Path(path)
    found = "a file" if os.path.exists(path) else "nothing"
    raise NotADirectoryError(f"{name}={os.fspath(path)!r}: found {found}; expected {expected}")


def check_file(path: str | os.PathLike, name: str, expected: str) -> Path:
    """Return `path` as a Path if it is a file; `name` is the parameter's."""
    if os.path.isfile(path):
        return Path(path)
    found = "a folder" if os.path.isdir(path) else "nothing"
    raise FileNotFoundError(f"{name}={os.fspath(path)!r}: found {found}; expected {expected}")


def listing(folder: str | os.PathLike) -> list[Path]:
    """Return what stands in a folder, in the order of code points; nothing hidden."""
    return [Path(folder, name) for name in sorted(os.listdir(folder)) if name[0] != "."]


def curated_in(folder: str | os.PathLike) -> list[Path]:
    """Return the folders in a folder that :func:`curate` has written; nothing hidden."""
    return [path for path in listing(folder) if os.path.isdir(path) and is_curated(path)]


def folders_in(folder: str | os.PathLike) -> list[Path]:
    """Return the folders in a folder, in the order of code points; nothing hidden.

    Folders that :func:`curate` has written are left out.
    """
    folders = [path for path in listing(folder) if os.path.isdir(path)]
    return [path for path in folders if not is_curated(path)]


def is_curated(folder: str | os.PathLike) -> bool:
    """Return whether :func:`curate` has written a folder, also if its hidden file was not copied.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    bool
    """
    if os.path.exists(os.path.join(folder, CURATION_MARKER)):
        return True
    written = ("manifest.csv", os.path.join("kept", "metadata.csv"))
    return all(os.path.isfile(os.path.join(folder, name)) for name in written)


def files_below(root: str | os.PathLike, skipped: list[str] | None = None) -> list[Path]:
    """Return every file below a folder, in the order of paths; nothing hidden, no pipe.

    Linked folders are followed, each once and after those that are no links, so that neither a
    loop nor a second name doubles a file. Links to the root or above it are not, and neither are
    folders below the root that :func:`curate` has written; these are appended to `skipped`.
    """
    top = Path(os.path.realpath(root))
    seen: set[Path] = set()
    found: list[Path] = []
    folders = [Path(root)]
    links: list[Path] = []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = Path(os.path.realpath(folder))
        if real in seen or real in top.parents:
            continue
        seen.add(real)
        for path in listing(folder):
            if not os.path.isdir(path):
                if os.path.isfile(path) or path.is_symlink():  # to open a pipe would hang
                    found.append(path)
            elif is_curated(path):
                if skipped is not None:
                    skipped.append(str(path))
            elif path.is_symlink():
                links.append(path)
            else:
                folders.append(path)
    return sorted(found, key=lambda path: path.parts)


def locate(root: Path, names: Iterable[str]) -> dict[str, Path | None]:
    """Return the file of each name, None if there is no such file.

    Parameters
    ----------
    root : Path
        Folder.
    names : iterable of str
        Paths relative to `root`, or names of files in it or in a folder below it. Both may lack
        the suffix, as the identifiers of images in many tables do.

    Returns
    -------
    found : dict of str to Path or None

    Raises
    ------
    ValueError
        If several files below `root` have one of the names, and none is directly in it.
    """
    found = {name: root / name if os.path.isfile(root / name) else None for name in names}
    wanted = {name for name, path in found.items() if path is None}
    if not wanted:
        return found
    without_suffix = {n for n in wanted if PurePath(n).suffix.lower() not in IMAGE_SUFFIXES}
    whole = defaultdict(list)
    stems = defaultdict(list)
    for path in files_below(root):
        if path.name in wanted:
            whole[path.name].append(path)
        if without_suffix and path.suffix.lower() in IMAGE_SUFFIXES:
            for stem in {path.stem, relative(path.with_suffix(""), root)} & without_suffix:
                stems[stem].append(path)
    for name in wanted:
        paths = whole[name] or stems[name]
        if len(paths) > 1:
            raise ValueError(
                f"{one_line(name)} is below {os.fspath(root)!r} more than once "
                f"({some(relative(path, root) for path in paths)}); expected one file of each "
                "name: pass the folder that is meant, or relative paths"
            )
        found[name] = paths[0] if paths else None
    return found


def relative(path: Path, root: Path) -> str:
    """Return `path` as seen from `root`, with forward slashes."""
    return path.relative_to(root).as_posix()
