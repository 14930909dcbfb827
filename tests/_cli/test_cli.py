"""The command line: what it prints, writes, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from sklearn.pipeline import Pipeline

import cxr_sklearn
from cxr_sklearn import ResNetOvO, _cli
from cxr_sklearn.__main__ import main
from cxr_sklearn._cli import options
from cxr_sklearn._workflow import pipeline
from cxr_sklearn.datasets import make_chest_phantom_files
from cxr_sklearn.evaluation import Evaluation
from cxr_sklearn.exceptions import ConfoundingWarning, OutOfDistributionWarning
from cxr_sklearn.quality import _shortcuts

from ..dicom_files import dicom, save_dicom

SMALL = ["--backbone", "resnet18", "--weights", "none", "--image-size", "32", "--max-epochs", "2"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::cxr_sklearn.exceptions.NeverPredictedWarning",
    "ignore::cxr_sklearn.exceptions.CurationWarning",
)


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    """Return a folder of phantoms; COVID-19 has a hospital of its own."""
    root = tmp_path_factory.mktemp("xrays")
    make_chest_phantom_files(root, 60, confound="source", random_state=0)
    return root


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Let audits take a second."""
    monkeypatch.setattr(_shortcuts, "_N_TREES", 5)
    monkeypatch.setattr(_shortcuts, "N_RESAMPLES", 50)


@pytest.fixture(scope="module")
def model(xrays, tmp_path_factory):
    """Return the file of a small model, and what training printed."""
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    done = subprocess.run(
        [sys.executable, "-m", "cxr_sklearn", "train", str(xrays), "--out", str(path), *SMALL],
        capture_output=True,
        text=True,
        check=True,
    )
    return path, done.stdout, done.stderr


def program(*arguments, **options):
    """Start the program as a process of its own."""
    command = [sys.executable, "-m", "cxr_sklearn", *map(str, arguments)]
    return subprocess.Popen(command, text=True, **options)


@pytest.mark.parametrize("command", ["audit", "curate", "train", "predict", "explain", "demo"])
def test_each_command_helps_with_an_example(command, capsys):
    """``--help`` says what a command does and ends with an example."""
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ *Examples?:$", out, re.MULTILINE)
    assert f"cxr-sklearn {command}" in out


