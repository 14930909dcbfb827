"""Fitted models in files: other processes, other machines, and nothing that should stay behind."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import LRScheduler

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    XRayLoader,
)
from cxr_sklearn._tail.rows import _RowsElsewhere
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import DeviceWarning

from ..toys import MODELS, tails, toy, write_images

ROOT = Path(__file__).parents[2]
TRUNK = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0}
TOY = {**TRUNK, "max_epochs": 3, "lr": 1e-2}
# three epochs on phantoms of 16 pixels need not find every class, which is not the matter here
pytestmark = pytest.mark.filterwarnings(
    "ignore::cxr_sklearn.exceptions.NeverPredictedWarning",
)


@pytest.fixture(scope="module")
def data():
    """Phantoms of three classes, some to train and some to test."""
    X, y = make_chest_phantoms(90, image_size=16, random_state=0)
    return X[:60], y[:60], X[60:]


@pytest.fixture
def no_cuda(monkeypatch):
    """Make this machine one with nothing but a CPU."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def in_another_process(code: str, *arguments: object, **environment: str) -> str:
    """Run code in a new Python, warnings of this package and of skorch being errors there."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


PREDICT = """
import sys, warnings
from pathlib import Path
import joblib, numpy as np, torch
torch.set_num_threads(int(sys.argv[2]))
folder = Path(sys.argv[1])
X = np.load(folder / "X.npy")
for path in sorted(folder.glob("*.joblib")):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = joblib.load(path)
        method = getattr(model, "predict_proba", None) or model.transform
        np.save(path.with_suffix(".npy"), method(X))
print("cuda" if torch.cuda.is_available() else "no cuda")
"""


# -- another process ------------------------------------------------------------------------------

SAVED = {
    **{kind.__name__: kind(**TOY) for kind in MODELS},
    **{f"{kind.__name__} all": kind(**TOY, trainable="all") for kind in MODELS},
    "ResNetOvO layer4": ResNetOvO(**TOY, trainable="layer4", early_stopping=True),
    "ResNetOvO augmented": ResNetOvO(**TOY, augment=2, hidden_layer_sizes=(8,), dropout=0.1),
    "ResNetFeatures": ResNetFeatures(**TRUNK),
    "pipeline": make_pipeline(ResNetFeatures(**TRUNK, trainable="all"), ResNetOvO(**TOY)),
    "search": GridSearchCV(ResNetOvO(**TOY), {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise"),
}


@pytest.fixture(scope="module")
def loaded_elsewhere(data, tmp_path_factory):
    """Fit and save every model, load them all in one other process, and return both outputs."""
    X, y, X_test = data
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "X.npy", X_test)
    here = {}
    for name, model in SAVED.items():
        fitted = model.fit(X, y)
        fitted = getattr(fitted, "best_estimator_", fitted)
        method = getattr(fitted, "predict_proba", None) or fitted.transform
        here[name] = method(X_test)
        joblib.dump(fitted, folder / f"{name}.joblib")
    in_another_process(PREDICT, folder, torch.get_num_threads())
    return {name: (result, np.load(folder / f"{name}.npy")) for name, result in here.items()}


@pytest.mark.parametrize("name", SAVED)
def test_model_saved_here_is_loaded_on_another_machine(loaded_elsewhere, name):
    """joblib.dump, and joblib.load in another process, give equal outputs and no warning."""
    here, there = loaded_elsewhere[name]
    assert here.dtype == there.dtype == np.float32
    np.testing.assert_array_equal(here, there)


def test_saved_loader_reads_files(tmp_path):
    """A pipeline that begins with files is saved and loaded whole."""
    X, y = make_chest_phantoms(30, image_size=16, random_state=0)
    paths = write_images(tmp_path, X)
    column = np.array(paths, dtype=object)[:, None]
    model = make_pipeline(XRayLoader(image_size=16), ResNetOvO(**TOY)).fit(column, y)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(column), model.predict_proba(column))


def test_an_unfitted_model_is_saved_with_its_parameters():
    """A model that is not fitted pickles, and can be fitted afterwards."""
    model = ResNetStacking(**TOY, cv=3)
    twin = pickle.loads(pickle.dumps(model))
    assert twin.get_params() == model.get_params()
    X, y = make_chest_phantoms(30, image_size=16, random_state=0)
    np.testing.assert_array_equal(twin.fit(X, y).predict_proba(X), model.fit(X, y).predict_proba(X))


def test_saved_again(data):
    """A loaded model pickles again, to a file of about the same size that predicts the same."""
    X, y, X_test = data
    model = ResNetStacking(**TOY).fit(X, y)
    first = pickle.dumps(model)
    second = pickle.dumps(pickle.loads(first))
    assert len(second) < 1.1 * len(first)  # equal strings are no longer one object
    expected = model.predict_proba(X_test)
    np.testing.assert_array_equal(pickle.loads(second).predict_proba(X_test), expected)


# -- what a file holds ----------------------------------------------------------------------------


def stored(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor as a pickle holds them."""
    return bytes(tensor.detach().cpu().untyped_storage())


