"""
Probabilities that can be taken at their word
=============================================

A probability of 0.8 is calibrated if 8 of 10 such images are of the class. Two things stand between
a model and that. A network that has learned its training images by heart is too sure of itself. And
a model trained with ``class_weight="balanced"``, the default, speaks of a population in which the
classes are equally frequent. Both are put right here, without training the networks again.
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
# The population
# --------------
# The model is right for equal shares. For a population with other shares, multiply by them and
# normalise. The shares need not be those of the training images: they are the user's to know.
q = np.array([np.mean(y == name) for name in model.classes_])


def in_population(p):
    """Return probabilities for classes of shares q."""
    return p * q / (p * q).sum(axis=1, keepdims=True)


# %%
# The confidence
# --------------
# :class:`~sklearn.calibration.CalibratedClassifierCV` learns a correction from images that the
# model was not trained on. :class:`~sklearn.frozen.FrozenEstimator` tells it that the model is
# fitted. ``method="temperature"`` divides all logits by one number, which leaves the most probable
# class as it is. It is fitted on as many held-out images of each class, since the model speaks of
# equal shares; the population comes afterwards.
frozen = FrozenEstimator(model)
X_even, y_even = RandomUnderSampler(random_state=0).fit_resample(X_held, y_held)
temperature = CalibratedClassifierCV(frozen, method="temperature").fit(X_even, y_even)

# %%
# ``method="sigmoid"`` fits a curve per class, and with it the shares, if the held-out images have
# those of the population.
sigmoid = CalibratedClassifierCV(frozen, method="sigmoid").fit(X_held, y_held)

# %%
# Without images to spare, let it fit the model several times, on the parts of a cross-validation.
# The trunk has been passed, so this costs only the training of the heads.
refitted = CalibratedClassifierCV(ResNetOvO(**settings), method="sigmoid", cv=3).fit(X, y)

# %%
# Log loss wants float32 probabilities, once averaged in float64, to be normalised again.
results = {
    "as fitted": raw,
    "shares": in_population(raw),
    "temperature": temperature.predict_proba(X_test),
    "temperature, then shares": in_population(temperature.predict_proba(X_test)),
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
# As fitted, the curve lies far below the diagonal: of the images said to be COVID-19 with some
# probability, far fewer are. The shares bring the mean probability near the share of the class. The
# temperature takes from the confidence, which lowers the log loss; being one number for all
# classes, it can take too much from one of them. The sigmoid has a curve for each.
#
# Where shares are put right, fewer images are called COVID-19. If a missed case costs more than a
# false alarm, decide by costs, from calibrated probabilities.
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
