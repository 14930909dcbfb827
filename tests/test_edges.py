"""The rare ways: what the program prints, and what happens where something is missing."""

from __future__ import annotations

import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cxr_sklearn import ResNetClassifier, ResNetFeatures, ResNetOvO, ResNetStacking, clear_cache
from cxr_sklearn._images import images as images_module
from cxr_sklearn._models.splits import stacking_folds, validation_mask
from cxr_sklearn._workflow import demo

from .toys import ToyResNet, toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}
# two epochs are enough to have a model, not to learn
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


# -- the program ----------------------------------------------------------------------------------


def test_the_program_says_how_it_is_used():
    """Without a command the usage is shown, and the status is that of bad usage."""
    done = subprocess.run(
        [sys.executable, "-m", "cxr_sklearn"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: python -m cxr_sklearn")
    assert "Traceback" not in done.stderr


def test_the_demo_draws_nothing_without_matplotlib(monkeypatch, tmp_path, capsys):
    """Pictures are an extra: without matplotlib the demo says how to have them, and goes on."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    demo._draw(None, np.empty(0), np.empty(0), np.empty(0), tmp_path)
    assert "pip install 'cxr-sklearn[plot]'" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# -- before and after a fit -----------------------------------------------------------------------


def test_net_is_there_after_fit():
    """Before fit there is no net_, as hasattr tells."""
    model = ResNetClassifier(**SMALL)
    assert not hasattr(model, "net_")
    with pytest.raises(AttributeError, match="net_ is available after fit"):
        _ = model.net_


def test_tails_of_a_fitted_model_have_let_the_rows_go(phantoms):
    """A tail cannot be fitted on its own later, nor asked about rows that are gone."""
    X, y = phantoms
    tail = ResNetOvO(**SMALL).fit(X, y).estimators_[0]
    with pytest.raises(RuntimeError, match="fit the model it belongs to"):
        _ = tail.rows.blueprint
    with pytest.raises(RuntimeError, match=r"pass trunk_\.transform\(X\)"):
        tail.rows.take(np.arange(3))


def test_a_generator_moves_on(phantoms):
    """A RandomState gives each fit its own draws, and equal generators give equal models."""
    X, y = phantoms
    model = ResNetClassifier(**{**SMALL, "random_state": np.random.RandomState(7)})
    first, second = (model.fit(X, y).predict_proba(X) for _ in range(2))
    assert np.any(first != second)
    model.set_params(random_state=np.random.RandomState(7))
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), first)


def test_an_own_backbone_reads_its_weights_from_a_file(phantoms, tmp_path):
    """With a callable, a file of its state dict replaces what it initialises."""
    X, _ = phantoms
    net = ToyResNet().eval()
    torch.save(net.state_dict(), tmp_path / "toy.pth")
    options = {"backbone": toy, "image_size": 16, "random_state": 0}
    made = ResNetFeatures(**options, weights=None).fit_transform(X)
    read = ResNetFeatures(**options, weights=tmp_path / "toy.pth").fit(X)
    assert torch.equal(read.module_.net.conv1.weight, net.conv1.weight)
    assert not np.allclose(read.transform(X), made)


# -- memory ---------------------------------------------------------------------------------------


def test_films_beyond_the_bound_are_decoded_again(tmp_path, phantoms, monkeypatch):
    """Where decoded files would take too much memory none is kept, and nothing else changes."""
    X, y = phantoms
    paths = [str(tmp_path / f"{i:02d}.png") for i in range(len(X))]
    for path, row in zip(paths, X, strict=True):
        Image.fromarray(row.reshape(16, 16)).save(path)
    read = []

    def count(paths, *args, **kwargs):
        read.extend(paths)
        return read_images(paths, *args, **kwargs)

    read_images = images_module.read_images
    monkeypatch.setattr(images_module, "read_images", count)
    options = {**SMALL, "trainable": "all", "max_epochs": 1}
    kept = ResNetClassifier(**options).fit(paths, y).predict_proba(paths)
    once = len(read)
    monkeypatch.setattr(images_module, "_DECODED_BYTES", 0)
    again = ResNetClassifier(**options).fit(paths, y).predict_proba(paths)
    np.testing.assert_array_equal(again, kept)
    assert len(read) - once >= once


def test_a_joblib_memory_is_a_folder(phantoms, tmp_path):
    """joblib.Memory names the folder; one without a place keeps activations in this process."""
    X, _ = phantoms
    options = {k: v for k, v in SMALL.items() if k != "max_epochs"}
    expected = ResNetFeatures(**options).fit_transform(X)
    for location in (str(tmp_path / "cache"), None):
        memory = joblib.Memory(location, verbose=0)
        found = ResNetFeatures(**options, memory=memory).fit_transform(X)
        np.testing.assert_array_equal(found, expected)
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 1


class Exhausted(ToyResNet):
    """A network whose memory runs out."""

    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_memory_that_ran_out_is_not_blamed_on_the_image_size(phantoms):
    """PyTorch's own error passes, for callers that catch it and take smaller batches."""
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        ResNetClassifier(**{**SMALL, "backbone": Exhausted}).fit(*phantoms)


# -- networks and types of numbers ----------------------------------------------------------------


@pytest.fixture
def double_by_default():
    """Make float64 PyTorch's default type, as some scripts do for the rest of their work."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
@pytest.mark.parametrize("kind", [ResNetClassifier, ResNetOvO, ResNetStacking])
def test_a_default_of_float64_changes_nothing(kind, trainable, phantoms, request):
    """Networks and tails are made in float32, and the default is left as it was."""
    X, y = phantoms
    model = kind(**SMALL, trainable=trainable, hidden_layer_sizes=(4,), label_smoothing=0.1)
    expected = model.fit(X, y).predict_proba(X)
    clear_cache()
    request.getfixturevalue("double_by_default")
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), expected)
    assert torch.get_default_dtype() == torch.float64


def test_a_default_of_float64_does_not_reach_named_backbones(phantoms, double_by_default):
    """The same for torchvision's networks, on both engines."""
    options = {"backbone": "resnet18", "weights": None, "image_size": 32}
    for engine in ("auto", "torch"):
        features = ResNetFeatures(**options, engine=engine).fit(phantoms[0])
        assert {p.dtype for p in features.module_.parameters()} == {torch.float32}
        assert features.transform(phantoms[0][:2]).dtype == np.float32


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda net: net.double(), "type float64"),
        (lambda net: net.half(), "type float16"),
        (lambda net: net.to("meta"), r"no values \(it is on the meta device\)"),
    ],
)
def test_a_network_of_another_type_is_explained(change, found, phantoms):
    """It would fail on images, which are float32, with words about convolutions."""
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
def test_networks_that_train_otherwise_are_explained(backbone, message, trainable, phantoms):
    """The message names auxiliary outputs; at the head they do not matter."""
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
def test_vision_transformers_are_cut_at_the_head(changes, message, phantoms):
    """They train there and as a whole; other sizes and cuts raise an error of one line."""
    X, y = phantoms
    options = {**SMALL, "backbone": vision_transformer, "image_size": 32, "max_epochs": 1}
    for trainable in ("head", "all"):
        model = ResNetClassifier(**options, trainable=trainable).fit(X, y)
        assert model.predict_proba(X).shape == (len(X), 3)
    with pytest.raises(ValueError, match=message) as caught:
        ResNetClassifier(**{**options, **changes}).fit(X, y)
    assert "\n" not in str(caught.value)