def names_in(blob: bytes) -> set[str]:
    """Return the classes and functions that a pickle refers to."""
    names = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            names.add(f"{module}.{name}")
            return super().find_class(module, name)

    Reader(io.BytesIO(blob)).load()
    return names


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_pickle_holds_no_images_and_one_trunk(data, kind, n_jobs):
    """A pickled model holds neither pixels nor activations, and each trunk weight once."""
    X, y, _ = data
    model = kind(**TOY, n_jobs=n_jobs).fit(X, y)
    blob = pickle.dumps(model)
    activations = model.trunk_.transform(X)
    for row in X:
        assert row.tobytes() not in blob
        assert (row / np.float32(255)).astype(np.float32).tobytes() not in blob
    for row in activations:
        assert row.tobytes() not in blob
    for name, weight in model.trunk_.module_.named_parameters():
        if weight.numel() >= 64:  # biases and scales are all ones or zeros
            assert blob.count(stored(weight)) == 1, name


@pytest.mark.parametrize("trainable", ["layer4", "all"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_pickle_below_other_cuts(data, kind, trainable):
    """The same at other cuts; stages above the cut stand in the tails that trained them only."""
    X, y, _ = data
    model = kind(**TOY, trainable=trainable, augment=True, early_stopping=True).fit(X, y)
    blob = pickle.dumps(model)
    for row in X:
        assert row.tobytes() not in blob
    for row in model.trunk_.transform(X):
        assert row.tobytes() not in blob
    frozen = [w for w in model.trunk_.module_.parameters() if w.numel() >= 64]
    assert len(frozen) == (0 if trainable == "all" else 7)  # convolutions below layer4
    for weight in frozen:
        assert blob.count(stored(weight)) == 1
    # layer4's convolution as it was before training: in the shared network, not in the file
    untrained = toy_conv(model)
    assert stored(untrained) not in blob


def toy_conv(model):
    """Return the last convolution of the network that a model started from."""
    return model._runner.network.module.layer4.conv.weight


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_pickle_does_not_grow_with_the_data(kind, n_jobs):
    """More images make a file larger by no activations or pixels, in whatever form."""
    X, y = make_chest_phantoms(240, image_size=16, random_state=0)
    sizes = []
    for n in (60, 240):
        model = kind(**{**TOY, "max_epochs": 1}, n_jobs=n_jobs).fit(X[:n], y[:n])
        sizes.append(len(pickle.dumps(model)))
    # a row of pixels is 256 bytes, of activations 128; its number, in each of 5 folds, 40
    assert sizes[1] - sizes[0] < 180 * 41


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_pickle_holds_no_state_of_training(data, kind, n_jobs):
    """Moments of the optimizer, and the state of a user's scheduler, stay out of the file."""
    X, y, X_test = data
    scheduler = LRScheduler(policy="StepLR", step_size=2)
    model = kind(**TOY, callbacks=[scheduler], n_jobs=n_jobs).fit(X, y)
    blob = pickle.dumps(model)
    assert b"exp_avg" not in blob
    assert not {name for name in names_in(blob) if name.startswith("torch.optim.lr_scheduler")}
    for tail in tails(pickle.loads(blob)):
        assert not hasattr(tail.net_, "optimizer_")
        assert not tail.net_.callbacks_
    expected = model.predict_proba(X_test)
    np.testing.assert_array_equal(pickle.loads(blob).predict_proba(X_test), expected)


@pytest.mark.parametrize("kind", MODELS)
def test_a_scheduler_acts_and_is_left_as_it_was_given(data, kind):
    """A scheduler changes the training, and fit does not write to the callback it was given."""
    X, y, X_test = data
    scheduler = LRScheduler(policy="StepLR", step_size=1, gamma=0.01)
    before = dict(vars(scheduler))
    model = kind(**TOY, callbacks=[scheduler]).fit(X, y)
    assert np.any(model.predict_proba(X_test) != kind(**TOY).fit(X, y).predict_proba(X_test))
    assert vars(scheduler) == before


@pytest.mark.parametrize("kind", MODELS)
def test_folder_of_activations_may_be_missing_on_another_machine(data, tmp_path, kind):
    """A model fitted with memory=folder predicts with memory=None where there is no such folder."""
    X, y, X_test = data
    model = kind(**TOY, memory=tmp_path / "here" / "cache").fit(X, y)
    expected = model.predict_proba(X_test)
    blob = pickle.dumps(model)
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    loaded = pickle.loads(blob).set_params(memory=None)
    np.testing.assert_array_equal(loaded.predict_proba(X_test), expected)
    assert not (tmp_path / "here").exists()


# -- devices --------------------------------------------------------------------------------------


def fitted_on_cuda(model):
    """Make a fitted model look as if it came from a machine with CUDA and device='cuda'."""
    model.device = model.trunk_.device = "cuda"
    for tail in tails(model):
        tail.settings = replace(tail.settings, device="cuda")
        tail.net_.__dict__["device"] = "cuda"
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_a_net_from_cuda_loads_without_cuda(data, no_cuda, kind):
    """With device='auto' a model whose nets were on CUDA loads on the CPU, without a warning."""
    X, y, X_test = data
    model = kind(**TOY).fit(X, y)
    expected = model.predict_proba(X_test)
    for tail in tails(model):
        tail.net_.__dict__["device"] = "cuda"
    loaded = pickle.loads(pickle.dumps(model))  # warnings are errors here
    assert {tail.net_.device for tail in tails(loaded)} == {"cpu"}
    assert {tail.net_.device for tail in tails(model)} == {"cuda"}  # pickling changes nothing
    np.testing.assert_array_equal(loaded.predict_proba(X_test), expected)


@pytest.mark.parametrize("kind", MODELS)
def test_device_cuda_predicts_on_the_cpu_with_a_warning(data, no_cuda, kind):
    """A fitted model whose device is 'cuda' predicts on a machine without, and says so."""
    X, y, X_test = data
    model = kind(**TOY).fit(X, y)
    expected = model.predict_proba(X_test)
    loaded = pickle.loads(pickle.dumps(fitted_on_cuda(model)))
    with pytest.warns(DeviceWarning, match="device='cuda' is not available here") as caught:
        result = loaded.predict_proba(X_test)
    np.testing.assert_array_equal(result, expected)
    assert {warning.category for warning in caught} == {DeviceWarning}


@pytest.mark.parametrize("kind", MODELS)
def test_the_device_warning_names_a_remedy_that_works(data, no_cuda, kind):
    """set_params(device='auto'), which the warning recommends, ends the warning."""
    X, y, X_test = data
    model = kind(**TOY).fit(X, y)
    expected = model.predict_proba(X_test)
    fitted_on_cuda(model).set_params(device="auto")
    np.testing.assert_array_equal(model.predict_proba(X_test), expected)


@pytest.mark.parametrize("kind", [*MODELS, ResNetFeatures])
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "tpu-v9"])
def test_fit_on_a_missing_device_is_an_error(data, no_cuda, kind, device):
    """Fit with a device that is not there is a ValueError of one line that says what to pass."""
    X, y, _ = data
    with pytest.raises(ValueError, match=f"device='{device}'") as caught:
        kind(**TRUNK, device=device).fit(X, y)
    message = str(caught.value)
    assert "\n" not in message
    assert "'auto'" in message


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("kind", MODELS)
def test_trained_on_cuda_loaded_without(data, tmp_path, kind, device):
    """A model that trained on CUDA loads where there is none, and predicts nearly the same."""
    X, y, X_test = data
    scheduler = LRScheduler(policy="StepLR", step_size=2)
    for trainable in ("head", "all"):
        folder = tmp_path / trainable
        folder.mkdir()
        np.save(folder / "X.npy", X_test)
        model = kind(
            **TOY, trainable=trainable, device=device, precision="fp32", callbacks=[scheduler]
        ).fit(X, y)
        assert all(p.is_cuda for tail in tails(model) for p in tail.net_.module_.parameters())
        here = model.predict_proba(X_test)
        joblib.dump(model, folder / "model.joblib")
        assert all(p.is_cuda for tail in tails(model) for p in tail.net_.module_.parameters())
        code = PREDICT
        if device == "cuda":  # the warning that this device is missing is shown, not raised
            code = PREDICT.replace('simplefilter("error")', 'simplefilter("default")')
        found = in_another_process(code, folder, 1, CUDA_VISIBLE_DEVICES="")
        assert found.strip() == "no cuda"
        # TensorFloat-32 may round products on the device to 10 bits
        np.testing.assert_allclose(np.load(folder / "model.npy"), here, atol=1e-2)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_the_weights_of_a_tail_are_saved_once(phantoms):
    """The trained module, without gradients; after loading it is one again."""
    model = ResNetClassifier(
        backbone=toy, weights=None, image_size=16, trainable="all", max_epochs=2, random_state=0
    ).fit(*phantoms)
    assert all(parameter.grad is None for parameter in model.net_.module_.parameters())
    kernels = [p for p in model.net_.module_.body.parameters() if p.ndim == 4]
    saved = pickle.dumps(model)
    assert [saved.count(bytes(kernel.untyped_storage())) for kernel in kernels] == [1] * len(
        kernels
    )
    net = pickle.loads(saved).net_
    assert net.module is net.module_


def test_tail_returned_after_the_fit_predicts_from_activations(phantoms):
    """A worker may answer when nobody has the rows any more."""
    X, y = phantoms
    model = ResNetOvO(backbone=toy, weights=None, image_size=16, max_epochs=2, random_state=0)
    tail = model.fit(X, y).estimators_[0]
    late = copy.copy(tail)
    late.rows = pickle.loads(pickle.dumps(_RowsElsewhere("no fit's")))
    activations = model.trunk_.transform(X)
    np.testing.assert_array_equal(late.predict(activations), tail.predict(activations))
