"""What runs the trunk: onnxruntime agrees with PyTorch, and is never mixed up with it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys

import joblib
import numpy as np
import pytest
import torch
from joblib import delayed

from cxr_sklearn import ResNetClassifier, ResNetFeatures, ResNetOvO, clear_cache
from cxr_sklearn._trunk import engine, runner
from cxr_sklearn._trunk.context import run_context
from cxr_sklearn.exceptions import DeviceWarning

from ..toys import ToyResNet, toy

SMALL = {"backbone": "resnet18", "weights": None, "image_size": 32, "random_state": 0}
TOY = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@pytest.fixture(autouse=True)
def _no_sessions():
    engine.clear_sessions()


@pytest.fixture
def exports(monkeypatch):
    """Return the modules that were exported."""
    made = []
    original = torch.onnx.export
    monkeypatch.setattr(
        torch.onnx,
        "export",
        lambda module, *a, **k: made.append(module) or original(module, *a, **k),
    )
    return made


def engine_of(features):
    """Return what runs a fitted trunk."""
    return run_context(features, fitted=True).engine


@pytest.mark.parametrize("trainable", ["head", "layer4", "layer3", "layer2", "layer1"])
def test_both_engines_give_the_same_activations(trainable, phantoms):
    """At every cut they agree to a hundred-thousandth of the greatest activation."""
    X, _ = phantoms
    ours = ResNetFeatures(**SMALL, trainable=trainable).fit(X)
    eager = ResNetFeatures(**SMALL, trainable=trainable, engine="torch").fit(X)
    assert (engine_of(ours), engine_of(eager)) == ("onnxruntime", "torch")
    found, expected = ours.transform(X), eager.transform(X)
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)  # or the cache would have mixed them up
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_batches_of_any_length_give_the_same_activations(phantoms):
    """What passes with an image changes no more than rounding does, and neither does how many."""
    X, _ = phantoms
    results = []
    for batch_size in (1, 7, 60):
        clear_cache()
        results.append(ResNetFeatures(**SMALL, batch_size=batch_size).fit_transform(X))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(results[0], results[2], rtol=1e-5, atol=1e-5)


def test_activations_of_two_engines_are_not_mixed(phantoms, tmp_path):
    """In memory and on disk alike, another engine's rows are not there."""
    X, y = phantoms
    for memory in (None, tmp_path):
        options = {**SMALL, "memory": memory, "max_epochs": 1}
        first = ResNetClassifier(**options, engine="torch").fit(X, y)
        second = ResNetClassifier(**options, engine="onnxruntime").fit(X, y)
        third = ResNetClassifier(**options).fit(X, y)
        counts = [model.cache_info_[:2] for model in (first, second, third)]
        assert counts == [(0, len(X)), (0, len(X)), (len(X), 0)]


def test_a_trunk_is_exported_once(phantoms, exports):
    """Once per weights and cut: not per batch, clone, fold, or call of another estimator."""
    X, y = phantoms
    for features in (ResNetFeatures(**SMALL, batch_size=9), ResNetFeatures(**SMALL)):
        clear_cache()
        features.fit_transform(X)
    ResNetOvO(**SMALL, max_epochs=1).fit(X, y)
    assert len(exports) == 1
    ResNetFeatures(**SMALL, trainable="layer4").fit_transform(X)
    ResNetFeatures(**{**SMALL, "random_state": 1}).fit_transform(X)
    assert len(exports) == 3


def test_no_pass_no_export(phantoms, exports, tmp_path):
    """Where every activation is on disk nothing is exported."""
    X, y = phantoms
    ResNetFeatures(**SMALL, memory=tmp_path).fit_transform(X)
    engine.clear_sessions()
    ResNetClassifier(**SMALL, memory=tmp_path, max_epochs=1).fit(X, y).predict(X)
    assert len(exports) == 1