def test_help_lists_commands_and_exit_codes(capsys):
    """A newcomer sees what there is, and a script what it may rely on."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in ("audit", "curate", "train", "predict", "explain", "Exit codes", "130"):
        assert word in out
    assert main(["nothing"]) == 2


def test_audit_prints_findings_and_fails_on_demand(xrays, tmp_path, capsys):
    """Findings are text; ``--fail-on`` turns them into exit code 3; a page can be written."""
    page = tmp_path / "audit.html"
    assert main(["audit", str(xrays), "--html", str(page), "--fail-on", "serious"]) == 3
    assert "SERIOUS: source and class" in capsys.readouterr().out
    assert "source and class" in page.read_text()
    assert main(["audit", str(xrays)]) == 0


def test_audit_prints_json(xrays, capsys):
    """Numbers for another program, and nothing else on the output."""
    assert main(["audit", str(xrays), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 60
    assert found["findings"][0]["severity"] == "serious"
    assert {"baseline", "metric", "value", "low", "high"} <= set(found["baselines"][0])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_audit_names_files_in_json(xrays, tmp_path, capsys):
    """Also a file whose name is no text; the text output escapes it."""
    root = tmp_path / "xrays"
    shutil.copytree(xrays, root)
    odd = os.fsencode(root / "Normal") + b"/odd\xff.png"
    with open(odd, "wb") as file:
        file.write(b"no image")
    first, second = sorted((root / "Pneumonia").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    assert main(["audit", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in found["unreadable"]] == [os.fsdecode(odd)]
    assert [row["first"] for row in found["duplicates"]] == [str(first)]
    assert found["turned"] == []
    assert main(["audit", str(root)]) == 0
    out = capsys.readouterr().out
    assert r"odd\udcff.png: " in out
    assert f"{first} = {second} (exact, one class" in out
    assert main(["curate", str(root), str(tmp_path / "out"), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert os.fsdecode(odd) in [row["path"] for row in files]


def test_jobs_are_at_most_the_cores_and_counted(xrays, monkeypatch, capsys):
    """The line before the work states the processes that fit baselines, and their memory."""
    monkeypatch.setattr(options, "cpu_count", lambda: 2)
    assert main(["audit", str(xrays), "--jobs", "64", "--json"]) == 0
    err = capsys.readouterr().err
    assert "--jobs 64: 2 are used, one per core" in err
    many, unit = re.search(r"([\d.]+) ([MG]iB) of memory \(2 processes\)", err).groups()
    assert main(["audit", str(xrays), "--json"]) == 0
    few, same = re.search(r"([\d.]+) ([MG]iB) of memory; ", capsys.readouterr().err).groups()
    scale = {"MiB": 1, "GiB": 1024}
    assert float(many) * scale[unit] - float(few) * scale[same] > 300


def test_what_is_not_known_is_null(tmp_path, capsys):
    """JSON has no NaN: with one source there is no association, which is null."""
    root = tmp_path / "xrays"
    make_chest_phantom_files(root, 45, random_state=0)
    table = pd.read_csv(root / "metadata.csv")
    table.assign(source="one").to_csv(root / "metadata.csv", index=False)
    assert main(["audit", str(root), "--json"]) == 0
    out = capsys.readouterr().out
    assert "NaN" not in out
    assert json.loads(out)["cramers_v"]["source"] is None


def test_curate_prints_costs_and_writes(xrays, tmp_path, capsys):
    """A dry run writes nothing, a run what it says; rules are set by name."""
    out = tmp_path / "out"
    rule = ["--rule", "min_side=64", "--rule", "max_colour=None"]
    assert main(["curate", str(xrays), str(out), *rule, "--dry-run"]) == 0
    assert "dry run: nothing written" in capsys.readouterr().out
    assert not out.exists()
    assert main(["curate", str(xrays), str(out), *rule, "--link", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [row["tier"] for row in files] == ["keep"] * 60
    assert len(list((out / "kept").rglob("*.png"))) == 60


def test_train_reports_its_cost_and_its_results(model):
    """A line before, a table of the held-out patients after, and a file."""
    path, out, err = model
    assert "48 images of 3 classes and 36 patients; 48 trunk passes; less than a minute; " in err
    assert re.search(r"[MG]iB of memory; a model of up to \d+ MiB \([\d.]+ [MG]iB free\)", err)
    assert "held-out patients:" in out
    assert "12 test images of 9 patients, 3 classes" in out
    assert "sensitivity        specificity        PPV" in out
    assert f"saved {path}" in out


def test_a_csv_is_as_good_as_a_folder(xrays, tmp_path, capsys):
    """Labels in a table over a tree of files; the summary is JSON."""
    metadata = pd.read_csv(xrays / "metadata.csv")
    metadata["file"] = metadata["label"] + "/" + metadata["filename"]
    table = tmp_path / "labels.csv"
    metadata.to_csv(table, index=False)
    columns = ["--root", str(xrays), "--path", "file", "--patient", "patient"]
    out = tmp_path / "model.joblib"
    single = ["--model", "single", "--test-fraction", "0", "--set", "hidden_layer_sizes=[8]"]
    assert main(["train", str(table), "--out", str(out), *columns, *SMALL, *single, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["train_images"] == 60
    assert "trunk passes" in captured.err
    assert joblib.load(out).named_steps["model"].hidden_layer_sizes == (8,)


def test_evaluate_reports_figures_and_the_worst_errors(xrays, model, tmp_path, capsys):
    """The summary of the evaluation, paths of confident errors, and a JSON file."""
    out = tmp_path / "evaluation.json"
    arguments = ["--subgroup", "sex", "--prevalence", "COVID-19=0.02", "--resamples", "200"]
    assert main(["evaluate", str(model[0]), str(xrays), "--out", str(out), *arguments]) == 0
    captured = capsys.readouterr()
    assert "60 test images of 45 patients, 3 classes" in captured.out
    assert "ResNetOvO" in captured.out
    assert "most confident errors:\n  " + str(xrays) in captured.out
    loaded = Evaluation.from_json(out)
    assert set(loaded.subsets["column"]) == {"sex", "source"}
    assert "ppv_at_prevalence" in set(loaded.per_class["metric"])
    assert str(xrays) not in out.read_text()


def test_evaluate_prints_json(xrays, model, capsys):
    arguments = ["--json", "--resamples", "200"]
    assert main(["evaluate", str(model[0]), str(xrays), *arguments]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["n_patients"] == 45
    assert "probabilities" not in content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subgroup", "smoker"], "--subgroup smoker: DATA has no such column"),
        (["--prevalence", "Covid=0.1"], "'Covid' is not a class"),
    ],
)
def test_invalid_options_of_evaluate_are_errors(xrays, model, capsys, arguments, message):
    assert main(["evaluate", str(model[0]), str(xrays), *arguments]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_invalid_share_is_wrong_usage(xrays, model, capsys):
    assert main(["evaluate", str(model[0]), str(xrays), "--prevalence", "COVID-19"]) == 2
    assert "expected CLASS=SHARE" in capsys.readouterr().err


def test_compare_reads_two_evaluations(xrays, model, tmp_path, capsys):
    """Models are named by their files."""
    for name in ("first", "second"):
        out = ["--out", str(tmp_path / f"{name}.json"), "--resamples", "200"]
        assert main(["evaluate", str(model[0]), str(xrays), *out]) == 0
    capsys.readouterr()
    files = [str(tmp_path / f"{name}.json") for name in ("first", "second")]
    assert main(["compare", *files, "--metric", "accuracy", "--permutations", "200"]) == 0
    assert "first less second" in capsys.readouterr().out
    assert main(["compare", *files, "--json", "--permutations", "200"]) == 0
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert all(row["difference"] == 0 for row in differences)
    assert main(["compare", files[0]]) == 1
    assert "expected two or more" in capsys.readouterr().err
    (tmp_path / "second.json").write_text("{}")
    assert main(["compare", *files]) == 1
    assert "second.json' is not an evaluation" in capsys.readouterr().err


def test_predict_writes_a_row_per_file(xrays, model, tmp_path, capsys):
    """Probabilities that the model gives, and a reason for what could not be read."""
    folder = tmp_path / "new" / "deeper"
    folder.mkdir(parents=True)
    names = pd.read_csv(xrays / "metadata.csv").head(5)
    for label, name in zip(names["label"], names["filename"], strict=True):
        (folder / name).write_bytes((xrays / label / name).read_bytes())
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").touch()
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(model[0]), str(tmp_path / "new"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "5 of 7 images predicted" in captured.out
    assert "2 files could not be read" in captured.err
    table = pd.read_csv(out, keep_default_na=False).set_index("path")
    assert table.columns.tolist() == [
        "p_COVID-19",
        "p_Normal",
        "p_Pneumonia",
        "prediction",
        "likeness",
        "error",
    ]
    bad = table.loc[str(folder / "bad.png")]
    assert bad["prediction"] == ""
    assert bad["error"]
    assert table.loc[str(folder / "gone.png"), "error"]
    good = table.drop([str(folder / "bad.png"), str(folder / "gone.png")])
    with pytest.warns(ConfoundingWarning):
        expected = joblib.load(model[0]).predict_proba([[path] for path in good.index])
    found = good.filter(like="p_").astype(float).to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert good["likeness"].astype(float).min() > 0.3
    assert "7 images, 3 classes; 7 trunk passes; less than a minute; " in captured.err


@pytest.fixture(scope="module")
def referring_model(tmp_path_factory):
    """Return phantoms, the file of a model that refers images, and what training printed."""
    folder = tmp_path_factory.mktemp("referring")
    root = folder / "xrays"
    make_chest_phantom_files(root, 400, confound="border", random_state=0)
    path = folder / "model.joblib"
    options = ["--refer-risk", "0.43", "--refer-delta", "0.2", "--test-fraction", "0", "--json"]
    settings = ["--backbone", "resnet18", "--weights", "none", "--image-size", "32"]
    done = subprocess.run(
        [sys.executable, "-m", "cxr_sklearn", "train", root, "--out", path, *settings, *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return root, path, json.loads(done.stdout)


def test_train_saves_a_referral_rule(referring_model):
    """The guarantee is printed, and the model in the file decides."""
    _, path, printed = referring_model
    found = printed["referral"]
    assert found["certified"] is True
    assert found["delta"] == 0.2
    assert found["risks"][0]["bound"] == 0.43
    assert found["referral_rate"]["low"] <= found["referral_rate"]["value"]
    rule = joblib.load(path).named_steps["model"]
    assert rule.threshold_ == pytest.approx(found["threshold"])
    assert rule.max_risk == 0.43


def test_predict_writes_decisions_and_a_reading_list(referring_model, tmp_path, capsys):
    """Referred images are listed, the least certain first, after those that cannot be read."""
    root, path, _ = referring_model
    (root / "Normal" / "broken.png").write_bytes(b"no image")
    out, folder = tmp_path / "p.csv", tmp_path / "referred"
    command = ["predict", str(path), str(root), "--out", str(out), "--batch", "64"]
    assert main([*command, "--reading-list", str(folder)]) == 0
    (root / "Normal" / "broken.png").unlink()
    table = pd.read_csv(out, keep_default_na=False)
    readable = table[table["error"] == ""]
    referred = readable[readable["decision"] == "refer"]
    assert 0 < len(referred) < len(readable) == 400
    decided = readable.drop(referred.index)
    assert (decided["decision"] == decided["prediction"]).all()
    assert referred["confidence"].astype(float).max() < decided["confidence"].astype(float).min()
    assert set(readable["prediction_set"]) > {"COVID-19", "Normal", "Pneumonia"}
    broken = table[table["error"] != ""].iloc[0]
    assert broken[["decision", "prediction_set", "confidence"]].tolist() == ["refer", "", ""]
    listed = (folder / "referred.txt").read_text().splitlines()
    assert listed[0] == broken["path"]
    assert sorted(listed[1:]) == sorted(referred["path"])
    detailed = pd.read_csv(folder / "referred.csv")
    assert detailed["path"].tolist() == listed
    assert detailed["confidence"][1:].is_monotonic_increasing
    found = capsys.readouterr().out
    assert f"{len(referred) + 1} images are referred; their paths are in" in found


def test_predict_compares_files_with_the_calibration_images(referring_model, tmp_path, capsys):
    """One comparison of all files, whatever the size of the batches, with one file per patient."""
    root, path, _ = referring_model
    table = pd.read_csv(root / "metadata.csv").head(60)
    (tmp_path / "bright").mkdir()
    for label, name in zip(table["label"], table["filename"], strict=True):
        image = Image.open(root / label / name).convert("L").point(lambda v: min(255, v + 70))
        image.save(tmp_path / "bright" / name)
    command = ["predict", str(path), str(tmp_path / "bright"), "--out", str(tmp_path / "p.csv")]
    for batch in ("10", "256"):
        assert main([*command, "--batch", batch]) == 0
        assert "unlike those that the referral rule was calibrated on" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exchangeability_p"] < 0.01
    # All files of one patient are one case, which cannot be compared.
    listed = pd.DataFrame({"filename": table["filename"], "patient": "one"})
    listed.to_csv(tmp_path / "bright.csv", index=False)
    command = ["predict", str(path), str(tmp_path / "bright.csv"), "--root"]
    command += [str(tmp_path / "bright"), "--out", str(tmp_path / "q.csv"), "--json"]
    assert main(command) == 0
    assert "exchangeability_p" not in json.loads(capsys.readouterr().out)


def test_a_reading_list_needs_a_referral_rule(xrays, model, referring_model, tmp_path, capsys):
    """The option and the folder are named before any image is read."""
    command = ["predict", str(model[0]), str(xrays), "--out", str(tmp_path / "p.csv")]
    assert main([*command, "--reading-list", str(tmp_path / "list")]) == 1
    assert "--reading-list needs a model that refers images" in capsys.readouterr().err
    (tmp_path / "file").touch()
    command[1] = str(referring_model[1])
    assert main([*command, "--reading-list", str(tmp_path / "file" / "list")]) == 1
    assert "could not be made" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_predict_reports_images_unlike_the_training_set(xrays, model, tmp_path, capsys):
    """An inverted xray has a row like others, and a likeness that gives it away."""
    folder = tmp_path / "new"
    folder.mkdir()
    xray = next((xrays / "Normal").iterdir())
    with Image.open(xray) as image:
        ImageOps.invert(image.convert("L")).save(folder / "inverted.png")
    (folder / xray.name).write_bytes(xray.read_bytes())
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(model[0]), str(folder), "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unlike"] == 1
    assert "1 images are unlike the training set (likeness below 0.3)" in captured.err
    likeness = pd.read_csv(out).set_index("path")["likeness"]
    assert likeness[str(folder / "inverted.png")] < 0 < likeness[str(folder / xray.name)]


def test_a_loaded_pipeline_is_guarded(xrays, model):
    """Who loads the file in Python is warned too."""
    pipeline = joblib.load(model[0])
    xray = str(next((xrays / "Normal").iterdir()))
    with pytest.warns(ConfoundingWarning, match="COVID-19 from hospital-c") as caught:
        assert pipeline.predict([[xray]]).shape == (1,)
    assert len(caught) == 1  # and none by the guard
    pipeline.named_steps["guard"].mean_ *= -1
    with (
        pytest.warns(ConfoundingWarning),
        pytest.warns(OutOfDistributionWarning, match="rows 0, counted"),
    ):
        pipeline.predict([[xray]])


def test_train_warns_of_associated_sources_and_predict_repeats_it(xrays, model, tmp_path, capsys):
    """A line with Cramér's V before training, in the saved model, and with every prediction."""
    line = r"warning: source and class are associated in the training set \(Cramér's V 0\.\d\d, p"
    before, _, _ = model[2].partition("trunk passes")
    assert re.search(line, before)
    arguments = ["predict", str(model[0]), str(xrays), "--out", str(tmp_path / "p.csv")]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert re.search(line, captured.err)
    found = json.loads(captured.out)["sources"]
    assert found["single_source_classes"] == {"COVID-19": "hospital-c"}
    assert found["cramers_v"] > 0.5
    assert found["warning"] in captured.err