class ExhaustedInTraining(ToyResNet):
    """A network whose memory runs out above the cut."""

    def forward(self, x):
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def test_memory_that_runs_out_in_training_is_pytorchs_own_error(phantoms):
    """Callers that catch it can take smaller batches."""
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        ResNetClassifier(**{**SMALL, "backbone": ExhaustedInTraining}, trainable="all").fit(
            *phantoms
        )


# -- files ----------------------------------------------------------------------------------------


def test_a_path_that_no_system_takes_is_named(phantoms, tmp_path):
    """A null byte in a path is an unreadable file like any other."""
    with pytest.raises(OSError, match="2 of 2 image files could not be read") as caught:
        ResNetClassifier(**SMALL).fit(["a\0b.png", str(tmp_path / "no.png")], ["a", "b"])
    assert "null byte" in str(caught.value)


# -- splits that cannot be ------------------------------------------------------------------------


def test_a_validation_part_that_leaves_a_class_out_of_training():
    """A fraction so large that no split trains on every class is an error with three remedies."""
    codes = np.array([0] * 20 + [1, 1, 2, 2, 3, 3, 4, 4])
    with pytest.raises(ValueError, match=r"^validation_fraction=0\.9: no split by group") as caught:
        validation_mask(codes, np.arange(28), 0.9, list("abcde"), seed=0)
    assert "expected a smaller fraction, more patients, or early_stopping=False" in str(
        caught.value
    )


def test_folds_that_leave_a_class_out_of_training():
    """Three patients, each without one of three classes, cannot be divided into training parts."""
    groups = np.repeat([0, 1, 2], 20)
    codes = np.array([0, 1] * 10 + [1, 2] * 10 + [2, 0] * 10)
    with pytest.raises(ValueError, match=r"^cv=5: no division into folds by group") as caught:
        stacking_folds(codes, groups, np.zeros(60, bool), 5, list("abc"), seed=0)
    assert "more patients of the scarcest class" in str(caught.value)


def test_listed_folds_without_a_class_are_named(phantoms):
    """A list of folds that trains on no row of a class names the class."""
    X, y = phantoms
    test = np.flatnonzero(y == "Normal")
    rest = np.flatnonzero(y != "Normal")
    with pytest.raises(ValueError, match="no training row of class 'Normal'"):
        ResNetStacking(**SMALL, cv=[(rest, test), (test, rest)]).fit(X, y)


def test_listed_folds_that_test_a_row_twice_are_refused(phantoms):
    """Folds must test each row once, as out-of-fold outputs need."""
    X, y = phantoms
    rows = np.arange(len(X))
    with pytest.raises(ValueError, match="do not hold every row once; expected a partition"):
        ResNetStacking(**SMALL, cv=[(rows[:40], rows[40:]), (rows[20:], rows[:30])]).fit(X, y)
