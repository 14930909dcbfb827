"""Progress on a terminal, in a notebook, in a log file, and in worker processes."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import ClassVar

import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from tqdm import tqdm

from cxr_sklearn._utils import progress
from cxr_sklearn._utils.progress import progress_bar, write_line

N_EPOCHS = 4


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self):
        return True

    def screen(self):
        """Return the lines that a user sees at the end."""
        lines, row, column = [""], 0, 0
        for part in re.split(r"(\r|\n|\x1b\[A)", self.getvalue()):
            if part == "\r":
                column = 0
            elif part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif part == "\x1b[A":
                row -= 1
            else:
                lines[row] = (
                    lines[row][:column].ljust(column) + part + lines[row][column:][len(part) :]
                )
                column += len(part)
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture
def terminal(monkeypatch):
    """Replace the error output by a terminal on which bars appear at once."""
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, stdout=stream))
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setenv("COLUMNS", "100")
    return stream


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


class SlowEstimator(BaseEstimator):
    """An estimator that shows two nested bars in each fit."""

    def __init__(self, alpha=0.0, leave=False):
        self.alpha = alpha
        self.leave = leave

    def fit(self, X, y):
        with progress_bar(2, "networks", unit="networks", leave=self.leave) as outer:
            for _ in range(2):
                with progress_bar(N_EPOCHS, "epochs", unit="epochs") as inner:
                    for _ in range(N_EPOCHS):
                        inner.update(1)
                outer.update(1)
        return self

    def score(self, X, y):
        return 0.0


def search(n_jobs, leave=False):
    """Fit four candidates in two folds, all of them in workers if there are any."""
    X, y = make_classification(20, random_state=0)
    grid = {"alpha": [0, 1, 2, 3]}
    estimator = SlowEstimator(leave=leave)
    return GridSearchCV(estimator, grid, cv=2, n_jobs=n_jobs, refit=False).fit(X, y)


def test_bar_stays_on_the_terminal_if_requested(terminal):
    with progress_bar(3, "reading", unit="files", leave=True) as bar:
        for _ in range(3):
            bar.update(1)
    (line,) = terminal.screen()
    assert line.startswith("reading: 100%|")
    assert "3/3" in line
    assert "files/s" in line


def test_temporary_bar_disappears(terminal):
    with progress_bar(3, "reading") as bar:
        bar.update(3)
        assert "reading" in terminal.getvalue()
    assert terminal.screen() == []


def test_short_work_shows_no_temporary_bar(terminal, monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 60)
    with progress_bar(3, "reading") as bar:
        bar.update(3)
    assert terminal.getvalue() == ""


def test_nested_bars_leave_only_the_outer_one(terminal):
    with progress_bar(2, "stages", unit="stages", leave=True) as outer:
        for _ in range(2):
            with progress_bar(2, "networks", unit="networks") as inner:
                inner.update(1)
                inner.set_note("loss 0.41")
                inner.update(1)
            outer.update(1)
    (line,) = terminal.screen()
    assert line.startswith("stages: 100%|")


def test_bars_of_a_search_leave_a_clean_terminal(terminal):
    search(n_jobs=None)
    assert "networks" in terminal.getvalue()
    assert "epochs" in terminal.getvalue()
    assert terminal.screen() == []


def test_bars_of_threads_leave_a_clean_terminal(terminal):
    def work(name):
        with progress_bar(20, name) as bar:
            for _ in range(20):
                bar.update(1)
                time.sleep(0.001)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, ["first", "second", "third"]))
    assert terminal.screen() == []


def test_line_does_not_damage_a_bar(terminal):
    with progress_bar(2, "training", leave=True) as bar:
        bar.update(1)
        write_line("epoch 1 of 30", err=True)
        bar.update(1)
    first, second = terminal.screen()
    assert first == "epoch 1 of 30"
    assert second.startswith("training: 100%|")


def test_bar_is_closed_after_an_error(terminal):
    def work():
        with progress_bar(2, "reading") as bar:
            bar.update(1)
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        work()
    assert not [bar for bar in tqdm._instances if bar.desc == "reading"]


@pytest.mark.parametrize(("total", "enabled"), [(0, True), (3, False)])
def test_no_bar_without_work_or_if_disabled(terminal, total, enabled):
    with progress_bar(total, "reading", enabled=enabled, leave=True) as bar:
        bar.set_note("loss 0.41")
        bar.update(1)
    assert terminal.getvalue() == ""


def test_log_file_gets_few_lines_without_carriage_returns(clock, capsys):
    """The time between lines grows from half a minute to a tenth of the time elapsed."""
    with progress_bar(36_000, "training", unit="epochs") as bar:
        for second in range(36_000):
            clock[0] = float(second)
            bar.set_note("loss 0.41")
            bar.update(1)
    err = capsys.readouterr().err
    lines = err.splitlines()
    assert "\r" not in err
    assert lines[0] == "training: 31 of 36000 epochs, 30 s, about 34809 s left, loss 0.41"
    assert lines[-1] == "training: 36000 of 36000 epochs, 35999 s, loss 0.41"
    assert len(lines) < 70


def test_short_work_prints_one_line_or_none_in_a_log(capsys):
    for leave in (False, True):
        with progress_bar(3, "reading", unit="files", leave=leave) as bar:
            bar.update(3)
    assert capsys.readouterr().err == "reading: 3 of 3 files, 0 s\n"


def test_interrupted_work_states_how_far_it_came_in_a_log(clock, capsys):
    def work():
        with progress_bar(3, "reading", leave=True) as bar:
            bar.update(1)
            clock[0] = 5.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert capsys.readouterr().err == "reading: 1 of 3 images, 5 s, about 10 s left\n"


def test_search_in_a_log_prints_nothing(capsys):
    """Fits that take less than half a minute are not worth a line."""
    search(n_jobs=None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("n_jobs", "n_lines"), [(None, 8), (2, 0)])
def test_worker_processes_show_nothing(n_jobs, n_lines, capfd):
    """Each of the eight fits prints a line at its end, unless it runs in a worker process."""
    search(n_jobs, leave=True)
    captured = capfd.readouterr()
    assert captured.err.count("networks: 2 of 2 networks") == n_lines
    assert captured.out == ""


def test_missing_or_closed_error_output_is_not_a_terminal(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (None, object(), closed):
        assert not progress._is_terminal(stream)


def test_notebook_shows_widgets(monkeypatch, capsys):
    class Widget(tqdm):
        __module__ = "tqdm.notebook"
        made: ClassVar[list] = []

        def __init__(self, **options):
            self.made.append(options)
            super().__init__(**{**options, "file": io.StringIO()})

    monkeypatch.setattr(progress, "_bar_class", lambda: Widget)
    with progress_bar(3, "running the trunk") as bar:
        bar.update(3)
    assert [options["desc"] for options in Widget.made] == ["running the trunk"]
    assert capsys.readouterr().err == ""


def test_notebook_without_widgets_gets_lines_and_no_warning():
    code = """\
import sys, types
sys.modules["ipykernel.zmqshell"] = types.ModuleType("zmqshell")
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: None)
import tqdm.notebook
tqdm.notebook.IProgress = None
from cxr_sklearn._utils.progress import progress_bar
with progress_bar(3, "reading", leave=True) as bar:
    bar.update(3)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr == "reading: 3 of 3 images, 0 s\n"
