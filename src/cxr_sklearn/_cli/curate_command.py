"""``cxr-sklearn curate``."""

from __future__ import annotations

from typing import Any

import click

from .._workflow import estimates
from .data_forms import load
from .options import data_options, literal
from .output import echo, print_json, progress
from .program import main


def _rule(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    from ..quality import CurationRules

    known = CurationRules.__dataclass_fields__
    rules: dict[str, Any] = {}
    for text in values:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise click.BadParameter(
                f"{text!r}; expected NAME=VALUE, NAME one of {', '.join(known)}"
            )
        rules[name] = literal(value)
    try:
        CurationRules(**rules)  # now, rather than when all files have been listed
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return rules


@main.command(
    short_help="Sort images into kept, to review, and rejected.",
    epilog="\b\nExample:\n  cxr-sklearn curate xrays/ curated/ --rule min_side=150 "
    "--rule max_colour=None",
)
@data_options
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@click.option("--link", is_flag=True, help="Symbolic links instead of copies.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    callback=_rule,
    metavar="NAME=VALUE",
    help="A limit of CurationRules; None switches it off. May be repeated.",
)
def curate(out: str, dry_run: bool, link: bool, rules: dict[str, Any], **options: Any) -> None:
    """Sort the images of DATA into kept, to review, and rejected; write the first two to OUT."""
    from ..quality import CurationRules
    from ..quality import curate as run

    bunch = load(options)
    copied_to = None if dry_run or link else out
    echo(estimates.reading(bunch, options["jobs"], copied_to), err=True)
    with progress(len(bunch.data), "reading") as step:
        result = run(
            bunch,
            out,
            rules=CurationRules(**rules),
            mode="link" if link else "copy",
            dry_run=dry_run,
            n_jobs=options["jobs"],
            progress=step,
        )
    if options["as_json"]:
        print_json({"out": result.out, "files": result.manifest})
    else:
        echo(str(result))
        echo(f"\nwritten to {result.out}" if result.out else "\ndry run: nothing written")
