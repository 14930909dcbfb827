"""Networks, cuts and weights."""

from __future__ import annotations

import copy
import os
import shutil
import threading
import warnings
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torch.nn import functional

from cxr_sklearn import ResNetClassifier, ResNetFeatures, clear_cache
from cxr_sklearn._trunk import imagenet_weights
from cxr_sklearn._trunk.build import build_named_network, build_network

from ..toys import ToyResNet, grey_toy, toy

CUTS = ("head", "layer4", "layer3", "layer2", "layer1", "all")


@pytest.mark.parametrize("trainable", CUTS)
@pytest.mark.parametrize(
    ("backbone", "channels", "size"),
    [("resnet50", 3, 64), ("resnet18", 3, 32), (toy, 3, 16), (grey_toy, 1, 16)],
)
def test_tail_of_trunk_is_the_network(backbone, channels, size, trainable):
    """At every cut of every backbone, tail(trunk(x)) equals net(x)."""
    network = build_network(backbone, None, seed=0)
    x = torch.rand(2, channels, size, size)
    trunk, tail = network.cut(trainable)
    with torch.no_grad():
        assert torch.equal(tail(trunk(x)), network.module(x))


@pytest.mark.parametrize(
    ("trainable", "n_values"),
    [
        ("head", 2048),
        ("layer4", 200704),
        ("layer3", 401408),
        ("layer2", 802816),
        ("layer1", 200704),
    ],
)
def test_resnet50_hands_over_the_documented_number_of_values(trainable, n_values):
    """At 224 pixels the trunk of ResNet50 returns as many values as the documentation says."""
    trunk, _ = build_network("resnet50", None, seed=0).cut(trainable)
    with torch.no_grad():
        assert trunk(torch.rand(1, 3, 224, 224)).numel() == n_values


def test_body_and_trunk_share_no_stage():
    """What the tail trains is not in the trunk, and neither holds the classification layer."""
    network = build_network(toy, None, seed=0)
    trunk, _ = network.cut("layer4")
    below = {id(p) for p in trunk.parameters()}
    above = {id(p) for p in network.body("layer4").parameters()}
    head = {id(p) for p in network.module.fc.parameters()}
    assert below.isdisjoint(above)
    assert head.isdisjoint(below | above)
    assert len(below | above | head) == len(list(network.module.parameters()))


def test_unknown_stage_is_named_with_the_known_ones(phantoms):
    """A wrong `trainable` gets an error that lists the stages."""
    with pytest.raises(ValueError, match=r"trainable='layer9'.*'head', 'layer4'.*'all'"):
        ResNetFeatures(backbone=toy, weights=None, trainable="layer9", image_size=16).fit(
            phantoms[0]
        )


class OtherStages(nn.Module):
    """A network with stage names of its own."""

    stages = ("early", "late", "classifier")

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.early = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
        self.late = nn.Conv2d(6, 8, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(8, 2))

    def forward(self, x):
        x = self.late(self.early(self.stem(x)))
        return self.classifier(self.pool(x).flatten(1))


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("trainable", ["head", "late", "early", "all"])
def test_other_stage_lists(phantoms, trainable):
    """A network that names its own stages is cut by them, and trains."""
    network = build_network(OtherStages, None, seed=0)
    assert network.cuts == ("head", "late", "early", "all")
    trunk, tail = network.cut(trainable)
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(tail(trunk(x)), network.module(x))
    model = ResNetClassifier(
        backbone=OtherStages,
        weights=None,
        trainable=trainable,
        image_size=16,
        max_epochs=5,
        random_state=0,
    )
    assert model.fit(*phantoms).predict_proba(phantoms[0]).shape == (60, 3)


class FunctionalStem(ToyResNet):
    """A step between stages is a function, which no cut above it can leave out."""

    def forward(self, x):
        return super().forward(x) if x.shape[1] == 3 else super().forward(x * 3)


class NoLinear(ToyResNet):
    def __init__(self):
        super().__init__()
        self.fc = nn.Identity()


class FourChannels(ToyResNet):
    def __init__(self):
        super().__init__(channels=4)


class WrongOrder(ToyResNet):
    stages = ("layer2", "layer1", "fc")


class OneName(ToyResNet):
    stages = "fc"


class NoImages(nn.Module):
    stages = ("fc",)

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 2)


