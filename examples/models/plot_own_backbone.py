"""
Your own backbone
=================

``backbone`` takes the name of a torchvision ResNet, or a callable that returns any
:class:`torch.nn.Module` whose stages have names. This page writes a small network for grey images,
with attention to channels, and uses it in three places: as a trunk that can be cut where its stages
begin, as a transformer, and in a combined model.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logit
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetFeatures, ResNetOvR
from cxr_sklearn.backbones import list_backbones
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.metrics import classification_table

# %%
# Without a network of your own, you can choose one of these by name.

print(list_backbones())

# %%
# The network
# -----------
# ``stages`` names children in forward order, the classification layer last. A cut can stand before
# each of them. Every step below a cut must be a child, here ``stem`` and ``pool``, since steps that
# ``forward`` takes on its own would be repeated above the cut: the first batch is compared with the
# whole network, and an error says where they differ.


class Block(nn.Module):
    """A convolution that weighs its channels, with a shortcut around it."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.convolution = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)
        self.normalise = nn.BatchNorm2d(n_out)
        self.attend = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(n_out, n_out, 1), nn.Sigmoid()
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=2, bias=False)

    def forward(self, x):
        """Halve the image."""
        y = self.normalise(self.convolution(x))
        return nn.functional.relu(y * self.attend(y) + self.shortcut(x))


class AttentionNet(nn.Module):
    """A network of 26,000 weights for images of one channel."""

    stages = ("early", "middle", "late", "classifier")

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.early = Block(8, 16)
        self.middle = Block(16, 32)
        self.late = Block(32, 48)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(48, 3)

    def forward(self, x):
        """Return an output per class."""
        x = self.late(self.middle(self.early(self.stem(x))))
        return self.classifier(self.pool(x))


print(sum(p.numel() for p in AttentionNet().parameters()), "weights")

# %%
# Where it can be cut
# -------------------
# ``trainable`` takes the stages' names, ``"head"`` and ``"all"``. The class itself is the callable.
# Put it in a module of your own: a model that is saved names its backbone by where it is imported
# from, and a lambda can be imported from nowhere.
X, y = make_chest_phantoms(600, image_size=64, random_state=0)
X_test, y_test = make_chest_phantoms(600, image_size=64, random_state=1)
network = {"backbone": AttentionNet, "weights": None, "image_size": 32, "random_state": 0}
for cut in ["head", "late", "middle", "early"]:
    features = ResNetFeatures(**network, trainable=cut).fit_transform(X[:8])
    print(f"trainable={cut!r}: the trunk hands over {features.shape[1]} values per image")
try:
    ResNetClassifier(**network, trainable="layer4").fit(X, y)
except ValueError as error:
    print("ValueError:", error)

# %%
# In a combined model
# -------------------
# Three networks against the rest, each trained as a whole.
model = ResNetOvR(**network, trainable="all", lr=3e-3, max_epochs=10).fit(X, y)
print(classification_table(y_test, model.predict(X_test)))

# %%
# Where the networks look
# -----------------------
# A network of one's own raises the question what it looks at. Cover a patch of the image, and see
# how far the logit of the true class falls: this needs nothing but ``predict_proba``. The images
# are those of each class that the model is surest of.


def occlusion_map(image, place, patch=16, step=4):
    """Return how far the logit of a class falls, by the patch that is covered."""
    corners = range(0, 64 - patch + 1, step)
    variants = [image]
    for i in corners:
        for j in corners:
            covered = image.reshape(64, 64).copy()
            covered[i : i + patch, j : j + patch] = covered.mean()
            variants.append(covered.ravel())
    whole, *rest = logit(model.predict_proba(np.array(variants))[:, place])
    return (whole - np.array(rest)).reshape(len(corners), len(corners))


probabilities = model.predict_proba(X_test)
figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), layout="constrained")
for place, name in enumerate(model.classes_):
    surest = np.argmax(np.where(y_test == name, probabilities[:, place], 0))
    axes[0, place].imshow(X_test[surest].reshape(64, 64), cmap="gray")
    axes[0, place].set_title(f"{name}, P = {probabilities[surest, place]:.2f}")
    fall = occlusion_map(X_test[surest], place)
    # each value stands at the middle of its patch
    shown = axes[1, place].imshow(fall, cmap="RdBu_r", vmin=-5, vmax=5, extent=(6, 58, 58, 6))
    axes[1, place].set(xlim=(0, 64), ylim=(64, 0))
for axis in np.ravel(axes):
    axis.set_xticks([])
    axis.set_yticks([])
figure.colorbar(shown, ax=axes, label="fall of the logit where covered", shrink=0.5)
plt.show()

# %%
# Red is where a cover speaks against the class. A cover does two things: it takes away what is
# under it, and it looks like an opacity itself. The first makes an opacity red, the second the
# clear lungs of the normal phantom.
