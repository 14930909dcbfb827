"""Displays draw what they are given, with bands by patient."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, roc_auc_score

from cxr_sklearn import ResNetClassifier, ResNetOvO, ResNetOvR
from cxr_sklearn.evaluation import compare, cross_evaluate, evaluate
from cxr_sklearn.metrics import (
    ComparisonDisplay,
    ConfusionDisplay,
    DecisionCurveDisplay,
    PrecisionRecallDisplay,
    ReliabilityDisplay,
    RocDisplay,
    TrainingDisplay,
    net_benefit,
)

from ..toys import toy

mpl.use("Agg")

DISPLAYS = [
    RocDisplay,
    PrecisionRecallDisplay,
    ReliabilityDisplay,
    ConfusionDisplay,
    DecisionCurveDisplay,
]


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="module")
def results():
    """Return a fitted model, and test images of 60 patients."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 3)
    codes = patient % 3
    y = np.array(["COVID-19", "Normal", "Pneumonia"])[codes]
    X = rng.normal(size=(180, 3)) + np.eye(3)[codes]
    return LogisticRegression().fit(X, y), X, y, patient


@pytest.fixture(scope="module")
def evaluation(results):
    model, X, y, patient = results
    return evaluate(model, X, y, groups=patient, n_resamples=200, random_state=0)


@pytest.mark.parametrize("kind", DISPLAYS)
def test_all_constructors_draw_the_same(kind, results, evaluation):
    model, X, y, patient = results
    arguments = {"groups": patient, "n_resamples": 50}
    drawn = [
        kind.from_evaluation(evaluation, n_resamples=50),
        kind.from_estimator(model, X, y, **arguments),
        kind.from_predictions(y, model.predict_proba(X), **arguments),
    ]
    for display in drawn:
        assert display.ax_.figure is display.figure_
        assert display.ax_.get_xlabel()
        assert display.ax_.get_ylabel()
    texts = [[text.get_text() for text in display.ax_.texts] for display in drawn]
    lines = [[line.get_ydata() for line in display.ax_.lines] for display in drawn]
    for other in (1, 2):
        assert texts[other] == texts[0]
        for a, b in zip(lines[other], lines[0], strict=True):
            np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("kind", DISPLAYS)
def test_display_draws_on_given_axes(kind, evaluation):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert kind.from_evaluation(evaluation, ax=ax, n_resamples=50).ax_ is ax


@pytest.mark.parametrize("kind", [RocDisplay, PrecisionRecallDisplay, DecisionCurveDisplay])
def test_bands_contain_the_curves(kind, evaluation):
    for _, middle, low, high in kind.from_evaluation(evaluation).curves.values():
        assert (low <= middle + 0.02).mean() > 0.97
        assert (middle <= high + 0.02).mean() > 0.97


def test_bands_by_patient_are_wider_than_those_by_image(results):
    """Copies of the images of patients add nothing."""
    model, X, y, patient = results
    copies = np.repeat(np.arange(180), 4)
    widths = []
    for groups in (patient[copies], np.arange(720)):
        display = RocDisplay.from_estimator(model, X[copies], y[copies], groups=groups)
        _, _, low, high = display.curves["COVID-19"]
        widths.append((high - low).mean())
    assert widths[0] > 1.8 * widths[1]


def test_roc_legend_states_the_auc(evaluation, results):
    model, X, y, _ = results
    display = RocDisplay.from_evaluation(evaluation, label="Normal", n_resamples=50)
    expected = roc_auc_score(y == "Normal", model.predict_proba(X)[:, 1])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [f"Normal (AUC = {expected:.2f})"]


def test_confusion_matrix_states_counts_and_shares(evaluation, results):
    model, X, y, _ = results
    display = ConfusionDisplay.from_evaluation(evaluation)
    expected = confusion_matrix(y, model.predict(X))
    np.testing.assert_array_equal(display.counts, expected)
    first = display.ax_.texts[0].get_text().split("\n")
    assert first[0] == str(expected[0, 0])
    assert first[1] == f"{100 * expected[0, 0] / 60:.0f} %"