def test_an_export_changes_nothing(phantoms):
    """PyTorch's exporter switches modes and may fold in place; the trunk stays as it was."""
    features = ResNetFeatures(**SMALL).fit(phantoms[0])
    before = {name: value.clone() for name, value in features.module_.state_dict().items()}
    features.transform(phantoms[0])
    assert len(engine.sessions()) == 1
    assert not any(module.training for module in features.module_.modules())
    after = features.module_.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_only_a_few_sessions_are_held(phantoms):
    """Each holds the weights once more."""
    for seed in range(6):
        ResNetFeatures(**{**TOY, "random_state": seed}, engine="onnxruntime").fit_transform(
            phantoms[0]
        )
    assert len(engine.sessions()) == 4


# -- which engine --------------------------------------------------------------------------------


def test_auto_leaves_foreign_networks_to_pytorch(phantoms, exports):
    """What an export records is what a network did once."""
    assert engine_of(ResNetFeatures(**TOY).fit(phantoms[0])) == "torch"
    assert engine_of(ResNetFeatures(**TOY, engine="onnxruntime").fit(phantoms[0])) == "onnxruntime"


def test_auto_leaves_other_precisions_to_pytorch(phantoms):
    """The type of the matrix products is PyTorch's."""
    features = ResNetFeatures(**SMALL, precision="bf16").fit(phantoms[0])
    assert engine_of(features) == "torch"
    with pytest.raises(
        ValueError, match=r"engine='onnxruntime' is invalid with bfloat16: it runs .* Pass"
    ):
        ResNetFeatures(**SMALL, precision="bf16", engine="onnxruntime").fit(phantoms[0])
    with pytest.raises(ValueError, match=r"is invalid with cuda: .*engine='auto'"):
        engine.resolve_engine("onnxruntime", "resnet50", torch.device("cuda"), None)
    assert engine.resolve_engine("auto", "resnet50", torch.device("cuda"), None) == "torch"


@pytest.fixture
def not_installed(monkeypatch):
    """Hide onnxruntime."""
    find = engine.importlib.util.find_spec
    monkeypatch.setattr(
        engine.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxruntime" else find(name),
    )


def test_without_onnxruntime_auto_is_pytorch(phantoms, not_installed):
    """The extra is an extra; asked for by name, its absence is an error with the remedy."""
    assert engine_of(ResNetFeatures(**SMALL).fit(phantoms[0])) == "torch"
    with pytest.raises(ImportError, match=r"pip install 'cxr-sklearn\[cpu\]'") as caught:
        ResNetOvO(**SMALL, engine="onnxruntime").fit(*phantoms)
    assert "\n" not in str(caught.value)


def test_a_saved_model_runs_where_onnxruntime_is_not(phantoms, request):
    """It predicts the same with PyTorch; named, with a warning."""
    X, y = phantoms
    models = {
        engine: ResNetOvO(**SMALL, engine=engine, max_epochs=2).fit(X, y)
        for engine in ("auto", "onnxruntime")
    }
    expected = models["auto"].predict_proba(X)
    saved = {engine: pickle.dumps(model) for engine, model in models.items()}
    request.getfixturevalue("not_installed")
    clear_cache()
    found = pickle.loads(saved["auto"]).predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.warns(DeviceWarning, match=r"engine='onnxruntime' is not installed .* PyTorch"):
        again = pickle.loads(saved["onnxruntime"]).predict_proba(X)
    np.testing.assert_array_equal(again, found)


def test_set_params_changes_the_engine_of_predictions(phantoms, monkeypatch):
    """The fitted trunk keeps its own parameters."""
    X, y = phantoms
    model = ResNetOvO(**SMALL, max_epochs=1).fit(X, y)
    before = vars(model.trunk_).copy()
    expected = model.predict_proba(X)
    clear_cache()

    def fail(*_):
        raise AssertionError("onnxruntime was used")

    monkeypatch.setattr(runner, "run_onnx", fail)
    found = model.set_params(engine="torch").predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert vars(model.trunk_) == before


