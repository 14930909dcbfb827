"""The two bars that show the progress of a fit."""

from __future__ import annotations

import pytest

from cxr_sklearn import ResNetOvO, ResNetStacking
from cxr_sklearn._workflow.fit_bars import FitBars

from ..toys import ToyResNet

pytest.importorskip("sklearn.callback", reason="scikit-learn 1.8 has no callbacks")

TOY = {"backbone": ToyResNet, "weights": None, "image_size": 16, "random_state": 0}


def progress_of(model, phantoms, capsys) -> list[str]:
    model.set_callbacks(FitBars()).fit(*phantoms)
    # Each line ends with the seconds.
    return [line.rpartition(",")[0] for line in capsys.readouterr().err.splitlines()]


def test_bars_count_batches_and_epochs(phantoms, capsys):
    lines = progress_of(ResNetOvO(**TOY, max_epochs=4), phantoms, capsys)
    assert lines == [
        "running the trunk: 2 of 2 batches",
        "training 3 networks: 12 of 12 epochs",
    ]


def test_bars_are_full_when_training_stops_early(phantoms, capsys):
    model = ResNetOvO(**TOY, max_epochs=50, n_iter_no_change=1, tol=10.0)
    _, training = progress_of(model, phantoms, capsys)
    assert training == "training 3 networks: 150 of 150 epochs"
    assert max(model.n_iter_) < 50


def test_bars_are_closed_after_an_error(phantoms, capsys):
    bars = FitBars()
    with pytest.raises(ValueError, match="diverged"):
        ResNetOvO(**TOY, lr=1e30).set_callbacks(bars).fit(*phantoms)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("training 3 networks:")
    # The next fit has bars again.
    assert progress_of(ResNetStacking(**TOY, cv=2, max_epochs=1), phantoms, capsys)