def test_decision_curve_is_the_net_benefit(evaluation, results):
    model, X, y, _ = results
    thresholds, benefit, _, _ = DecisionCurveDisplay.from_evaluation(evaluation).curves["Normal"]
    expected = net_benefit(y == "Normal", model.predict_proba(X)[:, 1], thresholds)
    np.testing.assert_allclose(benefit, expected)


def test_reliability_of_the_predicted_class_can_be_drawn(evaluation):
    display = ReliabilityDisplay.from_evaluation(evaluation, label="predicted class")
    assert len(display.curves["predicted class"]) >= 5


def test_comparison_is_a_forest_plot(results):
    model, X, y, patient = results
    other = LogisticRegression(C=1e-3).fit(X, y)
    found = evaluate({"a": model, "b": other}, X, y, groups=patient, n_resamples=200)
    display = ComparisonDisplay.from_comparison(
        compare(found, n_permutations=200), metric="log_loss"
    )
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["a less b"]
    assert "negative is better" in display.ax_.get_xlabel()
    with pytest.raises(ValueError, match="metric='auc' was not compared; expected one of"):
        ComparisonDisplay.from_comparison(compare(found, n_permutations=200), metric="auc")
    with pytest.raises(ValueError, match="evaluation has no baselines"):
        ComparisonDisplay.from_evaluation(found)


def test_gains_over_baselines_are_a_forest_plot(results):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(60, 16, 16), dtype=np.uint8).reshape(60, -1)
    y = np.tile(["a", "b"], 30)
    found = cross_evaluate(
        LogisticRegression(max_iter=2000),
        X,
        y,
        groups=np.arange(60),
        cv=2,
        n_resamples=200,
        baselines="thumbnail",
        random_state=0,
    )
    display = ComparisonDisplay.from_evaluation(found)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["LogisticRegression over thumbnail"]


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (ResNetClassifier, ["ResNetClassifier"]),
        (ResNetOvR, ["COVID-19 / rest", "Normal / rest", "Pneumonia / rest"]),
        (
            ResNetOvO,
            ["COVID-19 / Normal", "COVID-19 / Pneumonia", "Normal / Pneumonia"],
        ),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_display_has_the_losses_of_every_network(kind, names, early_stopping, phantoms):
    model = kind(
        backbone=toy,
        weights=None,
        image_size=16,
        max_epochs=3,
        random_state=0,
        early_stopping=early_stopping,
    ).fit(*phantoms)
    display = TrainingDisplay.from_estimator(model)
    assert list(display.curves) == names
    train, valid = display.curves[names[0]]
    expected = model.loss_curve_ if kind is ResNetClassifier else model.loss_curve_[0]
    assert train == expected
    assert (valid is not None) == early_stopping
    assert len(display.ax_.lines) == len(names) * (1 + early_stopping)


def test_training_display_needs_a_fitted_model():
    with pytest.raises(ValueError, match="LogisticRegression, which has no loss_curve_"):
        TrainingDisplay.from_estimator(LogisticRegression())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["Normal", "Pneumonia"]}, r"y_prob has the shape \(180, 3\)"),
        ({"classes": ["COVID", "Normal", "Pneumonia"]}, "y_true contains 'COVID-19'"),
        ({"groups": [1, 2]}, "groups has 2 values for 180 images"),
        ({"label": "Covid"}, "label='Covid' is not a class"),
    ],
)
def test_invalid_arguments_raise(results, arguments, message):
    model, X, y, _ = results
    with pytest.raises(ValueError, match=message):
        RocDisplay.from_predictions(y, model.predict_proba(X), n_resamples=20, **arguments)


def test_missing_matplotlib_names_the_extra(monkeypatch, evaluation):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'cxr-sklearn\[plot\]'"):
        RocDisplay.from_evaluation(evaluation, n_resamples=20)