def test_a_pickle_holds_no_exported_network(phantoms):
    """Another engine is no more in the file than the one."""
    X, y = phantoms
    sizes = [
        len(pickle.dumps(ResNetOvO(**SMALL, engine=engine, max_epochs=1).fit(X, y)))
        for engine in ("torch", "onnxruntime")
    ]
    assert abs(sizes[0] - sizes[1]) < 1000


# -- networks that cannot be exported ------------------------------------------------------------


class Deciding(ToyResNet):
    """Do one thing or the other, by what the batch contains."""

    def forward(self, x):
        return super().forward(-x if x.mean() > 9 else x)


class Counting(ToyResNet):
    """Do other things for a batch of three than for other batches."""

    def forward(self, x):
        return super().forward(-x if len(x) == 3 else x)


class Odd(ToyResNet):
    """Take a step that ONNX has no word for."""

    def forward(self, x):
        return super().forward(torch.special.bessel_j0(x))


@pytest.mark.parametrize("network", [Deciding, Counting, Odd])
def test_network_that_cannot_be_exported_raises(network, phantoms):
    """A recording that would give wrong activations is an error, not a result."""
    features = ResNetFeatures(
        backbone=network, weights=None, image_size=16, engine="onnxruntime"
    ).fit(phantoms[0])
    with pytest.raises(
        ValueError, match=r"cannot run this backbone \(.*\); expected .*Pass"
    ) as caught:
        features.transform(phantoms[0])
    assert "\n" not in str(caught.value)
    features.set_params(engine="torch").transform(phantoms[0])


def test_a_failed_export_prints_nothing(phantoms, capfd):
    """PyTorch prints the graph of what it could not export, hundreds of lines."""
    for network in (Odd, ToyResNet):  # the second can be exported
        features = ResNetFeatures(
            backbone=network, weights=None, image_size=16, engine="onnxruntime"
        ).fit(phantoms[0])
        with contextlib.suppress(ValueError):
            features.transform(phantoms[0])
    torch._C._jit_onnx_log("the log is as it was before: off")
    sys.stdout.flush()
    assert capfd.readouterr() == ("", "")


# -- threads and processes -----------------------------------------------------------------------


def threads_in_worker(X):
    """Return PyTorch's threads in this process, and those of the session it made."""
    ResNetFeatures(**TOY, engine="onnxruntime").fit_transform(X)
    (session,) = engine.sessions()
    options = session.get_session_options()
    return torch.get_num_threads(), options.intra_op_num_threads, options.inter_op_num_threads


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.TrunkPassWarning")
def test_workers_share_the_cores(phantoms):
    """A session has PyTorch's threads, of which joblib gives each worker its share."""
    X, _ = phantoms
    assert threads_in_worker(X) == (1, 1, 1)
    found = joblib.Parallel(n_jobs=2)(delayed(threads_in_worker)(X) for _ in range(2))
    for torch_threads, session_threads, others in found:
        assert session_threads == torch_threads
        assert others == 1
        assert 2 * session_threads <= max(2, os.cpu_count())


def test_a_change_of_threads_is_followed(phantoms):
    """torch.set_num_threads holds for both engines."""
    features = ResNetFeatures(**TOY, engine="onnxruntime").fit(phantoms[0])
    features.transform(phantoms[0][:2])
    torch.set_num_threads(2)
    try:
        features.transform(phantoms[0][2:4])
    finally:
        torch.set_num_threads(1)
    held = engine.sessions()
    assert [s.get_session_options().intra_op_num_threads for s in held] == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_forked_process_makes_sessions_of_its_own(phantoms):
    """A session's threads do not live on in the child: it neither uses nor ends them."""
    X, _ = phantoms
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # of one thread a session has none of its own
    try:
        ResNetFeatures(**TOY, engine="onnxruntime").fit_transform(X)
        assert engine.sessions()
        child = os.fork()
        if not child:
            signal.alarm(30)  # ends it, should it wait for threads
            os._exit(len(engine.sessions()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)
