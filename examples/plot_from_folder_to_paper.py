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
from sklearn.model_selection import StratifiedGroupKFold

import cxr_sklearn
from cxr_sklearn import ResNetClassifier, ResNetOvO
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantom_files, select_rows
from cxr_sklearn.evaluation import compare, evaluate
from cxr_sklearn.exceptions import CurationWarning
from cxr_sklearn.metrics import ConfusionDisplay
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


for model in models.values():
    model.fit(training_set.data, training_set.target, groups=training_set.groups)
evaluation = evaluate(
    models, test_set.data, test_set.target, groups=test_set.groups, random_state=0
)
print(evaluation)
print()
print(compare(evaluation))

# %%
# Draw the figure
# ---------------
# The confusion matrix shows the predictions. Next to it are the X-rays with the most confident
# errors. Look at such images first.

errors = evaluation.worst(2, model="one per pair")

plt.rcParams["font.size"] = 13
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), width_ratios=(1.6, 1, 1), layout="constrained")
ConfusionDisplay.from_evaluation(evaluation, model="one per pair", ax=axes[0])
axes[0].tick_params(axis="x", rotation=20)
for axis in axes[1:]:
    axis.set_axis_off()
for axis, error in zip(axes[1:], errors.itertuples(), strict=False):
    axis.imshow(plt.imread(test_set.data[error.index, 0]), cmap="gray")
    axis.set_title(f"{error.true}\npredicted {error.prediction}", fontsize=12)
plt.show()

# %%
# Save and load the model
# -----------------------
# The file contains the trunk once, and no image.

model = models["one per pair"]
predicted = model.predict(test_set.data)
path = Path(folder.name) / "model.joblib"
joblib.dump(model, path)
loaded = joblib.load(path)
np.testing.assert_array_equal(loaded.predict(test_set.data), predicted)
print(f"{path.stat().st_size / 2**20:.0f} MiB")

# %%
# Write the paragraph on methods
# ------------------------------
# The numbers come from the objects above.

aucs = evaluation.overall.query("metric == 'roc_auc_ovr'").set_index("model")


def text(name):
    """Return the AUC of a model with its interval."""
    row = aucs.loc[name]
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


n_removed = len(xrays.data) - len(kept.data)
n_patients = len(set(training_set.groups)), len(set(test_set.groups))
print(
    f"We audited {findings.n_images} radiographs of {findings.n_patients} patients with "
    f"cxr_sklearn {cxr_sklearn.__version__}. {n_removed} images were rejected, or set aside for "
    "review, by its rules, which were applied before training. A network per pair of classes was "
    f"trained on {len(train)} images of {n_patients[0]} patients, and tested on {len(test)} images "
    f"of {n_patients[1]} other patients. The area under the ROC curve, averaged over the classes, "
    f"with a 95 % interval from 2,000 bootstrap samples of the patients (BCa), was "
    f"{text('one per pair')}, and {text('single network')} for a single network."
)

# %%

folder.cleanup()