class NoHead(ToyResNet):
    """A forward pass that ends before the classification layer."""

    def forward(self, x):
        return self.layer1(self.relu(self.bn1(self.conv1(x))))


class InPieces(ToyResNet):
    """A forward pass that takes a stage apart."""

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        x = self.layer3.conv(x)
        return self.fc(torch.flatten(self.avgpool(self.layer4(x)), 1))


class PoolingHead(OtherStages):
    """Pooling is part of the last stage."""

    def __init__(self):
        super().__init__()
        self.pool = nn.Identity()
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))

    def forward(self, x):
        return self.classifier(self.late(self.early(self.stem(x))))


class BatchDependent(ToyResNet):
    """Batch normalisation without running statistics takes those of the batch, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.layer2.bn = nn.BatchNorm2d(16, track_running_stats=False)


class Random(ToyResNet):
    """Dropout that is never switched off."""

    def forward(self, x):
        return super().forward(functional.dropout(x, 0.5, training=True))


class Auxiliary(ToyResNet):
    def forward(self, x):
        return super().forward(x), x


class ZeroHead(ToyResNet):
    """A step between the stages, and a classification layer whose output shows nothing of it."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        x = self.layer4(torch.tanh(x) * 3 - 1)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ZeroHeadOfBatch(ToyResNet):
    def __init__(self):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(8, track_running_stats=False)
        nn.init.zeros_(self.fc.weight)


class Softmax(ToyResNet):
    def forward(self, x):
        return torch.softmax(super().forward(x), 1)


class NegativeVariance(ToyResNet):
    def __init__(self):
        super().__init__()
        self.layer2.bn.running_var.fill_(-1)


class Complex(ToyResNet):
    def forward(self, x):
        return super().forward(x).to(torch.complex64)


class Viewing(ToyResNet):
    def forward(self, x):
        x = self.layer1(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(x)))
        return self.fc(x.view(len(x), -1)[:, :32])


def _scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against scripting
        return torch.jit.script(nn.Conv2d(3, 4, 3))


class Lazy(ToyResNet):
    def __init__(self):
        super().__init__()
        self.fc = nn.LazyLinear(5)


class NoNames(ToyResNet):
    stages = 5


class SameNames(ToyResNet):
    stages = ("layer1", "layer1", "fc")


class _AddingBlock(nn.Module):
    def forward(self, x, y):
        return x + y


class TwoInputs(ToyResNet):
    def __init__(self):
        super().__init__()
        self.layer3 = _AddingBlock()

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(self.layer4(self.layer3(x, x))), 1))


class Failing(ToyResNet):
    def forward(self, x):
        raise AssertionError("Wrong image size!\nExpected 224")


