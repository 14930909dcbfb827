"""
Learning-rate schedules, label smoothing and mixup
==================================================

Where much of a network is trained on few images, how it is trained shows. ``lr_schedule`` lets the
learning rate fall towards the end (``"cosine"``), or rise first and then fall (``"one_cycle"``).
``label_smoothing`` and ``mixup`` keep a network from being sure of what it has learned by heart.
All three act inside each binary problem, and are hyperparameters that a search can choose.
"""

from collections import OrderedDict

import matplotlib.pyplot as plt
from sklearn.metrics import log_loss
from torch import nn

from cxr_sklearn import ResNetClassifier
from cxr_sklearn.datasets import make_chest_phantoms

X, y = make_chest_phantoms(500, image_size=64, random_state=0)
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


# %%
# One setting changed at a time
# -----------------------------
# The learning rate is higher than is good for a constant one. ``lr`` is the greatest rate that a
# schedule reaches.
base = {"backbone": small_net, "weights": None, "image_size": 32, "trainable": "all"}
base |= {"lr": 1e-2, "max_epochs": 20, "n_iter_no_change": 20, "batch_size": 64}
variants = {
    "constant": {},
    "cosine": {"lr_schedule": "cosine"},
    "one_cycle": {"lr_schedule": "one_cycle"},
    "one_cycle, label_smoothing=0.1": {"lr_schedule": "one_cycle", "label_smoothing": 0.1},
    "one_cycle, mixup=0.4": {"lr_schedule": "one_cycle", "mixup": 0.4},
}
models, accuracy, loss, confidence = {}, {}, {}, {}
for name, changed in variants.items():
    model = ResNetClassifier(**base, **changed, random_state=0).fit(X, y)
    models[name] = model
    probabilities = model.predict_proba(X_test)
    accuracy[name] = model.score(X_test, y_test)
    loss[name] = log_loss(y_test, probabilities)
    confidence[name] = probabilities.max(axis=1).mean()
    print(
        f"{name:31} {model.n_iter_} epochs, accuracy {accuracy[name]:.3f}, "
        f"mean confidence {confidence[name]:.3f}, log loss {loss[name]:.3f}"
    )

# %%
# What they do
# ------------
# On the left the training loss. At the constant rate it falls with bumps; a falling rate lets it
# settle. Smoothed and mixed labels cannot be fitted to a loss of 0, so their curves lie higher, and
# mean nothing by their height.
#
# On the right the test images. Accuracy hardly differs. Smoothing and mixup make the network less
# confident (the probability of the most probable class, on average), which brings confidence nearer
# to accuracy, and lowers the log loss, which is about both. Differences of a few hundredths in
# accuracy are chance with so few images: judge settings by cross-validation.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for i, (name, model) in enumerate(models.items()):
    left.plot(range(1, model.n_iter_ + 1), model.loss_curve_, label=name, color=f"C{i}")
    right.plot([accuracy[name], confidence[name]], [name] * 2, color="0.7", zorder=0)
    right.text(1.01, i, f"{loss[name]:.2f}", va="center")
right.scatter(accuracy.values(), list(variants), color="k", label="accuracy")
right.scatter(confidence.values(), list(variants), fc="w", ec="k", label="mean confidence")
left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
left.legend(fontsize=8)
right.set(xlim=(0.6, 1), ylim=(len(variants) - 0.4, -0.9), title="600 other phantoms")
right.text(1.01, -0.7, "log loss", va="center")
right.legend(loc="upper left", fontsize=8)
plt.show()
