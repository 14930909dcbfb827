"""compare pairs models on the same images, and its p-values are right by patient."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cxr_sklearn.evaluation import Evaluation, compare, evaluate
from cxr_sklearn.metrics import delong_test
from cxr_sklearn.metrics._figures import subset_figures
from cxr_sklearn.metrics._permutation import permutation_p_values, with_ranks
from cxr_sklearn.metrics._resampling import resample_patients
from cxr_sklearn.metrics._scored_images import ScoredImages

from .toy_results import CLASSES, Fixed, make_data


def probabilities(codes, skill, rng, patient=None, correlation=0.0):
    """Return probabilities of a model with a skill, whose errors a patient's images share."""
    noise = rng.normal(size=(len(codes), 3))
    if patient is not None:
        shared = rng.normal(size=(patient.max() + 1, 3))[patient]
        noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * noise
    scores = noise + skill * np.eye(3)[codes]
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def evaluation():
    _, y, patient = make_data()
    codes = np.searchsorted(CLASSES, y)
    rng = np.random.default_rng(0)
    models = {
        "good": Fixed(probabilities(codes, 2, rng)),
        "fair": Fixed(probabilities(codes, 1, rng)),
        "poor": Fixed(probabilities(codes, 1, rng)),
    }
    X = np.zeros((len(y), 1))
    return evaluate(models, X, y, groups=patient, n_resamples=400, random_state=0)