class Uncopiable(ToyResNet):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("backbone", "trainable", "error", "message"),
    [
        (lambda: "net", "head", TypeError, "returned str; expected a torch.nn.Module"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), "head", ValueError, "has no children layer1"),
        (WrongOrder, "head", ValueError, "not in the order"),
        (NoLinear, "head", ValueError, "no torch.nn.Linear"),
        (FourChannels, "head", ValueError, "takes 4 channels; expected 1"),
        (FunctionalStem, "layer3", ValueError, "as a child module, not as a function"),
        (
            OneName,
            "head",
            TypeError,
            "its attribute `stages` is 'fc'; expected a tuple of different names",
        ),
        (
            NoImages,
            "head",
            ValueError,
            r"no torch\.nn\.Conv2d; expected a network that takes images",
        ),
        (NoHead, "head", ValueError, "does not call its stage 'fc'"),
        (
            PoolingHead,
            "head",
            ValueError,
            r"last stage 'classifier' of PoolingHead takes activations of shape \(8, ",
        ),
        (PoolingHead, "late", ValueError, r"expected \(8,\), the inputs of its classification"),
        (
            BatchDependent,
            "head",
            ValueError,
            "other activations for an image alone than for the same image next to other images",
        ),
        (
            BatchDependent,
            "layer2",
            ValueError,
            "other activations for an image alone than for the same image next to other images",
        ),
        (
            BatchDependent,
            "all",
            ValueError,
            "other activations for an image alone than for the same image next to other images",
        ),
        (Random, "head", ValueError, "no randomness in eval mode"),
        (Auxiliary, "head", ValueError, r"returns tuple for 5 images; .*Switch off auxiliary"),
        (TwoInputs, "layer3", ValueError, r"calls its stage 'layer3' with 2 inputs; expected one"),
        (Failing, "head", ValueError, r"fails at image_size=16 \(AssertionError: Wrong image size"),
        (Uncopiable, "head", ValueError, "the Uncopiable that it returned cannot be copied"),
        (ZeroHead, "layer4", ValueError, "as a child module, not as a function"),
        (
            ZeroHeadOfBatch,
            "head",
            ValueError,
            "other activations for an image alone than for the same image next to other images",
        ),
        (Softmax, "layer4", ValueError, "or after the last stage, as a child module"),
        (Softmax, "all", ValueError, "or after the last stage, as a child module"),
        (NegativeVariance, "head", ValueError, "inputs of the stage 'fc' .* are NaN or infinite"),
        (
            NegativeVariance,
            "layer3",
            ValueError,
            "inputs of the stage 'layer3' .* are NaN or infinite",
        ),
        (Complex, "head", ValueError, r"returns a complex64 tensor of shape \(5, 5\)"),
        (Viewing, "head", ValueError, r"Replace view\(\) by flatten\(\) or reshape\(\)"),
        (_scripted, "head", TypeError, "compiled TorchScript"),
        (Lazy, "head", ValueError, "fc is a lazy module without weights; .* Run it once"),
        (
            NoNames,
            "head",
            TypeError,
            "its attribute `stages` is 5; expected a tuple of different names",
        ),
        (SameNames, "head", TypeError, "expected a tuple of different names of children"),
        (InPieces, "layer3", ValueError, "does not call its stage 'layer3'; expected it to call"),
    ],
)
def test_bad_backbones_are_explained(phantoms, backbone, trainable, error, message):
    """A callable that returns something else gets one line that says what was expected."""
    model = ResNetFeatures(backbone=backbone, weights=None, trainable=trainable, image_size=16)
    with pytest.raises(error, match=message) as caught:
        model.fit_transform(phantoms[0])
    assert "\n" not in str(caught.value)


def test_too_small_images_are_explained(phantoms):
    """A forward pass that fails is an error about image_size, in one line."""

    class Greedy(ToyResNet):
        def __init__(self):
            super().__init__()
            self.layer4 = nn.Conv2d(16, 32, 9)

    model = ResNetFeatures(backbone=Greedy, weights=None, image_size=16)
    with pytest.raises(ValueError, match=r"image_size=16 .* larger images"):
        model.fit_transform(phantoms[0])


@pytest.fixture
def checkpoint(tmp_path):
    """Write a torchvision-format checkpoint of the real ResNet18, and return it with its path."""
    torch.manual_seed(3)
    net = torchvision.models.resnet18()
    for buffer in net.buffers():
        buffer.data += 0.25 if buffer.is_floating_point() else 1
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    return net.eval(), path


@pytest.mark.parametrize("form", ["pth", "str", "safetensors", "container", "dataparallel"])
def test_weights_come_from_a_file(checkpoint, form, tmp_path):
    """Every usual form of a state dict is loaded exactly."""
    net, path = checkpoint
    state = net.state_dict()
    if form == "safetensors":
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(state, path)
    elif form == "container":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif form == "dataparallel":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    network = build_network("resnet18", str(path) if form == "str" else path, seed=0)
    for key, value in network.module.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_another_head_in_the_file_does_not_matter(checkpoint):
    """A checkpoint fine-tuned to 3 classes, or without a head, loads: the head is replaced."""
    net, path = checkpoint
    net.fc = nn.Linear(512, 3)
    torch.save(net.state_dict(), path)
    network = build_network("resnet18", path, seed=0)
    assert torch.equal(network.module.conv1.weight, net.conv1.weight)
    assert network.module.fc.out_features == 1000


def test_a_changed_file_is_read_again(checkpoint):
    """The process remembers weights by file, size and time of change, not by name alone."""
    net, path = checkpoint
    before = build_network("resnet18", path, seed=0)
    assert build_network("resnet18", path, seed=1) is before  # not twice in a process
    net.conv1.weight.data += 1
    torch.save({"state_dict": net.state_dict()}, path)
    after = build_network("resnet18", path, seed=0)
    assert torch.equal(after.module.conv1.weight, net.conv1.weight)
    assert after.fingerprint != before.fingerprint


