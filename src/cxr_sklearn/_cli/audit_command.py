"""``cxr-sklearn audit``."""

from __future__ import annotations

from typing import Any

import click

from .._workflow import estimates
from ..datasets._output_files import check_not_read, check_target
from ..quality._audit_lists import as_json
from ..quality._finding import SEVERITIES
from ..quality._shortcuts import worker_processes
from .data_forms import load
from .options import data_options
from .output import echo, print_json, progress
from .program import main


@main.command(
    short_help="Find what lets a classifier succeed without seeing disease.",
    epilog="\b\nExample:\n  cxr-sklearn audit xrays/ --html audit.html --fail-on serious",
)
@data_options
@click.option("--html", type=click.Path(dir_okay=False), help="Also write a page.")
@click.option(
    "--thumbnails/--no-thumbnails",
    default=True,
    show_default=True,
    help="Whether the page shows small copies of the images that it lists.",
)
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    help="Exit with 3 if there is a finding of this severity or worse.",
)
def audit(html: str | None, thumbnails: bool, fail_on: str | None, **options: Any) -> None:
    """Look for what lets a classifier succeed on DATA without seeing disease.

    DATA is a folder of class folders, a CSV file of file names and labels, or what --form says.
    """
    from ..quality import audit as run

    if html is not None:
        check_target(html, "--html", [options["data"], options["labels"], options["root"]])
    bunch = load(options)
    if html is not None:
        check_not_read(html, "--html", bunch.data[:, 0])
    workers = worker_processes(options["jobs"])
    echo(estimates.reading(bunch, options["jobs"], n_processes=workers), err=True)
    with progress(len(bunch.data), "reading") as step:
        result = run(bunch, n_jobs=options["jobs"], progress=step)
    if html is not None:
        result.to_html(html, thumbnails=thumbnails)
    if options["as_json"]:
        print_json(
            {
                "images": result.n_images,
                "patients": result.n_patients,
                "classes": result.classes,
                "cramers_v": {name: v for name, (v, _) in result.cramers_v.items()},
                "findings": [vars(finding) for finding in result.findings],
                "baselines": result.baselines,
                **as_json(result),
            }
        )
    else:
        echo(str(result))
    if fail_on is not None:
        failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        if any(finding.severity in failing for finding in result.findings):
            raise click.exceptions.Exit(3)
