"""Figures of a classifier equal those of scikit-learn, in the sample and in every resample."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from cxr_sklearn.metrics import _resampling
from cxr_sklearn.metrics._figures import all_figures, confusion_matrices, figure_intervals
from cxr_sklearn.metrics._resampling import resample_patients
from cxr_sklearn.metrics._scored_images import ScoredImages


@pytest.fixture(scope="module")
def tested():
    """Return 150 images of 60 patients with probabilities of three classes."""
    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(60, size=150))
    codes = (patient % 3).astype(int)
    # Rounded probabilities have ties.
    proba = (rng.dirichlet(np.ones(3), size=150) + 0.5 * np.eye(3)[codes]).round(1)
    proba /= proba.sum(axis=1, keepdims=True)
    resamples = resample_patients(patient, codes, 30, 0)
    return ScoredImages(codes, proba[None], resamples.patient), resamples


@pytest.fixture(scope="module")
def figures(tested):
    images, resamples = tested
    found = all_figures(images, resamples, prevalence=np.array([0.1, 0.2, 0.7]))
    return {(figure.metric, figure.label): figure for figure in found}


def weights_of(tested, row):
    images, resamples = tested
    return resamples.weights[row, images.patient].astype(float)


def scikit_learn_figures(images, weight):
    """Return the same figures from scikit-learn."""
    y, proba = images.codes, images.proba[0]
    predicted = proba.argmax(axis=1)
    shared = {"sample_weight": weight}
    recall = metrics.recall_score(y, predicted, average=None, **shared)
    precision = metrics.precision_score(y, predicted, average=None, **shared)
    expected = {
        ("accuracy", None): metrics.accuracy_score(y, predicted, **shared),
        ("balanced_accuracy", None): metrics.balanced_accuracy_score(y, predicted, **shared),
        ("f1_macro", None): metrics.f1_score(y, predicted, average="macro", **shared),
        ("cohen_kappa", None): metrics.cohen_kappa_score(y, predicted, **shared),
        ("matthews_corrcoef", None): metrics.matthews_corrcoef(y, predicted, **shared),
        ("roc_auc_ovr", None): metrics.roc_auc_score(y, proba, multi_class="ovr", **shared),
        ("log_loss", None): metrics.log_loss(y, proba, **shared),
        ("brier_score", None): metrics.brier_score_loss(y, proba, **shared),
    }
    for label in range(3):
        is_positive, score = y == label, proba[:, label]
        called = predicted == label
        expected |= {
            ("sensitivity", label): recall[label],
            ("ppv", label): precision[label],
            ("specificity", label): metrics.recall_score(~is_positive, ~called, **shared),
            ("npv", label): metrics.precision_score(~is_positive, ~called, **shared),
            ("f1", label): metrics.f1_score(is_positive, called, **shared),
            ("roc_auc", label): metrics.roc_auc_score(is_positive, score, **shared),
            ("average_precision", label): metrics.average_precision_score(
                is_positive, score, **shared
            ),
            ("brier_score", label): metrics.brier_score_loss(is_positive, score, **shared),
        }
        fpr, tpr, _ = metrics.roc_curve(is_positive, score, drop_intermediate=False, **shared)
        for level in (90, 95):
            reached = tpr[1 - fpr >= level / 100 - 1e-9].max()
            kept = 1 - fpr[tpr >= level / 100 - 1e-9].min()
            expected["sensitivity_at_specificity_" + str(level), label] = reached
            expected["specificity_at_sensitivity_" + str(level), label] = kept
    return expected


@pytest.mark.parametrize("row", [0, 1, 7, 30, 45])
def test_figures_equal_those_of_scikit_learn(tested, figures, row):
    """Row 0 is the sample, the next 30 are resamples, the others are those of the jackknife."""
    images, _ = tested
    for key, expected in scikit_learn_figures(images, weights_of(tested, row)).items():
        assert figures[key].values[row] == pytest.approx(expected, abs=1e-9), key


def test_auc_of_pairs_is_that_of_scikit_learn(tested, figures):
    images, _ = tested
    expected = metrics.roc_auc_score(images.codes, images.proba[0], multi_class="ovo")
    assert figures["roc_auc_ovo", None].values[0] == pytest.approx(expected)


def test_predictive_values_at_the_prevalence_of_the_data_are_unchanged(tested):
    images, resamples = tested
    shares = np.bincount(images.codes) / len(images.codes)
    found = {(f.metric, f.label): f for f in all_figures(images, resamples, prevalence=shares)}
    for label in range(3):
        for name in ("ppv", "npv"):
            at_target = found[f"{name}_at_prevalence", label].values[0]
            assert at_target == pytest.approx(found[name, label].values[0])


def test_predictive_value_at_another_prevalence_follows_bayes(tested, figures):
    """For the first class: its true positives, and those of the others that are confused."""
    images, _ = tested
    confusion = metrics.confusion_matrix(images.codes, images.predicted[0], normalize="true")
    joint = confusion * np.array([0.1, 0.2, 0.7])[:, None]
    expected = joint[0, 0] / joint[:, 0].sum()
    assert figures["ppv_at_prevalence", 0].values[0] == pytest.approx(expected)


def test_log_loss_is_split_into_calibration_and_refinement(figures):
    total = figures["calibration_loss", None].values + figures["refinement_loss", None].values
    np.testing.assert_allclose(total, figures["log_loss", None].values)


def test_repeats_give_mean_figures(tested):
    """With repeats, a figure is the mean of the figures of the repeats, not of pooled ones."""
    images, resamples = tested
    other = images.proba[:, ::-1]
    both = ScoredImages(images.codes, np.concatenate([images.proba, other]), images.patient)
    one = ScoredImages(images.codes, other, images.patient)
    found = [all_figures(data, resamples) for data in (both, images, one)]
    for mean, a, b in zip(*found, strict=True):
        if mean.metric in ("smooth_ece", "calibration_slope", "calibration_intercept"):
            continue  # they describe the pooled probabilities
        np.testing.assert_allclose(mean.values, (a.values + b.values) / 2, err_msg=mean.metric)


def test_figures_do_not_depend_on_the_block_size(tested, monkeypatch):
    images, resamples = tested
    expected = all_figures(images, resamples)
    monkeypatch.setattr(_resampling, "_BLOCK", 400)
    for found, whole in zip(all_figures(images, resamples), expected, strict=True):
        np.testing.assert_allclose(found.values, whole.values, rtol=1e-6, atol=1e-9)


def test_absent_class_leaves_its_figures_empty():
    """A class without images has no sensitivity, and means leave it out."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 20)
    proba = rng.dirichlet(np.ones(3), size=40)
    resamples = resample_patients(np.arange(40), codes, 20, 0)
    images = ScoredImages(codes, proba[None], resamples.patient)
    found = {(f.metric, f.label): f.values for f in all_figures(images, resamples)}
    assert np.isnan(found["sensitivity", 2]).all()
    assert np.isnan(found["roc_auc", 2]).all()
    recalls = [found["sensitivity", label][0] for label in (0, 1)]
    assert found["balanced_accuracy", None][0] == pytest.approx(np.mean(recalls))
    aucs = [found["roc_auc", label][0] for label in (0, 1)]
    assert found["roc_auc_ovr", None][0] == pytest.approx(np.mean(aucs))


