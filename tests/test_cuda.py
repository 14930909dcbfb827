"""On a GPU: the same models, faster. Skipped where there is none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from cxr_sklearn import ResNetClassifier, ResNetFeatures, ResNetOvO
from cxr_sklearn._utils.device import autocast_dtype, resolve_device, warn_shared_gpu
from cxr_sklearn.exceptions import DeviceWarning
from cxr_sklearn.inspection import class_activation_map, faithfulness

from .toys import MODELS, tails, toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 5}
on_cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # Five epochs are too few for some models to learn every class.
    pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning"),
]


class TestWithoutAGpu:
    """The logic that chooses devices and precisions, with a GPU only pretended."""

    def test_auto_prefers_cuda_then_mps(self, monkeypatch):
        """device='auto' is CUDA, else MPS, else the CPU."""
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert resolve_device("auto").type == "cuda"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert resolve_device("auto").type == "mps"
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert resolve_device("auto").type == "cpu"

    @pytest.mark.parametrize(("bf16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
    def test_auto_precision_follows_the_device(self, bf16, expected, monkeypatch):
        """On CUDA bfloat16, on older cards float16, elsewhere float32."""
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        assert autocast_dtype("auto", torch.device("cuda")) == expected
        assert autocast_dtype("auto", torch.device("cpu")) is None
        assert autocast_dtype("fp32", torch.device("cuda")) is None

    @pytest.mark.parametrize("device", ["cuda:7", "gpu", "tpu"])
    def test_devices_that_are_not_there_are_named(self, device, phantoms):
        """An unknown or missing device is a one-line error with a remedy."""
        with pytest.raises(ValueError, match=f"device='{device}'") as caught:
            ResNetOvO(**SMALL, device=device).fit(*phantoms)
        assert "\n" not in str(caught.value)
        assert "'cpu'" in str(caught.value)

    def test_processes_that_share_a_gpu_are_warned_of(self, monkeypatch):
        """n_jobs > 1 with one CUDA device gains nothing, and a warning says so."""
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.warns(DeviceWarning, match="n_jobs=2 with one CUDA device"):
            warn_shared_gpu(2, torch.device("cuda"))

    @pytest.mark.filterwarnings("error")
    def test_no_warning_where_nothing_is_shared(self, monkeypatch):
        """One process, several cards or the CPU: no warning."""
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        warn_shared_gpu(2, torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        for n_jobs, device in ((None, "cuda"), (1, "cuda"), (2, "cpu")):
            warn_shared_gpu(n_jobs, torch.device(device))


class TestOnAGpu:
    """What only a GPU can show."""

    pytestmark = on_cuda

    @pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
    @pytest.mark.parametrize("kind", MODELS)
    def test_float32_agrees_with_the_cpu(self, kind, trainable, phantoms):
        """The same frozen features, and predictions close to the CPU's."""
        X, y = phantoms
        options = {**SMALL, "trainable": trainable, "precision": "fp32"}
        gpu = kind(**options, device="cuda").fit(X, y)
        assert all(p.is_cuda for tail in tails(gpu) for p in tail.net_.module_.parameters())
        p = gpu.predict_proba(X)
        gpu.set_params(device="cpu")
        np.testing.assert_allclose(gpu.predict_proba(X), p, atol=1e-2)

    @pytest.mark.parametrize("precision", ["auto", "bf16", "fp16"])
    def test_mixed_precision_trains(self, precision, phantoms):
        """Autocast, and for float16 scaled gradients, on the card."""
        X, y = phantoms
        model = ResNetOvO(**SMALL, trainable="all", precision=precision, device="cuda").fit(X, y)
        assert np.isfinite(model.predict_proba(X)).all()
        assert all(curve[-1] < curve[0] for curve in model.loss_curve_)

    def test_features_agree_with_the_cpu(self, phantoms):
        """Trunk activations are the CPU's to float32 accuracy, and cached apart."""
        X, _ = phantoms
        options = {"backbone": toy, "weights": None, "image_size": 16, "precision": "fp32"}
        gpu = ResNetFeatures(**options, device="cuda").fit_transform(X)
        np.testing.assert_allclose(
            gpu, ResNetFeatures(**options, device="cpu").fit_transform(X), atol=1e-2
        )

    @pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
    def test_maps_agree_with_the_cpu(self, trainable, phantoms):
        """The same maps, and the same verdict about them."""
        X, y = phantoms
        options = {**SMALL, "trainable": trainable, "precision": "fp32"}
        model = ResNetOvO(**options, device="cuda").fit(X, y)
        maps = class_activation_map(model, X, target="Normal").maps
        result = faithfulness(model, X, n_random=1, max_images=5, random_state=0)
        assert np.isfinite(result.frame.loc["randomised weights", "value"])
        model.set_params(device="cpu")
        on_cpu = class_activation_map(model, X, target="Normal").maps
        np.testing.assert_allclose(on_cpu, maps, atol=1e-2 * np.abs(maps).max())

    def test_the_loop_does_not_wait_for_the_card(self, phantoms):
        """No batch of a training with resident activations synchronises with the host."""
        X, y = phantoms
        model = ResNetClassifier(**{**SMALL, "max_epochs": 20}, batch_size=4, device="cuda")
        model.fit(X, y)  # warms up
        try:
            with warnings.catch_warnings(record=True) as record:
                # PyTorch also warns that this mode itself is a prototype.
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                model.fit(X, y)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits = [w for w in record if "called a synchronizing" in str(w.message)]
        n_batches = sum(len(epoch["batches"]) for epoch in model.history_)
        assert n_batches > 40
        assert len(waits) < n_batches  # per fit and per epoch, not per batch
