"""PassCounter: how many images passed the trunk, and how many were found in the cache."""

from __future__ import annotations

import time

from .._cache import CacheInfo


class PassCounter:
    """Counter of the images that were requested, and of those that passed the trunk.

    Attributes
    ----------
    n_images : int
        Number of images that were requested. Augmented views count as images.
    n_passes : int
        Number of images that passed the trunk, because the cache did not contain them.
    """

    def __init__(self) -> None:
        self.n_images = 0
        self.n_passes = 0
        self._start = time.perf_counter()

    def report(self, what: str) -> str:
        """Return a line about the passes.

        Parameters
        ----------
        what : str
            The images in words, such as ``"60 images"``.
        """
        n_found = max(0, self.n_images - self.n_passes)
        seconds = time.perf_counter() - self._start
        return (
            f"trunk: {self.n_passes} passes for {what} ({n_found} from the cache), {seconds:.1f} s"
        )

    def cache_info(self, n_requested: int, n_uses: int) -> CacheInfo:
        """Return hits, misses and saved passes of a fit.

        Parameters
        ----------
        n_requested : int
            Number of different images and views that the fit has requested.
        n_uses : int
            Number of times that the tails used an image, in training and in prediction.
        """
        hits = max(0, n_requested - self.n_passes)
        return CacheInfo(hits, self.n_passes, max(0, n_uses - self.n_passes))
