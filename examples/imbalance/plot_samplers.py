"""
A scarce class: samplers inside and outside, and weights
========================================================

Where one class has a tenth of another's images, a model can do well on average and miss it. Classes
can be weighted in the loss, or images sampled: before the model, by a pipeline of imbalanced-learn,
or inside it, in each binary problem, by the model's own ``sampler``. For
:class:`~cxr_sklearn.ResNetOvO` the two places differ.
"""

import warnings
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.metrics import recall_score
from torch import nn

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning
from cxr_sklearn.metrics import classification_table

shares = {"COVID-19": 1, "Normal": 7, "Pneumonia": 7}
X, y = make_chest_phantoms(900, weights=shares, image_size=32, random_state=0)
X_test, y_test = make_chest_phantoms(1500, weights=shares, image_size=32, random_state=1)
print({name: int(np.sum(y == name)) for name in shares})

# %%
# The trunk is a single random convolution, pooled to 256 values. Only the heads are trained, so
# that each model takes a second or two.


def random_features():
    """Return a network whose head can be trained alone."""
    layers = {
        "conv": nn.Conv2d(1, 16, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        "fc": nn.Linear(256, 3),
    }
    net = nn.Sequential(OrderedDict(layers))
    net.stages = ("fc",)
    return net


def ovo(**settings):
    """Return a model on the random features."""
    common = {"backbone": random_features, "weights": None, "image_size": 32, "random_state": 0}
    return ResNetOvO(**common, max_epochs=15, **settings)


# %%
# Without weights
# ---------------
# With neither weights nor sampler, and too little training, the scarce class is not predicted at
# all. The model says so.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", NeverPredictedWarning)
    given_up = ovo(class_weight=None, lr=1e-6).fit(X, y)
print(*[f"{w.category.__name__}: {w.message}" for w in caught], sep="\n")
print(classification_table(y_test, given_up.predict(X_test)))

# %%
# Six ways
# --------
# An under-sampler before the model cuts both frequent classes down to the scarce one. Inside, it
# cuts each pair down to the scarcer of its two classes: the network that tells Normal from
# Pneumonia keeps all of its images. An over-sampler repeats the scarce images, which comes close to
# weighting them. Its places differ in what the heads' first layer is standardised by: inside, by
# the images as they are; before, by the sampled ones.
over, under = RandomOverSampler(random_state=0), RandomUnderSampler(random_state=0)
models = {
    "nothing": ovo(class_weight=None),
    "balanced weights (default)": ovo(),
    "over-sampler inside": ovo(class_weight=None, sampler=RandomOverSampler()),
    "over-sampler before": make_pipeline(over, ovo(class_weight=None)),
    "under-sampler inside": ovo(class_weight=None, sampler=RandomUnderSampler()),
    "under-sampler before": make_pipeline(under, ovo(class_weight=None)),
}
classes = sorted(shares)
recall, covid_share, normal_or_pneumonia = {}, {}, {}
frequent = y_test != "COVID-19"
for name, model in models.items():
    probabilities = model.fit(X, y).predict_proba(X_test)
    predicted = np.array(classes)[probabilities.argmax(axis=1)]
    recall[name] = recall_score(y_test, predicted, labels=classes, average=None)
    covid_share[name] = probabilities[:, 0].mean()
    between_two = np.array(classes[1:])[probabilities[frequent, 1:].argmax(axis=1)]
    normal_or_pneumonia[name] = np.mean(between_two == y_test[frequent])
    print(
        f"{name:27} recall {recall[name].round(2)}, mean P(COVID-19) {covid_share[name]:.3f}, "
        f"Normal or Pneumonia {normal_or_pneumonia[name]:.3f}"
    )

# %%
# What it costs
# -------------
# On the left, recall of COVID-19 rises with each of the five measures, and that of the others
# falls: the models call more images COVID-19. That shows in the middle, where the mean probability
# of COVID-19 is far above its share of the images (dashed). Such probabilities are those for
# classes equally frequent; :ref:`sphx_glr_auto_examples_trust_plot_calibration.py` brings them
# back.
#
# On the right, only images that are Normal or Pneumonia are asked which of the two they are. The
# under-sampler before the model has thrown most of those images away, and tells them apart worst.
figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
names = list(models)[::-1]
for i, label in enumerate(classes):
    places = np.arange(len(names)) + 0.25 * (1 - i)
    axes[0].barh(places, [recall[n][i] for n in names], 0.24, label=label)
axes[0].set_yticks(range(len(names)), names)
axes[0].set(xlabel="recall (sensitivity)", xlim=(0, 1))
axes[1].barh(names, [covid_share[n] for n in names], color="0.5")
axes[1].axvline(np.mean(y_test == "COVID-19"), color="k", ls="--")
axes[1].set(xlabel="mean probability of COVID-19")
axes[2].plot([normal_or_pneumonia[n] for n in names], names, "ko")
axes[2].set(xlabel="accuracy, Normal or Pneumonia")
axes[2].grid(axis="x", alpha=0.4)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
plt.show()
