"""Maps are those of Grad-CAM on the whole network, and explain the probability of the model."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetOvO, ResNetOvR, ResNetStacking, XRayLoader
from cxr_sklearn._models.coupling import coupling_gradient, pairwise_probabilities
from cxr_sklearn._trunk.engine import clear_sessions
from cxr_sklearn._trunk.pixels import network_images, unit_images
from cxr_sklearn.calibration import PrevalenceAdjuster
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.inspection import _pixel_attributions, class_activation_map
from cxr_sklearn.inspection._explained_score import explained_score, make_question
from cxr_sklearn.inspection._pixel_attributions import ComposedNetwork

from ..toys import MODELS, toy, write_images

captum_attr = pytest.importorskip("captum.attr")

CUTS = ("head", "layer4", "layer2", "all")
SIDE = 32
CLASSES = ["COVID-19", "Normal", "Pneumonia"]
OPTIONS = {
    "backbone": toy,
    "weights": None,
    "image_size": SIDE,
    "max_epochs": 2,
    "lr": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def images():
    """Return 40 phantoms."""
    return make_chest_phantoms(40, image_size=SIDE, random_state=0)


@pytest.fixture(scope="module")
def fitted(images):
    """Return a function that returns a fitted model, the same one each time."""
    models = {}

    def fit(cls, trainable="head", **options):
        key = (cls, trainable, tuple(options.items()))
        if key not in models:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = cls(**{**OPTIONS, "trainable": trainable, **options})
                models[key] = model.fit(*images)
        return models[key]

    return fit


class WholeNetwork(nn.Module):
    """The uncut network of one tail, with its head, from images to the outputs of the tail."""

    def __init__(self, model, tail) -> None:
        super().__init__()
        self.model = model
        self.trunk = copy.deepcopy(model._runner.module).requires_grad_(True)
        self.module = copy.deepcopy(tail.net_.module_)

    @property
    def layer(self):
        """The last stage with maps."""
        if self.model.trainable == "head":
            return self.trunk.net.layer4
        return self.module.body.layer4

    def forward(self, images):
        """Return the output of the tail."""
        rows = images
        if self.model.trainable != "all":
            rows = self.trunk(network_images(images, 3, standardised=False))
        logits = self.module.logits(self.module.unit(rows))
        return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits


def layer_grad_cam(model, tail, X, column=0):
    """Return captum's signed Grad-CAM of one output of a tail, on the uncut network."""
    whole = WholeNetwork(model, tail).eval()
    unit = unit_images(torch.from_numpy(X.reshape(-1, SIDE, SIDE)), SIDE).requires_grad_()
    cam = captum_attr.LayerGradCam(whole, whole.layer)
    return cam.attribute(unit, target=column, relu_attributions=False)[:, 0].detach().numpy()


@pytest.mark.parametrize("trainable", CUTS)
def test_map_of_a_network_equals_captums_on_the_uncut_network(fitted, images, trainable):
    """For each pair, at every cut: the map of the pair's network is that of LayerGradCam."""
    model, X = fitted(ResNetOvO, trainable), images[0][:5]
    for (first, second), tail in zip(model.pairs_, model.estimators_, strict=True):
        expected = layer_grad_cam(model, tail, X)
        found = class_activation_map(model, X, target=second, versus=first, size=expected.shape[1:])
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(found.maps, expected, atol=1e-5 * scale)
        against = class_activation_map(model, X, target=first, versus=second, size=(4, 4)).maps
        np.testing.assert_allclose(against, -expected, atol=1e-5 * scale)


@pytest.mark.parametrize("trainable", CUTS)
def test_map_of_the_single_network_equals_captums(fitted, images, trainable):
    """The map of the log-probability is that of the logits, weighted by its derivatives."""
    model, X = fitted(ResNetClassifier, trainable), images[0][:5]
    of_logits = [layer_grad_cam(model, model._estimator, X, column) for column in range(3)]
    p = model.predict_proba(X)
    expected = of_logits[0] - np.einsum("nk,knhw->nhw", p, np.stack(of_logits))
    found = class_activation_map(model, X, target="COVID-19", size=expected.shape[1:])
    np.testing.assert_allclose(found.maps, expected, atol=1e-5 * np.abs(expected).max())


