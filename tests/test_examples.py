"""The examples run as they stand, without a warning, and show every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.models import resnet50

from cxr_sklearn.datasets import make_chest_phantoms

from .public_names import PUBLIC_NAMES

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").rglob("plot_*.py"))
PAPER = next(path for path in EXAMPLES if path.stem == "plot_paper_experiments")

# a gallery is scripts that end in figures
_RUN = """\
import runpy, sys
import matplotlib.pyplot as plt
runpy.run_path(sys.argv[1], run_name="__main__")
print("figures:", len(plt.get_fignums()))
"""


def run(path: Path, folder: Path, **environment: str) -> str:
    """Run an example in a process of its own, where every warning is an error."""
    own = {k: v for k, v in os.environ.items() if k not in ("CXR_DATA", "CXR_WEIGHTS")}
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error"),
            # of matplotlib, where there is a display that the figures are not shown on
            *("-W", "ignore:FigureCanvasAgg is non-interactive"),
            *("-c", _RUN, str(path)),
        ],
        env={**own, "MPLBACKEND": "Agg", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    """Each example ends without an error or a warning, makes a figure, and leaves no file."""
    printed = run(path, tmp_path)
    assert int(re.search(r"^figures: (\d+)$", printed, re.MULTILINE)[1]) >= 1
    assert not list(tmp_path.iterdir())
    if path == PAPER:
        assert "\n0 of 12 tensors of the trunk differ after the fit\n" in printed
        assert "\nclasses given up: none\n" in printed


@pytest.mark.slow
def test_paper_experiments_on_a_folder(tmp_path):
    """With CXR_DATA the paper's script trains real ResNet50s on class folders of any such names."""
    X, y = make_chest_phantoms(155, weights=[9, 61, 85], image_size=64, random_state=0)
    folders = {"COVID-19": "covid", "Normal": "NORMAL", "Pneumonia": "pneumonia"}
    for i, (row, label) in enumerate(zip(X, y, strict=True)):
        path = tmp_path / "xrays" / folders[label] / f"{i:08d}_000.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(64, 64)).save(path)
    weights = tmp_path / "resnet50.pth"
    torch.save(resnet50().state_dict(), weights)
    printed = run(PAPER, tmp_path, CXR_DATA=str(tmp_path / "xrays"), CXR_WEIGHTS=str(weights))
    assert "\n0 of 318 tensors of the trunk differ after the fit\n" in printed
    assert printed.count("recall (sensitivity)") == 8  # four models, two sets
    assert "figures: 1\n" in printed


def test_every_public_name_is_shown():
    """Every public name stands in the code of an example."""
    code = "\n".join(
        line
        for path in EXAMPLES
        for line in path.read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
    names = [name for _, name in PUBLIC_NAMES]
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
