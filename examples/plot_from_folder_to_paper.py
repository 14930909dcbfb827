"""
From a folder to a paper
========================

This page goes the whole way with one data set: load a folder of X-rays, audit and curate it, split
it by patient, train a combined model and a single network, test them, save the model, and write
the paragraph on methods with the numbers of this run.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

import cxr_sklearn
from cxr_sklearn import ResNetClassifier, ResNetOvO
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files, select_rows
from cxr_sklearn.exceptions import CurationWarning
from cxr_sklearn.metrics import classification_table
from cxr_sklearn.model_selection import check_split
from cxr_sklearn.quality import CurationRules, audit, curate, measure_images

# %%
# Load the folder
# ---------------
# Your folder has one folder per class, and may have a ``metadata.csv`` with patients and sources.
# Here the images are phantoms. Some of them occur twice, as in many public sets.

folder = TemporaryDirectory()
root = Path(folder.name) / "xrays"
make_chest_phantom_files(root, 600, image_size=64, confound="duplicates", random_state=0)
xrays = load_xray_folder(root)
print(xrays.DESCR)

# %%
# Audit and curate
# ----------------
# The images are measured once. The audit reports what predicts the class without the lungs, and
# finds the duplicates. Curation removes them. Phantoms are small, so the smallest side is set to 64
# pixels.

measurements = measure_images(xrays)
findings = audit(xrays, measurements=measurements)
print(findings.to_frame()[["severity", "check", "found"]].to_string(index=False))

with warnings.catch_warnings():
    warnings.simplefilter("ignore", CurationWarning)
    curated = curate(xrays, rules=CurationRules(min_side=64), measurements=measurements)
print()
print(curated.costs("reason"))

# %%
# Split by patient
# ----------------
# No patient and no copy of an image may be on both sides.

kept = curated.kept
cv = StratifiedGroupKFold(4, shuffle=True, random_state=0)
train, test = next(cv.split(kept.data, kept.target, kept.groups))
training_set, test_set = select_rows(kept, train), select_rows(kept, test)
report = check_split(training_set, test_set)
print(report)
assert report.is_clean

# %%
# Train and test two models
# -------------------------
# Both models share one frozen trunk, so that each image passes it once. A ResNet18 with random
# weights keeps this page short: with your images, leave out ``backbone``, ``weights`` and
# ``image_size``.

settings = {
    "backbone": "resnet18",
    "weights": None,
    "image_size": 64,
    "hidden_layer_sizes": (128,),
    "dropout": 0.3,
    "random_state": 0,
}
models = {"single network": ResNetClassifier(**settings), "one per pair": ResNetOvO(**settings)}


def auc_with_interval(probabilities):
    """Return the AUC and its 95 % interval from bootstrap samples of the patients."""
    patients = np.unique(test_set.groups)
    rows_of_patient = [np.flatnonzero(test_set.groups == patient) for patient in patients]
    rng = np.random.default_rng(0)
    aucs = []
    for _ in range(200):
        drawn = rng.integers(len(patients), size=len(patients))
        rows = np.concatenate([rows_of_patient[patient] for patient in drawn])
        aucs.append(roc_auc_score(test_set.target[rows], probabilities[rows], multi_class="ovr"))
    low, high = np.percentile(aucs, [2.5, 97.5])
    value = roc_auc_score(test_set.target, probabilities, multi_class="ovr")
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


scores = {}
for name, model in models.items():
    model.fit(training_set.data, training_set.target, groups=training_set.groups)
    scores[name] = auc_with_interval(model.predict_proba(test_set.data))
    print(f"{name}: AUC {scores[name]}")

model = models["one per pair"]
predicted = model.predict(test_set.data)
print(classification_table(test_set.target, predicted))

# %%
# Draw the figure
# ---------------
# The confusion matrix shows the predictions. Next to it are the X-rays that the model is most sure
# about although it is wrong. Look at such images first.

confidence = model.predict_proba(test_set.data).max(axis=1)
is_wrong = predicted != test_set.target
errors = np.flatnonzero(is_wrong)[np.argsort(-confidence[is_wrong])[:2]]

plt.rcParams["font.size"] = 13
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), width_ratios=(1.6, 1, 1), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    test_set.target, predicted, ax=axes[0], colorbar=False, cmap="Blues"
)
axes[0].tick_params(axis="x", rotation=20)
for axis in axes[1:]:
    axis.set_axis_off()
for axis, row in zip(axes[1:], errors, strict=False):
    axis.imshow(plt.imread(test_set.data[row, 0]), cmap="gray")
    axis.set_title(f"{test_set.target[row]}\npredicted {predicted[row]}", fontsize=12)
plt.show()

# %%
# Save and load the model
# -----------------------
# The file contains the trunk once, and no image.

path = Path(folder.name) / "model.joblib"
joblib.dump(model, path)
loaded = joblib.load(path)
np.testing.assert_array_equal(loaded.predict(test_set.data), predicted)
print(f"{path.stat().st_size / 2**20:.0f} MiB")

# %%
# Write the paragraph on methods
# ------------------------------
# The numbers come from the objects above.

n_removed = len(xrays.data) - len(kept.data)
n_patients = len(set(training_set.groups)), len(set(test_set.groups))
print(
    f"We audited {findings.n_images} radiographs of {findings.n_patients} patients with "
    f"cxr_sklearn {cxr_sklearn.__version__}. {n_removed} images were rejected, or set aside for "
    "review, by its rules, which were applied before training. A network per pair of classes was "
    f"trained on {len(train)} images of {n_patients[0]} patients, and tested on {len(test)} images "
    f"of {n_patients[1]} other patients. The area under the ROC curve, averaged over the classes, "
    f"with a 95 % interval from 200 bootstrap samples of the patients, was "
    f"{scores['one per pair']}, and {scores['single network']} for a single network."
)

# %%

folder.cleanup()
