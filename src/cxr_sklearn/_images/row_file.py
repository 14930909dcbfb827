"""Rows of pixels in a file of NumPy's format, which exists only if it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import numpy as np

from .._utils.files import file_version, replace_file, user_path

# Increment when the same image and parameters give other pixels: older files are then ignored.
_VERSION = 1
Put = Callable[[int, np.ndarray], None]


class RowFile:
    """A ``.npy`` file with rows of pixels. Its name depends on the image files of the rows.

    Parameters
    ----------
    folder : str or path
        Created if it is missing.
    paths : sequence of str
        Image files, one per row.
    preprocessing : tuple
        What else decides about the pixels; its repr names the file too.
    n_columns : int
        Length of a row.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        paths: Sequence[str],
        preprocessing: tuple[Any, ...],
        n_columns: int,
    ) -> None:
        digest = hashlib.blake2b(repr((_VERSION, preprocessing)).encode(), digest_size=16)
        for path in paths:
            # A missing file has no other properties than its path.
            digest.update(repr(file_version(path) or os.path.abspath(path)).encode())
        self.folder = user_path("memmap", folder, "folder")
        self.path = self.folder / f"xrays-{digest.hexdigest()}.npy"
        self.shape = (len(paths), n_columns)

    def load(self) -> np.memmap:
        """Return the rows as a map of the file. Changes to the rows stay in memory."""
        return cast(np.memmap, np.load(self.path, mmap_mode="c"))

    def find(self) -> list[int] | None:
        """Return the rows that could not be read when the file was made, None without a file."""
        try:
            rows = self.load()
            if rows.shape != self.shape or rows.dtype != np.uint8:
                return None
            # The numbers of unreadable rows are stored after the array.
            with open(self.path, "rb") as file:
                file.seek(rows.offset + rows.nbytes)
                return [int(row) for row in json.loads(file.read() or b"null")]
        except (OSError, ValueError, TypeError, EOFError):
            # The file is missing, or is damaged or of another program, and is replaced.
            return None

    @contextmanager
    def write(self) -> Iterator[tuple[Put, list[int]]]:
        """Yield a function that writes a row, and a list for the numbers of unreadable rows.

        Rows may be written in any order and from any thread. A row that is not written is black.
        The file appears under its name when the block ends. If the block raises, no file is left.

        Raises
        ------
        OSError
            If the folder cannot hold the file.
        """
        with contextlib.ExitStack() as stack:
            with self._cannot_hold():
                self.folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(replace_file(self.path))
                start = self._begin(file)
            failed: list[int] = []
            yield self._put(file, start), failed
            with self._cannot_hold():
                # numpy ignores what follows its rows.
                file.seek(0, os.SEEK_END)
                file.write(json.dumps(failed).encode())
                # The end of `replace_file` gives the file its name.
                stack.close()

    def _begin(self, file: IO[bytes]) -> int:
        """Write the header of the file, and return the position of the first row."""
        head = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, head)
        # Rows that are not written later read as zeros, which are black.
        file.truncate(file.tell() + self.shape[0] * self.shape[1])
        return file.tell()

    def _put(self, file: IO[bytes], start: int) -> Put:
        """Return the function that writes a row.

        Rows are written, not mapped: on a full disk writing raises an error, whereas a page of a
        mapped file that cannot be stored ends the process.
        """
        lock = threading.Lock()

        def put(row: int, values: np.ndarray) -> None:
            with lock, self._cannot_hold():
                file.seek(start + row * self.shape[1])
                file.write(np.ascontiguousarray(values).data)

        return put

    @contextmanager
    def _cannot_hold(self) -> Iterator[None]:
        """Add the folder, and what to do, to errors of the disk."""
        try:
            yield
        except OSError as error:
            reason = getattr(error, "strerror", None) or error
            raise OSError(
                f"memmap={str(self.folder)!r} cannot hold the rows ({reason}); expected a writable "
                "folder with enough free disk space. Pass another folder."
            ) from error
