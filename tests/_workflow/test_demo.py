"""The main job from the command line."""

from __future__ import annotations

import re
import sys
import warnings

import joblib
import numpy as np
import pytest
from PIL import Image

from cxr_sklearn.__main__ import main
from cxr_sklearn._workflow import demo
from cxr_sklearn.exceptions import NeverPredictedWarning


@pytest.fixture
def small_demo(monkeypatch):
    """Shrink the demo to seconds: small phantoms for the real ResNet50."""
    monkeypatch.setattr(demo, "_N_PHANTOMS", 60)
    monkeypatch.setattr(demo, "_TRAINING", {**demo._TRAINING, "image_size": 32})


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_demo_trains_draws_saves_and_reloads(small_demo, tmp_path, capfd):
    """The demo on phantoms ends with a table, two pictures, and a model another process loads."""
    assert main(["demo", "--output", str(tmp_path / "out")]) == 0
    out = capfd.readouterr().out
    assert "sensitivity        specificity        PPV" in out
    difference = re.search(r"largest difference of a probability: (\S+)", out)
    assert float(difference.group(1)) < 1e-4
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["confusion_matrix.png", "examples.png", "model.joblib"]
    with Image.open(tmp_path / "out" / "examples.png") as image:
        assert min(image.size) > 300


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_demo_on_a_folder_keeps_patients_apart(small_demo, tmp_path, capfd):
    """On a folder of class folders it splits by the patient in the file's name."""
    rng = np.random.default_rng(0)
    for label in ("A b", "C"):
        (tmp_path / "xrays" / label).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 255, (40, 32), np.uint8)
            name = f"{i // 2:08d}_{i % 2:03d}.png"
            Image.fromarray(pixels).save(tmp_path / "xrays" / label / name)
    assert main(["demo", str(tmp_path / "xrays"), "--output", str(tmp_path / "out")]) == 0
    out = capfd.readouterr().out
    assert "48 images of 12 patients" in out
    assert "training set: 36 images of 9 patients; test set: 12 images of 3 other patients" in out


def test_bad_input_is_one_line_and_status_1(tmp_path, capsys):
    """What is wrong with a folder is one line on standard error; nothing is written."""
    assert main(["demo", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: root=")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_each_stage_of_the_demo_has_one_line_of_progress(small_demo, tmp_path, capfd):
    """The error output is not a terminal here, so that lines replace the bars."""
    assert main(["demo", "--output", str(tmp_path / "out")]) == 0
    captured = capfd.readouterr()
    stages = [line.partition(":")[0] for line in captured.err.splitlines()]
    assert stages == [
        "making X-rays",
        "running the trunk",
        "training 3 networks",
        "predicting the test set",
        "saving and loading the model",
    ]
    assert "90 of 90 epochs" in captured.err
    assert "\r" not in captured.err
    assert captured.out.splitlines()[-1].startswith("finished in ")


def test_saved_model_of_the_demo_has_no_callbacks(small_demo, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeverPredictedWarning)
        assert main(["demo", "--output", str(tmp_path)]) == 0
    model = joblib.load(tmp_path / "model.joblib")
    assert not getattr(model, "_skl_callbacks", [])


def test_demo_without_matplotlib_has_no_figures(monkeypatch, tmp_path):
    """Figures need an extra. Without it the demo states how to install it, and continues."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = demo._draw(None, np.empty(0), None, tmp_path)
    assert "pip install 'cxr-sklearn[plot]'" in line
    assert not list(tmp_path.iterdir())
