"""The parts of a fit, as scikit-learn's callbacks see them."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetOvR,
    ResNetStacking,
    XRayLoader,
)
from cxr_sklearn._utils.fit_tasks import FitTask
from cxr_sklearn.preprocessing import MeanRadiograph

from ..toys import ToyResNet

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.8 has no callbacks")

TOY = {"backbone": ToyResNet, "weights": None, "image_size": 16, "max_epochs": 3, "random_state": 0}


class Recorder:
    """A callback that writes the end of each task to a file, from whichever process it runs in."""

    max_propagation_depth = None

    def __init__(self, path: Path, stop_after: int | None = None) -> None:
        self.path = path
        self.stop_after = stop_after

    def write(self, **record: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def setup(self, estimator: Any, context: Any) -> None:
        self.write(event="setup")

    def teardown(self, estimator: Any, context: Any) -> None:
        self.write(event="teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.write(event="begin", path=path_of(context))

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, metadata: Any = None, fitted_estimator: Any = None
    ) -> bool:
        self.write(
            event="end",
            path=path_of(context),
            metadata=metadata,
            is_fitted=fitted_estimator is not None,
            estimator=type(estimator).__name__,
        )
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after

    def records(self, event: str = "end") -> list[dict[str, Any]]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return [record for record in records if record["event"] == event]

    def names(self, depth: int) -> list[str]:
        """Return the names of the tasks at one level, in the order of their ends."""
        return [r["path"][-1][0] for r in self.records() if len(r["path"]) == depth]


def path_of(context: Any) -> list[tuple[str, int]]:
    path = []
    while context is not None:
        path.append((context.task_name, context.task_id))
        context = context.parent
    return path[::-1]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "tasks.jsonl")


PAIRS = ["COVID-19 against Normal", "COVID-19 against Pneumonia", "Normal against Pneumonia"]
REST = [f"{name} against the rest" for name in ("COVID-19", "Normal", "Pneumonia")]


@pytest.mark.parametrize(
    ("model", "trainings"),
    [
        (ResNetClassifier(**TOY), ["COVID-19, Normal, Pneumonia"]),
        (ResNetOvO(**TOY), PAIRS),
        (ResNetOvR(**TOY), REST),
        (
            ResNetStacking(**TOY, cv=2),
            [
                *REST,
                *[f"{name} without fold 1" for name in REST],
                *[f"{name} without fold 2" for name in REST],
                "final MLP",
            ],
        ),
    ],
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_see_the_trunk_and_every_training(phantoms, recorder, model, trainings, n_jobs):
    model.set_params(n_jobs=n_jobs).set_callbacks(recorder).fit(*phantoms)

    assert recorder.names(1) == ["fit"]
    assert recorder.names(2) == ["run the trunk", "train"]
    reported = [r["path"][-1] for r in recorder.records() if len(r["path"]) == 3]
    batches = [["batch", number] for number in range(2)]
    # Workers may finish in any order; the numbers of the trainings do not depend on it.
    expected = [[name, number] for number, name in enumerate(trainings)]
    assert sorted(reported) == sorted(batches + expected)
    n_begun, n_ended = len(recorder.records("begin")), len(recorder.records("end"))
    assert n_begun == n_ended
    assert len(recorder.records("setup")) == len(recorder.records("teardown")) == 1


def test_callbacks_see_each_epoch_with_its_losses(phantoms, recorder):
    model = ResNetClassifier(**TOY, early_stopping=True).set_callbacks(recorder).fit(*phantoms)

    epochs = [r for r in recorder.records() if r["path"][-1][0] == "epoch"]
    assert len(epochs) == model.n_iter_ == 3
    assert [e["metadata"]["train_loss"] for e in epochs] == model.loss_curve_
    assert [-e["metadata"]["valid_loss"] for e in epochs] == model.validation_scores_


def test_callback_that_requests_a_stop_ends_each_training(phantoms, recorder):
    recorder.stop_after = 2
    model = ResNetOvO(**TOY).set_callbacks(recorder).fit(*phantoms)
    assert model.n_iter_ == [2, 2, 2]
    assert model.predict(phantoms[0][:3]).shape == (3,)


def test_fit_with_callbacks_gives_the_same_model(phantoms, recorder):
    X, y = phantoms
    for model in (ResNetClassifier(**TOY), ResNetStacking(**TOY, cv=2)):
        without = model.fit(X, y).predict_proba(X)
        reported = model.set_callbacks(recorder).fit(X, y).predict_proba(X)
        np.testing.assert_array_equal(without, reported)


def test_scoring_monitor_records_the_score_of_the_fitted_model(phantoms):
    X, y = phantoms
    weight = np.linspace(0.5, 1.5, len(y))
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = ResNetOvR(**TOY).set_callbacks(monitor).fit(X, y, sample_weight=weight)
    (row,) = monitor.get_logs().data
    assert row["accuracy"] == pytest.approx(model.score(X, y, sample_weight=weight))


def test_parts_of_the_fit_receive_an_unfitted_model(phantoms, recorder):
    ResNetOvO(**TOY).set_callbacks(recorder).fit(*phantoms)
    assert {r["estimator"] for r in recorder.records()} == {"ResNetOvO"}
    fitted = [r["path"] for r in recorder.records() if r["is_fitted"]]
    assert fitted == [[["fit", 0]]]


def test_failed_fit_tears_callbacks_down_and_leaves_the_model_as_it_was(phantoms, recorder):
    X, y = phantoms
    model = ResNetOvO(**TOY).fit(X, y).set_callbacks(recorder)
    expected = model.predict_proba(X)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(lr=1e30).fit(X, y)
    assert len(recorder.records("teardown")) == 1
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert not hasattr(model, "_callback_fit_ctx")
    # The same callbacks serve the next fit.
    model.set_params(lr=1e-3).fit(X, y)
    assert len(recorder.records("setup")) == 2


def test_search_shows_the_parts_of_each_fit(phantoms, recorder):
    search = GridSearchCV(ResNetOvO(**TOY), {"lr": [1e-3, 1e-2]}, cv=2)
    search.set_callbacks(recorder).fit(*phantoms)

    epochs = [r["path"] for r in recorder.records() if r["path"][-1][0] == "epoch"]
    assert {path[0][0] for path in epochs} == {"fit"}
    # 4 fits and the final one, of 3 networks and 3 epochs each
    assert len(epochs) == (2 * 2 + 1) * 3 * 3


def test_pipeline_steps_support_callbacks(phantoms, recorder):
    X, y = phantoms
    pipelines = [
        make_pipeline(ResNetFeatures(backbone=ToyResNet, weights=None), LogisticRegression()),
        make_pipeline(MeanRadiograph(), ResNetOvO(**TOY, sampler=RandomOverSampler())),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The estimator .* does not support callbacks")
        for pipeline in pipelines:
            pipeline.set_callbacks(recorder).fit(X, y)
    assert hasattr(XRayLoader(), "set_callbacks")
    assert recorder.names(1) == ["fit", "fit"]
    assert recorder.names(2) == ["fit"] * 4  # the steps, each in the place of the pipeline's task


def test_progress_bar_of_scikit_learn_shows_each_network(phantoms, capsys):
    pytest.importorskip("rich")
    ResNetOvO(**TOY).set_callbacks(callback.ProgressBar()).fit(*phantoms)
    shown = capsys.readouterr().out
    for name in ("run the trunk", "train", *PAIRS):
        assert f"ResNetOvO - {name}" in shown


def test_tasks_without_callbacks_do_nothing():
    task = FitTask()
    with task.subtask("train", n_subtasks=1) as training:
        assert training is task
    assert not task.end()
    assert not task.is_reported


def test_models_work_with_a_scikit_learn_that_has_no_callbacks():
    program = """
import sys
import sklearn.linear_model, sklearn.model_selection, sklearn.pipeline, sklearn.preprocessing
sys.modules["sklearn.callback"] = None  # an import of it now raises ImportError
from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from tests.toys import ToyResNet
X, y = make_chest_phantoms(30, image_size=16, random_state=0)
model = ResNetOvO(backbone=ToyResNet, weights=None, image_size=16, max_epochs=1).fit(X, y)
print(hasattr(model, "set_callbacks"), model.predict(X).shape)
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.stdout.split("\n")[0] == "False (30,)", done.stderr
