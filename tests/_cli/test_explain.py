"""``cxr-sklearn explain``: pictures, a table, and whether they can be trusted."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_sklearn.__main__ import main
from cxr_sklearn._workflow.explanations import picture_name
from cxr_sklearn.datasets import make_chest_phantom_files

SETTINGS = ["--backbone", "resnet18", "--weights", "none", "--image-size", "64"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::cxr_sklearn.exceptions.NeverPredictedWarning",
    "ignore::cxr_sklearn.exceptions.OutOfDistributionWarning",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder of phantoms, and the file of a model."""
    folder = tmp_path_factory.mktemp("explain")
    root, path = folder / "xrays", folder / "model.joblib"
    make_chest_phantom_files(root, 45, random_state=0)
    command = ["train", str(root), "--out", str(path), *SETTINGS, "--max-epochs", "3"]
    assert main(command) == 0
    return root, path


def explain(trained, *arguments):
    """Run the command on the images of one class."""
    root, path = trained
    return main(["explain", str(path), str(root / "Normal"), *map(str, arguments)])


def test_a_picture_and_a_row_per_file(trained, tmp_path, capsys):
    """Files that cannot be read have a reason; the figures say whether to trust the maps."""
    root, path = trained
    folder = tmp_path / "new"
    folder.mkdir()
    for number, source in enumerate(sorted((root / "Normal").iterdir())[:3]):
        for name in ("a", "b"):
            target = folder / name / f"{number}.png"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(source.read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    out = tmp_path / "maps"
    assert main(["explain", str(path), str(folder), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "6 of 7 images explained" in captured.out
    assert "Faithfulness of grad-cam maps: 6 images" in captured.out
    assert "randomised weights" in captured.out
    assert "1 files could not be read" in captured.err
    table = pd.read_csv(out / "explanations.csv", keep_default_na=False)
    assert len(table) == 7
    broken = table[table["error"] != ""].iloc[0]
    assert broken["path"] == str(folder / "broken.png")
    assert broken["picture"] == ""
    good = table[table["error"] == ""]
    assert good["picture"].is_unique
    model = joblib.load(path)
    expected = model.predict_proba(good[["path"]].to_numpy()).max(axis=1)
    np.testing.assert_allclose(good["probability"].astype(float), expected, atol=1e-4)
    for name in good["picture"]:
        with Image.open(out / name) as picture:
            assert picture.size == (800, 420)


def test_versus_and_target_reach_the_maps(trained, tmp_path):
    """The table states the question, and has no lungs where none were requested."""
    out = tmp_path / "maps"
    options = ["--versus", "Pneumonia", "--target", "COVID-19", "--no-lungs", "--no-faithfulness"]
    assert explain(trained, "--out", out, *options) == 0
    table = pd.read_csv(out / "explanations.csv")
    assert set(table["target"]) == {"COVID-19"}
    assert set(table["versus"]) == {"Pneumonia"}
    assert table["energy_in_lungs"].isna().all()
    # A second run replaces the pictures of the first.
    assert explain(trained, "--out", out, *options) == 0


def test_json_contains_the_figures(trained, tmp_path, capsys):
    """For another program, and nothing else on the output."""
    assert explain(trained, "--out", tmp_path / "maps", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == found["explained"] == 15
    assert isinstance(found["is_informative"], bool)
    assert {"value", "low", "high", "reference"} <= set(found["faithfulness"][0])


def test_intervals_count_patients_where_they_are_known(trained, tmp_path, capsys):
    """Files of unknown patients count one each; for one patient there are no intervals."""
    root, _ = trained
    names = sorted(path.name for path in (root / "Normal").iterdir())[:4]
    table = tmp_path / "list.csv"

    def run(patients):
        data = {"filename": names[: len(patients)], "patient": patients}
        pd.DataFrame(data).to_csv(table, index=False)
        arguments = [str(trained[1]), str(table), "--root", str(root / "Normal")]
        assert main(["explain", *arguments, "--out", str(tmp_path / "maps")]) == 0
        return capsys.readouterr()

    assert "4 images of 3 patients" in run(["a", "a", None, None]).out
    one = run(["a", "a"])
    assert "2 of 2 images explained" in one.out
    assert "Faithfulness" not in one.out
    assert "all images are of one patient" in one.err


@pytest.mark.parametrize(
    ("package", "method", "extra"),
    [("matplotlib.pyplot", "grad-cam", "plot"), ("captum", "occlusion", "explain")],
)
def test_missing_packages_are_one_line(
    trained, tmp_path, capsys, monkeypatch, package, method, extra
):
    """The message names the extra to install."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else find(name, *a)
    )
    monkeypatch.setitem(sys.modules, package, None)
    assert explain(trained, "--out", tmp_path / "maps", "--method", method) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"Run pip install 'cxr-sklearn[{extra}]'" in error


def test_inputs_are_never_replaced(trained, tmp_path, capsys):
    """Neither the table nor an image in the folder of an earlier run."""
    out = tmp_path / "maps"
    assert explain(trained, "--out", out, "--no-faithfulness") == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    picture = min(out.glob("*.png"))
    for data in (picture, out / "explanations.csv"):
        capsys.readouterr()
        assert main(["explain", str(trained[1]), str(data), "--out", str(out)]) == 1
        assert capsys.readouterr().err.startswith("error: --out")
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_names_of_pictures_are_safe_on_all_systems():
    """They are short, and have no character or name that Windows reserves."""
    for path in ("a/CON.png", 'x/what?<>:"|*.dcm', "x/Röntgen 1.png", "x/..", f"x/{'n' * 300}.png"):
        name = picture_name(4, path)
        assert re.fullmatch(r"00005_[A-Za-z0-9._-]{1,60}\.png", name), name


def test_invalid_requests_are_one_line(trained, tmp_path, capsys):
    """Unknown classes, and folders that contain something else or the images themselves."""
    assert explain(trained, "--out", tmp_path / "maps", "--versus", "Flu") == 1
    assert "versus='Flu' is invalid" in capsys.readouterr().err
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("text")
    assert explain(trained, "--out", full) == 1
    assert "it contains other files" in capsys.readouterr().err
    assert explain(trained, "--out", trained[0] / "Normal" / "maps") == 1
    assert "would be read as radiographs" in capsys.readouterr().err
    assert (full / "thesis.txt").read_text() == "text"
