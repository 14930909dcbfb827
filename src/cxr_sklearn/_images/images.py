"""The validated X of a fit or a prediction."""

from __future__ import annotations

import hashlib
import time

import numpy as np

from .._utils.files import file_version
from .._utils.messages import some
from .file_digests import FILE_DIGESTS
from .reading import read_images

# Decoded pixels are kept during one fit if all images together take no more than this. Otherwise
# the files are decoded again in each pass.
_DECODED_BYTES = 2**30

# A file that was changed less than this before it was read may change once more without another
# time stamp: file systems count time in steps of up to 2 seconds.
_SETTLED_NS = 2 * 10**9


class Images:
    """X in one form: one image per row, decoded when needed, identified by its content.

    Parameters
    ----------
    values : ndarray of shape (n, height * width), dtype uint8 or float32, or None
        Pixel rows; None for files.
    paths : ndarray of shape (n,) of str, or None
        Files; None for rows.
    image_shape : (int, int)
        Height and width, pixels.
    standardised : bool
        Whether float values are standardised rather than in [0, 1].
    n_jobs : int or None
        Threads that decode.
    """

    def __init__(
        self,
        values: np.ndarray | None,
        paths: np.ndarray | None,
        image_shape: tuple[int, int],
        standardised: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.values = values
        self.paths = paths
        self.image_shape = image_shape
        self.standardised = standardised
        self.n_jobs = n_jobs
        self._decoded: np.ndarray | None = None
        self._is_decoded = np.zeros(len(self), dtype=bool)
        # The digest of each file when it was first read, which `take` passes on. If a file changes
        # later, its pixels must not be used under this digest.
        self._first_digests: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self.values if self.values is not None else self.paths)  # type: ignore[arg-type]

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels: uint8 or float32."""
        return np.dtype(np.uint8) if self.values is None else self.values.dtype

    @property
    def keeps_decoded(self) -> bool:
        """Whether decoded pixels fit into memory, so that each file is decoded once."""
        height, width = self.image_shape
        return len(self) * height * width <= _DECODED_BYTES

    def take(self, index: np.ndarray) -> Images:
        """Return some of the images."""
        values = None if self.values is None else self.values[index]
        paths = None if self.paths is None else self.paths[index]
        taken = Images(values, paths, self.image_shape, self.standardised, self.n_jobs)
        if self._decoded is not None:
            taken._decoded, taken._is_decoded = self._decoded[index], self._is_decoded[index]
        taken._first_digests = self._first_digests
        return taken

    def pixels(self, index: np.ndarray) -> np.ndarray:
        """Return rows of pixels, shape (n, height, width)."""
        if self.values is not None:
            return self.values[index].reshape(len(index), *self.image_shape)
        todo = np.asarray(index)[~self._is_decoded[index]]
        side = self.image_shape[0]
        new = self._read(self.paths[todo])  # type: ignore[index]
        if not self.keeps_decoded:
            # Since nothing is kept, `todo` contains all of `index`, in the same order.
            return new.reshape(-1, side, side)
        if self._decoded is None:
            self._decoded = np.empty((len(self), side * side), np.uint8)
        self._decoded[todo] = new
        self._is_decoded[todo] = True
        return self._decoded[index].reshape(-1, side, side)

    def decode(self, index: np.ndarray) -> None:
        """Decode files now that will be needed soon."""
        if self.values is None and len(index):
            self.pixels(index)

    def digests(self) -> list[bytes]:
        """Return one digest per image. Images have equal digests if and only if they are equal."""
        if self.values is not None:
            return [self._digest(row) for row in self.values]
        unknown = [i for i in range(len(self)) if not self._is_known(i)]
        # Files are decoded in batches, so that images that do not fit into memory are not all
        # decoded at once.
        for start in range(0, len(unknown), 256):
            self.pixels(np.array(unknown[start : start + 256]))
        return [self._first_digests[path] for path in self.paths]  # type: ignore[union-attr]

    def _is_known(self, i: int) -> bool:
        """Whether the digest of a file is known without decoding it now."""
        path = self.paths[i]  # type: ignore[index]
        if path not in self._first_digests:
            digest = FILE_DIGESTS.get(file_version(path), self.image_shape)
            if digest is None:
                return False
            self._first_digests.setdefault(path, digest)
        return True

    def _read(self, paths: np.ndarray) -> np.ndarray:
        """Decode files, and check that they have not changed since they were first read.

        Raises
        ------
        OSError
            If files cannot be read, or have changed since their digest was computed.
        """
        started = time.time_ns()
        before = [file_version(path) for path in paths]
        rows = read_images(list(paths), self.image_shape[0], n_jobs=self.n_jobs)
        changed = []
        for path, version, row in zip(paths, before, rows, strict=True):
            digest = self._digest(row)
            if self._first_digests.setdefault(path, digest) != digest:
                FILE_DIGESTS.remove(version, self.image_shape)
                changed.append(path)
                continue
            # The file may have changed while it was decoded.
            is_same = version == file_version(path)
            if version and is_same and version.changed < started - _SETTLED_NS:
                FILE_DIGESTS.put(version, self.image_shape, digest)
        if changed:
            raise OSError(
                f"{len(changed)} image files have changed since they were first read: "
                f"{some(changed)}; expected files that stay the same during fit and predict. "
                "Repeat the call when no other program writes to them."
            )
        return rows

    def _digest(self, row: np.ndarray) -> bytes:
        header = f"{self.image_shape} {row.dtype} {self.standardised}".encode()
        digest = hashlib.blake2b(header, digest_size=16)
        digest.update(np.ascontiguousarray(row).data)
        return digest.digest()
