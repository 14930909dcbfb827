"""
Adjust probabilities to the prevalence of a clinic
==================================================

A model is trained on equal numbers of the three classes, and used where one image in twenty shows
COVID-19. Its probabilities are too high there. ``PrevalenceAdjuster`` estimates the prevalence from
unlabelled images, and moves the probabilities to it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss

from cxr_sklearn import ResNetOvO
from cxr_sklearn.calibration import PrevalenceAdjuster
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.metrics import ReliabilityDisplay

# %%
# Train on equal numbers, and use at another prevalence
# -----------------------------------------------------

X, y = make_chest_phantoms(1500, image_size=32, random_state=0)
train = np.arange(1500) < 600
model = ResNetOvO(
    backbone="resnet18",
    weights=None,
    image_size=32,
    hidden_layer_sizes=(64,),
    dropout=0.5,
    random_state=0,
)
model.fit(X[train], y[train])

# Of the other images, the clinic sees few with COVID-19 and many that are normal.
rng = np.random.default_rng(0)
shares = {"COVID-19": 0.05, "Normal": 0.75, "Pneumonia": 0.2}
rows = []
for label, share in shares.items():
    of_class = np.flatnonzero(~train & (y == label))
    rows.append(rng.choice(of_class, size=round(320 * share), replace=False))
rows = np.concatenate(rows)
X_clinic, y_clinic = X[rows], y[rows]

# %%
# Estimate the prevalence without labels
# --------------------------------------
# The interval comes from a bootstrap of the images. If patients have several images, pass
# ``groups``.

adjuster = PrevalenceAdjuster(FrozenEstimator(model)).fit(X[train], y[train])
adjuster.estimate_prevalence(X_clinic, random_state=0)
low, high = adjuster.prevalence_interval_
for label, estimate, a, b in zip(adjuster.classes_, adjuster.prevalence_, low, high, strict=True):
    print(f"{label}: estimated {estimate:.2f} ({a:.2f} to {b:.2f}), true {shares[label]:.2f}")

before = model.predict_proba(X_clinic)
after = adjuster.predict_proba(X_clinic)
print(f"log loss before: {log_loss(y_clinic, before):.2f}, after: {log_loss(y_clinic, after):.2f}")

# %%
# Compare the probabilities with frequencies
# ------------------------------------------

plt.rcParams["font.size"] = 12
figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
for axis, probabilities, title in zip(axes, (before, after), ("before", "after"), strict=True):
    ReliabilityDisplay.from_predictions(y_clinic, probabilities, ax=axis)
    axis.set_title(title)
plt.show()
