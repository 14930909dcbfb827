"""
Evaluate and compare models by patient
======================================

This example evaluates two models by cross-validation, next to baselines that do not see the lungs.
All figures have intervals by patient. The images are phantoms, three of each patient.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import jaccard_score

from cxr_sklearn import ResNetClassifier, ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.evaluation import Comparison, Evaluation, compare, cross_evaluate, evaluate
from cxr_sklearn.exceptions import ImageLevelWarning
from cxr_sklearn.metrics import (
    ComparisonDisplay,
    ConfusionDisplay,
    DecisionCurveDisplay,
    PrecisionRecallDisplay,
    ReliabilityDisplay,
    RocDisplay,
    TrainingDisplay,
    calibration_line,
    cost_threshold,
    delong_test,
    net_benefit,
    patient_interval,
    smooth_calibration_error,
)

# %%
# Three images of each patient
# ----------------------------
# The phantoms of a class are given to patients of this class, so that each patient has one class.

X, y = make_chest_phantoms(720, image_size=32, random_state=0)
order = np.argsort(y, kind="stable")
X, y = X[order], y[order]
patients = np.arange(720) // 3
rng = np.random.default_rng(0)
age = rng.integers(20, 90, size=240)[patients]

settings = {
    "backbone": "resnet18",
    "weights": None,
    "image_size": 32,
    "hidden_layer_sizes": (64,),
    "random_state": 0,
}
models = {"one per pair": ResNetOvO(**settings), "single network": ResNetClassifier(**settings)}

# %%
# Cross-validate next to baselines
# --------------------------------
# The trunk runs twice per image: once for both models and all folds, and once for images with
# blanked lungs.

evaluation = cross_evaluate(
    models, X, y, groups=patients, subgroups={"age": age}, cv=4, random_state=0
)
assert isinstance(evaluation, Evaluation)
print(evaluation)

# %%
# Compare the models
# ------------------
# Both models are compared on the same resamples of the patients.

comparison = compare(evaluation)
assert isinstance(comparison, Comparison)
print(comparison)

# %%

plt.rcParams["font.size"] = 12
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
ComparisonDisplay.from_evaluation(evaluation, ax=axes[0])
ConfusionDisplay.from_evaluation(evaluation, ax=axes[1])
plt.show()

# %%
# Look at curves
# --------------
# The bands contain 95 % of the curves of resampled patients at each point.

figure, axes = plt.subplots(2, 2, figsize=(11, 9), layout="constrained")
RocDisplay.from_evaluation(evaluation, ax=axes[0, 0])
PrecisionRecallDisplay.from_evaluation(evaluation, ax=axes[0, 1])
ReliabilityDisplay.from_evaluation(evaluation, ax=axes[1, 0])
DecisionCurveDisplay.from_evaluation(evaluation, ax=axes[1, 1], label="COVID-19")
plt.show()

# %%
# Use a metric of your own, and single figures
# --------------------------------------------
# The functions of ``cxr_sklearn.metrics`` take arrays.

predictions = evaluation.predictions.query("model == 'one per pair'")


def jaccard(true, predicted, sample_weight):
    """Return the mean Jaccard index of the classes."""
    return jaccard_score(true, predicted, average="macro", sample_weight=sample_weight)


found = patient_interval(
    jaccard, y, predictions["prediction"], groups=patients, n_resamples=200, random_state=0
)
print(f"Jaccard index: {found.value:.2f} ({found.low:.2f} to {found.high:.2f})")

is_covid = y == "COVID-19"
p_covid = predictions["p_COVID-19"].to_numpy()
print(f"smooth calibration error: {smooth_calibration_error(is_covid, p_covid):.3f}")
print(calibration_line(is_covid, p_covid))
print(cost_threshold(is_covid, p_covid, [[0, 1], [10, 0]]))
print(f"net benefit at 20 %: {net_benefit(is_covid, p_covid, [0.2])[0]:.3f}")

# %%
# DeLong's test needs one image per patient.

first = np.arange(0, 720, 3)
other = evaluation.predictions.query("model == 'single network'")["p_COVID-19"].to_numpy()
print(delong_test(is_covid[first], p_covid[first], other[first]))

# %%
# Test a fitted model
# -------------------
# Without patients, intervals are at the level of the image, and a warning states this.

train = patients % 4 > 0
model = models["one per pair"].fit(X[train], y[train], groups=patients[train])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ImageLevelWarning)
    by_image = evaluate(model, X[~train], y[~train], random_state=0)
print(caught[0].message)
print(by_image.overall[["metric", "value", "low", "high"]].round(2).to_string(index=False))

# %%

TrainingDisplay.from_estimator(model)
plt.show()