def test_a_replaced_file_of_equal_size_and_time_is_read_again(checkpoint):
    """A weight file can be replaced by another of its size, with its time of modification."""
    net, path = checkpoint
    before, status = build_network("resnet18", path, seed=0), path.stat()
    net.conv1.weight.data += 1
    other = path.parent / "other" / path.name  # the name of the file is part of its content
    other.parent.mkdir()
    torch.save(net.state_dict(), other)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    found = path.stat()
    assert (found.st_size, found.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = build_network("resnet18", path, seed=0)
    assert torch.equal(after.module.conv1.weight, net.conv1.weight)
    assert after.fingerprint != before.fingerprint


class Malicious:
    def __reduce__(self):
        return print, ("code from a weight file ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a readable state dict"),
        (b"not a checkpoint", "is not a readable state dict"),
        (b"a,b\n", "is not a readable state dict"),
        (b"1.5\n2.5\n", "is not a readable state dict"),
        ({"a": 1}, "not a state dict"),
        ([1, 2], "contains list"),
        (Malicious(), "is not a readable state dict"),
    ],
)
def test_unreadable_weights_are_explained(tmp_path, capsys, content, message):
    """A file that is no state dict is a one-line error, and no code from it runs."""
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        build_network("resnet18", path, seed=0)
    assert "\n" not in str(caught.value)
    assert "weights.pth" in str(caught.value)
    assert capsys.readouterr().out == ""


def test_bad_safetensors_are_explained(tmp_path):
    """A damaged safetensors file is a one-line error."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x00" * 7)
    with pytest.raises(ValueError, match="is not a readable state dict"):
        build_network("resnet18", path, seed=0)


def test_mismatched_weights_are_named(checkpoint):
    """Missing and unexpected keys and wrong shapes are named."""
    net, path = checkpoint
    state = net.state_dict()
    state["extra.weight"] = state.pop("bn1.weight")
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"missing bn1\.weight") as caught:
        build_network("resnet18", path, seed=0)
    text = str(caught.value)
    assert "unexpected extra.weight" in text
    assert "conv1.weight has shape (64, 1, 7, 7), expected (64, 3, 7, 7)" in text


def changed(state, key, change):
    """Return a state dict with one tensor changed."""
    return {**state, key: change(state[key])}


def with_one(value):
    """Return a function that puts a value into a tensor."""

    def put(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[7] = value
        return tensor

    return put


def quantised(tensor):
    """Return a tensor of 8-bit integers with a scale."""
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(
    ("key", "change", "problem"),
    [
        ("conv1.weight", with_one(float("nan")), "contains NaN or infinite values"),
        ("layer1.0.bn1.bias", with_one(float("-inf")), "contains NaN or infinite values"),
        ("bn1.running_mean", with_one(float("nan")), "contains NaN or infinite values"),
        ("conv1.weight", lambda t: t.double() + 1e300, "contains NaN or infinite values"),
        ("bn1.running_var", lambda t: -t, "contains negative variances"),
        ("conv1.weight", lambda t: (100 * t).to(torch.int8), "is int8 instead of float32"),
        ("conv1.weight", lambda t: t > 0, "is bool instead of float32"),
        ("conv1.weight", lambda t: t.to(torch.complex64), "is complex64 instead of float32"),
        ("conv1.weight", lambda t: t.to_sparse(), "is sparse or nested"),
        ("conv1.weight", lambda t: t.to("meta"), r"has no values \(it is on the meta device\)"),
        ("conv1.weight", quantised, "is quantised"),
    ],
)
def test_unusable_tensors_are_named(checkpoint, key, change, problem):
    """Weights that are not finite, dense floating-point numbers raise an error with their key."""
    net, path = checkpoint
    torch.save(changed(net.state_dict(), key, change), path)
    message = rf"weights='.*weights.pth' is invalid: {key} {problem}; expected dense tensors"
    with pytest.raises(ValueError, match=message) as caught:
        build_network("resnet18", path, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(
    "change", [with_one(float("nan")), lambda t: t.to_sparse(), lambda t: t.to("meta"), quantised]
)
def test_an_unusable_head_does_not_matter(checkpoint, change):
    """The models replace the classification layer, so only the rest of the file is loaded."""
    net, path = checkpoint
    torch.save(changed(net.state_dict(), "fc.weight", change), path)
    network = build_network("resnet18", path, seed=0)
    assert torch.equal(network.module.conv1.weight, net.conv1.weight)
    assert torch.isfinite(network.module.fc.weight).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_converted(checkpoint, dtype):
    """A checkpoint in half or double precision becomes float32."""
    net, path = checkpoint
    torch.save(net.to(dtype).state_dict(), path)
    network = build_network("resnet18", path, seed=0)
    assert network.module.conv1.weight.dtype == torch.float32
    assert torch.equal(network.module.conv1.weight, net.conv1.weight.float())


@pytest.mark.parametrize("key", [3, None, ("conv1", "weight"), b"conv1.weight"])
def test_keys_that_are_not_strings_are_named(checkpoint, key):
    """A dict by numbers or tuples is not a state dict."""
    net, path = checkpoint
    torch.save({**net.state_dict(), key: torch.zeros(1)}, path)
    with pytest.raises(
        ValueError, match=r"weights='.*' is invalid: it has the key .*, which is not a string"
    ):
        build_network("resnet18", path, seed=0)


def test_a_tensor_that_is_in_a_file_twice_is_named(checkpoint):
    """Of two tensors for one layer none is the right one."""
    net, path = checkpoint
    state = {**net.state_dict(), "module.conv1.weight": torch.zeros(64, 3, 7, 7)}
    torch.save(state, path)
    with pytest.raises(
        ValueError, match=r"contains conv1.weight twice, with and without 'module.'"
    ):
        build_network("resnet18", path, seed=0)


class Undefined(ToyResNet):
    """A network whose weights are not finite."""

    def __init__(self):
        super().__init__()
        self.layer2.conv.weight.data[0] = float("nan")


class Masked(ToyResNet):
    """A network with a mask, whose infinities are meant."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))


