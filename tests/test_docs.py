"""What the documentation says is so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torchvision
from numpydoc.docscrape import ClassDoc
from PIL import Image

import cxr_sklearn
from cxr_sklearn import datasets
from cxr_sklearn.datasets import make_chest_phantoms

ROOT = Path(__file__).parent.parent
ESTIMATORS = [
    getattr(cxr_sklearn, name) for name in cxr_sklearn.__all__ if not name.startswith("clear")
]


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_docstrings_name_every_parameter_in_order(kind):
    """A docstring's parameters are those of the constructor."""
    documented = [entry.name for entry in ClassDoc(kind)["Parameters"]]
    assert sorted(documented) == sorted(kind().get_params())


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_docstrings_name_the_defaults(kind):
    """A default in a docstring is the constructor's."""
    documented = {entry.name: entry.type for entry in ClassDoc(kind)["Parameters"]}
    for name, value in kind().get_params().items():
        match = re.search(r"default=(\S+)$", documented[name])
        if match is None:
            assert value is None, name
        else:
            assert eval(match.group(1)) == value, name


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_fitted_attributes_are_documented(kind, phantoms, tmp_path):
    """Every public attribute that fit sets stands in the docstring."""
    from .toys import toy

    X, y = phantoms
    if kind is cxr_sklearn.XRayLoader:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "film.png")
        model = kind().fit([tmp_path / "film.png"])
    else:
        model = kind(backbone=toy, weights=None, image_size=16, random_state=0).fit(X, y)
    documented = {entry.name for entry in ClassDoc(kind)["Attributes"]}
    found = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert found <= documented
    for name in documented - {"feature_names_in_"}:
        assert hasattr(model, name), name


def test_every_public_name_has_a_docstring_with_an_example():
    """Each public class and function shows how it is used."""
    functions = [getattr(datasets, name) for name in datasets.__all__]
    for thing in [*ESTIMATORS, *functions]:
        assert ">>> " in thing.__doc__, thing


def test_readme_snippet_runs(tmp_path, monkeypatch):
    """The ten lines of the README run as they stand, in a folder that has what they name."""
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    for i, (row, label) in enumerate(zip(X, y, strict=True)):
        folder = tmp_path / "xrays" / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(32, 32)).save(folder / f"{i:08d}_000.png")
    import torch

    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "resnet50.pth")
    monkeypatch.chdir(tmp_path)
    code = snippet.group(1).replace("random_state=0", "random_state=0, image_size=32, max_epochs=2")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hidden_layer_sizes" in done.stdout


def test_the_version_is_one():
    """The package's version is the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == cxr_sklearn.__version__


def test_importing_is_quiet_and_loads_no_plots():
    """Importing the package prints nothing, warns of nothing and leaves matplotlib alone."""
    code = "import sys, cxr_sklearn; assert 'matplotlib' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
