"""
Calibrate probabilities
=======================

A probability of 0.8 is calibrated if the class occurs in 8 of 10 such images. Models have two
reasons not to be calibrated. A network that has memorised its training images is too certain. And
the probabilities of a model trained with ``class_weight="balanced"``, the default, hold if the
classes are equally frequent. Both are corrected here, without training the networks again.
"""

from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from imblearn.under_sampling import RandomUnderSampler
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from torch import nn

from cxr_sklearn import ResNetOvO
from cxr_sklearn.calibration import PrevalenceAdjuster
from cxr_sklearn.datasets import make_chest_phantoms

shares = {"COVID-19": 1, "Normal": 4, "Pneumonia": 4}
X, y = make_chest_phantoms(700, weights=shares, image_size=32, random_state=0)
X_held, y_held = make_chest_phantoms(500, weights=shares, image_size=32, random_state=1)
X_test, y_test = make_chest_phantoms(1500, weights=shares, image_size=32, random_state=2)


def random_features():
    """Return a network that pools a random convolution to 512 values."""
    layers = {
        "conv": nn.Conv2d(1, 32, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        "fc": nn.Linear(512, 3),
    }
    net = nn.Sequential(OrderedDict(layers))
    net.stages = ("fc",)
    return net


settings = {"backbone": random_features, "weights": None, "image_size": 32, "random_state": 0}
settings |= {"hidden_layer_sizes": (64,), "max_epochs": 15, "batch_size": 64}
model = ResNetOvO(**settings).fit(X, y)
raw = model.predict_proba(X_test)

# %%
# Adjust to the shares of the classes
# -----------------------------------
# The model's probabilities hold for equal shares of the classes. ``PrevalenceAdjuster`` moves them
# to other shares, here those of the training set. :class:`~sklearn.frozen.FrozenEstimator` keeps
# the fitted model as it is.
adjusted = PrevalenceAdjuster(FrozenEstimator(model)).fit(X, y)
prevalence = adjusted.prevalence_

# %%
# Correct the confidence
# ----------------------
# :class:`~sklearn.calibration.CalibratedClassifierCV` learns a correction from images that the
# model was not trained on. ``method="temperature"`` divides all logits by one number, which does
# not change the most probable class. It is fitted on equal numbers of held-out images of each
# class, because the model's probabilities hold for equal shares. They are adjusted afterwards.
frozen = FrozenEstimator(model)
X_even, y_even = RandomUnderSampler(random_state=0).fit_resample(X_held, y_held)
temperature = CalibratedClassifierCV(frozen, method="temperature").fit(X_even, y_even)
both = PrevalenceAdjuster(FrozenEstimator(temperature), prevalence=prevalence).fit(X_even, y_even)

# %%
# ``method="sigmoid"`` fits a curve per class. This also adjusts to the shares of the held-out
# images.
sigmoid = CalibratedClassifierCV(frozen, method="sigmoid").fit(X_held, y_held)

# %%
# Without held-out images, let it fit the model several times, on the parts of a cross-validation.
# The trunk has already run, so that only the heads are trained.
refitted = CalibratedClassifierCV(ResNetOvO(**settings), method="sigmoid", cv=3).fit(X, y)

# %%
# Probabilities in float32 are normalised again, because the log loss checks their sum.
results = {
    "as fitted": raw,
    "shares": adjusted.predict_proba(X_test),
    "temperature": temperature.predict_proba(X_test),
    "temperature, then shares": both.predict_proba(X_test),
    "sigmoid": sigmoid.predict_proba(X_test),
    "sigmoid, refitted (cv=3)": refitted.predict_proba(X_test),
}
results = {name: p / p.sum(axis=1, keepdims=True) for name, p in results.items()}
is_covid = y_test == "COVID-19"
print(f"share of COVID-19 among the test images: {is_covid.mean():.3f}")
for name, p in results.items():
    accuracy = np.mean(model.classes_[p.argmax(axis=1)] == y_test)
    print(
        f"{name:25} log loss {log_loss(y_test, p):.3f}, accuracy {accuracy:.3f}, "
        f"mean P(COVID-19) {p[:, 0].mean():.3f}"
    )

# %%
# Reliability
# -----------
# As fitted, the curve lies far below the diagonal: the class is much less frequent than predicted.
# Adjusting the shares brings the mean probability close to the share of the class. The temperature
# reduces the confidence, which lowers the log loss. It is one number for all classes, so that it
# can be wrong for one of them. The sigmoid has a curve for each class.
#
# After the adjustment, fewer images are predicted as COVID-19. If a missed case costs more than a
# false alarm, decide by costs, from calibrated probabilities
# (:func:`~cxr_sklearn.metrics.cost_threshold`).
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for name, p in results.items():
    CalibrationDisplay.from_predictions(
        is_covid, p[:, 0], n_bins=8, strategy="quantile", name=name, ax=left, ms=4
    )
    right.plot(log_loss(y_test, p), name, "o", ms=9)
left.set(xlabel="mean probability of COVID-19", ylabel="share of COVID-19", aspect="auto")
left.set(xlim=(0, 0.75), ylim=(0, 0.75))
left.legend(loc="upper left", fontsize=8)
right.invert_yaxis()
right.set(xlabel="log loss on 1,500 other phantoms")
right.grid(axis="x", alpha=0.4)
plt.show()
