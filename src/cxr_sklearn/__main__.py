"""``python -m cxr_sklearn``: for now, the demo."""

from __future__ import annotations

import argparse
import sys

from ._demo import run_demo


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : list of str, default=None
        Those of the process by default.

    Returns
    -------
    status : int
        0 for success, 1 for bad input; argparse exits with 2 for bad usage.
    """
    parser = argparse.ArgumentParser(prog="python -m cxr_sklearn", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train ResNetOvO, judge, save and reload it")
    demo.add_argument("folder", nargs="?", help="folder of class folders; default: phantoms")
    demo.add_argument("--output", default="demo_output", help="folder for model and pictures")
    demo.add_argument("--weights", help="'imagenet' or the path of a ResNet50 state dict")
    options = parser.parse_args(arguments)
    try:
        run_demo(options.folder, options.output, options.weights)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
