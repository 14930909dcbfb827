"""A folder for activations, with a limit on its size."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass

from joblib.disk import memstr_to_bytes

from .._utils.files import user_path


@dataclass(frozen=True)
class CacheFolder:
    """A folder for activations with a size limit, as a value of the parameter ``memory``.

    Parameters
    ----------
    location : str or path
        The folder; ``~`` is expanded to the home folder. Created at ``fit`` if it does not exist.
    bytes_limit : int or str
        Maximum size of what is kept, in bytes, or with a suffix as in ``"500M"`` or ``"20G"``
        (powers of 1,024). Beyond it, rows of other trunks make room, the rows written longest ago
        first. Rows for which there is still no room are kept in the memory of the process, up to
        1 GiB. SQLite's log, a few batches of activations, is not counted.

    Raises
    ------
    TypeError
        If `location` is not a path.
    ValueError
        If `location` is empty or contains a null character, or `bytes_limit` is not a positive
        number of bytes.

    See Also
    --------
    clear_cache : Drops what the process holds in memory.

    Examples
    --------
    >>> from cxr_sklearn import CacheFolder, ResNetOvO
    >>> model = ResNetOvO(memory=CacheFolder("activations", bytes_limit="20G"))
    """

    location: str | os.PathLike
    bytes_limit: int | str

    def __post_init__(self) -> None:
        if not isinstance(self.location, (str, os.PathLike)):
            raise TypeError(
                f"location={self.location!r} is invalid: it is not a path; expected the path of a "
                "folder. To keep activations in memory pass memory=None"
            )
        user_path("location", self.location, "folder")
        if self.n_bytes is None:
            raise ValueError(
                f"bytes_limit={self.bytes_limit!r} is invalid; expected a positive number of "
                "bytes, or a string such as '500M' or '20G'"
            )

    @property
    def n_bytes(self) -> int | None:
        """The limit in bytes, None if `bytes_limit` is invalid."""
        limit = self.bytes_limit
        if isinstance(limit, bool):  # an integer in Python
            return None
        try:
            n_bytes = memstr_to_bytes(limit) if isinstance(limit, str) else operator.index(limit)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError):
            return None
        return n_bytes if n_bytes > 0 else None