def test_weights_that_a_callable_sets_must_be_finite(tmp_path):
    """NaN is an error whatever its source; infinite masks are not weights."""
    with pytest.raises(ValueError, match=r"Undefined has NaN or infinite .* in layer2.conv.weight"):
        build_network(Undefined, None, seed=0)
    torch.save(Masked().state_dict(), tmp_path / "masked.pth")
    for weights in (None, tmp_path / "masked.pth"):
        assert torch.isinf(build_network(Masked, weights, seed=0).module.mask[1])


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ("", ValueError, "weights='' is invalid: it is empty; expected the path of a file"),
        ("a\0b", ValueError, r"weights='a\\x00b' is invalid: it contains a null character"),
        ("a" * 5000, FileNotFoundError, "a does not exist; expected the path"),
    ],
)
@pytest.mark.parametrize("backbone", ["resnet18", toy])
def test_invalid_paths_of_weights_are_explained(weights, error, message, backbone):
    """A path that no system can have raises the same errors for both kinds of backbone."""
    with pytest.raises(error, match=message) as caught:
        build_network(backbone, weights, seed=0)
    assert "\n" not in str(caught.value)


def test_weights_may_be_in_the_home_folder(checkpoint, monkeypatch, tmp_path):
    """`~` is the home folder."""
    net, path = checkpoint
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(path.parent))
    network = build_network("resnet18", f"~/{path.name}", seed=0)
    assert torch.equal(network.module.conv1.weight, net.conv1.weight)


def test_missing_weights_are_named():
    """A path without a file is an error that says what weights may be."""
    with pytest.raises(FileNotFoundError, match=r"weights='nowhere.pth'.* does not exist; .*None"):
        build_network("resnet18", "nowhere.pth", seed=0)


def test_imagenet_weights_are_torchvisions(checkpoint, monkeypatch, tmp_path):
    """weights='imagenet' reads torchvision's file from its cache, at fit and once per process."""
    net, path = checkpoint
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / name)
    monkeypatch.setattr(imagenet_weights, "FAILED_DOWNLOADS", {})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    build_named_network.cache_clear()
    try:
        network = build_network("resnet18", "imagenet", seed=0)
        (folder / name).unlink()
        assert build_network("resnet18", "imagenet", seed=1) is network
    finally:
        build_named_network.cache_clear()
    assert torch.equal(network.module.conv1.weight, net.conv1.weight)