def intervals_of(codes, proba, patient):
    resamples = resample_patients(patient, codes, 300, 0)
    images = ScoredImages(codes, proba[None], resamples.patient)
    found = all_figures(images, resamples)
    intervals = figure_intervals(images, resamples, found, 0.95, "bca")
    return {(f.metric, f.label): i for f, i in zip(found, intervals, strict=True)}


def test_perfect_classifier_has_exact_intervals():
    """Without an error the bootstrap shows no variation, and patients limit what is known."""
    codes = np.repeat([0, 1, 2], 40)
    patient = np.arange(120) // 2
    found = intervals_of(codes, np.eye(3)[codes] * 0.9 + 0.1 / 3, patient)
    for metric, n_patients in (("sensitivity", 20), ("specificity", 40), ("roc_auc", 20)):
        interval = found[metric, 0]
        assert interval.method == "exact", metric
        assert interval.low == pytest.approx(0.025 ** (1 / n_patients)), metric
        assert interval.high == 1
    for metric in ("balanced_accuracy", "roc_auc_ovr"):
        interval = found[metric, None]
        assert interval.method == "exact"
        assert interval.low == pytest.approx((0.025 / 3) ** (1 / 20))
    # There is no exact interval of an F1 score.
    assert found["f1_macro", None].method == "none"


def test_few_patients_have_exact_intervals():
    codes = np.repeat([0, 1], [8, 40])
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(2), size=48)
    found = intervals_of(codes, proba, np.arange(48))
    assert found["sensitivity", 0].method == "exact"
    assert found["sensitivity", 1].method == "bca"


def test_confusion_matrix_sums_to_the_images(tested):
    images, resamples = tested
    matrices = confusion_matrices(images, resamples)
    expected = metrics.confusion_matrix(images.codes, images.predicted[0])
    np.testing.assert_allclose(matrices[0], expected)
