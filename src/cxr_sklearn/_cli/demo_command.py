"""``cxr-sklearn demo``."""

from __future__ import annotations

import click

from .program import main


@main.command(
    short_help="Try the package on synthetic X-rays.", epilog="\b\nExample:\n  cxr-sklearn demo"
)
@click.argument("folder", required=False, type=click.Path())
@click.option("--output", default="demo_output", show_default=True, help="Folder for the results.")
@click.option("--weights", help="'imagenet' or the path of a ResNet50 state dict.")
def demo(folder: str | None, output: str, weights: str | None) -> None:
    """Train ResNetOvO on synthetic X-rays or on FOLDER, test it, save it and load it again."""
    from .._workflow.demo import run_demo

    run_demo(folder, output, weights)