def test_a_damaged_download_is_explained(monkeypatch, tmp_path):
    """A damaged file in PyTorch's folder raises an error that says which file to delete."""
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"half a file")
    monkeypatch.setattr(imagenet_weights, "FAILED_DOWNLOADS", {})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(
        ValueError, match=rf"weights='imagenet': .*{name} is not readable"
    ) as caught:
        build_network("resnet18", "imagenet", seed=0)
    assert "Delete the file from the folder" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_network_is_explained_at_fit_not_in_init(monkeypatch, tmp_path, phantoms):
    """Without a network, fit says in one line how to pass a file; the constructor says nothing."""

    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(imagenet_weights, "FAILED_DOWNLOADS", {})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    model = ResNetClassifier(backbone="resnet18", image_size=32)
    with pytest.raises(OSError, match=r"weights='imagenet'.*Pass weights=<path") as caught:
        model.fit(*phantoms)
    assert "\n" not in str(caught.value)


def test_imagenet_weights_are_not_for_callables(phantoms):
    """No silent fallback: ImageNet's weights do not exist for a user's network."""
    with pytest.raises(ValueError, match=r"weights='imagenet'.*Pass weights=None"):
        ResNetClassifier(backbone=toy, image_size=16).fit(*phantoms)


def test_building_does_not_change_the_global_generator():
    """Random weights are drawn from a seed, and PyTorch's generator is left as it was."""
    state = torch.random.get_rng_state()
    first, second = build_network(toy, None, seed=1), build_network(toy, None, seed=1)
    other = build_network(toy, None, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_fingerprint_distinguishes_networks():
    """A changed weight, or the same weights in another architecture, is another network."""
    net = ToyResNet()
    same = build_network(lambda: copy.deepcopy(net), None, seed=0)
    assert same.fingerprint == build_network(lambda: copy.deepcopy(net), None, seed=0).fingerprint
    strided = copy.deepcopy(net)
    strided.conv1.stride = (1, 1)
    assert build_network(lambda: strided, None, seed=0).fingerprint != same.fingerprint
    nudged = copy.deepcopy(net)
    nudged.bn1.running_mean[0] += 1e-6
    assert build_network(lambda: nudged, None, seed=0).fingerprint != same.fingerprint


# -- networks that differ in more than their weights ----------------------------------------------


class Scaling(nn.Module):
    """A layer whose output depends on more than its weights."""

    integer = 1

    def scale(self):
        return 1.0

    def forward(self, x):
        return x * self.scale() * self.integer


def _with_layer(layer):
    net = ToyResNet()
    net.maxpool = layer
    return net


def _with_integer(value):
    layer = Scaling()
    layer.integer = value
    return _with_layer(layer)


class _Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class _Buffered(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("factor", torch.tensor(value), persistent=False)

    def forward(self, x):
        return x * self.factor


def _with_class_attribute(value):
    return _with_layer(type("Scaling", (Scaling,), {"integer": value})())


def _with_helper(function):
    return _with_layer(type("Scaling", (Scaling,), {"scale": function})())


def _with_decorator(factor):
    def decorated(forward):
        return lambda self, x: factor * forward(self, x)

    block = type("Block", (type(ToyResNet().layer1),), {})
    block.forward = decorated(block.forward)
    net = ToyResNet()
    net.layer1.__class__ = block
    return net


class _Crop(nn.Module):
    def __init__(self, sides):
        super().__init__()
        self.sides = sides

    def forward(self, x):
        return x[:, :, : self.sides[0], : self.sides[1]]


def _means(x):
    return x.mean((1, 2, 3), keepdim=True)


def _negating(is_negated):
    """Return a network that negates some images, in a way that no digest of its code shows."""

    def make():
        net = ToyResNet()
        layer = _Lambda(lambda x: torch.where(is_negated(x), -x, x))
        net.conv1 = nn.Sequential(layer, net.conv1)
        return net

    return make


def _never(x):
    return torch.zeros_like(x, dtype=torch.bool)


TWINS = {
    "dark": (_negating(_never), _negating(lambda x: _means(x) < -1)),
    "bright": (_negating(_never), _negating(lambda x: _means(x) > 0.1)),
    "flat": (_negating(_never), _negating(lambda x: x.std((1, 2, 3), keepdim=True) < 0.3)),
    "integer": (lambda: _with_integer(1), lambda: _with_integer(2)),
    "tuple": (lambda: _with_layer(_Crop((4, 4))), lambda: _with_layer(_Crop((4, 3)))),
    "lambda": (
        lambda: _with_layer(_Lambda(lambda x: x)),
        lambda: _with_layer(_Lambda(lambda x: x * x)),
    ),
    "buffer": (lambda: _with_layer(_Buffered(1.0)), lambda: _with_layer(_Buffered(2.0))),
    "class attribute": (lambda: _with_class_attribute(1), lambda: _with_class_attribute(2)),
    "helper": (lambda: _with_helper(lambda self: 1.0), lambda: _with_helper(lambda self: 2.0)),
    "decorator": (lambda: _with_decorator(1.0), lambda: _with_decorator(2.0)),
}


@pytest.mark.parametrize("trainable", ["head", "layer3"])
@pytest.mark.parametrize("name", TWINS)
def test_backbones_that_compute_differently_share_no_activations(name, trainable, phantoms):
    """Two networks of equal weights and other behaviour each get their own features."""
    X, _ = phantoms
    X = np.vstack([X, X // 8, 255 - X // 8, 120 + X // 16])  # dark, bright and flat ones
    options = {"weights": None, "trainable": trainable, "image_size": 16, "random_state": 0}
    shared = [ResNetFeatures(backbone=b, **options).fit_transform(X) for b in TWINS[name]]
    alone = []
    for backbone in TWINS[name]:
        clear_cache()
        alone.append(ResNetFeatures(backbone=backbone, **options).fit_transform(X))
    assert not np.allclose(*alone)
    np.testing.assert_array_equal(shared, alone)


def test_an_edited_helper_does_not_get_the_features_of_before(phantoms, tmp_path, monkeypatch):
    """A folder of activations knows a network by what it computes."""
    X, _ = phantoms
    options = {"weights": None, "image_size": 16, "random_state": 0, "memory": tmp_path}
    options["backbone"] = lambda: _with_layer(Scaling())
    before = ResNetFeatures(**options).fit_transform(X)
    monkeypatch.setattr(Scaling, "scale", lambda self: 3.0)
    after = ResNetFeatures(**options).fit_transform(X)
    clear_cache()
    expected = ResNetFeatures(**{**options, "memory": None}).fit_transform(X)
    np.testing.assert_array_equal(after, expected)
    assert not np.allclose(before, after)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
def test_network_that_a_callable_returns_is_not_changed(trainable, phantoms, tmp_path):
    """It is not frozen, and training it on changes neither the model nor the cache."""
    X, y = phantoms
    mine = ToyResNet().train()
    options = {"weights": None, "trainable": trainable, "image_size": 16, "random_state": 0}
    options |= {"backbone": lambda: mine, "memory": tmp_path}
    before = copy.deepcopy(mine.state_dict())
    model = ResNetClassifier(**options, max_epochs=2).fit(X, y)
    assert all(module.training for module in mine.modules())
    assert all(p.requires_grad and p.grad is None for p in mine.parameters())
    assert all(torch.equal(value, before[key]) for key, value in mine.state_dict().items())
    proba = model.predict_proba(X)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.mul_(-2)
    clear_cache()
    np.testing.assert_array_equal(model.predict_proba(X), proba)
    new = ResNetFeatures(**options).fit_transform(X)
    fresh = ResNetFeatures(**{**options, "memory": None}).fit_transform(X)
    np.testing.assert_array_equal(new, fresh)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize(
    "layer", [nn.ReLU(True), nn.SiLU(True), nn.LeakyReLU(0.1, True)], ids=["relu", "silu", "leaky"]
)
def test_a_stage_may_begin_in_place(layer, phantoms):
    """The activations at a cut are those before the stage, whichever batch they come from."""

    def backbone():
        net = ToyResNet()
        net.layer3 = nn.Sequential(layer, net.layer3)
        net.layer2.skip.bias = nn.Parameter(torch.full((16,), -1.0))
        # ends without a function that keeps values positive
        net.layer2 = nn.Sequential(net.layer2, nn.BatchNorm2d(16), _Lambda(lambda x: x - 1))
        return net

    X, y = phantoms
    options = {"backbone": backbone, "weights": None, "trainable": "layer3", "image_size": 16}
    features = ResNetFeatures(**options, batch_size=20, random_state=0).fit(X)
    first = features.transform(X)
    assert (first < 0).any()
    clear_cache()
    np.testing.assert_allclose(features.transform(X[::-1])[::-1], first, rtol=1e-5, atol=1e-6)
    model = ResNetClassifier(**options, random_state=0, max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    np.testing.assert_allclose(model.trunk_.transform(X), first, rtol=1e-5, atol=1e-6)
