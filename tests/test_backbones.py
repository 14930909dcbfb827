"""Networks, cuts and weights."""

from __future__ import annotations

import copy
import os
import shutil
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetFeatures
from cxr_sklearn._backbones import _named_network, build_network

from .toys import ToyResNet, grey_toy, toy

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


@pytest.mark.parametrize(
    ("backbone", "trainable", "error", "message"),
    [
        (lambda: "net", "head", TypeError, "returned str; expected a torch.nn.Module"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), "head", ValueError, "lacks the stages layer1"),
        (WrongOrder, "head", ValueError, "not in the order"),
        (NoLinear, "head", ValueError, "no torch.nn.Linear"),
        (FourChannels, "head", ValueError, "takes 4 channels; expected 1"),
        (FunctionalStem, "layer3", ValueError, "as a child module, not as a function"),
        (OneName, "head", TypeError, "its `stages` is 'fc'; expected a tuple of child names"),
        (NoImages, "head", ValueError, r"no torch\.nn\.Conv2d, so it takes no images"),
        (NoHead, "head", ValueError, "never reached its first trained stage"),
        (InPieces, "layer3", ValueError, "never calls its stage 'layer3'; expected it to call"),
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
        (b"", "no readable state dict"),
        (b"not a checkpoint", "no readable state dict"),
        (b"a,b\n", "no readable state dict"),
        (b"1.5\n2.5\n", "no readable state dict"),
        ({"a": 1}, "not a state dict"),
        ([1, 2], "holds list"),
        (Malicious(), "no readable state dict"),
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
    with pytest.raises(ValueError, match="no readable state dict"):
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


def test_missing_weights_are_named():
    """A path without a file is an error that says what weights may be."""
    with pytest.raises(FileNotFoundError, match=r"weights='nowhere.pth'.*'imagenet', None"):
        build_network("resnet18", "nowhere.pth", seed=0)


def test_imagenet_weights_are_torchvisions(checkpoint, monkeypatch, tmp_path):
    """weights='imagenet' reads torchvision's file from its cache, at fit and once per process."""
    net, path = checkpoint
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    _named_network.cache_clear()
    try:
        network = build_network("resnet18", "imagenet", seed=0)
        (folder / name).unlink()
        assert build_network("resnet18", "imagenet", seed=1) is network
    finally:
        _named_network.cache_clear()
    assert torch.equal(network.module.conv1.weight, net.conv1.weight)


def test_no_network_is_explained_at_fit_not_in_init(monkeypatch, tmp_path, phantoms):
    """Without a network, fit says in one line how to pass a file; the constructor says nothing."""

    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    model = ResNetClassifier(backbone="resnet18", image_size=32)
    with pytest.raises(OSError, match=r"weights='imagenet'.*pass weights=<path") as caught:
        model.fit(*phantoms)
    assert "\n" not in str(caught.value)


def test_imagenet_weights_are_not_for_callables(phantoms):
    """No silent fallback: ImageNet's weights do not exist for a user's network."""
    with pytest.raises(ValueError, match=r"weights='imagenet'.*pass weights=None"):
        ResNetClassifier(backbone=toy, image_size=16).fit(*phantoms)


def test_building_leaves_the_global_generator_alone():
    """Random weights are drawn from a seed, and PyTorch's generator is left as it was."""
    state = torch.random.get_rng_state()
    first, second = build_network(toy, None, seed=1), build_network(toy, None, seed=1)
    other = build_network(toy, None, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_fingerprint_tells_networks_apart():
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