def test_train_does_not_warn_of_mixed_sources(xrays, tmp_path, capsys):
    """Nor does predict, and JSON has no warning."""
    root = tmp_path / "xrays"
    shutil.copytree(xrays, root)
    table = pd.read_csv(root / "metadata.csv")
    sources = np.where(table.groupby("label").cumcount() % 2, "one", "two")
    table.assign(source=sources, patient="").to_csv(root / "metadata.csv", index=False)
    out = tmp_path / "model.joblib"
    assert main(["train", str(root), "--out", str(out), *SMALL, "--json"]) == 0
    captured = capsys.readouterr()
    assert "associated" not in captured.err
    assert json.loads(captured.out)["sources"]["warning"] is None
    assert joblib.load(out).named_steps["sources"].cramers_v_ < 0.3
    assert main(["predict", str(out), str(root), "--out", str(tmp_path / "p.csv")]) == 0
    assert "associated" not in capsys.readouterr().err


def test_predict_takes_files_lists_and_tables(xrays, model, tmp_path, capsys):
    """All give a file the same probabilities; a table's label, patient and source are kept."""
    metadata = pd.read_csv(xrays / "metadata.csv").iloc[:6]
    names = (metadata["label"] + "/" + metadata["filename"]).tolist()
    paths = [str(xrays / name) for name in names]
    (tmp_path / "list.txt").write_text("\n".join([*names, "", ""]), encoding="utf-8")
    (tmp_path / "absolute.txt").write_text("\n".join(paths), encoding="utf-8")
    table = tmp_path / "table.csv"
    metadata.assign(
        filename=names, finding=["", "a", "b", "", "c", "d"], clinic=metadata["source"]
    ).drop(columns=["label", "source"]).to_csv(table, index=False)
    named = ["--root", str(xrays)]
    forms = {
        "files": paths,
        "a folder and a file": [str(xrays / "COVID-19"), *paths, paths[0]],
        "list": [str(tmp_path / "list.txt"), *named],
        "absolute": [str(tmp_path / "absolute.txt")],
        "table": [str(table), *named, "--label", "finding", "--source", "clinic"],
        "unlabelled": [str(table), *named],
        "labelled": [str(xrays), "--form", "folder"],
    }
    found = {}
    for form, arguments in forms.items():
        out = tmp_path / "out.csv"
        assert main(["predict", str(model[0]), *arguments, "--out", str(out)]) == 0, form
        found[form] = pd.read_csv(out, keep_default_na=False).set_index("path")
        assert found[form].index.is_unique
    expected = found["files"]
    assert expected.index.tolist() == paths
    assert not {"label", "patient", "source"} & set(expected)
    for form, result in found.items():
        shared = result.loc[paths, expected.columns]
        pd.testing.assert_frame_equal(shared, expected, atol=1e-4, obj=form)
    assert found["table"].columns[:3].tolist() == ["label", "patient", "source"]
    assert found["table"]["label"].tolist() == ["", "a", "b", "", "c", "d"]
    assert found["table"]["patient"].tolist() == metadata["patient"].tolist()
    assert found["table"]["source"].tolist() == metadata["source"].tolist()
    assert found["unlabelled"].columns[:2].tolist() == ["patient", "p_COVID-19"]
    assert len(found["labelled"]) == 60
    assert found["labelled"].loc[paths, "label"].tolist() == metadata["label"].tolist()
    capsys.readouterr()


