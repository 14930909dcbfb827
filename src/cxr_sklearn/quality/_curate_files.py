"""Write the output of curation: folders by class, a manifest and contact sheets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from filelock import FileLock
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from .._images.decode import decode_image
from .._utils.files import replace_file
from ..datasets._file_search import CURATION_MARKER
from ..datasets._output_files import check_target

# Locked while a process writes. The empty file may remain afterwards.
_LOCK = ".cxr-curation.lock"
FOLDERS = {"keep": "kept", "review": "review"}
_LONGEST = 120  # characters of a name; with what is added, file systems allow 255 bytes
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.I)  # on Windows
_CELL, _COLUMNS, _MAX_CELLS = 160, 8, 400

# Text in the first bytes of each contact sheet, so that other images are never replaced.
_SHEET_SOFTWARE = "cxr-sklearn contact sheet"

# Characters that some file system does not allow in names.
_ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|^\.|[. ]+$')


def check_out(out: Any, paths: list[str]) -> Path:
    """Return the folder of the results, after creating it if it is missing.

    Raises
    ------
    OSError
        If it is a file, contains files that no curation wrote, or contains the input.
    """
    if not os.fspath(out):
        raise OSError("out='' is invalid: it is empty; expected a folder. Pass its path.")
    folder = Path(os.fspath(out))
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"out={str(folder)!r} is invalid: it is a file; expected a folder. Pass another path."
        )
    inside = Path(os.path.realpath(folder))
    for path in paths:
        # os.path.realpath returns the name of a link to itself, whereas Path.resolve raises.
        if inside in Path(os.path.realpath(path)).parents:
            raise FileExistsError(
                f"out={str(folder)!r} is invalid: it contains the image {Path(path).name!r} of the "
                "input; expected a folder outside the input. Pass another path."
            )
    if folder.is_dir() and _has_others(folder):
        raise FileExistsError(
            f"out={str(folder)!r} is invalid: it contains files that no curation wrote; expected "
            "an empty folder, or one that curate began. Pass another path."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"out={str(folder)!r} cannot be created ({error.strerror}); expected a path in a "
            "writable folder. Pass another path."
        ) from error
    return folder


def _has_others(folder: Path) -> bool:
    """Return whether a folder contains files that no curation wrote."""
    names = {path.name for path in folder.iterdir()}
    return bool(names - {_LOCK}) and CURATION_MARKER not in names


def write_folders(
    manifest: pd.DataFrame, columns: pd.DataFrame, aside: pd.DataFrame, out: Path, mode: str
) -> list[str]:
    """Copy or link files into the folders of their tiers, and write the manifest.

    Parameters
    ----------
    manifest : DataFrame
        A row per file.
    columns : DataFrame
        Other columns about the files, for ``metadata.csv``.
    aside : DataFrame
        Rows of the manifest for files that the loader did not load.
    out : Path
    mode : {"copy", "link"}

    Returns
    -------
    list of str
        The place of each file relative to `out`; empty for files that are not copied.
    """
    outputs = _names(manifest)
    # A run that was stopped may be completed only if it would do the same now.
    decided = {
        "mode": mode,
        "outputs": dict(zip(manifest["path"], outputs, strict=True)),
        "versions": [_version(path) for path in manifest["path"]],
    }
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()
    # Another process may write the same folder.
    with FileLock(out / _LOCK):
        _claim(out, digest)
        _write(manifest.assign(output=outputs), columns, aside, out, mode)
    return outputs


def _write(
    manifest: pd.DataFrame, columns: pd.DataFrame, aside: pd.DataFrame, out: Path, mode: str
) -> None:
    """Write the folders, contact sheets and the manifest of a folder that this curation owns."""
    # A run that was killed may have left unfinished files.
    for partial in out.rglob(".*.partial"):
        partial.unlink()
    # A folder gets its name when it is complete. Until then its name begins with a dot.
    staging = {}
    for folder in FOLDERS.values():
        is_complete = (out / folder).exists()
        staging[folder] = out / (folder if is_complete else f".{folder}")
    for path, name in zip(manifest["path"], manifest["output"], strict=True):
        if name:
            folder, _, rest = name.partition("/")
            _place(Path(path), staging[folder] / rest, mode)
    for tier, folder in FOLDERS.items():
        if tier == "keep" or (manifest["tier"] == tier).any():
            metadata = _metadata(manifest, columns, tier)
            _write_csv(metadata, staging[folder] / "metadata.csv")
    for folder, path in staging.items():
        if path.exists() and path.name != folder:
            os.replace(path, out / folder)
    for tier, name in (("reject", "rejected.png"), ("review", "review.png")):
        contact_sheet(manifest[manifest["tier"] == tier], out / name)
    _write_csv(pd.concat([manifest, aside], ignore_index=True), out / "manifest.csv")


def _version(path: str) -> tuple[str, int, int] | None:
    """Return path, size and time of modification of a file, None if there is no such file.

    The inode and the time of the last change are not included: a stopped run can be completed with
    a copy of the input that keeps the times, and with other permissions.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def _claim(out: Path, digest: str) -> None:
    """Mark the folder as the output of this curation."""
    marker = out / CURATION_MARKER
    with contextlib.suppress(FileNotFoundError):
        if json.loads(marker.read_text())["decided"] == digest:
            return
        raise FileExistsError(
            f"out={str(out)!r} is invalid: it was begun with other images, rules or another mode; "
            "expected an empty folder. Pass another path, or delete the folder."
        )
    with replace_file(marker) as stream:
        stream.write(json.dumps({"version": 1, "decided": digest}).encode())


