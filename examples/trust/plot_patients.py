"""
Patients kept together
======================

In most sets of chest X-rays, a patient has several images. If images of one patient are on both
sides of a split, a model can recognise the patient, and the score is too good. This page makes such
a set, measures how much the score is too good, and keeps patients together wherever images are
divided: in cross-validation, and inside ``fit``.
"""

import warnings
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn import config_context
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_validate
from torch import nn

from cxr_sklearn import ResNetClassifier
from cxr_sklearn.datasets import load_xray_folder, make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning

# %%
# Images of patients
# ------------------
# Each of 100 patients has six images: the same phantom, shifted a little, with another exposure and
# new noise. One image of each of 500 other patients shows how good the model really is.
rng = np.random.RandomState(0)


def images_of(phantom, n):
    """Return n images of one patient."""
    large = phantom.reshape(68, 68) / 255
    for _ in range(n):
        i, j = rng.randint(5, size=2)
        image = large[i : i + 64, j : j + 64] ** rng.uniform(0.9, 1.1)
        image = image + rng.normal(0, 0.03, image.shape)
        yield (255 * image.clip(0, 1)).astype(np.uint8).ravel()


phantoms, diagnoses = make_chest_phantoms(100, image_size=68, random_state=0)
X = np.array([image for phantom in phantoms for image in images_of(phantom, 6)])
y = np.repeat(diagnoses, 6)
patients = np.repeat(np.arange(100), 6)
phantoms, y_new = make_chest_phantoms(500, image_size=68, random_state=1)
X_new = np.array([image for phantom in phantoms for image in images_of(phantom, 1)])


def random_features():
    """Return a network that pools a random convolution to 2,048 values."""
    layers = {
        "conv": nn.Conv2d(1, 32, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten()),
        "fc": nn.Linear(2048, 3),
    }
    net = nn.Sequential(OrderedDict(layers))
    net.stages = ("fc",)
    return net


settings = {"backbone": random_features, "weights": None, "image_size": 32}
model = ResNetClassifier(**settings, max_epochs=15, random_state=0)

# %%
# Two cross-validations
# ---------------------
# The same model and images; the second one keeps patients together.
by_image = cross_validate(model, X, y, cv=StratifiedKFold(5, shuffle=True, random_state=0))
kept = StratifiedGroupKFold(5, shuffle=True, random_state=0)
by_patient = cross_validate(model, X, y, cv=kept, groups=patients)
truth = model.fit(X, y).score(X_new, y_new)
scores = {
    "images shuffled": by_image["test_score"],
    "patients kept together": by_patient["test_score"],
}
for name, values in scores.items():
    print(f"{name:23} {values.mean():.3f}")
print(f"{'500 new patients':23} {truth:.3f}")

# %%
# Inside fit
# ----------
# Early stopping and the folds of stacking also divide images. ``groups`` keeps patients together
# there. ``cross_validate`` and the searches pass groups to ``fit`` only if metadata routing is
# enabled. Without it, the call above passed them to the splitter only, without a warning. With
# routing, the models request them by default. Two epochs are enough here, because this section only
# looks at the splits.
stopping = model.set_params(early_stopping=True, validation_fraction=0.2, max_epochs=2)
warnings.simplefilter("ignore", NeverPredictedWarning)  # two epochs are too few for every class
unrouted = cross_validate(stopping, X, y, cv=kept, groups=patients, return_estimator=True)
with config_context(enable_metadata_routing=True):
    routed = cross_validate(
        stopping, X, y, cv=kept, params={"groups": patients}, return_estimator=True
    )


def divided(results):
    """Count patients with images on both sides of the internal splits."""
    count = 0
    for fitted, (train, _) in zip(results["estimator"], kept.split(X, y, patients), strict=True):
        held = np.isin(np.arange(len(train)), fitted.validation_indices_)
        count += len(np.intersect1d(patients[train][held], patients[train][~held]))
    return count


print(f"patients divided inside 5 fits: {divided(unrouted)} unrouted, {divided(routed)} routed")

# %%
# Patients from paths
# -------------------
# :func:`~cxr_sklearn.datasets.load_xray_folder` finds patients in ``metadata.csv`` or in the file
# names. If groups cannot be routed, for example in a meta-estimator that does not take groups,
# ``group_by`` finds the patients from the paths.


def patient(path):
    """Return the patient of a file with a name in the form of the NIH."""
    return Path(path).name[:8]


with TemporaryDirectory() as folder:
    for i, (row, label) in enumerate(zip(X, y, strict=True)):
        path = Path(folder, label, f"{patients[i]:08d}_{i % 6:03d}.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(row.reshape(64, 64)).save(path)
    xrays = load_xray_folder(folder)
    print(xrays.DESCR.splitlines()[0].split(": ")[1])
    stopping.set_params(group_by=patient).fit(xrays.data, xrays.target)
held = np.isin(np.arange(600), stopping.validation_indices_)
print("divided with group_by:", len(np.intersect1d(xrays.groups[held], xrays.groups[~held])))

# %%
# The difference between the two
# ------------------------------
# Each dot is a fold. With shuffled images, the scores are much better than those for new patients
# (dashed). If patients are kept together, the mean is close to it. The folds then differ, because
# each tests only 20 patients. Shuffling the images hides this uncertainty as well.
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for name, values in scores.items():
    axis.plot(values, [name] * len(values), "o", alpha=0.6)
    axis.plot(values.mean(), name, "k|", ms=24)
axis.axvline(truth, color="k", ls="--", label="500 new patients")
axis.set(xlabel="accuracy", xlim=(0.3, 1), ylim=(1.5, -0.5))
axis.legend(loc="lower left")
plt.show()