def test_tables_have_patients_and_sources_by_default(xrays, tmp_path, capsys):
    """The columns patient and source are used if they exist, and others only if they are named."""
    metadata = pd.read_csv(xrays / "metadata.csv")
    names = metadata["label"] + "/" + metadata["filename"]
    table = tmp_path / "table.csv"
    metadata.assign(filename=names).to_csv(table, index=False)
    out = tmp_path / "model.joblib"
    arguments = ["train", str(table), "--root", str(xrays), "--out", str(out), *SMALL]
    assert main([*arguments, "--test-fraction", "0"]) == 0
    err = capsys.readouterr().err
    assert f"60 images of 3 classes and {metadata['patient'].nunique()} patients" in err
    assert "warning: source and class are associated" in err
    bare = metadata.assign(filename=names).drop(columns=["patient", "source"])
    bare.to_csv(table, index=False)
    assert main(["curate", str(table), "out", "--root", str(xrays), "--dry-run"]) == 0
    assert "60 images of 3 classes and 60 patients" in capsys.readouterr().err
    assert main(["audit", str(table), "--root", str(xrays), "--patient", "patient"]) == 1
    assert "expected a column 'patient'" in capsys.readouterr().err


def test_a_file_given_twice_has_one_row(xrays, model, tmp_path, monkeypatch):
    """Under several spellings, in a list, and in equal rows of a table."""
    first, second = sorted((xrays / "Normal").iterdir())[:2]
    monkeypatch.chdir(xrays)
    relative = f"Normal/{first.name}"
    (tmp_path / "list.txt").write_text(f"{relative}\n./{relative}\n{first}\n", encoding="utf-8")
    rows = [f"{relative},a", f"{relative},a", f"{relative},b", f"Normal/{second.name},a"]
    (tmp_path / "table.csv").write_text("\n".join(["filename,label", *rows]), encoding="utf-8")
    spelled = [str(first), relative, f"../{xrays.name}/Normal/../{relative}", "Normal"]
    for arguments, expected in (
        (spelled, 20),
        ([str(tmp_path / "list.txt"), "--root", "."], 1),
        ([str(tmp_path / "table.csv"), "--root", "."], 3),
    ):
        out = tmp_path / "out.csv"
        assert main(["predict", str(model[0]), *arguments, "--out", str(out)]) == 0
        assert len(pd.read_csv(out)) == expected