def numerical_derivatives(model, outputs, code, step=1e-5):
    """Return the derivatives of a log-probability with respect to the outputs of the networks."""
    columns = []
    for column in range(outputs.shape[1]):
        shift = np.zeros(outputs.shape[1])
        shift[column] = step
        above, below = model._combine(outputs + shift), model._combine(outputs - shift)
        columns.append((above[:, code] - below[:, code]) / (2 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("trainable", ["head", "layer4"])
@pytest.mark.parametrize("cls", [ResNetOvO, ResNetOvR])
def test_coupled_map_is_the_sum_of_the_maps_of_the_networks(fitted, images, cls, trainable):
    """Weighted by the derivatives of the coupled probability, which are computed numerically."""
    model, X = fitted(cls, trainable), images[0][:5]
    outputs = model._run(X, model._outputs)
    weights = numerical_derivatives(model, outputs, code=2)
    of_networks = [layer_grad_cam(model, tail, X) for tail in model.estimators_]
    expected = np.einsum("nb,bnhw->nhw", weights, np.stack(of_networks))
    found = class_activation_map(model, X, target="Pneumonia", size=expected.shape[1:])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.maps, expected, atol=2e-5 * scale)
    np.testing.assert_allclose(found.parts.sum(axis=1), found.maps, atol=1e-5 * scale)
    # The sum without the derivatives is another map.
    assert np.abs(np.sum(of_networks, axis=0) - expected).max() > 0.1 * scale


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_derivatives_of_log_probabilities(fitted, cls, n_classes):
    """They equal numerical ones, for all models and numbers of classes."""
    X, _ = make_chest_phantoms(40, image_size=SIDE, random_state=1)
    y = np.arange(40) % n_classes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cls(**OPTIONS).fit(X, y)
    outputs = 2 * np.random.default_rng(0).standard_normal(model._run(X, model._outputs).shape)
    gradient = model._combine_gradient(outputs)
    # The MLP head of the stacking model computes in float32.
    step, atol = (1e-2, 2e-3) if cls is ResNetStacking else (1e-5, 1e-7)
    for code in range(n_classes):
        expected = numerical_derivatives(model, outputs, code, step)
        np.testing.assert_allclose(gradient[:, code], expected, atol=atol)


def test_derivatives_of_certain_pairs_are_finite():
    """Also where pairs are certain and contradict each other."""
    logits = np.array([[60.0, -60.0, 60.0], [0.0, 800.0, 0.0], [-700.0, 700.0, -700.0]])
    assert np.isfinite(coupling_gradient(pairwise_probabilities(logits, 3))).all()


@pytest.mark.parametrize("cls", MODELS)
def test_probability_is_that_of_the_model(fitted, images, cls):
    """The default target is the predicted class, and its probability is returned."""
    model, X = fitted(cls), images[0]
    found = class_activation_map(model, X)
    np.testing.assert_array_equal(found.target, model.predict(X))
    np.testing.assert_allclose(found.probabilities, model.predict_proba(X).max(axis=1), rtol=1e-5)
    assert found.maps.shape == (40, SIDE, SIDE)
    assert found.maps.dtype == np.float32


def test_contrast_in_ovo_is_the_pair_alone(fitted, images):
    """Its probability is that of the pair, and no other network contributes."""
    model, X = fitted(ResNetOvO), images[0]
    found = class_activation_map(model, X, target="COVID-19", versus="Pneumonia")
    pairs = model.predict_pairs(X)
    np.testing.assert_allclose(found.probabilities, pairs[:, 0, 2], rtol=1e-5)
    assert found.versus == "Pneumonia"
    is_zero = [np.abs(found.parts[:, part]).max() == 0 for part in range(3)]
    assert is_zero == [True, False, True]


@pytest.mark.parametrize("cls", [ResNetClassifier, ResNetOvR, ResNetStacking])
def test_contrast_in_other_models_is_the_log_odds(fitted, images, cls):
    """The map is the difference of the maps of the two classes."""
    model, X = fitted(cls), images[0]
    found = class_activation_map(model, X, target="Normal", versus="COVID-19")
    p = model.predict_proba(X)
    np.testing.assert_allclose(found.probabilities, p[:, 1] / (p[:, 0] + p[:, 1]), rtol=1e-4)
    one = class_activation_map(model, X, target="Normal").maps
    other = class_activation_map(model, X, target="COVID-19").maps
    np.testing.assert_allclose(found.maps, one - other, atol=1e-5 * np.abs(found.maps).max())


def test_default_target_of_a_contrast_is_the_best_other_class(fitted, images):
    """So that images that are predicted as `versus` have a map too."""
    model, X = fitted(ResNetOvO), images[0]
    found = class_activation_map(model, X, versus="Normal")
    p = model.predict_proba(X)
    np.testing.assert_array_equal(found.target, np.where(p[:, 0] > p[:, 2], CLASSES[0], CLASSES[2]))


def test_sum_of_the_map_is_the_evidence_of_a_linear_head(fitted, images):
    """Values are in units of the score: their sum is the logit without the offset."""
    model, X = fitted(ResNetOvO), images[0]
    (module,) = [model.estimators_[0].net_.module_]
    with torch.no_grad():
        zero = torch.zeros(1, *module.shape)
        offset = module.logits(zero)
    z = model.estimators_[0].decision_function(model.trunk_.transform(X))
    found = class_activation_map(model, X, target="Normal", versus="COVID-19", size=(4, 4))
    total = found.maps.sum(axis=(1, 2)) + float(offset[0, 1] - offset[0, 0])
    np.testing.assert_allclose(total, z, atol=1e-4)


def test_order_of_the_images_does_not_matter(fitted, images):
    """Each image has its own map, in any batch."""
    model, X = fitted(ResNetOvO, "layer4"), images[0]
    maps = class_activation_map(model, X).maps
    backwards = class_activation_map(model, X[::-1]).maps[::-1]
    np.testing.assert_allclose(maps, backwards, atol=1e-5 * np.abs(maps).max())
    with_small_batches = copy.copy(model).set_params(batch_size=7)
    again = class_activation_map(with_small_batches, X).maps
    np.testing.assert_allclose(maps, again, atol=1e-5 * np.abs(maps).max())


def test_one_trunk_pass_per_image_and_no_gradient_in_the_trunk(fitted, images, monkeypatch):
    """At the cut "head", the trunk runs once per image, without a computation graph."""
    model, X = fitted(ResNetClassifier), images[0]
    seen = []

    def note(module, inputs, output):
        seen.append((len(output), output.requires_grad))

    handles = [
        model._runner.module.net.layer1.register_forward_hook(note),
        model._runner.module.net.layer4.register_forward_hook(note),
    ]
    class_activation_map(model, X)
    for handle in handles:
        handle.remove()
    # A user's own network is tried with the first image: for its layer, and for its split.
    assert sum(n for n, _ in seen) <= 2 * (len(X) + 2)
    assert not any(requires_grad for _, requires_grad in seen)


def test_nothing_of_the_model_changes(fitted, images):
    """Weights, modes, gradients and predictions are those of before."""
    model, X = fitted(ResNetOvO, "layer4"), images[0]
    before = model.predict_proba(X)
    state = copy.deepcopy([tail.net_.module_.state_dict() for tail in model.estimators_])
    random_state = torch.get_rng_state()
    class_activation_map(model, X)
    class_activation_map(model, X[:1], method="integrated-gradients")
    assert torch.equal(torch.get_rng_state(), random_state)
    for tail, old in zip(model.estimators_, state, strict=True):
        module = tail.net_.module_
        assert all(torch.equal(value, old[name]) for name, value in module.state_dict().items())
        assert not module.training
        assert all(parameter.grad is None for parameter in module.parameters())
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_frozen_layers_remain_frozen_after_an_export(images):
    """A map that runs in onnxruntime leaves the trunk in eval mode, for both engines."""
    pytest.importorskip("onnxruntime")
    X, y = images
    options = {**OPTIONS, "backbone": "resnet18", "memory": None, "engine": "onnxruntime"}
    model = ResNetClassifier(**options).fit(X, y)
    before = model.predict_proba(X)
    state = copy.deepcopy(model._runner.module.state_dict())
    # As in another process, where the map is the first use of the trunk.
    clear_sessions()
    class_activation_map(model, X)
    assert not any(module.training for module in model._runner.module.modules())
    for engine in ("onnxruntime", "torch"):
        model.set_params(engine=engine)
        np.testing.assert_allclose(model.predict_proba(X), before, atol=1e-4)
    for name, value in model._runner.module.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_pipelines_searches_and_wrappers_are_opened(fitted, images, tmp_path):
    """The model inside is explained, with the input that it gets."""
    X, y = images
    model = fitted(ResNetOvO)
    expected = class_activation_map(model, X).maps
    paths = np.array(write_images(tmp_path, X))[:, None]
    loader = XRayLoader(image_size=SIDE).fit(paths)
    pipeline = make_pipeline(loader, model)
    np.testing.assert_array_equal(class_activation_map(pipeline, paths).maps, expected)
    frozen = FrozenEstimator(model)
    np.testing.assert_array_equal(class_activation_map(frozen, X).maps, expected)
    calibrated = CalibratedClassifierCV(frozen, ensemble=False).fit(X, y)
    np.testing.assert_array_equal(class_activation_map(calibrated, X).maps, expected)
    adjusted = PrevalenceAdjuster(frozen, prevalence=[0.2, 0.5, 0.3]).fit(X, y)
    np.testing.assert_array_equal(class_activation_map(adjusted, X).maps, expected)
    search = GridSearchCV(ResNetOvO(**OPTIONS), {"lr": [1e-2]}, cv=2).fit(X, y)
    assert class_activation_map(search, X[:2]).maps.shape == (2, SIDE, SIDE)


# -- other methods --------------------------------------------------------------------------------


def grad_cam_plus_plus(layer, gradient):
    """Return the map by the formulas of the paper, with loops."""
    n, channels, height, width = layer.shape
    maps = np.zeros((n, height, width))
    for image in range(n):
        for k in range(channels):
            a, g = layer[image, k], gradient[image, k]
            weight = 0.0
            for i in range(height):
                for j in range(width):
                    denominator = 2 * g[i, j] ** 2 + (a * g[i, j] ** 3).sum()
                    alpha = g[i, j] ** 2 / denominator if denominator else 0.0
                    weight += alpha * max(g[i, j], 0)
            maps[image] += weight * a
    return maps


def test_grad_cam_plus_plus_follows_the_paper(fitted, images):
    """Equations 10 and 19 of Chattopadhay et al., on the uncut network."""
    model, X = fitted(ResNetClassifier, "layer4"), images[0][:3]
    whole = WholeNetwork(model, model._estimator).eval()
    kept = []
    handle = whole.layer.register_forward_hook(lambda m, i, output: kept.append(output))
    unit = unit_images(torch.from_numpy(X.reshape(-1, SIDE, SIDE)), SIDE)
    log_p = torch.log_softmax(whole(unit), dim=1)
    handle.remove()
    (gradient,) = torch.autograd.grad(log_p[:, 0].sum(), kept[0])
    expected = grad_cam_plus_plus(kept[0].detach().numpy(), gradient.numpy())
    found = class_activation_map(
        model, X, target="COVID-19", method="grad-cam++", size=expected.shape[1:]
    )
    np.testing.assert_allclose(found.maps, expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.parametrize("cls", MODELS)
def test_composed_network_computes_the_probabilities_of_the_model(fitted, images, cls):
    """What captum explains is the model, at a deep cut too."""
    X = images[0][:4]
    for trainable in ("head", "all"):
        model = fitted(cls, trainable)
        net = ComposedNetwork(model, None, False, torch.device("cpu")).eval()
        unit = unit_images(torch.from_numpy(X.reshape(-1, SIDE, SIDE)), SIDE)
        log_p = net(unit, torch.tensor([0, 1, 2, 1])).detach().numpy()
        expected = model.predict_log_proba(X)[np.arange(4), [0, 1, 2, 1]]
        np.testing.assert_allclose(log_p, expected, atol=1e-4)


@pytest.mark.parametrize("trainable", ["head", "all"])
@pytest.mark.parametrize("cls", [ResNetOvO, ResNetStacking])
def test_integrated_gradients_sum_to_the_difference_of_scores(
    fitted, images, cls, trainable, monkeypatch
):
    """Completeness: from a black image to the image, through trunk, tails and coupling."""
    # The sum over the steps converges to an integral.
    monkeypatch.setattr(_pixel_attributions, "_N_STEPS", 400)
    model, X = fitted(cls, trainable), images[0][:2]
    found = class_activation_map(model, X, target="COVID-19", method="integrated-gradients")
    black = model.predict_log_proba(np.zeros_like(X))[:, 0]
    expected = model.predict_log_proba(X)[:, 0] - black
    total = found.maps.sum(axis=(1, 2))
    np.testing.assert_allclose(total, expected, atol=0.05 * np.abs(expected).max() + 0.01)


def test_occlusion_is_the_decrease_of_the_score(fitted, images):
    """The map is largest where covering a square lowers the score most."""
    model, X = fitted(ResNetOvO, "all"), images[0][:1]
    found = class_activation_map(model, X, target="Pneumonia", method="occlusion")
    covered = np.repeat(X, 2, axis=0).reshape(2, SIDE, SIDE).astype(np.float32) / 255
    mean = covered[0].mean()
    covered[1, 8:12, 8:12] = mean
    log_p = model.predict_log_proba(covered.reshape(2, -1))[:, 2]
    # Squares of 4 pixels move by 2, so that the inner pixels are covered four times.
    assert found.maps.shape == (1, SIDE, SIDE)
    around = found.maps[0, 8:12, 8:12]
    assert np.sign(around.mean()) == np.sign(log_p[0] - log_p[1]) or abs(log_p[0] - log_p[1]) < 1e-3


def test_pixel_methods_without_captum_name_the_extra(fitted, images, monkeypatch):
    """The error states what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install 'cxr-sklearn\\[explain\\]'"):
        class_activation_map(fitted(ResNetOvO), images[0][:1], method="occlusion")


# -- invalid input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "Flu"}, "target='Flu' is invalid: the model does not know this class"),
        ({"versus": "Flu"}, "versus='Flu' is invalid: the model does not know this class"),
        (
            {"target": "Normal", "versus": "Normal"},
            "versus='Normal' is invalid: it is the target too; expected another class. Pass one of "
            "'COVID-19', 'Pneumonia'",
        ),
        ({"target": ["Normal"] * 3}, r"target has the shape \(3,\) for 40 images"),
        ({"method": "cam"}, "method='cam' is invalid: there is no such method"),
        ({"size": 0}, "size=0 is invalid"),
        ({"size": (4, 4, 4)}, r"size=\(4, 4, 4\) is invalid"),
    ],
)
def test_invalid_parameters_raise(fitted, images, options, message):
    """One line states the parameter, the value, what is expected, and the remedy."""
    with pytest.raises(ValueError, match=message) as caught:
        class_activation_map(fitted(ResNetOvO), images[0], **options)
    assert "\n" not in str(caught.value)


def test_models_without_maps_raise(images):
    """A model of another kind, and a network that pools at once."""
    X, y = images
    with pytest.raises(ValueError, match="LogisticRegression is invalid: it is not a conv"):
        class_activation_map(LogisticRegression().fit(X, y), X)
    model = ResNetClassifier(**{**OPTIONS, "backbone": flat_net}).fit(X, y)
    with pytest.raises(ValueError, match=r"no stage of its backbone \(stage1\) returns maps"):
        class_activation_map(model, X)


class FlatNet(nn.Module):
    """A network whose stages have no height and width."""

    stages = ("stage1", "fc")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.stage1 = nn.Linear(4, 8)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        """Return two outputs."""
        return self.fc(torch.relu(self.stage1(self.stem(x))))


def flat_net():
    """Return an untrained network."""
    return FlatNet()


class Shortcut(nn.Module):
    """A network whose second stage gets the output of the first one and something else."""

    stages = ("stage1", "stage2", "fc")

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Conv2d(3, 4, 3, stride=2)
        self.stage2 = nn.Conv2d(4, 4, 3, stride=2)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        """Return two outputs."""
        first = self.stage1(x)
        pooled = self.stage2(first).mean((2, 3)) + first.mean((2, 3))
        return self.fc(pooled)


def shortcut_net():
    """Return an untrained network."""
    return Shortcut()


def test_network_that_cannot_be_split_raises(images):
    """A silent wrong map is not returned."""
    X, y = images
    model = ResNetClassifier(**{**OPTIONS, "backbone": shortcut_net}).fit(X, y)
    with pytest.raises(ValueError, match="split behind its stage 'stage2', the network computes"):
        class_activation_map(model, X)


def test_question_of_a_score():
    """The score of a contrast is checked by the classes, not by their order."""
    model = ResNetOvO()
    model.classes_ = np.array(CLASSES)
    outputs = np.array([[1.0, 2.0, 3.0]])
    for target, versus, expected in [
        ("Normal", "COVID-19", 1.0),
        ("COVID-19", "Normal", -1.0),
        ("Pneumonia", "COVID-19", 2.0),
        ("Normal", "Pneumonia", -3.0),
    ]:
        score = explained_score(model, outputs, make_question(model, 1, target, versus))
        assert score.values.tolist() == [expected]
