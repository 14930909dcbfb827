"""Paths that users pass, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def user_path(parameter: str, value: str | os.PathLike, kind: str) -> Path:
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
def replace_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
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
