"""The command-line program: its help, errors, warnings and exit codes."""

from __future__ import annotations

import warnings
from typing import Any

import click

from .. import __version__
from .output import echo

_EXIT_CODES = """
\b
Exit codes:
  0    done
  1    bad input, or the work failed; one line on the error output states the reason
  2    wrong usage
  3    audit --fail-on: there is a finding of that severity
  130  interrupted
"""


class _Program(click.Group):
    """Report errors that users can correct in one line, and exit as documented."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default", UserWarning)
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of the output has ended, as in `cxr-sklearn … | head`. click ends quietly.
            raise
        # An ImportError names the extra that is not installed.
        except (OSError, ValueError, TypeError, MemoryError, ImportError) as error:
            echo(f"error: {_one_line(error)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            echo("interrupted; run the same command again to start or to continue", err=True)
            ctx.exit(130)


def _warn(message: Any, *rest: Any, **more: Any) -> None:
    echo(f"warning: {_one_line(message)}", err=True)


def _one_line(error: Any) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@click.group(cls=_Program, epilog=_EXIT_CODES, context_settings={"max_content_width": 96})
@click.version_option(__version__, prog_name="cxr-sklearn")
def main() -> None:
    """Classify chest X-rays with combined ResNets, and check whether the data allow it.

    For research only. This is not a medical device.
    """
