"""CacheFolder: a folder for activations with a limit on its size."""

from __future__ import annotations

import contextlib
import operator
import os
from dataclasses import dataclass
from typing import Any

from joblib.disk import memstr_to_bytes

from .._utils.files import user_path


@dataclass(frozen=True)
class CacheFolder:
    """A folder for activations with a limit on its size, a value for the parameter ``memory``.

    Parameters
    ----------
    location : str or path
        The folder. ``~`` is expanded to the home folder. A missing folder is created by ``fit``.
    bytes_limit : int or str
        Maximum size of the stored activations, in bytes, or with a suffix as in ``"500M"`` or
        ``"20G"`` (powers of 1,024). When the limit is reached, rows of other trunks are deleted,
        beginning with the trunk that was written to longest ago. Rows that still do not fit are
        kept in the memory of the process, up to 1 GiB. SQLite's log, which contains a few batches
        of activations, is not counted.

    Raises
    ------
    TypeError
        If `location` is not a path.
    ValueError
        If `location` is empty or contains a null character, or `bytes_limit` is not a positive
        number of bytes.

    See Also
    --------
    clear_cache : Delete the activations that the process keeps in memory.

    Examples
    --------
    >>> from cxr_sklearn import CacheFolder, ResNetOvO
    >>> model = ResNetOvO(memory=CacheFolder("activations", bytes_limit="20G"))
    """

    location: str | os.PathLike[str]
    bytes_limit: int | str

    def __post_init__(self) -> None:
        if not isinstance(self.location, (str, os.PathLike)):
            raise TypeError(
                f"location={self.location!r} is invalid: it is not a path; expected the path of a "
                "folder. To keep activations in memory, pass memory=None."
            )
        user_path("location", self.location, "folder")
        _limit_in_bytes(self.bytes_limit)

    @property
    def n_bytes(self) -> int:
        """The limit in bytes."""
        return _limit_in_bytes(self.bytes_limit)


def _limit_in_bytes(bytes_limit: Any) -> int:
    """Convert the parameter ``bytes_limit`` to bytes, or raise if that is not possible."""
    n_bytes = 0
    if isinstance(bytes_limit, str):
        # joblib raises a different error for each kind of invalid string.
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, OverflowError):
            n_bytes = memstr_to_bytes(bytes_limit)
    elif not isinstance(bytes_limit, bool):
        # Python's booleans are integers, but they are not sizes.
        with contextlib.suppress(TypeError):
            n_bytes = operator.index(bytes_limit)
    if n_bytes <= 0:
        raise ValueError(
            f"bytes_limit={bytes_limit!r} is invalid: it is not a positive number of bytes; "
            "expected an integer, or a string such as '500M' or '20G'."
        )
    return n_bytes