def test_every_pair_is_compared_by_default(evaluation):
    frame = compare(evaluation, n_permutations=200).frame
    pairs = frame[["model", "reference"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["good", "fair"], ["good", "poor"], ["fair", "poor"]]
    assert set(frame["metric"]) == {
        "balanced_accuracy",
        "f1_macro",
        "roc_auc_ovr",
        "log_loss",
        "brier_score",
    }


def test_difference_is_that_of_the_figures(evaluation):
    frame = compare(evaluation, reference="fair", metrics="accuracy", n_permutations=200).frame
    values = evaluation.overall.query("metric == 'accuracy'").set_index("model")["value"]
    row = frame.query("model == 'good'").iloc[0]
    assert row["difference"] == pytest.approx(values["good"] - values["fair"])
    assert row["low"] < row["difference"] < row["high"]


def test_better_model_has_small_p_value_and_equal_models_do_not(evaluation):
    frame = compare(evaluation, metrics="balanced_accuracy", n_permutations=500).frame
    p = frame.set_index(["model", "reference"])["p"]
    assert p["good", "fair"] < 0.01
    assert p["fair", "poor"] > 0.05


def test_p_values_are_adjusted_over_the_pairs(evaluation):
    frame = compare(evaluation, metrics=["accuracy", "f1_macro"], n_permutations=300).frame
    for _, rows in frame.groupby("metric"):
        assert rows["p_adjusted"].min() == pytest.approx(min(1, 3 * rows["p"].min()))
        assert (rows["p_adjusted"] >= rows["p"]).all()


def test_metrics_per_class_have_a_row_per_class(evaluation):
    frame = compare(evaluation, reference="fair", metrics="sensitivity", n_permutations=200).frame
    assert frame.query("model == 'good'")["class"].tolist() == CLASSES.tolist()


def test_paired_interval_is_narrower_than_that_of_unpaired_models():
    """Two models that make the same errors differ little, although both are uncertain."""
    _, y, patient = make_data()
    codes = np.searchsorted(CLASSES, y)
    proba = probabilities(codes, 1, np.random.default_rng(0))
    slightly = proba.copy()
    slightly[0] = np.eye(3)[codes[0]]
    X = np.zeros((len(y), 1))
    found = evaluate(
        {"a": Fixed(slightly), "b": Fixed(proba)},
        X,
        y,
        groups=patient,
        n_resamples=400,
        random_state=0,
    )
    row = compare(found, metrics="log_loss", n_permutations=200).frame.iloc[0]
    single = found.overall.query("model == 'a' and metric == 'log_loss'").iloc[0]
    assert row["high"] - row["low"] < 0.1 * (single["high"] - single["low"])


def test_evaluations_of_one_model_each_are_joined(evaluation):
    """Also after a way through JSON, and under names of the user's."""
    _, y, patient = make_data()
    codes = np.searchsorted(CLASSES, y)
    X = np.zeros((len(y), 1))
    both = []
    for skill in (2, 1):
        model = Fixed(probabilities(codes, skill, np.random.default_rng(skill)))
        both.append(evaluate(model, X, y, groups=patient, n_resamples=400, random_state=0))
    found = compare(*both, metrics="accuracy", n_permutations=200).frame
    assert found[["model", "reference"]].iloc[0].tolist() == ["Fixed", "Fixed (2)"]
    loaded = [Evaluation.from_json(one.to_json()) for one in both]
    again = compare(*loaded, metrics="accuracy", n_permutations=200).frame
    assert again.equals(found)
    renamed = compare({"new": both[0], "old": both[1]}, metrics="accuracy", n_permutations=200)
    assert renamed.frame[["model", "reference"]].iloc[0].tolist() == ["new", "old"]


def test_summary_fits_a_terminal(evaluation):
    text = str(compare(evaluation, n_permutations=200))
    assert max(map(len, text.splitlines())) <= 80
    assert "good less fair" in text
    assert "Holm" in text


def test_results_are_plain_values(evaluation):
    import json

    content = compare(evaluation, metrics="accuracy", n_permutations=200).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert "<table" in compare(evaluation, metrics="accuracy", n_permutations=200)._repr_html_()


# -- statistics by simulation ---------------------------------------------------------------------


def rejections(n_studies, by_patient, seed=0):
    """Return the share of studies in which two equal models are said to differ."""
    n_rejected = np.zeros(2)
    for study in range(n_studies):
        rng = np.random.default_rng([seed, study])
        patient = np.repeat(np.arange(40), 6)
        codes = patient % 3
        models = []
        for _ in range(2):
            proba = probabilities(codes, 1.0, rng, patient, correlation=0.7)
            models.append(ScoredImages(codes, proba[None], patient))
        if not by_patient:
            alone = np.arange(len(codes))
            models = [ScoredImages(one.codes, one.proba, alone) for one in models]
        by_value = permutation_p_values(*models, subset_figures, 200, study)
        ranks = [with_ranks(one) for one in models]
        by_rank = permutation_p_values(*ranks, subset_figures, 200, study)
        p = np.array([by_value["accuracy", None], by_rank["roc_auc_ovr", None]])
        n_rejected += p <= 0.05
    return n_rejected / n_studies


@pytest.mark.slow
def test_permutation_test_by_patient_has_its_level():
    """Equal models differ at the level of 5 % in about 5 % of studies; by image much more often."""
    by_patient = rejections(400, by_patient=True)
    # Three standard errors of a share of 5 % in 400 studies are 3.3 %.
    assert (by_patient <= 0.083).all()
    assert (by_patient >= 0.017).all()
    by_image = rejections(400, by_patient=False)
    assert (by_image > 0.15).all()


def test_comparison_agrees_with_delong_for_one_image_per_patient():
    """The bootstrap of patients and the permutation test agree with DeLong's test."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    first, second = (y + rng.normal(size=200) * scale for scale in (1.0, 1.4))
    proba = [1 / (1 + np.exp(-score)) for score in (first, second)]
    models = {
        name: Fixed(np.column_stack([1 - p, p]), np.array([0, 1]))
        for name, p in zip("ab", proba, strict=True)
    }
    found = evaluate(
        models, np.zeros((200, 1)), y, groups=np.arange(200), n_resamples=4000, random_state=0
    )
    row = compare(found, metrics="roc_auc_ovr", n_permutations=4000).frame.iloc[0]
    expected = delong_test(y, first, second)
    assert row["difference"] == pytest.approx(expected.difference)
    width = (row["high"] - row["low"]) / (2 * 1.97)
    assert width == pytest.approx(expected.standard_error, rel=0.08)
    assert row["p"] == pytest.approx(expected.p, abs=0.02)


def test_bootstrap_error_agrees_with_delong_in_many_samples():
    """The mean ratio of both standard errors is 1."""
    ratios = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 60)
        scores = [y + rng.normal(size=120) for _ in range(2)]
        resamples = resample_patients(np.arange(120), y, 300, seed)
        draws = []
        for score in scores:
            proba = 1 / (1 + np.exp(-score))
            images = ScoredImages(y, np.column_stack([1 - proba, proba])[None], np.arange(120))
            figures = {(f.metric, f.label): f.values for f in subset_figures(images, resamples)}
            draws.append(figures["roc_auc", 1])
        spread = resamples.resampled(draws[0] - draws[1]).std()
        ratios.append(spread / delong_test(y, *scores).standard_error)
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "tree"}, "reference='tree' is unknown; expected one of"),
        ({"metrics": "auc"}, "metrics contains 'auc'; expected some of"),
        ({"n_permutations": 5}, "n_permutations=5 is invalid"),
    ],
)
def test_invalid_arguments_raise(evaluation, arguments, message):
    with pytest.raises(ValueError, match=message):
        compare(evaluation, **arguments)


def test_single_model_raises():
    X, y, patient = make_data()
    one = evaluate(LogisticRegression().fit(X, y), X, y, groups=patient, n_resamples=200)
    with pytest.raises(ValueError, match=r"compare got one model \('LogisticRegression'\)"):
        compare(one)


def test_other_images_raise(evaluation):
    X, y, patient = make_data(seed=2)
    other = evaluate(LogisticRegression().fit(X, y), X, y, groups=patient, n_resamples=200)
    with pytest.raises(ValueError, match="images; expected the same images in the same order"):
        compare(evaluation, other)
    X, y, patient = make_data()
    shuffled = np.random.default_rng(0).permutation(len(y))
    other = evaluate(
        LogisticRegression().fit(X, y), X, y[shuffled], groups=patient, n_resamples=200
    )
    with pytest.raises(ValueError, match=r"differ in their true classes \(first in row \d+\)"):
        compare(evaluation, other)


def test_anything_but_an_evaluation_raises():
    with pytest.raises(TypeError, match="compare got str; expected evaluations"):
        compare("evaluation.json")
    with pytest.raises(TypeError, match="compare got no evaluation"):
        compare()
