"""
One versus one: probabilities against votes
===========================================

scikit-learn's :class:`~sklearn.multiclass.OneVsOneClassifier` lets the networks of the pairs vote.
It has no ``predict_proba``: a count of votes is not a probability, and three classes can win one
vote each. :class:`~cxr_sklearn.ResNetOvO` couples the probabilities of the pairs instead, by the
second method of Wu, Lin and Weng (2004). Both are shown here on the very same networks.
"""

from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.multiclass import OneVsOneClassifier
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms

X, y = make_chest_phantoms(800, image_size=64, random_state=0)
X_test, y_test = make_chest_phantoms(1200, image_size=64, random_state=1)

# %%
# Three networks
# --------------
# They stop early: a network that has learned its training images by heart is too sure of itself.


def stage(n_in, n_out):
    """Halve the image: convolution, batch normalisation, rectifier."""
    convolution = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def small_net():
    """Return a network with torchvision's stage names, for grey images of 32 pixels."""
    stages = {f"layer{i + 1}": stage(n, m) for i, (n, m) in enumerate([(1, 8), (8, 16), (16, 32)])}
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rest = {"layer4": stage(32, 64), "pool": pool, "fc": nn.Linear(64, 3)}
    return nn.Sequential(OrderedDict(stages | rest))


settings = {"backbone": small_net, "weights": None, "image_size": 32, "trainable": "all"}
training = {"lr": 3e-3, "early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 3}
training |= {"max_epochs": 15, "random_state": 0}
model = ResNetOvO(**settings, **training).fit(X, y)
print("pairs:", *[" / ".join(pair) for pair in model.pairs_], sep="\n  ")

# %%
# Votes
# -----
# Each estimator takes what the trunk returns, and its positive class is the second of its pair.
activations = model.trunk_.transform(X_test)
votes = np.zeros((len(X_test), 3), dtype=int)
place = {name: i for i, name in enumerate(model.classes_)}
for (first, second), network in zip(model.pairs_, model.estimators_, strict=True):
    won = network.decision_function(activations) > 0
    votes[~won, place[first]] += 1
    votes[won, place[second]] += 1
tied = votes.max(axis=1) == 1
print(f"{tied.sum()} of {len(tied)} images: one vote for each class")
ovo = OneVsOneClassifier(ResNetClassifier(**settings, **training))
print("predict_proba of scikit-learn's one-versus-one:", hasattr(ovo, "predict_proba"))

# %%
# Coupled probabilities
# ---------------------
# Where one class wins both of its votes, the most probable class is nearly always the same one.
# What probabilities add is how sure the model is, and with it all that is computed from them.
probabilities = model.predict_proba(X_test)
predicted = model.predict(X_test)
same = votes.argmax(axis=1) == probabilities.argmax(axis=1)
print(f"same class where votes decide: {same[~tied].mean():.1%}")
print(f"accuracy: untied {np.mean(predicted[~tied] == y_test[~tied]):.3f}", end="")
if tied.any():
    print(f", tied {np.mean(predicted[tied] == y_test[tied]):.3f}")
shares = votes / 3
for name, scores in {"coupled": probabilities, "votes / 3": shares}.items():
    auc = roc_auc_score(y_test, scores, multi_class="ovr", labels=model.classes_)
    print(f"{name:10} log loss {log_loss(y_test, scores):.3f}  AUC, one versus rest {auc:.3f}")

# %%
# Votes divided by 3 are about the best that can be made of votes. They say 0, 1/3 or 2/3 of a
# class: never more, and 0 where a class without votes is there after all, which log loss does not
# forgive.
#
# The triangle
# ------------
# On the left each test image lies in the triangle of its three probabilities, the corners being the
# classes. Votes know seven places in it (crosses): the middle, where all the ties are, and two on
# each side. On the right, how often a class is there, of which a score says that it is there with
# some probability. A line on the diagonal can be taken at its word, and one below it on the right
# is too sure; the votes end at 2/3.
corners = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
left.plot(*corners[[0, 1, 2, 0]].T, color="0.6", lw=1)
for name in model.classes_:
    left.scatter(*(probabilities[y_test == name] @ corners).T, s=6, alpha=0.6, label=name)
left.scatter(*(probabilities[tied] @ corners).T, s=22, fc="none", ec="k", label="one vote each")
left.scatter(*(np.unique(votes, axis=0) / 3 @ corners).T, marker="x", color="k", label="votes / 3")
for corner, name in zip(corners, model.classes_, strict=True):
    left.text(*(1.1 * corner - 0.1 * corners.mean(axis=0)), name, ha="center", va="center")
left.set(aspect="equal")
left.legend(loc="upper left", fontsize=8)
left.set_axis_off()
right.plot([0, 1], [0, 1], color="0.6", lw=1)
is_class = y_test[:, None] == model.classes_
for name, scores, mark in [("coupled", probabilities, "o-"), ("votes / 3", shares, "x--")]:
    found, expected = calibration_curve(is_class.ravel(), scores.ravel(), n_bins=10)
    right.plot(expected, found, mark, label=name)
right.set(xlabel="mean score of a class", ylabel="share of images of the class", aspect="equal")
right.legend()
plt.show()
