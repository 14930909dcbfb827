"""
See why: activation maps, and whether to trust them
===================================================

An activation map shows which parts of a radiograph support a class. Here, maps explain the coupled
probability of a one-versus-one model, compare two classes, and show the most confident errors.
Then ``faithfulness`` measures whether such maps can be trusted.
"""

from collections import OrderedDict

import matplotlib.pyplot as plt
from torch import nn

from cxr_sklearn import ResNetOvO
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.inspection import (
    ActivationMaps,
    ClassActivationDisplay,
    Faithfulness,
    class_activation_map,
    faithfulness,
)

# %%
# Train a model
# -------------
# Synthetic radiographs come with the masks of their lungs. A small network is trained on 800 of
# them.


class SmallNet(nn.Sequential):
    """A network of three convolutions."""

    stages = ("stage1", "stage2", "stage3", "fc")


def convolution(n_in, n_out, stride):
    """Return a convolution with its normalisation."""
    layer = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU())


def small_net():
    """Return an untrained network."""
    return SmallNet(
        OrderedDict(
            stage1=convolution(1, 16, 2),
            stage2=convolution(16, 32, 2),
            stage3=convolution(32, 64, 1),
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            fc=nn.Linear(64, 3),
        )
    )


X, y, lungs = make_chest_phantoms(900, image_size=48, return_masks=True, random_state=0)
model = ResNetOvO(
    backbone=small_net,
    weights=None,
    image_size=48,
    trainable="all",
    lr=5e-3,
    max_epochs=15,
    random_state=0,
)
model.fit(X[:800], y[:800])
X_test, y_test, lungs_test = X[800:], y[800:], lungs[800:]
print(f"accuracy on 100 test images: {model.score(X_test, y_test):.2f}")

# %%
# Which parts support the class?
# ------------------------------
# Orange parts support the predicted class, blue parts speak against it. The white line is the
# outline of the lungs. The phantoms of the class Normal have nothing in their lungs.
display = ClassActivationDisplay.from_estimator(
    model, X_test[:8], y=y_test[:8], masks=lungs_test[:8]
)

# %%
# Why COVID-19 rather than Pneumonia?
# -----------------------------------
# The network of this pair answers the question. COVID-19 phantoms have hazy opacities near the
# outer edge of both lungs, and Pneumonia phantoms have dense ones anywhere.
rows = (y_test == "COVID-19").nonzero()[0][:4]
ClassActivationDisplay.from_estimator(
    model,
    X_test[rows],
    y=y_test[rows],
    target="COVID-19",
    versus="Pneumonia",
    masks=lungs_test[rows],
)

# %%
# The map of several networks
# ---------------------------
# The map of the coupled probability is the sum of the maps of the pairs, each multiplied by the
# derivative of the probability with respect to the output of its network.
found: ActivationMaps = class_activation_map(model, X_test[rows[:1]], target="COVID-19")
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
limit = abs(found.parts.sum(axis=1)).max()
titles = (*found.part_names, "sum: log p of COVID-19")
for ax, part, title in zip(axes, (*found.parts[0], found.parts[0].sum(0)), titles, strict=True):
    ax.imshow(part, cmap="PuOr_r", vmin=-limit, vmax=limit)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()

# %%
# The most confident errors
# -------------------------
# The maps show what the model took for the class that it predicted.
errors = ClassActivationDisplay.from_errors(model, X_test, y_test, n_images=4)

# %%
# Can the maps be trusted?
# ------------------------
# The positive values lie in the lungs more often than their area explains. Hiding the parts that
# the map shows lowers the probability more than hiding others. And the maps differ from those of
# networks with random weights, and of models that were trained on shuffled labels.
result: Faithfulness = faithfulness(
    model, X_test, y_test, masks=lungs_test, n_random=2, random_state=0
)
print(result)
plt.show()
