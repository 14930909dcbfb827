"""The benchmarks: stopped runs of the comparison, and every command line."""

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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_stopped_comparison_is_resumed(compare_models, tmp_path, capsys, monkeypatch):
    """Only what is missing is evaluated, with the same tables; other settings are refused."""
    monkeypatch.setattr(compare_models, "N_FOLDS", 2)
    monkeypatch.setattr(compare_models, "N_RESAMPLES", 100)
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
    assert "ResNetOvO: " in capsys.readouterr().out
    table = pd.read_csv(out / "metrics.csv")
    assert set(table["model"]) == {
        "dummy",
        "features",
        "thumbnail",
        "features, lungs blanked",
        "ResNetClassifier",
        "ResNetClassifier, lungs blanked",
        "ResNetOvR",
        "ResNetOvO",
        "ResNetStacking",
    }
    (out / "parts" / "ResNetOvO.json").unlink()
    compare_models.main(command)
    printed = capsys.readouterr().out
    assert "ResNetOvO: " in printed
    assert "ResNetOvR: " not in printed
    pd.testing.assert_frame_equal(pd.read_csv(out / "metrics.csv"), table)
    assert (out / "comparison.png").stat().st_size > 1000
    assert "Difference to features, lungs blanked, paired:" in (out / "table.md").read_text()
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
