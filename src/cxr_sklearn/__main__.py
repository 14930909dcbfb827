"""``python -m cxr_sklearn``: the same as the program ``cxr-sklearn``."""

from __future__ import annotations

import sys

from ._cli import main as program


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : list of str, default=None
        Those of the process by default.

    Returns
    -------
    status : int
        See ``--help``.
    """
    name = None if sys.argv[0].endswith("cxr-sklearn") else "python -m cxr_sklearn"
    try:
        program(arguments, prog_name=name)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
