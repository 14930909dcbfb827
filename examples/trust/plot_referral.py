"""
Refer to CT when unsure, with a guarantee
=========================================

A model answers for every radiograph, also where it guesses. ``ReferralClassifier`` refers the
images of which it is not sure, so that at most one in five of the other answers is wrong. The rule
is chosen on patients that the model has not seen, and states from how many of them it knows this.
"""

import warnings
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from torch import nn

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import ExchangeabilityWarning, NotCertifiableWarning
from cxr_sklearn.referral import (
    Certificate,
    ExchangeabilityTest,
    ReferralClassifier,
    RiskCoverageDisplay,
    risk_coverage_auc,
    set_names,
)

# %%
# Fit a model, and calibrate the rule
# -----------------------------------
# Each patient has two images. The first 750 images train a small network, and the next 1,000
# calibrate the rule. The model is frozen, so that it stays as it is.


class SmallNet(nn.Sequential):
    """A network of three convolutions."""

    stages = ("stage1", "stage2", "stage3", "fc")


def halve(n_in, n_out):
    """Return a convolution that halves the image."""
    convolution = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def small_net():
    """Return an untrained network."""
    return SmallNet(
        OrderedDict(
            stage1=halve(1, 16),
            stage2=halve(16, 32),
            stage3=halve(32, 64),
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            fc=nn.Linear(64, 3),
        )
    )


X, y = make_chest_phantoms(2350, image_size=32, random_state=0)
patients = np.arange(2350) // 2
train, calibration, test = np.split(np.arange(2350), [750, 1750])
model = ResNetOvO(
    backbone=small_net,
    weights=None,
    image_size=32,
    trainable="all",
    lr=5e-3,
    max_epochs=20,
    random_state=0,
)
model.fit(X[train], y[train], groups=patients[train])

rule = ReferralClassifier(FrozenEstimator(model), max_risk=0.2, random_state=0)
rule.fit(X[calibration], y[calibration], groups=patients[calibration])
# What is guaranteed, and from how many patients and images:
certificate: Certificate = rule.certificate_
print(certificate)

# %%
# What it means in a clinic
# -------------------------
# Of 100 patients with one image each:

print(rule.clinic_table().round(1))

# %%
# What a lower or a higher threshold would cost
# ---------------------------------------------
# The band contains the true shares at all marked points with a probability of 95 %.

RiskCoverageDisplay.from_estimator(rule)
plt.show()

# %%
# Which confidence to use
# -----------------------
# The area under this curve is the mean share of errors over all referral rates. The greatest
# probability, the default, has a smaller one than the agreement of the pairs.

is_wrong = rule.predict(X[test]) != y[test]
for confidence in ("max_probability", "pair_agreement"):
    rule.set_params(confidence=confidence)
    area = risk_coverage_auc(is_wrong, rule.confidence_scores(X[test]))
    print(f"{confidence}: {area:.3f}")
rule.set_params(confidence="max_probability")

# %%
# Decide on new patients
# ----------------------
# The answers keep the promise, because these patients are like those of the calibration. Each
# referred image has a set of plausible classes, which shows the radiologist what is open.

decisions = rule.decide(X[test], groups=patients[test])
is_decided = decisions != "refer"
errors = (decisions != y[test])[is_decided].mean()
print(f"{is_decided.mean():.0%} decided, of which {errors:.1%} are wrong")
print(f"without referral, {(rule.predict(X[test]) != y[test]).mean():.1%} would be wrong")

names, counts = np.unique(
    set_names(rule.predict_set(X[test]), rule.classes_)[~is_decided], return_counts=True
)
print("plausible classes of referred images:")
for name, count in zip(names, counts, strict=True):
    print(f"  {name}: {count}")

# %%
# At another place, nothing is guaranteed
# ---------------------------------------
# Brighter radiographs, as from another device, are unlike those of the calibration. The comparison
# finds this without any labels.

brighter = (X[test].astype(int) + 60).clip(0, 255).astype(np.uint8)
for place, images in {"same place": X[test], "another device": brighter}.items():
    comparison: ExchangeabilityTest = rule.check_exchangeability(images, patients[test])
    print(f"{place}: {comparison}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ExchangeabilityWarning)
    is_decided = rule.decide(brighter, groups=patients[test]) != "refer"
print(caught[0].message)
errors = (rule.predict(brighter) != y[test])[is_decided].mean()
print(f"{errors:.1%} of the answers on brighter images are wrong; promised were at most 20 %")

# %%
# Without enough patients, everybody is referred
# ----------------------------------------------
# There is no threshold without a guarantee. The warning states how many patients would suffice.

few = calibration[:60]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", NotCertifiableWarning)
    rule.fit(X[few], y[few], groups=patients[few])
print(caught[0].message)
print(f"{rule.refers(X[test]).mean():.0%} of the images are referred")
