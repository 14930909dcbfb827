"""
Patients kept together
======================

Most sets of chest X-rays hold several films of a patient. Where films of one patient stand on both
sides of a split, a model is rewarded for knowing the patient again, and the score is too good. This
page makes such a set, measures how much too good, and keeps patients together at each place where
images are divided: in cross-validation, and inside ``fit``.
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
# Films of patients
# -----------------
# Six films of each of 100 patients: the same phantom, a little shifted, in another exposure, with
# new noise. 500 patients more, with a film each, serve as the truth that no split can touch.
rng = np.random.RandomState(0)


def films(phantom, n):
    """Return n films of one patient."""
    large = phantom.reshape(68, 68) / 255
    for _ in range(n):
        i, j = rng.randint(5, size=2)
        film = large[i : i + 64, j : j + 64] ** rng.uniform(0.9, 1.1)
        film = film + rng.normal(0, 0.03, film.shape)
        yield (255 * film.clip(0, 1)).astype(np.uint8).ravel()


phantoms, diagnoses = make_chest_phantoms(100, image_size=68, random_state=0)
X = np.array([film for phantom in phantoms for film in films(phantom, 6)])
y = np.repeat(diagnoses, 6)
patients = np.repeat(np.arange(100), 6)
phantoms, y_new = make_chest_phantoms(500, image_size=68, random_state=1)
X_new = np.array([film for phantom in phantoms for film in films(phantom, 1)])


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
by_film = cross_validate(model, X, y, cv=StratifiedKFold(5, shuffle=True, random_state=0))
kept = StratifiedGroupKFold(5, shuffle=True, random_state=0)
by_patient = cross_validate(model, X, y, cv=kept, groups=patients)
truth = model.fit(X, y).score(X_new, y_new)
scores = {
    "films shuffled": by_film["test_score"],
    "patients kept together": by_patient["test_score"],
}
for name, values in scores.items():
    print(f"{name:23} {values.mean():.3f}")
print(f"{'500 new patients':23} {truth:.3f}")

# %%
# Inside fit
# ----------
# Early stopping divides images too, and so do the folds of stacking. ``groups`` keeps patients
# together there. ``cross_validate`` and the searches hand them on only with metadata routing;
# without it the call above gave them to the splitter alone, and said nothing. With routing the
# models ask for them by default. Two epochs will do, as only the splits are looked at.
stopping = model.set_params(early_stopping=True, validation_fraction=0.2, max_epochs=2)
warnings.simplefilter("ignore", NeverPredictedWarning)  # two epochs are too few for every class
unrouted = cross_validate(stopping, X, y, cv=kept, groups=patients, return_estimator=True)
with config_context(enable_metadata_routing=True):
    routed = cross_validate(
        stopping, X, y, cv=kept, params={"groups": patients}, return_estimator=True
    )


def divided(results):
    """Count patients with films on both sides of the internal splits."""
    count = 0
    for fitted, (train, _) in zip(results["estimator"], kept.split(X, y, patients), strict=True):
        held = np.isin(np.arange(len(train)), fitted.validation_indices_)
        count += len(np.intersect1d(patients[train][held], patients[train][~held]))
    return count


print(f"patients divided inside 5 fits: {divided(unrouted)} unrouted, {divided(routed)} routed")

# %%
# Where paths tell the patient
# ----------------------------
# :func:`~cxr_sklearn.datasets.load_xray_folder` finds patients in ``metadata.csv`` or in the files'
# names. Where nothing can be routed, as in a meta-estimator that takes no groups, ``group_by``
# finds them again from the path.


def patient(path):
    """Return the patient of a file named as the NIH's are."""
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
# How much too good
# -----------------
# Each dot is a fold. Shuffled films promise what no new patient gets. With whole patients in the
# folds the mean comes near the truth (dashed). The folds scatter, since each tests only 20
# patients: with their films shuffled this, too, was hidden.
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for name, values in scores.items():
    axis.plot(values, [name] * len(values), "o", alpha=0.6)
    axis.plot(values.mean(), name, "k|", ms=24)
axis.axvline(truth, color="k", ls="--", label="500 new patients")
axis.set(xlabel="accuracy", xlim=(0.3, 1), ylim=(1.5, -0.5))
axis.legend(loc="lower left")
plt.show()