def test_curated_folders_are_skipped_and_named(copy, model, tmp_path, capsys):
    """Loading and predicting name the folder; its manifest can be predicted."""
    root, _ = copy
    assert main(["curate", str(root), str(root / "curated"), "--rule", "min_side=64"]) == 0
    capsys.readouterr()
    arguments = ["curate", str(root), str(tmp_path / "again"), "--rule", "min_side=64", "--dry-run"]
    assert main(arguments) == 0
    assert "folders written by curate, skipped: curated\n" in capsys.readouterr().err
    out = tmp_path / "out.csv"
    assert main(["predict", str(model[0]), str(root), "--out", str(out)]) == 0
    assert f"folders written by curate, skipped: {root / 'curated'}\n" in capsys.readouterr().err
    assert len(pd.read_csv(out)) == 60
    manifest = ["--path", "path", "--out", str(out)]
    assert main(["predict", str(model[0]), str(root / "curated" / "manifest.csv"), *manifest]) == 0
    assert len(pd.read_csv(out)) == 60


def test_predict_names_rows_without_a_path(xrays, model, tmp_path, capsys):
    """Only the path must be filled."""
    table = tmp_path / "table.csv"
    name = next((xrays / "Normal").iterdir()).name
    table.write_text(f"filename,label\n{name},\n,Normal\n", encoding="utf-8")
    arguments = [str(model[0]), str(table), "--root", str(xrays), "--out", str(tmp_path / "p.csv")]
    assert main(["predict", *arguments]) == 1
    err = capsys.readouterr().err
    assert "the column 'filename' is empty in rows 1 (counted from 0)" in err


def test_predict_names_files_that_do_not_exist(xrays, model, tmp_path, capsys):
    """They are an error, or left out on request."""
    listed = tmp_path / "list.txt"
    listed.write_text("gone.png\n" + next((xrays / "Normal").iterdir()).name, encoding="utf-8")
    arguments = ["predict", str(model[0]), str(listed), "--root", str(xrays), "--out"]
    assert main([*arguments, str(tmp_path / "p.csv")]) == 1
    assert "1 of 2 files in" in (err := capsys.readouterr().err)
    assert "(gone.png)" in err
    assert main([*arguments, str(tmp_path / "p.csv"), "--skip-missing"]) == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == 1


