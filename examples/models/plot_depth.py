"""
Fine-tuning by depth
====================

``trainable`` names the first stage that is trained. What stands before it is frozen, runs once per
image, and is shared by all that is fitted later. How deep to cut depends on what the frozen part
has learned, and on time. Here a small network is cut at each of its stages, once with random
weights, and once with weights from another task.
"""

import io
import time
from collections import OrderedDict
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from torch import nn

from cxr_sklearn import ResNetClassifier, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms

X, y = make_chest_phantoms(600, image_size=64, random_state=0)
X_test, y_test = make_chest_phantoms(600, image_size=64, random_state=1)


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


settings = {"backbone": small_net, "image_size": 32, "lr": 3e-3, "max_epochs": 10}

# %%
# Weights from another task
# -------------------------
# ImageNet's weights are those of another task. So are these: normal or not, on other phantoms. A
# state dict in a file is what ``weights`` takes; the last layer may be missing, as every model
# makes its own.
X_other, y_other = make_chest_phantoms(800, image_size=64, random_state=2)
source = ResNetClassifier(weights=None, trainable="all", **settings, random_state=0)
source.fit(X_other, y_other == "Normal")
temporary = TemporaryDirectory()
weights = Path(temporary.name, "normal_or_not.pth")
torch.save(source.net_.module_.body.state_dict(), weights)

# %%
# Each cut
# --------
# With ``verbose=2`` a model prints its trunk passes, and a line per epoch, which is left out here.
# :func:`~cxr_sklearn.clear_cache` forgets the activations, so that each fit starts from nothing.


def fitted(**parameters):
    """Return a fitted model, its seconds, and what it printed of the trunk."""
    printed, start = io.StringIO(), time.perf_counter()
    with redirect_stdout(printed):
        model = ResNetClassifier(**settings, **parameters, random_state=0, verbose=2).fit(X, y)
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("trunk")]
    return model.set_params(verbose=0), time.perf_counter() - start, "; ".join(lines)


cuts = ["head", "layer4", "layer3", "layer2", "all"]
starts = {"random weights": None, "weights of another task": weights}
scores, seconds = {}, {}
for name, start in starts.items():
    for cut in cuts:
        clear_cache()
        model, seconds[name, cut], trunk = fitted(weights=start, trainable=cut)
        scores[name, cut] = model.score(X_test, y_test)
        print(f"{name}, {cut}: accuracy {scores[name, cut]:.3f}. {trunk}")

# %%
# With ``"all"`` there is no trunk to pass. At the other cuts a second fit, with any other setting
# above, finds the activations of the first fit in the cache:
clear_cache()
print(fitted(weights=weights, trainable="layer4")[2])
print(fitted(weights=weights, trainable="layer4", hidden_layer_sizes=(64,))[2])

# %%
# What is worth training
# ----------------------
# Random stages are a poor trunk: the score rises as more of them are trained. Stages that have
# learned a related task do far better where little is trained, and the two starts come closer where
# nothing is frozen. Time goes the other way, which counts for little here and for much with a
# ResNet50.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, mark in zip(starts, ["o--", "s-"], strict=True):
    left.plot(cuts, [scores[name, cut] for cut in cuts], mark, label=name)
    right.plot(cuts, [seconds[name, cut] for cut in cuts], mark, label=name)
left.axhline(1 / 3, color="0.6", lw=1)
left.text(4, 1 / 3 + 0.01, "chance", ha="right", color="0.4")
left.set(xlabel="trainable", ylabel="accuracy on 600 other phantoms")
left.legend()
right.set(xlabel="trainable", ylabel="seconds of fit, trunk included", ylim=(0, None))
temporary.cleanup()
plt.show()
