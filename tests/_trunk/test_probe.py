"""Networks of users that cannot be trained or cut, and what their errors say."""

from __future__ import annotations

import pytest
import torch
import torchvision

from cxr_sklearn import ResNetClassifier

from ..toys import ToyResNet, toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}
# Two epochs are enough to have a model, and too few to learn every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda net: net.double(), "type float64"),
        (lambda net: net.half(), "type float16"),
        (lambda net: net.to("meta"), r"no values \(it is on the meta device\)"),
    ],
)
def test_network_with_weights_of_another_type_raises(change, found, phantoms):
    """Images are float32. Without the check, PyTorch would report an error about convolutions."""
    options = {**SMALL, "backbone": lambda: change(ToyResNet())}
    message = rf"conv1.weight of ToyResNet has {found}; expected weights of type float32"
    with pytest.raises(ValueError, match=message) as caught:
        ResNetClassifier(**options).fit(*phantoms)
    assert "\n" not in str(caught.value)


class Auxiliary(ToyResNet):
    """A network that returns more in training, as Inception does."""

    def forward(self, x):
        output = super().forward(x)
        return (output, output) if self.training else output


class Failing(ToyResNet):
    """A network that does other things in training, as GoogLeNet does."""

    def forward(self, x):
        return super().forward(x if not self.training else x.flatten(1))


@pytest.mark.parametrize("trainable", ["layer4", "all"])
@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Auxiliary, r"in training mode its forward\(\) returns tuple; expected one tensor"),
        (Failing, r"its stages above the cut fail in training mode on rows of shape .*Error: "),
    ],
)
def test_network_with_another_forward_in_training_raises(backbone, message, trainable, phantoms):
    """The message names auxiliary outputs. At the head, the training mode does not matter."""
    options = {**SMALL, "backbone": backbone}
    with pytest.raises(ValueError, match=message) as caught:
        ResNetClassifier(**options, trainable=trainable).fit(*phantoms)
    assert "\n" not in str(caught.value)
    assert "auxiliary outputs" in str(caught.value)
    ResNetClassifier(**options).fit(*phantoms)


def vision_transformer():
    """Return a small transformer of torchvision's kind, with its own stages."""
    net = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32)
    net.stages = ("encoder", "heads")
    return net


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 40}, r"at image_size=40 \(AssertionError: Wrong image height! Expected 32"),
        (
            {"trainable": "encoder"},
            r"cut at trainable='encoder', the stages of VisionTransformer above the cut fail",
        ),
    ],
)
def test_vision_transformers_can_be_cut_at_the_head(changes, message, phantoms):
    """They train at the head and as a whole. Other sizes and cuts raise an error of one line."""
    X, y = phantoms
    options = {**SMALL, "backbone": vision_transformer, "image_size": 32, "max_epochs": 1}
    for trainable in ("head", "all"):
        model = ResNetClassifier(**options, trainable=trainable).fit(X, y)
        assert model.predict_proba(X).shape == (len(X), 3)
    with pytest.raises(ValueError, match=message) as caught:
        ResNetClassifier(**{**options, **changes}).fit(X, y)
    assert "\n" not in str(caught.value)


class Exhausted(ToyResNet):
    """A network whose memory runs out."""

    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_out_of_memory_error_of_pytorch_is_raised_as_it_is(phantoms):
    """Callers can catch PyTorch's own error, and use smaller batches."""
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        ResNetClassifier(**{**SMALL, "backbone": Exhausted}).fit(*phantoms)


class ExhaustedInTraining(ToyResNet):
    """A network whose memory runs out above the cut."""

    def forward(self, x):
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def test_out_of_memory_error_in_training_is_raised_as_it_is(phantoms):
    """Callers can catch PyTorch's own error, and use smaller batches."""
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        ResNetClassifier(**{**SMALL, "backbone": ExhaustedInTraining}, trainable="all").fit(
            *phantoms
        )
