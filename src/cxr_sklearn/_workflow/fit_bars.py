"""Progress of a fit as two bars: the trunk, and all networks together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from .._utils.progress import Progress, progress_bar


class FitBars:
    """Callback of scikit-learn that shows two bars for the fit of a model.

    scikit-learn's own ``ProgressBar`` needs the package rich, and shows a bar for each network. The
    bars of ``verbose=1`` disappear when a network is trained. These stay, one for each stage.

    Examples
    --------
    >>> bars = FitBars()  # model.set_callbacks(bars)
    """

    def __init__(self) -> None:
        self._bar = Progress()
        self._open_bars = ExitStack()
        self._n_networks = 0

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin without a bar."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close the bars, also after an error."""
        self._open_bars.close()

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Open the bar of a stage."""
        if context.task_name == "run the trunk":
            self._open("running the trunk", context.max_subtasks, "batches")
        elif context.task_name == "train":
            self._n_networks = context.max_subtasks
        elif _is_training(context) and context.task_id == 0:
            # All networks have the same maximum number of epochs.
            total = self._n_networks * context.max_subtasks
            self._open(f"training {self._n_networks} networks", total, "epochs")

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Move the bar on."""
        if context.task_name in ("batch", "epoch"):
            self._bar.update()
        elif _is_training(context):
            # Training may have stopped before the last epoch.
            self._bar.update(context.max_subtasks - len(list(context)) + 1)

    def _open(self, description: str, total: int, unit: str) -> None:
        self._open_bars.close()
        bar = progress_bar(total, description, unit=unit, leave=True)
        self._bar = self._open_bars.enter_context(bar)


def _is_training(context: Any) -> bool:
    """Return whether a task is the training of one network."""
    return context.parent is not None and context.parent.task_name == "train"
