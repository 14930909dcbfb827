"""``python -m cxr_sklearn``: the same as the program ``cxr-sklearn``."""

from __future__ import annotations

import sys


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
        from ._cli import main as program

        program(arguments, prog_name=name)
    except KeyboardInterrupt:  # before the program can say so itself
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
