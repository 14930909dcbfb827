"""evaluate returns tables of figures with intervals, a summary, and JSON."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from cxr_sklearn.evaluation import Evaluation, evaluate
from cxr_sklearn.exceptions import ImageLevelWarning

from .toy_results import CLASSES, Fixed, make_data

COLUMNS = [
    "model",
    "metric",
    "class",
    "subset",
    "value",
    "low",
    "high",
    "method",
    "n_images",
    "n_patients",
]


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def model():
    X, y, _ = make_data(seed=1)
    return LogisticRegression().fit(X, y)


@pytest.fixture(scope="module")
def evaluation(model, data):
    X, y, patient = data
    rng = np.random.default_rng(0)
    subgroups = pd.DataFrame(
        {"age": rng.integers(1, 90, len(y)), "sex": np.where(patient % 2, "F", "M")}
    )
    return evaluate(
        {"logistic": model, "dummy": DummyClassifier().fit(X, y)},
        X,
        y,
        groups=patient,
        sources=np.where(patient % 4 < 2, "A", "B"),
        subgroups=subgroups,
        prevalence={"COVID-19": 0.05},
        n_resamples=300,
        random_state=0,
    )


# -- tables ---------------------------------------------------------------------------------------


def test_frame_has_one_row_per_figure(evaluation):
    frame = evaluation.to_frame()
    assert list(frame.columns) == COLUMNS
    assert not frame.duplicated(["model", "metric", "class", "subset"]).any()
    assert set(frame["method"]) <= {"bca", "percentile", "exact", "none"}


def test_all_figures_are_reported(evaluation):
    """The list of figures that a publication needs."""
    overall = set(evaluation.overall["metric"])
    assert overall == {
        "accuracy",
        "balanced_accuracy",
        "f1_macro",
        "roc_auc_ovr",
        "roc_auc_ovo",
        "log_loss",
        "brier_score",
        "cohen_kappa",
        "matthews_corrcoef",
    }
    per_class = evaluation.per_class.query("model == 'logistic'")
    assert set(per_class.loc[per_class["class"] == "Normal", "metric"]) == {
        "ppv",
        "npv",
        "sensitivity",
        "specificity",
        "f1",
        "roc_auc",
        "average_precision",
        "brier_score",
        "ppv_at_prevalence",
        "npv_at_prevalence",
        "sensitivity_at_specificity_90",
        "sensitivity_at_specificity_95",
        "specificity_at_sensitivity_90",
        "specificity_at_sensitivity_95",
    }
    assert set(evaluation.calibration["metric"]) == {
        "smooth_ece",
        "calibration_slope",
        "calibration_intercept",
        "calibration_loss",
        "refinement_loss",
    }


def test_intervals_contain_their_figures(evaluation):
    frame = evaluation.to_frame().query("model == 'logistic' and subset == 'all'")
    frame = frame[frame["metric"] != "smooth_ece"]
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()


def test_values_are_those_of_scikit_learn(evaluation, model, data):
    X, y, _ = data
    overall = evaluation.overall.query("model == 'logistic'").set_index("metric")["value"]
    expected = metrics.balanced_accuracy_score(y, model.predict(X))
    assert overall["balanced_accuracy"] == pytest.approx(expected)
    assert overall["log_loss"] == pytest.approx(metrics.log_loss(y, model.predict_proba(X)))


def test_images_and_patients_behind_a_figure_are_counted(evaluation, data):
    _, y, patient = data
    rows = evaluation.per_class.query("model == 'logistic' and metric == 'sensitivity'")
    row = rows[rows["class"] == "COVID-19"].iloc[0]
    assert row["n_images"] == (y == "COVID-19").sum()
    assert row["n_patients"] == len(set(patient[y == "COVID-19"]))


def test_confusion_matrix_has_shares_with_intervals(evaluation, model, data):
    X, y, _ = data
    table = evaluation.confusion.query("model == 'logistic'")
    counts = table.pivot(index="true", columns="predicted", values="count").to_numpy()
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(y, model.predict(X)))
    np.testing.assert_allclose(table.groupby("true")["share"].sum(), 1)
    assert (table["low"] <= table["share"]).all()


def test_subsets_are_compared_with_the_other_images(evaluation, model, data):
    X, y, patient = data
    table = evaluation.subsets.query("model == 'logistic' and column == 'source'")
    row = table[(table["level"] == "A") & (table["metric"] == "accuracy")].iloc[0]
    inside = patient % 4 < 2
    correct = model.predict(X) == y
    assert row["value"] == pytest.approx(correct[inside].mean())
    assert row["rest"] == pytest.approx(correct[~inside].mean())
    assert row["difference"] == pytest.approx(row["value"] - row["rest"])
    assert row["excludes_0"] == (row["difference_low"] > 0 or row["difference_high"] < 0)
    assert row["n_patients"] == len(set(patient[inside]))


def test_subset_that_differs_is_flagged(model, data):
    """A source whose images are noise has a difference whose interval excludes 0."""
    X, y, patient = data
    is_noise = patient % 4 == 0
    noisy = np.where(is_noise[:, None], np.random.default_rng(0).normal(size=X.shape), X)
    found = evaluate(
        model,
        noisy,
        y,
        groups=patient,
        sources=np.where(is_noise, "noise", "clean"),
        n_resamples=300,
        random_state=0,
    )
    row = found.subsets.query("level == 'noise' and metric == 'balanced_accuracy'").iloc[0]
    assert row["excludes_0"]
    assert row["difference"] < 0
    assert "source=noise: balanced accuracy" in str(found)


def test_subsets_of_other_classes_are_not_compared_by_means_over_the_classes(model, data):
    """The balanced accuracy of a source with one class is its sensitivity, and not comparable."""
    X, y, patient = data
    source = np.where(y == "COVID-19", "A", "B")
    found = evaluate(
        model, X, y, groups=patient, sources=source, n_resamples=200, random_state=0
    ).subsets.set_index(["level", "metric", "class"])
    assert np.isnan(found.loc[("A", "balanced_accuracy", ""), "difference"])
    assert not found.loc[("A", "balanced_accuracy", ""), "excludes_0"]
    assert np.isfinite(found.loc[("A", "accuracy", ""), "difference"])


def test_ages_are_banded_and_other_columns_are_kept(evaluation):
    levels = evaluation.subsets.groupby("column")["level"].unique()
    assert set(levels["age"]) == {"0-17", "18-39", "40-59", "60-79", "80 or more"}
    assert set(levels["sex"]) == {"F", "M"}


def test_reliability_table_has_bins_per_class_and_top_label(evaluation):
    table = evaluation.reliability.query("model == 'logistic'")
    assert set(table["class"]) == {"", *CLASSES}
    assert table.groupby("class")["n_images"].sum().eq(evaluation.n_images).all()
    assert table["observed"].between(table["low"] - 1e-9, table["high"] + 1e-9).all()


def test_decision_curve_starts_at_the_share_of_the_class(evaluation, data):
    """At a threshold near 0 all images are acted on."""
    _, y, _ = data
    table = evaluation.decision_curves.query("model == 'logistic'")
    first = table[table["class"] == "Normal"].iloc[0]
    assert first["net_benefit"] == pytest.approx(first["net_benefit_of_all"], abs=0.01)
    assert first["net_benefit_of_all"] == pytest.approx((y == "Normal").mean(), abs=0.01)


def test_predictions_have_a_row_per_model_and_image(evaluation, data):
    _, y, _ = data
    table = evaluation.predictions
    assert len(table) == 2 * len(y)
    rows = table.query("model == 'logistic'")
    assert (rows["true"].to_numpy() == y).all()
    assert (rows["correct"] == (rows["true"] == rows["prediction"])).all()
    assert rows[["p_COVID-19", "p_Normal", "p_Pneumonia"]].sum(axis=1).to_numpy() == pytest.approx(
        1
    )
    assert (rows["margin"] >= 0).all()
    assert (rows["fold"] == -1).all()


def test_worst_errors_are_the_most_confident(evaluation):
    errors = evaluation.worst(5)
    assert len(errors) == 5
    assert not errors["correct"].any()
    assert errors["margin"].is_monotonic_decreasing
    all_errors = evaluation.predictions.query("model == 'logistic' and not correct")
    assert errors["margin"].iloc[0] == all_errors["margin"].max()


def test_cost_threshold_belongs_to_a_class(evaluation):
    found = evaluation.cost_threshold("COVID-19", [[0, 1], [5, 0]])
    assert found.cost <= found.cost_at_half
    with pytest.raises(ValueError, match="label='Covid' is not a class; expected one of"):
        evaluation.cost_threshold("Covid", [[0, 1], [5, 0]])


def test_same_seed_gives_the_same_figures(model, data):
    X, y, patient = data
    first, second, other = (
        evaluate(model, X, y, groups=patient, n_resamples=200, random_state=seed).to_frame()
        for seed in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)


def test_patient_level_intervals_are_wider_than_image_level_ones(model):
    """Copies of images add images, but no information."""
    X, y, patient = make_data(60)
    copies = np.repeat(np.arange(len(y)), 4)
    arguments = {"n_resamples": 500, "random_state": 0}
    by_patient = evaluate(model, X[copies], y[copies], groups=patient[copies], **arguments)
    with pytest.warns(ImageLevelWarning):
        by_image = evaluate(model, X[copies], y[copies], **arguments)
    widths = []
    for one in (by_patient, by_image):
        row = one.overall.query("metric == 'accuracy'").iloc[0]
        widths.append(row["high"] - row["low"])
    assert widths[0] > 1.8 * widths[1]


def test_two_classes_are_evaluated():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    X = rng.normal(size=(80, 1)) + y[:, None]
    found = evaluate(
        LogisticRegression().fit(X, y), X, y, groups=np.arange(80), n_resamples=200, random_state=0
    )
    assert found.per_class["class"].unique().tolist() == [0, 1]
    expected = metrics.brier_score_loss(y, LogisticRegression().fit(X, y).predict_proba(X)[:, 1])
    row = found.overall.query("metric == 'brier_score'").iloc[0]
    assert row["value"] == pytest.approx(expected)


# -- text and files -------------------------------------------------------------------------------


def test_summary_fits_a_terminal(evaluation):
    lines = str(evaluation).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("logistic") for line in lines)


def test_summary_begins_with_notes(model, data):
    X, y, _ = data
    with pytest.warns(ImageLevelWarning):
        found = evaluate(model, X, y, n_resamples=200, random_state=0)
    assert str(found).startswith("Intervals are at the level of the image")


def test_long_names_do_not_widen_the_summary(data):
    X, y, patient = data
    labels = np.char.add(
        y.astype("U200"), " with a name of the class that is longer than a line of text"
    )
    model = LogisticRegression().fit(X, labels)
    found = evaluate(
        {"a model with a name that is longer than the whole line of a terminal would be": model},
        X,
        labels,
        groups=patient,
        n_resamples=200,
        random_state=0,
    )
    assert max(map(len, str(found).splitlines())) <= 80


def test_html_contains_tables(evaluation):
    html = evaluation._repr_html_()
    assert "<table" in html
    assert "balanced_accuracy" in html


def test_json_restores_everything(evaluation, tmp_path):
    path = tmp_path / "evaluation.json"
    assert evaluation.to_json(path) is None
    loaded = Evaluation.from_json(path)
    assert str(loaded) == str(evaluation)
    pd.testing.assert_frame_equal(loaded.to_frame(), evaluation.to_frame())
    pd.testing.assert_frame_equal(loaded.predictions, evaluation.predictions)
    pd.testing.assert_frame_equal(loaded.subsets, evaluation.subsets)
    assert Evaluation.from_json(evaluation.to_json()).to_json() == path.read_text()


def test_json_has_no_identifiers(model, data):
    X, y, patient = data
    names = np.array([f"Jane Doe {number}" for number in patient])
    found = evaluate(model, X, y, groups=names, n_resamples=200, random_state=0)
    assert "Jane" not in found.to_json()


def test_json_is_versioned(evaluation):
    content = json.loads(evaluation.to_json())
    assert content["format"] == "cxr_sklearn.evaluation"
    assert content["version"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=99), "has version 99 of the format; expected at most 1"),
        (lambda c: c.update(format="other"), "is not an evaluation"),
        (lambda c: c.pop("images"), "is damaged"),
        (lambda c: c["images"].update(true=[0]), "is damaged"),
    ],
)
def test_damaged_json_raises(evaluation, tmp_path, change, message):
    content = evaluation.to_dict()
    change(content)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        Evaluation.from_json(path)
    assert "damaged.json" in str(error.value)


def test_text_that_is_not_json_raises(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"report\.json' is not JSON"):
        Evaluation.from_json(path)


# -- bad input ------------------------------------------------------------------------------------


def one_wrong(n, row, values):
    proba = np.full((n, 3), 1 / 3)
    proba[row] = values
    return proba


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([np.nan, 0.5, 0.5], "nan"),
        ([0.5, 0.5, 0.5], "0.5"),
        ([-0.1, 0.6, 0.5], "-0.1"),
    ],
)
def test_invalid_probabilities_raise(data, values, found):
    X, y, patient = data
    model = Fixed(one_wrong(len(y), 7, values))
    with pytest.raises(ValueError, match=f"Fixed: predict_proba returned .*{found}.* for row 7"):
        evaluate(model, X, y, groups=patient)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": "Covid"}, "y contains the labels 'Covid', which are not classes of the model"),
        ({"y": None}, r"y\[0\] is None"),
        ({"groups": "one"}, "groups contains one patient"),
        ({"groups": ""}, r"groups\[0\] is an empty string"),
        ({"groups": 5}, "groups has 5 values for"),
        ({"sources": 5}, "sources has 5 values for"),
        ({"sources": None}, r"sources\[0\] is None: an unknown source"),
        ({"confidence_level": 95}, "confidence_level=95 is invalid"),
        ({"n_resamples": 10}, "n_resamples=10 is invalid"),
        ({"method": "normal"}, "method='normal' is invalid"),
        ({"random_state": -1}, "random_state=-1 is invalid"),
        ({"prevalence": [0.5, 0.5]}, "prevalence=.*one share for each"),
        ({"prevalence": {"Covid": 0.5}}, "'Covid' is not a class"),
        ({"subgroups": {"id": 0}}, r"subgroups\['id'\] has .* values"),
        ({"subgroups": {"source": 0}, "sources": "A"}, "name of the column of sources"),
    ],
)
def test_invalid_arguments_raise_in_one_line(model, data, change, message):
    X, y, patient = data
    n = len(y)
    arguments = {"y": y.astype(object), "groups": patient.astype(object)}
    for name, value in change.items():
        if name == "y":
            arguments["y"][0] = value
        elif name == "groups":
            arguments["groups"] = {
                "one": ["p1"] * n,
                "": ["", *["p"] * (n - 1)],
                5: [1] * 5,
            }[value]
        elif name == "sources":
            arguments["sources"] = {5: ["A"] * 5, None: [None] * n, "A": ["A"] * n}[value]
        elif name == "subgroups":
            arguments["subgroups"] = {key: [f"s{row}" for row in range(n)] for key in value}
        else:
            arguments[name] = value
    with pytest.raises(ValueError, match=message) as error:
        evaluate(model, X, **arguments)
    assert "\n" not in str(error.value)


def test_one_class_only_raises(model, data):
    X, y, patient = data
    rows = y == "Normal"
    with pytest.raises(ValueError, match="y contains the class 'Normal' only"):
        evaluate(model, X[rows], y[rows], groups=patient[rows])


def test_absent_class_warns_and_leaves_its_figures_empty(model, data):
    X, y, patient = data
    rows = y != "Normal"
    with pytest.warns(UserWarning, match="y contains no image of 'Normal'"):
        found = evaluate(
            model, X[rows], y[rows], groups=patient[rows], n_resamples=200, random_state=0
        )
    table = found.per_class.query("metric == 'sensitivity'").set_index("class")
    assert np.isnan(table.loc["Normal", "value"])
    assert np.isfinite(table.loc["COVID-19", "value"])
    assert max(map(len, str(found).splitlines())) <= 80


def test_missing_groups_warn(model, data):
    X, y, _ = data
    with pytest.warns(ImageLevelWarning, match="groups is missing, so that intervals are at"):
        found = evaluate(model, X, y, n_resamples=200, random_state=0)
    assert found.unit == "images"


def test_unfitted_model_raises(data):
    X, y, patient = data
    with pytest.raises(ValueError, match="has no classes_; expected a fitted classifier"):
        evaluate(LogisticRegression(), X, y, groups=patient)


def test_model_without_probabilities_raises(data):
    from sklearn.svm import LinearSVC

    X, y, patient = data
    with pytest.raises(TypeError, match="expected a classifier with predict_proba"):
        evaluate(LinearSVC(), X, y, groups=patient)


def test_other_number_of_labels_raises(model, data):
    X, y, patient = data
    with pytest.raises(ValueError, match=r"X has \d+ images and y has 5 labels; expected one"):
        evaluate(model, X, y[:5], groups=patient[:5])


def test_models_of_other_classes_raise(model, data):
    X, y, patient = data
    other = LogisticRegression().fit(X, y == "Normal")
    with pytest.raises(ValueError, match=r"model 'b' has the classes .*expected the same classes"):
        evaluate({"a": model, "b": other}, X, y, groups=patient)


def test_unknown_model_name_raises(evaluation):
    with pytest.raises(ValueError, match="model='tree' was not evaluated; expected one of"):
        evaluation.worst(model="tree")
