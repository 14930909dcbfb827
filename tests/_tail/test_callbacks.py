"""Callbacks of the user: each tail trains with copies that write to files of their own."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from skorch.callbacks import Callback, Checkpoint, LoadInitState, TrainEndCheckpoint

from cxr_sklearn import ResNetClassifier, ResNetOvO
from cxr_sklearn._tail.callbacks import own_callbacks

from ..toys import MODELS, toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 4}
quiet = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@quiet
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_tail_loads_its_own_checkpoint(n_jobs, phantoms, tmp_path):
    """A checkpoint that loads the best weights gives each pair those of this pair."""
    X, y = phantoms
    options = {**SMALL, "early_stopping": True, "validation_fraction": 0.3}
    plain = ResNetOvO(**options).fit(X, y)
    checkpoint = Checkpoint(dirname=str(tmp_path / "checkpoints"), load_best=True)
    model = ResNetOvO(**options, callbacks=[checkpoint], n_jobs=n_jobs).fit(X, y)
    # the model returns to the best epoch by itself: the same epoch, so the same weights
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == [
        "COVID-19-against-Normal",
        "COVID-19-against-Pneumonia",
        "Normal-against-Pneumonia",
    ]
    assert checkpoint.dirname == str(tmp_path / "checkpoints")


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_files_of_an_earlier_fit_stay(kind, phantoms, tmp_path, monkeypatch):
    """Each fit makes new folders, in the current one where none is named."""
    monkeypatch.chdir(tmp_path)
    model = kind(**SMALL, callbacks=[TrainEndCheckpoint()])
    model.fit(*phantoms)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    model.fit(*phantoms)
    second = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    assert len(second) == 2 * len(first) > 0
    assert first.items() <= second.items()
    assert not list(tmp_path.glob("*.pt"))


def test_files_in_folders_of_their_own_are_kept_apart(tmp_path, monkeypatch):
    """Paths in the names of files, absolute ones too, lead to a new folder in the same place."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)  # the files of the first callback that have no folder go there
    weights = str(tmp_path / "weights" / "params.pt")
    makers = [
        lambda: Checkpoint(f_params=weights, f_history=None),
        lambda: Checkpoint(dirname=str(tmp_path), f_params="deep/params.pt"),
    ]
    for make in makers:
        one, two = (own_callbacks([make()], "a/b against c")[0] for _ in range(2))
        paths = [Path(copy.dirname) / copy.f_params for copy in (one, two)]
        assert [path.name for path in paths] == ["params.pt"] * 2
        assert [path.parent.name for path in paths] == ["a-b-against-c", "a-b-against-c-2"]
        assert all(path.parent.is_dir() for path in paths)
    assert sorted(path.name for path in here.iterdir()) == ["a-b-against-c", "a-b-against-c-2"]


def test_callbacks_with_a_common_folder_keep_a_common_folder(tmp_path):
    """A callback that loads what another one writes finds it."""
    checkpoint = Checkpoint(dirname=str(tmp_path))
    first, second, (name, third) = own_callbacks(
        [checkpoint, LoadInitState(checkpoint), ("end", TrainEndCheckpoint(dirname=str(tmp_path)))],
        "a against b",
    )
    assert second.checkpoint is first
    assert name == "end"
    assert first.dirname == third.dirname == str(tmp_path / "a-against-b")
    # a class is made here, because its default folder is the current one
    assert isinstance(own_callbacks([Callback], "a")[0], Callback)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A file in the place of the folder raises one line."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"no folder for .*file' \(.*expected a writable folder"):
        own_callbacks([Checkpoint(dirname=str(tmp_path / "file"))], "a")


class Holding(Callback):
    """Hold something that no copy can share."""

    def __init__(self, held):
        self.held = held


@pytest.mark.parametrize("kind", MODELS)
def test_a_callback_that_cannot_be_copied_is_refused(kind, phantoms, tmp_path):
    """An open file or a lock is refused in fit, by the place of the callback."""
    with (tmp_path / "log").open("w") as file:
        for held in (file, threading.Lock()):
            model = kind(**SMALL, callbacks=[Callback(), Holding(held)])
            message = r"callbacks\[1\] is a Holding that cannot be copied .*on_train_begin"
            with pytest.raises(ValueError, match=message):
                model.fit(*phantoms)


def test_a_callback_with_the_name_of_one_of_ours_is_refused(phantoms):
    """Skorch would refuse it after the trunk has run, and without the place."""
    model = ResNetClassifier(**SMALL, callbacks=[("stopping", Callback())])
    with pytest.raises(ValueError, match=r"callbacks\[0\] has the name 'stopping' of a built-in"):
        model.fit(*phantoms)


class Epochs(Callback):
    """Note every epoch."""

    def on_epoch_end(self, net, **_):
        EPOCHS.append(net.history[-1, "epoch"])


EPOCHS: list[int] = []


@quiet
def test_callbacks_see_the_epoch_in_which_training_stops(phantoms):
    """Early stopping ends the epoch at once, and comes last."""
    EPOCHS.clear()
    options = {**SMALL, "max_epochs": 30, "tol": 10.0, "n_iter_no_change": 3}
    model = ResNetClassifier(**options, callbacks=[Epochs()]).fit(*phantoms)
    assert model.n_iter_ == 4
    assert EPOCHS == [1, 2, 3, 4]


class Pickling(Callback):
    """Pickle the net after each epoch, as a checkpoint with f_pickle does."""

    def on_epoch_end(self, net, **_):
        BLOBS.append(pickle.dumps(net))


BLOBS: list[bytes] = []


@quiet
@pytest.mark.parametrize("trainable", ["all", "layer4", "head"])
def test_a_net_that_is_pickled_during_training_holds_no_images(trainable, phantoms):
    """Neither training nor validation rows are in the file, and the net predicts once loaded."""
    X, y = phantoms
    BLOBS.clear()
    options = {**SMALL, "early_stopping": True, "validation_fraction": 0.3, "trainable": trainable}
    model = ResNetClassifier(**options, callbacks=[Pickling()]).fit(X, y)
    activations = model.trunk_.transform(X)
    assert len(BLOBS) == model.n_iter_
    for blob in BLOBS:
        for rows in (X, activations.astype(np.float32)):
            assert not any(row.tobytes()[:64] in blob for row in rows if row[:64].any())
    net = pickle.loads(BLOBS[-1])
    rows = activations.reshape(len(X), *model.net_.module_.shape).astype(np.float32)
    assert net.predict(rows).shape == (len(X),)
