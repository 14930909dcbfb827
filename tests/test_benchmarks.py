"""The benchmarks: the comparison's statistics, its stopped runs, and every command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from cxr_sklearn.datasets import make_chest_phantoms

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CLASSES = np.array(["COVID-19", "Normal", "Pneumonia"])


@pytest.fixture
def compare_models(monkeypatch):
    """Return the script as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import compare_models

    yield compare_models
    for name in ("compare_models", "efficientnet"):
        sys.modules.pop(name, None)


@pytest.fixture
def judged():
    """Return labels, patients and the probabilities of two repeats."""
    rng = np.random.default_rng(0)
    y = CLASSES[rng.integers(0, 3, 200)]
    proba = rng.dirichlet(np.ones(3), size=(2, 200))
    proba[:, np.arange(200), np.searchsorted(CLASSES, y)] += 0.3
    return y, rng.integers(0, 80, 200).astype(str), proba / proba.sum(axis=2, keepdims=True)


def test_draws_are_of_whole_patients(compare_models, judged):
    """The first draw counts every image once; in the others images of a patient count alike."""
    _, patients, _ = judged
    draws = compare_models.patient_draws(patients, 50)
    assert draws.shape == (51, 200)
    assert (draws[0] == 1).all()
    for patient in set(patients):
        own = draws[:, patients == patient]
        assert (own == own[:, :1]).all()
    first_images = [np.flatnonzero(patients == p)[0] for p in set(patients)]
    assert (draws[:, first_images].sum(axis=1) == len(first_images)).all()


def test_metrics_are_those_of_scikit_learn(compare_models, judged):
    """Over all images and under the weights of a resample, averaged over repeats."""
    y, patients, proba = judged
    draws = compare_models.patient_draws(patients, 3)
    found = compare_models.measure(proba, y, CLASSES, draws)
    for i, weight in enumerate(draws):
        options = {"sample_weight": weight}
        predictions = [CLASSES[p.argmax(axis=1)] for p in proba]
        expected = {
            ("balanced accuracy", ""): [
                balanced_accuracy_score(y, p, **options) for p in predictions
            ],
            ("macro F1", ""): [f1_score(y, p, average="macro", **options) for p in predictions],
            ("AUC", ""): [roc_auc_score(y, p, multi_class="ovr", **options) for p in proba],
            ("log loss", ""): [log_loss(y, p, **options) for p in proba],
            ("PPV", "Normal"): [
                precision_score(y, p, average=None, **options)[1] for p in predictions
            ],
            ("sensitivity", "COVID-19"): [
                recall_score(y, p, average=None, **options)[0] for p in predictions
            ],
        }
        for key, values in expected.items():
            assert found[key][i] == pytest.approx(np.mean(values)), key


def test_differences_are_paired(compare_models, judged):
    """A model differs from itself by 0 in every resample, however wide its own interval."""
    y, patients, proba = judged
    draws = compare_models.patient_draws(patients, 100)
    metrics = compare_models.measure(proba, y, CLASSES, draws)
    flat = compare_models.measure(np.full_like(proba, 1 / 3), y, CLASSES, draws)
    measured = {"ResNetClassifier": metrics, "twin": metrics, "flat": flat}
    rows = compare_models.paired(measured, "ResNetClassifier").set_index(["model", "metric"])
    assert (rows.loc["twin", ["value", "low", "high"]] == 0).all(axis=None)
    assert rows.loc[("flat", "log loss"), "low"] > 0
    own = compare_models.intervals(measured).query("model == 'twin'")
    assert (own["low"] < own["value"]).all()
    assert (own["value"] < own["high"]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_stopped_comparison_is_resumed(compare_models, tmp_path, capsys, monkeypatch):
    """Only what is missing is fitted; the tables come out the same; other settings are refused."""
    monkeypatch.setattr(compare_models, "N_FOLDS", 2)
    monkeypatch.setattr(compare_models, "N_RESAMPLES", 20)
    X, y = make_chest_phantoms(90, image_size=32, random_state=0)
    for i, (row, label) in enumerate(zip(X, y, strict=True)):
        path = tmp_path / "xrays" / label / f"{i // 2:08}_{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(32, 32)).save(path)
    out = tmp_path / "out"
    command = ["--data", str(tmp_path / "xrays"), "--out", str(out), "--backbone", "resnet18"]
    command += ["--weights", "none", "--image-size", "32", "--set", "max_epochs=1"]
    command += ["--set", "cv=2"]
    compare_models.main(command)
    n_fits = 2 * len((*compare_models.BASELINES, *compare_models.MODELS))
    assert f"{n_fits} of {n_fits} fits to do" in capsys.readouterr().out
    table = pd.read_csv(out / "metrics.csv")
    assert set(table["model"]) == {*compare_models.BASELINES, *compare_models.MODELS}
    (out / "parts" / "ResNetOvO-0-1.npz").unlink()
    (out / "parts" / "ResNetOvR-0-1.partial").write_bytes(b"half")
    compare_models.main(command)
    assert f"1 of {n_fits} fits to do" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_csv(out / "metrics.csv"), table)
    assert (out / "comparison.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match="begun with other trainable, set"):
        compare_models.main([*command, "--trainable", "all", "--set", "lr=0.1"])


# -- the other scripts ---------------------------------------------------------------------------


SCRIPTS = sorted(
    path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)


def run_script(*arguments):
    """Run a script as a user does, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, arguments)],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_candidates_take_turns(monkeypatch):
    """Each is measured as often, in another order each time, and the median is what counts."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import measuring

    order = []
    seconds = {"one": [9.0, 1.0, 2.0, 3.0], "two": [9.0, 30.0, 20.0, 10.0]}
    monkeypatch.setattr(measuring, "seconds_of", lambda work: work())
    candidates = {
        name: lambda name=name: order.append(name) or seconds[name].pop(0) for name in seconds
    }
    assert measuring.in_turns(candidates, 3) == {"one": 2.0, "two": 20.0}
    assert order == ["one", "two", *("one", "two"), *("two", "one"), *("one", "two")]
    assert re.search(r"\d+ cores, .*Python 3\.\d+.*, numpy \d", measuring.machine("numpy"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_benchmark_without_a_gpu_prints_a_line():
    """It is no failure."""
    assert run_script(BENCHMARKS / "gpu.py") == "no CUDA device here: nothing was measured\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_states_its_command(name):
    """Its options are there, and its docstring names the command that the pages quote."""
    arguments = [BENCHMARKS / name]
    text = arguments[0].read_text(encoding="utf-8")
    assert f"python benchmarks/{name}" in text
    if "argparse" in text:
        assert "usage:" in run_script(*arguments, "--help")


@pytest.mark.slow
def test_gpu_benchmark_runs_without_a_gpu():
    """Its logic is tried on the CPU, small."""
    small = [
        "--repeats",
        "1",
        "--search-images",
        "30",
        "--search-size",
        "32",
        "--epochs",
        "1",
        "--image-size",
        "32",
    ]
    printed = run_script(BENCHMARKS / "gpu.py", "--device", "cpu", *small, "--parts", "search")
    seconds = r" +\d+\.\d +\d+\.\d \.\.\. \d+\.\d +"
    assert re.search(rf"^composition{seconds}1 ", printed, re.MULTILINE)
    assert re.search(rf"^ResNetOvO{seconds}\d+ ", printed, re.MULTILINE)
