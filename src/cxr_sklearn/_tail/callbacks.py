"""skorch callbacks: those that every tail has, and copies of the user's."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from .._utils.fit_tasks import FitTask
from .._utils.progress import Progress, write_line

_LONGEST_NAME = 80


def scheduler(name: str, lr: float, n_steps: int) -> Callback | None:
    """Return the skorch callback that changes the learning rate after each of `n_steps` batches.

    Parameters
    ----------
    name : {"constant", "one_cycle", "cosine"}
    lr : float
        The highest rate.
    n_steps : int
        Batches of the whole training.
    """
    if name == "one_cycle":
        return LRScheduler(OneCycleLR, max_lr=lr, total_steps=n_steps + 1, step_every="batch")
    if name == "cosine":
        return LRScheduler(CosineAnnealingLR, T_max=n_steps, step_every="batch")
    return None


class BestEpoch(Callback):
    """Return to the weights of the epoch with the least validation loss.

    skorch's EarlyStopping returns to the last epoch that improved by more than its threshold, which
    is another one where the loss falls in small steps.
    """

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Forget an earlier training."""
        self._least = np.inf
        self._weights: dict[str, torch.Tensor] | None = None

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Copy the weights of an epoch that is better than all before."""
        loss = net.history[-1, "valid_loss"]
        if loss < self._least:
            self._least = loss
            self._weights = copy.deepcopy(net.module_.state_dict())

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Load them."""
        if self._weights is not None:
            net.module_.load_state_dict(self._weights)
            self._weights = None

    def __getstate__(self) -> dict[str, Any]:
        # a net that is pickled during training carries its weights once
        return {**self.__dict__, "_weights": None}


class EpochLine(Callback):
    """Print a line per epoch: the problem, the epoch, the losses.

    Parameters
    ----------
    problem : str
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Print the line."""
        epoch = net.history[-1]
        write_line(
            f"{self.problem}: epoch {epoch['epoch']} of {net.max_epochs}, "
            f"{_losses(epoch)}, {epoch['dur']:.1f} s"
        )


class EpochProgress(Callback):
    """Move a progress bar on by one step per epoch.

    Parameters
    ----------
    progress : Progress
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Move the bar, and show the losses next to it."""
        self.progress.set_note(_losses(net.history[-1]))
        self.progress.update(1)

    def __getstate__(self) -> dict[str, Any]:
        # A bar cannot be pickled, but a net may be, during its training.
        return {**self.__dict__, "progress": Progress()}


class EpochTask(Callback):
    """Report each epoch to scikit-learn's callbacks, which may request to stop the training.

    Parameters
    ----------
    task : FitTask
        The training.

    Attributes
    ----------
    requests_stop_ : bool
    """

    def __init__(self, task: FitTask) -> None:
        self.task = task

    def initialize(self) -> EpochTask:
        """Forget an earlier training."""
        self.requests_stop_ = False
        return self

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Report the beginning of the epoch."""
        self._epoch = self.task.begin_subtask("epoch")

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Report the end of the epoch, with its losses."""
        epoch = net.history[-1]
        losses = {name: epoch[name] for name in ("train_loss", "valid_loss") if name in epoch}
        if self._epoch.end(losses):
            self.requests_stop_ = True
            # skorch has no other way to end a training.
            raise KeyboardInterrupt

    def __getstate__(self) -> dict[str, Any]:
        # A fitted net has nothing more to report.
        return {**self.__dict__, "task": FitTask(), "_epoch": FitTask()}


def _losses(epoch: Any) -> str:
    """Return the losses of an epoch as text."""
    text = f"loss {epoch['train_loss']:.4f}"
    if "valid_loss" in epoch:
        text += f", validation {epoch['valid_loss']:.4f}"
    return text


def own_callbacks(callbacks: Sequence[Any] | None, problem: str) -> list[Any]:
    """Return copies of the user's callbacks for the training of one tail.

    Those that write files, as skorch's Checkpoint, get a folder of their own. The tails of a model
    train at the same time, and would write and load each other's files under one name.

    Parameters
    ----------
    callbacks : sequence of skorch callbacks, their classes, or pairs (name, callback), or None
    problem : str
        Name of the binary problem, which the folders are named after.

    Returns
    -------
    list
    """
    copies = copy.deepcopy(list(callbacks or ()))
    named = [item if isinstance(item, (tuple, list)) else (None, item) for item in copies]
    own = []
    folders: dict[str, str] = {}  # callbacks that share a folder go on sharing one
    for name, callback in named:
        made = callback() if isinstance(callback, type) else callback
        _write_apart(made, problem, folders)
        own.append(made if name is None else (name, made))
    return own


def _write_apart(callback: Callback, problem: str, folders: dict[str, str]) -> None:
    """Redirect what a callback writes to a new folder, if it names files as skorch's do."""
    files = {
        name: value
        for name, value in vars(callback).items()
        if name.startswith("f_") and isinstance(value, str)
    }
    directory = getattr(callback, "dirname", None)
    if not isinstance(directory, (str, os.PathLike)):
        return
    directory = os.path.expanduser(directory)
    if not any(os.path.dirname(file) for file in files.values()):
        callback.dirname = _own_folder(directory, problem, folders)
        return
    # files in folders of their own: skorch makes none of these, and joins absolute ones to nothing
    callback.dirname = ""
    for name, file in files.items():
        folder, base = os.path.split(os.path.join(directory, os.path.expanduser(file)))
        setattr(callback, name, os.path.join(_own_folder(folder, problem, folders), base))


def _own_folder(folder: str, problem: str, folders: dict[str, str]) -> str:
    """Make a folder that nobody else has, named after the problem."""
    if folder not in folders:
        stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in problem)[:_LONGEST_NAME]
        try:
            os.makedirs(folder or ".", exist_ok=True)
            for number in itertools.count(1):
                own = Path(folder or ".") / (stem if number == 1 else f"{stem}-{number}")
                try:
                    own.mkdir()  # fails where another training, of this or another process, has it
                    break
                except FileExistsError:
                    continue
        except OSError as error:
            reason = error.strerror or error
            raise OSError(
                f"callbacks: no folder for their files can be made in {folder or os.getcwd()!r} "
                f"({reason}); expected a writable folder. Pass another dirname."
            ) from error
        folders[folder] = str(own)
    return folders[folder]
