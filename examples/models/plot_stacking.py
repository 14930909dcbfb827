"""
Stacking: an MLP head on one-versus-rest networks
=================================================

The first combined model of the paper puts an MLP head, which the paper calls a dense chain, on
three one-versus-rest networks (figures 7 and 8). :class:`~cxr_sklearn.ResNetStacking` is this
model. Its head is trained on *out-of-fold* outputs: those for images that the networks have not
seen. This page shows why, and how much the head improves the results.
"""

from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from torch import nn

from cxr_sklearn import ResNetOvO, ResNetOvR, ResNetStacking
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.metrics import classification_table

X, y = make_chest_phantoms(600, image_size=32, random_state=0)
X_test, y_test = make_chest_phantoms(1000, image_size=32, random_state=1)


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
settings |= {"hidden_layer_sizes": (64,), "lr": 3e-3, "max_epochs": 15, "batch_size": 64}

# %%
# Outputs on images seen and not seen
# -----------------------------------
# The heads have 512 inputs, a dense layer and 600 images: they learn them by heart. Their logits
# tell the training images apart almost without a mistake. On other images both classes spread
# widely.
ovr = ResNetOvR(**settings).fit(X, y)
place = list(ovr.classes_).index("COVID-19")


def logit(X):
    """Return the output of the network that tells COVID-19 from the rest."""
    return ovr.estimators_[place].decision_function(ovr.trunk_.transform(X))


figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharex=True, layout="constrained")
for axis, title, rows, labels in zip(
    axes, ["training images", "other images"], [X, X_test], [y, y_test], strict=True
):
    values, is_covid = logit(rows), labels == "COVID-19"
    bins = np.linspace(-15, 15, 40)
    axis.hist(values[~is_covid], bins, density=True, alpha=0.6, label="the rest")
    axis.hist(values[is_covid], bins, density=True, alpha=0.6, label="COVID-19")
    wrong = np.mean((values > 0) != is_covid)
    axis.set(
        title=f"{title}:\n{wrong:.0%} on the wrong side of 0", xlabel="logit, COVID-19 or rest"
    )
axes[0].legend()
plt.show()

# %%
# A chain trained on the outputs on the left would learn that they can be trusted. So ``cv=3`` fits
# each network three times on two thirds of the images, takes its outputs on the last third, and
# trains the chain on those; then it fits the networks once more, on all images.
#
# The models
# ----------
# ResNetStacking against the same networks without a chain, and against scikit-learn's own
# :class:`~sklearn.ensemble.StackingClassifier` of the one-versus-one and one-versus-rest models.
# The trunk has been passed; all of them start from its activations.
members = [("ovo", ResNetOvO(**settings)), ("ovr", ResNetOvR(**settings))]
models = {
    "ResNetOvR": ovr,
    "ResNetOvO": ResNetOvO(**settings).fit(X, y),
    "ResNetStacking": ResNetStacking(**settings, cv=3).fit(X, y),
    "OvO and OvR stacked": StackingClassifier(
        members, LogisticRegression(), stack_method="predict_proba", cv=3
    ).fit(X, y),
}
f1, loss = {}, {}
for name, model in models.items():
    predicted = model.predict(X_test)
    f1[name] = f1_score(y_test, predicted, average=None)
    loss[name] = log_loss(y_test, model.predict_proba(X_test))
    print(f"{name}: log loss {loss[name]:.3f}\n{classification_table(y_test, predicted)}\n")

# %%
# Which class is named
# --------------------
# F1 hardly differs between the models: outputs that overlap as on the right above leave a chain
# little to find. What the stacked models have learned is how far the networks can be trusted. Their
# log loss, in which a confident mistake is costly, is lower.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), width_ratios=[2, 1], layout="constrained"
)
for i, name in enumerate(models):
    left.bar(np.arange(3) + 0.2 * (i - 1.5), f1[name], 0.18, label=name)
    right.barh(name, loss[name], color=f"C{i}")
right.axvline(np.log(3), color="k", ls="--")
left.set_xticks(range(3), ovr.classes_)
left.set(ylabel="F1 on 1,000 other phantoms", ylim=(0, 1))
left.legend(fontsize=8, ncols=2)
right.invert_yaxis()
right.set(xlabel="log loss\n(dashed: equal probabilities)")
plt.show()
