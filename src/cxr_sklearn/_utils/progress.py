"""Progress of long work, in the form that suits a terminal, a notebook or a log file."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

from .processes import in_worker

# Seconds before a temporary bar appears. Work that takes less shows no bar, so that the many short
# fits of a search do not flicker.
_DELAY = 0.5

# A log file gets its first line after so many seconds. The time between lines then grows with the
# time elapsed, so that the log of a training that takes a day is not longer than that of an hour.
_FIRST_LINE_AFTER = 30.0
_GROWTH = 0.1


class Progress:
    """Progress that is not shown, and the interface of progress that is.

    Examples
    --------
    >>> progress = Progress()
    >>> progress.update(10)
    >>> progress.set_note("loss 0.41")
    """

    def update(self, n: int = 1) -> None:
        """Report that `n` more steps are done."""

    def set_note(self, note: str) -> None:
        """Show a short text after the bar, for instance the current loss."""

    def close(self) -> None:
        """Finish after the last step. :func:`progress_bar` calls it."""


@contextlib.contextmanager
def progress_bar(
    total: int,
    description: str,
    *,
    enabled: bool = True,
    unit: str = "images",
    leave: bool = False,
) -> Iterator[Progress]:
    """Show the progress of work as a bar on the error output.

    The bar appears on a terminal and, if ipywidgets is installed, in a notebook. Elsewhere, for
    instance in a log file, a line of text appears now and then. Worker processes show nothing,
    since the bars of several processes would overwrite each other. Bars may be nested and may be
    used in several threads: each gets a line of its own.

    Parameters
    ----------
    total : int
        Number of steps. If it is 0, nothing is shown.
    description : str
        The work, in a few words, such as ``"running the trunk"``.
    enabled : bool, default=True
        Whether to show anything.
    unit : str, default="images"
        Name of the steps, in the plural.
    leave : bool, default=False
        Whether the bar stays on the screen at the end. Bars inside estimators must not stay, since
        a search would leave one for each fit.

    Yields
    ------
    progress : Progress
        Call its ``update(n)`` after each `n` steps. Do not keep it: it cannot be pickled.

    Examples
    --------
    >>> with progress_bar(3, "reading", unit="files") as progress:
    ...     for _ in range(3):
    ...         progress.update(1)
    """
    progress = Progress()
    if enabled and total > 0 and not in_worker():
        progress = _visible_progress(total, description, unit, leave)
    try:
        yield progress
    finally:
        progress.close()


def write_line(text: str, *, err: bool = False) -> None:
    """Print a line without damage to the bars that are shown at the moment.

    Parameters
    ----------
    text : str
    err : bool, default=False
        Whether to print on the error output.

    Examples
    --------
    >>> write_line("COVID-19 vs Normal: epoch 1 of 30, loss 0.4123")
    COVID-19 vs Normal: epoch 1 of 30, loss 0.4123
    """
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr if err else sys.stdout)


def _visible_progress(total: int, description: str, unit: str, leave: bool) -> Progress:
    """Return the form of progress that suits the error output of this process."""
    bar_class = _bar_class()
    if _is_notebook_class(bar_class) or _is_terminal(sys.stderr):
        return _Bar(bar_class, total, description, unit, leave)
    return _Log(total, description, unit, leave)


def _bar_class() -> Any:
    """Return tqdm's class of bars for a notebook or for a terminal."""
    with warnings.catch_warnings():
        # In a notebook without ipywidgets tqdm warns that it has no bars. Lines of text are shown
        # there instead.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm
    return tqdm


def _is_notebook_class(bar_class: Any) -> bool:
    """Return whether a class of bars draws widgets instead of text."""
    return any(base.__module__ == "tqdm.notebook" for base in bar_class.__mro__)


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal. It may be None, or a replacement without isatty."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # ValueError: the stream is closed
        return False


class _Bar(Progress):
    """A bar of tqdm.

    Parameters
    ----------
    bar_class : class
        ``tqdm.auto.tqdm``.
    total : int
    description, unit : str
    leave : bool
    """

    def __init__(
        self, bar_class: Any, total: int, description: str, unit: str, leave: bool
    ) -> None:
        # tqdm finds a free line for each bar, also for nested bars and for those of other threads.
        self._bar = bar_class(
            total=total,
            desc=description,
            unit=f" {unit}",
            leave=leave,
            delay=0 if leave else _DELAY,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def update(self, n: int = 1) -> None:
        self._bar.update(n)

    def set_note(self, note: str) -> None:
        # Without a refresh the note appears at the next update of the bar.
        self._bar.set_postfix_str(note, refresh=False)

    def close(self) -> None:
        self._bar.close()


class _Log(Progress):
    """Lines of text instead of a bar, for error output that is not a terminal.

    Parameters
    ----------
    total : int
    description, unit : str
    leave : bool
        Whether a line is printed at the end even if none was printed before.
    """

    def __init__(self, total: int, description: str, unit: str, leave: bool) -> None:
        self._total = total
        self._description = description
        self._unit = unit
        self._prints_last_line = leave
        self._note = ""
        self._done = 0
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._next_line = self._start + _FIRST_LINE_AFTER

    def update(self, n: int = 1) -> None:
        with self._lock:
            self._done += n
            now = time.monotonic()
            if now < self._next_line or self._done >= self._total:
                return
            elapsed = now - self._start
            self._next_line = now + max(_FIRST_LINE_AFTER, _GROWTH * elapsed)
            # Who has seen a line of some work also wants to see the end of it.
            self._prints_last_line = True
            self._print(elapsed)

    def set_note(self, note: str) -> None:
        self._note = note

    def close(self) -> None:
        with self._lock:
            if self._prints_last_line:
                self._print(time.monotonic() - self._start)

    def _print(self, elapsed: float) -> None:
        line = f"{self._description}: {self._done} of {self._total} {self._unit}, {elapsed:.0f} s"
        if 0 < self._done < self._total:
            left = elapsed * (self._total - self._done) / self._done
            line += f", about {left:.0f} s left"
        if self._note:
            line += f", {self._note}"
        print(line, file=sys.stderr, flush=True)
