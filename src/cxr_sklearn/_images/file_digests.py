"""Digests of image files that have been decoded before."""

from __future__ import annotations

import hashlib
import threading

from .._utils.files import FileVersion


class _FileDigests:
    """Digests of decoded files, so that an unchanged file is not decoded again.

    Parameters
    ----------
    max_size : int
        Number of digests that are kept; beyond it the oldest are forgotten.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self._digests: dict[bytes, bytes] = {}
        self._lock = threading.Lock()  # files are decoded while the trunk runs in another thread

    def __len__(self) -> int:
        return len(self._digests)

    def get(self, version: FileVersion | None, shape: tuple[int, int]) -> bytes | None:
        """Return the digest of a file at an image size, None if it is unknown."""
        return None if version is None else self._digests.get(self._key(version, shape))

    def put(self, version: FileVersion, shape: tuple[int, int], digest: bytes) -> None:
        """Remember the digest of a file."""
        with self._lock:
            self._digests[self._key(version, shape)] = digest
            while len(self._digests) > self.max_size:
                del self._digests[next(iter(self._digests))]

    def forget(self, version: FileVersion | None, shape: tuple[int, int]) -> None:
        """Forget the digest of a file, if it is known."""
        if version is not None:
            with self._lock:
                self._digests.pop(self._key(version, shape), None)

    def clear(self) -> None:
        """Forget all digests."""
        with self._lock:
            self._digests.clear()

    @staticmethod
    def _key(version: FileVersion, shape: tuple[int, int]) -> bytes:
        # a path may hold bytes that are not valid text, which repr escapes
        return hashlib.blake2b(repr((version, shape)).encode(), digest_size=16).digest()


# 35 MiB at most
_FILE_DIGESTS = _FileDigests(2**18)
