"""Paths that users pass, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple


def user_path(parameter: str, value: str | os.PathLike[str], kind: str) -> Path:
    """Return the path that a parameter names, with ``~`` expanded to the home folder.

    Parameters
    ----------
    parameter : str
        Its name, for the message.
    value : str or path
    kind : str
        ``"file"`` or ``"folder"``.

    Raises
    ------
    ValueError
        If the path is empty or contains a null character: no system has such files, and an empty
        path would be the working directory.
    """
    text = os.fsdecode(value)
    if text and "\0" not in text:
        return Path(os.path.expanduser(text))
    reason = "it contains a null character" if text else "it is empty"
    remedy = "Correct it" if text or kind == "file" else "Pass '.' for the working directory"
    raise ValueError(
        f"{parameter}={text!r} is invalid: {reason}; expected the path of a {kind}. {remedy}"
    )


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file under another name, and put it in its place when it is whole.

    Parameters
    ----------
    path : str or path
        Replaced if it is there; of a link, the file that it leads to. Its folder must exist.

    Yields
    ------
    stream : binary file
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(
            f"{str(path)!r} is not a regular file; expected a regular file, or a new name: give "
            "another name"
        )
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class FileVersion(NamedTuple):
    """Properties of a file of which at least one changes when its content changes.

    Programs can set `modified`, and a file that replaces another one can have its size. `inode`
    differs then, and on Linux and macOS no program can set `changed`. On Windows `changed` is the
    time of creation, so a file that is overwritten in place with its size and its time of
    modification kept goes unnoticed there.

    Parameters
    ----------
    path : str
        Absolute path.
    size : int
        Bytes.
    modified, changed : int
        Times of the last change of the content and of the inode, nanoseconds.
    inode : int
        Number of the file in its file system.
    """

    path: str
    size: int
    modified: int
    changed: int
    inode: int


def file_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return the properties by which a changed file is recognised, None if there is no file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return FileVersion(
        os.path.abspath(path),
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