def _names(manifest: pd.DataFrame) -> list[str]:
    """Return a place for each file of a tier with a folder, different for all files.

    Names that differ only in upper and lower case count as equal, as on Windows and macOS.
    """
    folders = _unlike(manifest["label"].unique().tolist())
    names = [
        f"{FOLDERS[tier]}/{folders[label]}/{_legal(Path(path).name)}" if tier in FOLDERS else ""
        for path, label, tier in manifest[["path", "label", "tier"]].itertuples(index=False)
    ]
    counts = Counter(map(_folded, names))
    for k, path in enumerate(manifest["path"]):
        if names[k] and counts[_folded(names[k])] > 1:
            # Each of the files with this name gets a digest of its path, so that the names do not
            # depend on the order of the files.
            file = PurePosixPath(names[k])
            names[k] = str(file.with_name(f"{file.stem}-{_mark(path)}{file.suffix}"))
    return names


def _unlike(labels: list[str]) -> dict[str, str]:
    """Return a folder name for each label, different for all labels."""
    names = {label: _legal(str(label)) for label in labels}
    counts = Counter(map(_folded, names.values()))
    return {
        label: f"{name}-{_mark(label)}" if counts[_folded(name)] > 1 else name
        for label, name in names.items()
    }


def _folded(name: str) -> str:
    """Return a form that is equal for names that a file system may not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()


def _mark(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _legal(name: str) -> str:
    """Return a name that every file system allows."""
    name = _ILLEGAL.sub("_", name.encode("utf-8", "replace").decode("utf-8")) or "_"
    if _RESERVED.match(name):
        name = f"_{name}"
    if len(name.encode()) > _LONGEST:
        file = PurePosixPath(name)
        stem = file.stem.encode()[: _LONGEST - 20].decode("utf-8", "ignore")
        name = f"{stem}-{_mark(name)}{file.suffix[:10]}"
    return name


def _place(source: Path, target: Path, mode: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "link":
        if not target.is_symlink():
            target.symlink_to(os.path.realpath(source))
        return
    # Existing files are complete, because they got their names when they were.
    if not target.is_file():
        with source.open("rb") as original, replace_file(target) as copy:
            shutil.copyfileobj(original, copy)


def _metadata(manifest: pd.DataFrame, columns: pd.DataFrame, tier: str) -> pd.DataFrame:
    """Return the metadata.csv of a tier, which load_xray_folder reads."""
    kept = manifest["tier"] == tier
    outputs = [PurePosixPath(name) for name in manifest.loc[kept, "output"]]
    known = pd.DataFrame(
        {
            "filename": [path.name for path in outputs],
            "label": [path.parent.name for path in outputs],
            "patient": manifest.loc[kept, "patient"].tolist(),
            "source": manifest.loc[kept, "source"].tolist(),
        }
    )
    more = columns[kept.to_numpy()].reset_index(drop=True)
    changed = known["label"] != manifest.loc[kept, "label"].to_numpy()
    if changed.any():
        more = more.assign(original_label=manifest.loc[kept, "label"].tolist())
    return pd.concat([known, more.drop(columns=[c for c in more if c in known])], axis=1)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as stream:
        stream.write(frame.to_csv(index=False).encode("utf-8", "backslashreplace"))


# -- the contact sheet ----------------------------------------------------------------------------


def check_sheet(path: Any, inputs: Iterable[str]) -> None:
    """Raise if a contact sheet cannot be written to a file, or must not replace it.

    Parameters
    ----------
    path : str or path
        File of the contact sheet, which may exist.
    inputs : iterable of str
        Images that were curated.

    Raises
    ------
    OSError
    """
    check_target(path, "path", inputs, may_be_image=True)
    if os.path.exists(path):
        with open(path, "rb") as file:
            is_sheet = _SHEET_SOFTWARE.encode() in file.read(1024)
        if not is_sheet:
            raise FileExistsError(
                f"path={os.fspath(path)!r} is invalid: the file exists and is not a contact sheet; "
                "expected a new name, or a contact sheet to replace. Pass another name."
            )


def contact_sheet(rows: pd.DataFrame, path: Any) -> Path:
    """Draw small images of the rows of a manifest, by their first reason.

    Parameters
    ----------
    rows : DataFrame
        With ``path``, ``label`` and ``reasons``.
    path : str or path
        PNG file.

    Returns
    -------
    path : Path
    """
    path = Path(os.fspath(path))
    groups = rows.groupby(rows["reasons"].str.split("; ").str[0], sort=True)
    blocks = [_block(str(reason) or "kept", part) for reason, part in groups]
    height = sum(block.height for block in blocks) or _CELL // 4
    sheet = Image.new("L", (_COLUMNS * _CELL, height), 255)
    if not blocks:
        ImageDraw.Draw(sheet).text((8, 8), "no images", fill=0)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    info = PngInfo()
    info.add_text("Software", _SHEET_SOFTWARE)
    with replace_file(path) as stream:
        sheet.save(stream, "PNG", pnginfo=info)
    return path


def _block(reason: str, part: pd.DataFrame) -> Image.Image:
    """Draw the images of one reason under a line that names it."""
    shown = part.iloc[:_MAX_CELLS]
    n_rows = -(-len(shown) // _COLUMNS)  # rounded up
    title, caption = 24, 14
    block = Image.new("L", (_COLUMNS * _CELL, title + n_rows * (_CELL + caption)), 255)
    pen = ImageDraw.Draw(block)
    more = f", the first {len(shown)} shown" if len(shown) < len(part) else ""
    pen.text((6, 6), _ascii(f"{reason}: {len(part)} images{more}"), fill=0)
    for k, (file, label) in enumerate(zip(shown["path"], shown["label"], strict=True)):
        x, y = k % _COLUMNS * _CELL, title + k // _COLUMNS * (_CELL + caption)
        # Unreadable files have a caption and no image.
        with contextlib.suppress(OSError):
            grey = decode_image(file).grey
            grey.thumbnail((_CELL - 4, _CELL - 4))
            block.paste(grey, (x + 2, y))
        pen.text((x + 3, y + _CELL), _ascii(f"{label} {Path(file).name}")[:25], fill=0)
    return block


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
