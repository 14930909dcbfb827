"""Digests of image files that this process has decoded, in a cache of limited size."""

from __future__ import annotations

import hashlib
import threading

from .._utils.files import FileVersion
from .._utils.forks import after_fork_in_child


class FileDigestCache:
    """Digests of the pixels of files, so that an unchanged file need not be decoded again.

    A digest belongs to a version of a file (:class:`~cxr_sklearn._utils.files.FileVersion`) and to
    an image size, because the pixels depend on both. The cache stores neither paths nor pixels,
    only digests.

    Parameters
    ----------
    max_size : int
        Maximum number of digests. When it is exceeded, the digests that were stored first are
        removed.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        # A dict keeps the order of insertion, so its first key is the oldest digest.
        self._digests: dict[bytes, bytes] = {}
        # Files are decoded in one thread while the trunk runs in another, and both use the cache.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._digests)

    def get(self, version: FileVersion | None, shape: tuple[int, int]) -> bytes | None:
        """Return the digest of a file at an image size, or None if it is not stored.

        Parameters
        ----------
        version : FileVersion or None
            None stands for a file that does not exist, which has no digest.
        shape : (int, int)
            Height and width of the decoded image, pixels.

        Returns
        -------
        digest : bytes or None
        """
        if version is None:
            return None
        return self._digests.get(self._key(version, shape))

    def put(self, version: FileVersion, shape: tuple[int, int], digest: bytes) -> None:
        """Store the digest of a file at an image size."""
        with self._lock:
            self._digests[self._key(version, shape)] = digest
            while len(self._digests) > self.max_size:
                oldest = next(iter(self._digests))
                del self._digests[oldest]

    def remove(self, version: FileVersion | None, shape: tuple[int, int]) -> None:
        """Remove the digest of a file at an image size, if it is stored."""
        if version is None:
            return
        with self._lock:
            self._digests.pop(self._key(version, shape), None)

    def clear(self) -> None:
        """Remove all digests."""
        with self._lock:
            self._digests.clear()

    def renew_lock(self) -> None:
        """Replace the lock by a new one that no thread holds."""
        self._lock = threading.Lock()

    @staticmethod
    def _key(version: FileVersion, shape: tuple[int, int]) -> bytes:
        # The key is a hash, so that its size does not depend on the length of the path. A path may
        # contain bytes that are not valid text, which repr escapes.
        return hashlib.blake2b(repr((version, shape)).encode(), digest_size=16).digest()


# The digests of 262,144 files take 35 MiB of memory. All models of a process share them, so that a
# grid search decodes each file once.
FILE_DIGESTS = FileDigestCache(max_size=2**18)

# Another thread may hold the lock at the moment of a fork. It would stay locked in the new process.
after_fork_in_child(FILE_DIGESTS.renew_lock)
