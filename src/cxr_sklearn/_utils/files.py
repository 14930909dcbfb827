"""Paths that users pass, versions of files, and files that are complete whenever they exist."""

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
        Name of the parameter, for the message.
    value : str or path
    kind : str
        ``"file"`` or ``"folder"``.

    Raises
    ------
    ValueError
        If the path is empty or contains a null character. No file has such a name, and an empty
        path would silently be the working directory.
    """
    text = os.fsdecode(value)
    if text and "\0" not in text:
        return Path(os.path.expanduser(text))
    reason, remedy = "it contains a null character", "Correct it."
    if not text:
        reason = "it is empty"
        # An empty path often means the working directory, which is not a file.
        if kind != "file":
            remedy = "Pass '.' for the working directory."
    raise ValueError(
        f"{parameter}={text!r} is invalid: {reason}; expected the path of a {kind}. {remedy}"
    )


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name, and give it its own name when it is complete.

    An existing file is replaced. If the block raises, nothing is left of the new file, and an
    existing file is unchanged.

    Parameters
    ----------
    path : str or path
        File to create or to replace. Its folder must exist. If it is a link, the file that the link
        points to is replaced, and the link stays.

    Yields
    ------
    stream : binary file
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(
            f"{str(path)!r} is not a regular file; expected a regular file, or a new name. Pass "
            "another name."
        )
    # The temporary file is in the same folder, because a file can only be replaced by a file of the
    # same file system in one step. Its name begins with a dot, so that loaders ignore it.
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            # The data must be on the disk before the name is. Otherwise a computer that loses power
            # could have an empty file under that name.
            stream.flush()
            os.fsync(stream.fileno())
        # The file of mkstemp can be read by its owner only. It gets the usual permissions.
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _umask() -> int:
    """Return the permissions that this process removes from new files."""
    # The only way to read the mask is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


class FileVersion(NamedTuple):
    """Properties of a file. At least one of them changes when the content of the file changes.

    Size and `modified` are not enough: a new content may have the same size, and programs can set
    `modified`. A file that replaces another file has another `inode`, and on Linux and macOS no
    program can set `changed`. On Windows, `changed` is the time of creation. There, a change is
    not noticed if a program overwrites the content in place and restores `modified`.

    Parameters
    ----------
    path : str
        Absolute path.
    size : int
        Bytes.
    modified, changed : int
        Times of the last change of the content, and of the inode, in nanoseconds.
    inode : int
        Number of the file in its file system.
    """

    path: str
    size: int
    modified: int
    changed: int
    inode: int


def file_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return the properties by which a changed file is recognised, or None without a file."""
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