def test_other_forms_of_data(xrays, tmp_path, capsys):
    """The NIH's table, a COVIDx label file and labels of one's own, each by an option."""
    names = {p.name: p.parent.name for p in sorted(xrays.rglob("*.png"))}
    nih = {"Normal": "No Finding", "Pneumonia": "Pneumonia", "COVID-19": "Effusion"}
    table = pd.DataFrame(
        {
            "Image Index": list(names),
            "Finding Labels": [nih[label] for label in names.values()],
            "Patient ID": range(len(names)),
        }
    )
    table.to_csv(tmp_path / "Data_Entry.csv", index=False)
    keep = ["--label-map", "No Finding=Normal", "--label-map", "Pneumonia=Pneumonia"]
    at = ["--root", str(xrays), "--json"]
    assert main(["audit", str(tmp_path / "Data_Entry.csv"), "--form", "nih", *at, *keep]) == 0
    classes = json.loads(capsys.readouterr().out)["classes"]
    assert [row["class"] for row in classes] == ["Normal", "Pneumonia"]
    lines = [f"{i} {name} {label} sirm" for i, (name, label) in enumerate(names.items())]
    (tmp_path / "train.txt").write_text("\n".join([*lines, "x gone.png normal sirm"]))
    covidx = ["audit", str(tmp_path / "train.txt"), "--form", "covidx", *at]
    assert main([*covidx, "--skip-missing"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == 60
    assert "missing: 1" in captured.err
    assert main(covidx) == 1
    assert "gone.png" in capsys.readouterr().err


def test_a_folder_of_dicom_files(tmp_path, capsys):
    """Headers tell patients; laterals are set aside, and said to be."""
    for label in ("Normal", "Pneumonia"):
        for i in range(6):
            (tmp_path / label).mkdir(exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 4096, (64, 64)).astype(np.uint16)
            view = "LL" if i == 5 else "PA"
            ids = {"PatientID": f"{label}{i // 2}", "SOPInstanceUID": f"1.2.{len(label)}.{i}"}
            xray = dicom(pixels, bits=12, Modality="DX", ViewPosition=view, **ids)
            save_dicom(xray, tmp_path / label / str(i))
    assert main(["audit", str(tmp_path), "--form", "dicom", "--json"]) == 0
    captured = capsys.readouterr()
    assert (json.loads(captured.out)["images"], json.loads(captured.out)["patients"]) == (10, 6)
    assert "2" in next(line for line in captured.err.splitlines() if "lateral" in line)
    pseudonyms = []
    for name in ("one", "two"):
        arguments = ["--form", "dicom", "--salt", "a secret", "--rule", "min_side=32"]
        assert main(["curate", str(tmp_path), str(tmp_path.parent / name), *arguments]) == 0
        table = pd.read_csv(tmp_path.parent / name / "manifest.csv")
        pseudonyms.append(table["patient"].tolist())
    assert pseudonyms[0] == pseudonyms[1]
    assert "10 images of 2 classes and 6 patients; no trunk passes" in captured.err


def test_small_batches_predict_the_same(xrays, model, tmp_path, capsys):
    """How many files are read at a time does not matter."""
    tables = []
    for batch in ("7", "256"):
        out = tmp_path / f"{batch}.csv"
        arguments = [str(model[0]), str(xrays), "--out", str(out), "--batch", batch, "--json"]
        assert main(["predict", *arguments]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 60
        tables.append(pd.read_csv(out))
    pd.testing.assert_frame_equal(*tables, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "{xrays}", "--out", "{tmp}/m", *SMALL, "--set", "colour=1"],
            "ResNetOvO has no such parameter",
        ),
        (["train", "{xrays}", "--out", "{tmp}/m", *SMALL, "--weights", "x.pth"], "weights='x.pth'"),
        (["train", "{xrays}", "--out", "{tmp}/no/m", *SMALL], "no' does not exist"),
        (["audit", "{xrays}", "--html", "{tmp}/no/a.html"], "no' does not exist"),
        (["predict", "{xrays}/metadata.csv", "{xrays}", "--out", "{tmp}/p"], "could not be loaded"),
        (["predict", "{model}", "{tmp}", "--out", "{tmp}/p"], "contains no image"),
        (
            ["predict", "{model}", "{xrays}/metadata.csv", "--path", "file", "--out", "{tmp}/p"],
            "expected a column 'file'",
        ),
        (
            ["predict", "{model}", "{xrays}/metadata.csv", "--label", "class", "--out", "{tmp}/p"],
            "expected a column 'class'",
        ),
        (
            ["predict", "{model}", "{xrays}/metadata.csv", "{xrays}/Normal", "--out", "{tmp}/p"],
            "by its name it is a list or a table",
        ),
        (["audit", "{xrays}/Normal"], "expected"),
        (["train", "{xrays}", "--out", "{tmp}/m", *SMALL, "--set", "lr=abc"], "'lr' parameter"),
        (["train", "{xrays}", "--out", "/dev/null", *SMALL], "is not a regular file"),
        (["predict", "{model}", "{xrays}", "--out", "{model}"], "it is the input"),
        (["audit", "{xrays}", "--html", ""], "--html='' is invalid: it is empty"),
        (["train", "{xrays}", "--out", "", *SMALL], "--out='' is invalid: it is empty"),
        (["curate", "{xrays}", ""], "out='' is invalid: it is empty"),
        (["curate", "{xrays}", "{xrays}/metadata.csv/x"], "cannot be created"),
        (["curate", "{xrays}", "{xrays}"], "of the input"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(xrays, model, tmp_path, capsys, arguments, message):
    """The line names what is wrong; nothing is left behind."""
    names = {"xrays": xrays, "tmp": tmp_path, "model": model[0]}
    assert main([argument.format(**names) for argument in arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["curate", "{xrays}", "{tmp}/out", "--rule", "size=3"],
        ["curate", "{xrays}", "{tmp}/out", "--rule", "duplicates=maybe"],
        ["curate", "{xrays}", "{tmp}/out", "--rule", "min_sd=true"],
        ["train", "{xrays}", "--out", "{tmp}/m", "--set", "lr"],
        ["train", "{xrays}", "--out", "{tmp}/m", "--model", "vgg"],
        ["train", "{xrays}", "--out", "{tmp}/m", "--test-fraction", "0.9"],
        ["audit", "{xrays}/metadata.csv", "--label-map", "Normal"],
        ["audit", "{xrays}", "--form", "table"],
        ["audit", "{xrays}", "--root", "{xrays}"],
        ["predict", "{xrays}/metadata.csv", "{xrays}", "--root", "{xrays}", "--out", "{tmp}/p"],
        ["predict", "{xrays}/metadata.csv", "{xrays}", "--out", "{tmp}/p", "--form", "table"],
        ["predict", "{xrays}/metadata.csv", *["{xrays}"] * 2, "--form", "list", "--out", "{tmp}/p"],
        ["audit", "{xrays}/metadata.csv", "--on", "PatientID"],
        ["audit", "{xrays}", "--form", "dicom", "--on", "PatientID"],
        ["audit", "{xrays}/metadata.csv", "--label-map", "a=b", "--label-map", "a=c"],
        ["audit", "{xrays}", "--jobs", "0"],
        ["audit", "{xrays}", "--jobs", "-2"],
        ["train", "{xrays}", "--out", "{tmp}/m", "--set", "image_size=64"],
        ["train", "{xrays}", "--out", "{tmp}/m", "--image-size", "4"],
    ],
)
def test_wrong_usage_is_exit_code_2(xrays, tmp_path, capsys, arguments):
    """Options are checked before anything is read, and none is ignored."""
    assert main([a.format(xrays=xrays, tmp=tmp_path) for a in arguments]) == 2
    err = capsys.readouterr().err
    assert "Error: " in err
    assert any(
        word in err for word in ("Invalid value", "is a folder", "does not apply", "has 2 values")
    )


@pytest.fixture
def copy(xrays, tmp_path):
    """Return a copy of the folder of phantoms, and one of its images."""
    root = tmp_path / "xrays"
    shutil.copytree(xrays, root)
    return root, next((root / "Normal").iterdir())


def contents(root):
    """Return the bytes of every file below a folder."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "{root}", "--html", "{image}"], "is an image"),
        (["audit", "{root}", "--html", "{root}/metadata.csv"], "it is the input"),
        (["audit", "{root}/metadata.csv", "--html", "{root}/metadata.csv"], "it is the input"),
        (["audit", "{root}", "--html", "{root}/../link.html"], "it is the input"),
        (["predict", "{model}", "{root}", "--out", "{root}/metadata.csv"], "it is the input"),
        (
            ["predict", "{model}", "{root}", "--out", "{root}/Normal/new.png"],
            "suffix of an image",
        ),
        (["predict", "{model}", "{root}", "--out", "{root}/.cxr-curation.json"], "read together"),
        (
            ["predict", "{model}", "{root}/Normal", "--out", "{root}/metadata.csv"],
            "it is the input",
        ),
        (["predict", "{model}", "{image}", "--out", "{root}/metadata.csv"], "it is the input"),
        (
            ["predict", "{model}", "{root}/Normal", "--out", "{root}/../metadata.csv"],
            "read together",
        ),
        (["predict", "{model}", "{root}", "--out", "{root}/../METADATA.CSV"], "read together"),
        (["train", "{root}", "--out", "{image}", *SMALL], "is an image"),
        (["train", "{root}", "--out", "{root}/../link.html", *SMALL], "it is the input"),
        (["demo", "{root}", "--output", "{root}/demo"], "is inside the input"),
    ],
)
def test_results_never_replace_inputs(copy, model, tmp_path, capsys, arguments, message):
    """A target that is read, or would be read next time, is refused before the work."""
    root, image = copy
    os.link(image, tmp_path / "link.html")  # another name of an image
    before = contents(root)
    names = {"root": root, "image": image, "model": model[0]}
    assert main([argument.format(**names) for argument in arguments]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert contents(root) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
@pytest.mark.parametrize("is_other_set", [False, True])
def test_results_never_replace_inputs_through_links(copy, model, tmp_path, capsys, is_other_set):
    """A link is judged by the file that it leads to, and a linked metadata.csv is an input."""
    root, _ = copy
    read = tmp_path / "other" if is_other_set else root
    if is_other_set:
        shutil.copytree(root, read)
    link = tmp_path / "link.html"
    link.symlink_to(root / "metadata.csv")
    before = contents(root)
    for arguments in (
        ["audit", str(read), "--html", str(link)],
        ["predict", str(model[0]), str(read), "--out", str(link)],
        ["train", str(read), "--out", str(link), *SMALL],
    ):
        assert main(arguments) == 1
        expected = "is read together with" if is_other_set else "it is the input"
        assert expected in capsys.readouterr().err.splitlines()[-1]
    table = tmp_path / "table.csv"
    (root / "metadata.csv").rename(table)
    (root / "metadata.csv").symlink_to(table)
    assert main(["train", str(root), "--out", str(table), *SMALL]) == 1
    assert "it is the input" in capsys.readouterr().err.splitlines()[-1]
    assert contents(root) == before


def test_relative_names_of_results_are_judged_too(copy, model, capsys, monkeypatch):
    """``--out metadata.csv`` in the folder of the set replaces nothing."""
    root, _ = copy
    before = contents(root)
    monkeypatch.chdir(root)
    for name in ("metadata.csv", ".cxr-curation.json"):
        assert main(["predict", str(model[0]), "Normal", "--out", name]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: --out={name!r}")
    assert contents(root) == before


def test_weights_in_the_home_folder_are_an_input(xrays, tmp_path, capsys, monkeypatch):
    """``~`` is expanded before the file of the model is compared with the weights."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights")
    arguments = ["--out", str(weights), *SMALL, "--weights", "~/w.pth"]
    assert main(["train", str(xrays), *arguments]) == 1
    assert "it is the input" in capsys.readouterr().err.splitlines()[-1]
    assert weights.read_bytes() == b"weights"


def test_every_class_is_learned_and_tested(xrays, tmp_path, capsys):
    """A class whose patients are few is in both parts; one with one patient is an error."""
    root = tmp_path / "xrays"
    shutil.copytree(xrays, root)
    table = pd.read_csv(root / "metadata.csv")
    of = np.flatnonzero(table["label"] == "COVID-19")
    table.loc[of, "patient"] = [f"q{i % 2}" for i in range(len(of))]
    table.to_csv(root / "metadata.csv", index=False)
    out = tmp_path / "model.joblib"
    for seed in ("0", "1", "2"):
        arguments = ["--out", str(out), *SMALL, "--test-fraction", "0.5", "--seed", seed, "--json"]
        assert main(["train", str(root), *arguments]) == 0
        figures = json.loads(capsys.readouterr().out)["figures"]
        tested = [row for row in figures if row["metric"] == "sensitivity"]
        assert {row["class"] for row in tested} == {"COVID-19", "Normal", "Pneumonia"}
        assert all(row["n_patients"] > 0 for row in tested)
        assert len(joblib.load(out).classes_) == 3
    table.loc[of, "patient"] = "q"
    table.to_csv(root / "metadata.csv", index=False)
    assert main(["train", str(root), *arguments]) == 1
    assert "(patients per class: COVID-19 1, " in capsys.readouterr().err


def test_result_behind_a_link_is_replaced_and_the_link_is_kept(xrays, model, tmp_path):
    """What it leads to is replaced."""
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    assert main(["predict", str(model[0]), str(xrays), "--out", str(link)]) == 0
    assert link.is_symlink()
    assert len(pd.read_csv(real)) == 60


def test_a_model_of_another_kind_is_refused(tmp_path, xrays, capsys):
    """A pickle that no training wrote is named for what it is."""
    path = tmp_path / "other.joblib"
    unfitted = Pipeline([(name, ResNetOvO()) for name in pipeline.STEPS])
    for found in ({"a": 1}, unfitted):
        joblib.dump(found, path)
        assert main(["predict", str(path), str(xrays), "--out", str(tmp_path / "p.csv")]) == 1
        assert f"holds a {type(found).__name__}" in capsys.readouterr().err


def test_a_model_of_another_version_is_refused(xrays, model, tmp_path, capsys):
    """One line states the version, also of models before versions were stored."""
    path = tmp_path / "old.joblib"
    arguments = ["predict", str(path), str(xrays), "--out", str(tmp_path / "p.csv")]
    pipeline = joblib.load(model[0])
    assert pipeline.cxr_sklearn_version_ == cxr_sklearn.__version__
    pipeline.cxr_sklearn_format_, pipeline.cxr_sklearn_version_ = -1, "0.0.7"
    joblib.dump(pipeline, path)
    assert main(arguments) == 1
    expected = "was trained by another version of cxr-sklearn (0.0.7); expected a model"
    assert expected in capsys.readouterr().err.splitlines()[-1]
    old = Pipeline([step for step in pipeline.steps if step[0] != "sources"])
    del pipeline.named_steps["guard"].components_
    joblib.dump(old, path)
    assert main(arguments) == 1
    assert "was trained by another version of cxr-sklearn (unknown" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_file(xrays, model, tmp_path, capsys, monkeypatch):
    """Predictions that cannot be written replace nothing."""
    out = tmp_path / "predictions.csv"
    out.write_text("old")

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pipeline, "predict_files", full)
    assert main(["predict", str(model[0]), str(xrays), "--out", str(out)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_leaves_no_incomplete_file(xrays, tmp_path):
    """Ctrl-C during training ends with exit code 130 and no file."""
    out = tmp_path / "model.joblib"
    long = ["--set", "n_iter_no_change=100000", "--max-epochs", "100000"]
    arguments = ["train", xrays, "--out", out, *SMALL, *long]
    process = program(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert any("trunk passes" in line for line in process.stderr)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_python_still_imports(capsys, monkeypatch):
    """It is no traceback either."""

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_cli, "main", interrupted)
    assert main(["audit"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_help_and_audit_do_not_wait_for_pytorch():
    """What needs no network does not import one."""
    code = "import sys, cxr_sklearn.datasets, cxr_sklearn._cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_closed_pipe_is_no_traceback(xrays, tmp_path):
    """``cxr-sklearn curate … | head -0`` ends quietly."""
    arguments = ["curate", xrays, tmp_path / "out", "--rule", "min_side=64", "--json"]
    process = program(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert Path(tmp_path / "out" / "manifest.csv").is_file()
