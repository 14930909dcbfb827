"""How tails are trained: weights, samplers, validation, augmentation, precision."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from imblearn import FunctionSampler
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline
from imblearn.under_sampling import RandomUnderSampler, TomekLinks
from sklearn.decomposition import PCA
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import BatchScoring, Callback, EpochScoring, LRScheduler
from torch import nn

from cxr_sklearn import ResNetClassifier, ResNetOvO, ResNetOvR, ResNetStacking, clear_cache
from cxr_sklearn._images.augment import augmented, augmented_view
from cxr_sklearn._tail.activations import ArrayActivations
from cxr_sklearn._tail.batches import RowDataset, batch_bounds
from cxr_sklearn._tail.module import Standardise
from cxr_sklearn._tail.rows import Blueprint, TrainingRows
from cxr_sklearn._tail.sampling import resample as resample_problem
from cxr_sklearn._tail.sampling import share_factors
from cxr_sklearn._tail.tail import Tail
from cxr_sklearn._utils.device import place
from cxr_sklearn.datasets import make_chest_phantoms

from ..toys import MODELS, ToyResNet, toy, wide_toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 5}
quiet = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


def rows_of(values, y, **options):
    """Return training rows of pooled features."""
    n = len(values)
    options = {"sample_weight": np.ones(n), "is_validation": np.zeros(n, bool), **options}
    return TrainingRows(
        ArrayActivations(values),
        blueprint=Blueprint(torch.nn.Identity(), values.shape[1]),
        codes=y,
        names=["a", "b"],
        **options,
    )


def resample(sampler, rows, ids, y, seed):
    """Resample a problem without a name."""
    return resample_problem(sampler, rows, ids, y, seed, "a against b")


@pytest.fixture
def spied_rows(monkeypatch):
    """Record the data that every tail's training iterates over."""
    seen = []
    net = Tail._net

    def spy(self, module, dataset, valid, problem, seed):
        seen.append((dataset, valid, problem, module))
        return net(self, module, dataset, valid, problem, seed)

    monkeypatch.setattr(Tail, "_net", spy)
    return seen


# -- batches and standardisation ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (1, 4, [1]), (4, 4, [4]), (3, 1, [1, 2]), (0, 4, [])],
)
def test_batches_contain_every_row_and_none_has_a_single_row(n, size, sizes):
    """No row is dropped, and a last batch of one joins the one before it."""
    bounds = batch_bounds(n, size)
    assert [stop - start for start, stop in bounds] == sizes
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(n))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
def test_standardise_is_the_identity_until_fitted(shape):
    """Untouched, the first layer changes nothing; fitted, channels have mean 0 and deviation 1."""
    x = torch.randn(*shape) * 5 + 2
    layer = Standardise(3)
    assert torch.equal(layer(x), x)
    flat = x.transpose(0, 1).flatten(1).double().numpy()
    layer.set_moments(flat.mean(1), flat.var(1))
    out = layer(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(1, correction=0), torch.ones(3), atol=1e-2, rtol=0)


def test_a_constant_channel_is_not_blown_up():
    """A channel that never varied in training stays finite and small when it does."""
    layer = Standardise(2)
    layer.set_moments(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert layer(torch.tensor([[0.0, 1.01]]))[0, 1].abs() < 2
    layer.set_moments(np.zeros(2), np.zeros(2))
    assert torch.isfinite(layer(torch.ones(1, 2))).all()


@quiet
@pytest.mark.parametrize("trainable", ["head", "layer3", "all"])
def test_moments_are_those_of_the_training_part(trainable, phantoms):
    """The first layer's moments are those of the training rows; validation rows do not count."""
    X, y = phantoms
    model = ResNetClassifier(**SMALL, trainable=trainable, early_stopping=True).fit(X, y)
    train = np.setdiff1d(np.arange(len(X)), model.validation_indices_)
    activations = model.trunk_.transform(X[train]).reshape(len(train), *model.net_.module_.shape)
    channels = np.moveaxis(activations, 1, 0).reshape(activations.shape[1], -1)
    found = model.net_.module_.standardise.mean.numpy()
    np.testing.assert_allclose(found, channels.mean(axis=1), atol=1e-5)


@quiet
@pytest.mark.parametrize("batch_size", [7, 30])
def test_running_statistics_are_those_of_the_final_weights(batch_size, phantoms):
    """Batch normalisation above the cut ends with its training images' statistics."""
    X, y = phantoms
    options = {"trainable": "layer4", "lr": 0.05, "batch_size": batch_size}
    model = ResNetClassifier(**SMALL, **options).fit(X, y)
    bn = model.net_.module_.body.layer4.bn
    (inputs,) = _inputs_of([bn], lambda: model.predict(X))
    torch.testing.assert_close(bn.running_mean, inputs.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    variance = inputs.transpose(0, 1).flatten(1).var(dim=1)
    torch.testing.assert_close(bn.running_var, variance, rtol=1e-3, atol=1e-4)


def _inputs_of(layers, work):
    """Return everything that enters each layer while `work` runs."""
    seen = {layer: [] for layer in layers}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: seen[layer].append(inputs[0]))
        for layer in layers
    ]
    work()
    for hook in hooks:
        hook.remove()
    return [torch.cat(inputs) for inputs in seen.values()]


@quiet
@pytest.mark.parametrize("listing", ["by class", "shuffled"])
def test_running_variances_hold_whatever_the_order_of_the_rows(listing):
    """Rows listed class by class keep the variance between the classes."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 64)
    # one class is dark, the other bright: most of the variance is between them
    X = (60 + 120 * y[:, None] + rng.normal(0, 6, (128, 256))).clip(0, 255).astype(np.uint8)
    if listing == "shuffled":
        order = rng.permutation(128)
        X, y = X[order], y[order]
    model = ResNetClassifier(**SMALL, trainable="all", batch_size=16).fit(X, y)
    layers = [m for m in model.net_.module_.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(layers) == 5
    seen = _inputs_of(layers, lambda: model.predict(X))
    for layer, inputs in zip(layers, seen, strict=True):
        variance = inputs.transpose(0, 1).flatten(1).var(dim=1)
        ratio = (layer.running_var.sum() / variance.sum()).item()
        assert 0.85 < ratio < 1.15
    assert model.score(X, y) == 1.0


# -- weights --------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_rows_of_weight_zero_are_left_out(kind, phantoms):
    """Weight 0 is as if the row were not there, bit for bit."""
    X, y = phantoms
    weight = np.ones(len(X))
    weight[::4] = 0
    kept = kind(**SMALL).fit(X[weight > 0], y[weight > 0])
    weighted = kind(**SMALL).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(kept.predict_proba(X), weighted.predict_proba(X))


@quiet
def test_validation_indices_are_rows_of_x(phantoms):
    """Left-out rows do not shift validation_indices_."""
    X, y = phantoms
    weight = np.ones(len(X))
    weight[:20] = 0
    model = ResNetClassifier(**SMALL, early_stopping=True).fit(X, y, sample_weight=weight)
    assert len(model.validation_indices_)
    assert model.validation_indices_.min() >= 20


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_weights_move_predictions(kind, phantoms):
    """Heavier images of a class raise its probability."""
    X, y = phantoms
    means = []
    for factor in (0.1, 10):
        weight = np.where(y == "Normal", factor, 1.0)
        model = kind(**SMALL, class_weight=None).fit(X, y, sample_weight=weight)
        means.append(model.predict_proba(X)[:, 1].mean())
    assert means[1] > means[0] + 0.05


@quiet
@pytest.mark.parametrize("labels", [("a", "b", "c"), (5, -1, 7)])
def test_a_weight_dict_means_labels_in_every_binary_problem(labels, phantoms):
    """A dict's keys are labels, also within a pair, where scikit-learn would misread them."""
    X, y = phantoms
    y = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    for label in labels:
        weights = {other: 0.05 if other == label else 1.0 for other in labels}
        model = ResNetOvO(**SMALL, class_weight=weights).fit(X, y)
        mean = dict(zip(model.classes_, model.predict_proba(X).mean(axis=0), strict=True))
        assert mean[label] == min(mean.values())


@quiet
def test_a_weight_dict_equals_sample_weights(phantoms):
    """A dict is turned into sample weights before any meta-estimator."""
    X, y = phantoms
    weights = {"COVID-19": 3.0, "Normal": 1.0, "Pneumonia": 0.5}
    by_class = ResNetOvO(**SMALL, class_weight=weights).fit(X, y)
    weight = np.array([weights[label] for label in y])
    by_row = ResNetOvO(**SMALL, class_weight=None).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_class_of_no_weight_is_refused(weight, phantoms):
    """A weight that is not positive would leave a class untrained but predicted."""
    weights = {"COVID-19": weight, "Normal": 1.0, "Pneumonia": 1.0}
    with pytest.raises(ValueError, match="class_weight gives 'COVID-19' the weight"):
        ResNetOvO(**SMALL, class_weight=weights).fit(*phantoms)


def test_balanced_is_computed_after_the_sampler(phantoms, spied_rows):
    """Once a sampler has balanced a problem, balanced weights are all 1."""
    X, y = phantoms
    keep = np.r_[np.flatnonzero(y == "COVID-19")[:6], np.flatnonzero(y != "COVID-19")]
    ResNetOvO(**SMALL, sampler=RandomOverSampler()).fit(X[keep], y[keep])
    ResNetOvO(**SMALL).fit(X[keep], y[keep])
    assert len(spied_rows) == 6
    for dataset, *_ in spied_rows[:3]:
        assert np.bincount(dataset.targets.numpy()).tolist() == [20, 20]
        torch.testing.assert_close(dataset.weights, torch.ones(40))
    weights, targets = spied_rows[3][0].weights, spied_rows[3][0].targets
    torch.testing.assert_close(weights[targets == 0].sum(), weights[targets == 1].sum())
    assert weights.mean() == pytest.approx(1)


# -- samplers -------------------------------------------------------------------------------------


@pytest.fixture
def features():
    """Return 40 rows of features of two classes, 10 to 30."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [10, 30])
    return (rng.standard_normal((40, 5)) + 3 * y[:, None]).astype(np.float32), y


@pytest.mark.parametrize("sampler", [RandomOverSampler(), RandomUnderSampler(), TomekLinks()])
def test_samplers_that_pick_rows_return_ids(sampler, features):
    """Picked rows stay ids, of the right class."""
    values, y = features
    ids = np.arange(40)[::-1]
    new, y_new, made = resample(sampler, rows_of(values, y), ids, y[ids], seed=0)
    assert made is None
    assert set(new) <= set(ids)
    np.testing.assert_array_equal(y[new], y_new)


def test_samplers_that_make_rows_return_values(features):
    """SMOTE sees activations, never ids: its rows lie between rows of their class."""
    values, y = features
    ids, y_new, made = resample(SMOTE(k_neighbors=3), rows_of(values, y), np.arange(40), y, seed=0)
    assert made.shape == (60, 5)
    assert np.bincount(y_new).tolist() == [30, 30]
    np.testing.assert_array_equal(ids, np.arange(60))
    np.testing.assert_array_equal(made[:40], values)
    scarce = values[y == 0]
    assert (made[40:] >= scarce.min(axis=0) - 1e-5).all()
    assert (made[40:] <= scarce.max(axis=0) + 1e-5).all()


def test_a_shrinking_oversampler_makes_rows(features):
    """RandomOverSampler(shrinkage=...) smooths rows, so its result is values."""
    values, y = features
    sampler = RandomOverSampler(shrinkage=0.5)
    _, _, made = resample(sampler, rows_of(values, y), np.arange(40), y, seed=0)
    assert made.shape == (60, 5)


def test_samplers_without_a_seed_get_one(features):
    """The same seed picks the same rows, and the user's sampler is not touched."""
    values, y = features
    sampler = RandomUnderSampler()
    one, two, other = (
        resample(sampler, rows_of(values, y), np.arange(40), y, seed=s)[0] for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    assert sampler.random_state is None
    assert not hasattr(sampler, "sample_indices_")


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_samplers_see_the_training_part_only(kind, phantoms, spied_rows):
    """No validation row is resampled, in any problem or stacking fold."""
    X, y = phantoms
    model = kind(**SMALL, sampler=RandomOverSampler(), early_stopping=True)
    model.fit(X, y)
    held = set(model.validation_indices_.tolist())
    tails = spied_rows[:-1] if kind is ResNetStacking else spied_rows  # the chain has no sampler
    assert len(tails) == {ResNetClassifier: 1, ResNetStacking: 18}.get(kind, 3)
    for dataset, valid, *_ in tails:
        assert held.isdisjoint(dataset.ids.tolist())
        assert set(valid.ids.tolist()) <= held
        assert len(set(np.bincount(dataset.targets.numpy()))) == 1  # balanced


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable": "layer4"}, "expected trainable='head', or"),
        ({"class_weight": {"COVID-19": 2.0, "Normal": 1.0, "Pneumonia": 1.0}}, "class_weight dict"),
        ({"augment": 2}, "expected augment=False"),
    ],
)
def test_made_rows_need_a_head_and_no_weights(options, message, phantoms):
    """What made rows cannot have is an error that names the sampler and the remedy."""
    X, y = phantoms
    keep = np.r_[np.flatnonzero(y == "COVID-19")[:8], np.flatnonzero(y != "COVID-19")]
    with pytest.raises(ValueError, match=message) as caught:
        ResNetOvO(**SMALL, sampler=SMOTE(k_neighbors=2), **options).fit(X[keep], y[keep])
    assert str(caught.value).startswith("sampler=SMOTE makes new rows")
    assert "\n" not in str(caught.value)


def _rare(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy 8 x 8 images of which a share, the positives, is somewhat brighter."""
    rng = np.random.default_rng(seed)
    y = (rng.permutation(n) < share * n).astype(int)
    X = rng.normal(100 + 12 * y[:, None], 60, (n, 64)).clip(0, 255).astype(np.uint8)
    return X, y


@quiet
@pytest.mark.parametrize("trained_with", ["sampler", "sampler and weights"])
def test_the_validation_loss_has_the_class_shares_of_training(trained_with, spied_rows):
    """With a sampler, early stopping weighs the classes as the resampled training part does."""
    X, y = _rare(400, 0.1, 0)
    ResNetClassifier(
        **{**SMALL, "image_size": 8},
        early_stopping=True,
        validation_fraction=0.25,
        sampler=RandomOverSampler(sampling_strategy=0.5),
        class_weight="balanced" if "weights" in trained_with else None,
    ).fit(X, y)
    [(dataset, valid, *_)] = spied_rows
    shares = []
    for rows in (dataset, valid):
        weights = rows.weights.numpy()
        shares.append(weights[rows.targets.numpy() == 1].sum() / weights.sum())
    assert shares[0] == pytest.approx(1 / 2 if "weights" in trained_with else 1 / 3, abs=1e-3)
    assert shares[1] == pytest.approx(shares[0], abs=0.03)


@quiet
def test_a_sampler_stops_where_weights_stop():
    """With rare positives, sampler and class weights choose about the same epoch."""
    X, y = _rare(500, 0.06, 1)
    options = {**SMALL, "image_size": 8, "max_epochs": 60, "lr": 0.02, "early_stopping": True}
    options |= {"validation_fraction": 0.3, "n_iter_no_change": 15}
    X_new, y_new = _rare(2000, 0.5, 2)
    losses, recalls = {}, {}
    for name, sampler in (("weights", None), ("sampler", RandomOverSampler())):
        model = ResNetClassifier(**options, sampler=sampler).fit(X, y)
        losses[name] = log_loss(y_new, model.predict_proba(X_new))
        recalls[name] = model.predict(X_new[y_new == 1]).mean()
    # with the validation part at its raw shares: 0.35 above and 0.19 below
    assert losses["sampler"] < losses["weights"] + 0.15
    assert recalls["sampler"] > recalls["weights"] - 0.12


@quiet
@pytest.mark.parametrize(
    ("sampler", "share"),
    [
        (RandomOverSampler(), 0.5),
        (RandomUnderSampler(), 0.5),
        (SMOTE(k_neighbors=3), 0.5),
        (RandomOverSampler(sampling_strategy=0.5), 1 / 3),
        (TomekLinks(), 0.1),
    ],
    ids=["over", "under", "smote", "ratio", "clean"],
)
def test_the_final_mlp_of_stacking_has_the_class_shares_of_the_sampler(sampler, share, spied_rows):
    """Without class weights, the sampler decides how frequent a class is for the final MLP too."""
    X, y = _rare(400, 0.1, 0)
    options = {**SMALL, "image_size": 8, "max_epochs": 30, "cv": 3}
    model = ResNetStacking(**options, sampler=sampler, class_weight=None).fit(X, y)
    chains = [dataset for dataset, *_ in spied_rows if dataset.rows.shape == (1,)]
    assert len(chains) == 1
    weights = chains[0].weights.numpy()
    found = weights[chains[0].targets.numpy() == 1].sum() / weights.sum()
    assert found == pytest.approx(share, abs=0.01)
    X_new, _ = _rare(1000, share, 3)
    # the mean probability is near the share for which the model was trained
    assert model.predict_proba(X_new)[:, 1].mean() == pytest.approx(share, abs=0.12)


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_a_ratio_of_a_sampler_works_in_every_model(kind, phantoms):
    """imbalanced-learn takes a ratio for two classes only; with more it is one of the largest."""
    X, y = phantoms
    keep = np.r_[np.flatnonzero(y != "Normal"), np.flatnonzero(y == "Normal")[:4]]
    options = {**SMALL, "cv": 2} if kind is ResNetStacking else SMALL
    model = kind(**options, sampler=RandomOverSampler(sampling_strategy=0.9), class_weight=None)
    assert set(model.fit(X[keep], y[keep]).classes_) == set(y)


@pytest.mark.parametrize(
    ("sampler", "sizes"),
    [
        (RandomOverSampler(sampling_strategy=0.5), [40, 20, 20]),
        (RandomUnderSampler(sampling_strategy=0.5), [8, 8, 4]),
    ],
)
def test_a_ratio_of_several_classes_is_one_of_the_largest_or_smallest(sampler, sizes):
    """An over-sampler brings classes to it, an under-sampler cuts them to its reciprocal."""
    y = np.repeat([0, 1, 2], [40, 10, 4])
    values = np.random.default_rng(0).random((54, 3)).astype(np.float32)
    _, y_new, _ = resample(sampler, rows_of(values, y), np.arange(54), y, seed=0)
    assert np.bincount(y_new).tolist() == sizes


def test_a_ratio_in_a_pipeline_is_one_of_what_reaches_its_step(features):
    """The second sampler sees the rows of the first, as in imbalanced-learn."""
    values, _ = features
    values, y = np.repeat(values, 5, axis=0), np.repeat([0, 1], [180, 20])
    steps = [
        ("up", RandomOverSampler(sampling_strategy=0.5, random_state=0)),
        ("down", RandomUnderSampler(sampling_strategy=0.8, random_state=0)),
    ]
    _, expected = Pipeline(steps).fit_resample(values, y)
    _, found, _ = resample(Pipeline(steps), rows_of(values, y), np.arange(200), y, seed=0)
    assert np.bincount(found).tolist() == np.bincount(expected).tolist() == [112, 90]


def test_a_ratio_leaves_the_other_classes_as_they_are(features):
    """An under-sampler with replacement draws from the class that it shrinks only."""
    values, _ = features
    y = np.repeat([0, 1], [30, 10])
    sampler = RandomUnderSampler(sampling_strategy=0.5, replacement=True)
    ids, y_new, _ = resample(sampler, rows_of(values, y), np.arange(40), y, seed=0)
    assert len(set(ids[y_new == 1])) == 10


@pytest.mark.parametrize("transformer", [StandardScaler(), PCA(3)])
def test_a_pipeline_that_transforms_rows_is_refused(transformer, phantoms):
    """A network that is trained on transformed rows would predict from others."""
    sampler = Pipeline([("change", transformer), ("up", SMOTE(k_neighbors=3))])
    with pytest.raises(ValueError, match=r"step 'change' \(.*\) transforms the rows"):
        ResNetClassifier(**SMALL, sampler=sampler).fit(*phantoms)


def test_an_error_of_a_sampler_names_it_and_the_problem(phantoms):
    """Too few images for its neighbours is said in one line."""
    X, y = phantoms
    keep = np.r_[np.flatnonzero(y != "Normal"), np.flatnonzero(y == "Normal")[:4]]
    with pytest.raises(
        ValueError, match=r"^sampler=SMOTE fails in the problem '.*Normal.*' \("
    ) as e:
        ResNetOvO(**SMALL, sampler=SMOTE(k_neighbors=10)).fit(X[keep], y[keep])
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("sampler", "factor"),
    [
        (RandomOverSampler(), 9.0),
        (RandomUnderSampler(), 1.0),
        (SMOTETomek(smote=SMOTE(sampling_strategy=0.5, k_neighbors=3)), 4.5),
        (SMOTETomek(), 9.0),
        (TomekLinks(), 1.0),
        (Pipeline([("up", RandomOverSampler(sampling_strategy=0.5))]), 4.5),
        (FunctionSampler(), 1.0),
    ],
    ids=["over", "under", "tomek of half", "tomek", "clean", "pipeline", "function"],
)
def test_shares_of_samplers(sampler, factor, features):
    """By how much the rare class grows for the final MLP, relative to the other one."""
    values = np.repeat(features[0], 5, axis=0)
    y = np.repeat([0, 1], [180, 20])
    factors = share_factors(sampler, rows_of(values, y), np.arange(200), y, 0, "a against b")
    if isinstance(sampler, RandomUnderSampler):
        assert factors.tolist() == [pytest.approx(1 / 9), 1.0]
    else:
        assert factors.tolist() == [1.0, pytest.approx(factor)]


@quiet
@pytest.mark.parametrize("trainable", ["layer3", "all"])
def test_batch_normalisation_that_a_network_freezes_stays_frozen(trainable, phantoms):
    """Layers that a train() of the network keeps in eval mode have the statistics they had."""
    X, y = phantoms
    options = {**SMALL, "backbone": FrozenNorm, "trainable": trainable}
    model = ResNetClassifier(**options).fit(X, y)
    bn = model.net_.module_.body.layer3.bn
    torch.testing.assert_close(bn.running_mean, torch.full((16,), 0.5))
    torch.testing.assert_close(bn.running_var, torch.full((16,), 2.0))


class FrozenNorm(ToyResNet):
    """The usual idiom of fine-tuning with few images."""

    def __init__(self):
        super().__init__()
        self.layer3.bn.running_mean.fill_(0.5)
        self.layer3.bn.running_var.fill_(2.0)

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


@pytest.mark.parametrize("kind", MODELS)
def test_a_sampler_that_removes_a_class_is_refused(kind, phantoms):
    """The error names the sampler and the binary problem; no tail has one output."""

    class Emptying(RandomUnderSampler):
        def _fit_resample(self, X, y, **params):
            rare = np.argmin(np.bincount(y))
            self.sample_indices_ = np.flatnonzero(y != rare)
            return X[self.sample_indices_], y[self.sample_indices_]

    X, y = phantoms
    with pytest.raises(ValueError, match=r"sampler=Emptying removes all \d+ .* the problem '"):
        kind(**SMALL, sampler=Emptying()).fit(X, y)


# -- early stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize(("tol", "patience"), [(0.0, 5), (0.02, 5), (10.0, 5), (10.0, 2)])
def test_the_epoch_of_least_validation_loss_is_kept_whatever_tol(tol, patience):
    """How long training goes on depends on tol, the epoch that it returns to does not."""
    X, y = _rare(300, 0.5, 0)
    options = {**SMALL, "image_size": 8, "max_epochs": 60, "n_iter_no_change": patience}
    options |= {"early_stopping": True, "validation_fraction": 0.3, "class_weight": None}
    model = ResNetClassifier(**options, tol=tol).fit(X, y)
    held = model.validation_indices_
    loss = log_loss(y[held], model.predict_proba(X[held]))
    assert model.best_validation_score_ == pytest.approx(-loss, rel=1e-4)
    assert model.n_iter_ < 60
    # the first is where tol=10 ends improvements
    assert np.argmax(model.validation_scores_) > 0


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_early_stopping_returns_to_the_best_epoch(kind):
    """Scores are recorded as in MLPClassifier, and the tails are those of the best epoch."""
    X, y = make_chest_phantoms(90, image_size=16, random_state=1)
    model = kind(
        **{**SMALL, "max_epochs": 60},
        lr=0.05,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=4,
    ).fit(X, y)
    single = kind is ResNetClassifier
    scores = [model.validation_scores_] if single else model.validation_scores_
    best = [model.best_validation_score_] if single else model.best_validation_score_
    n_iter = [model.n_iter_] if single else model.n_iter_
    curves = [model.loss_curve_] if single else model.loss_curve_
    assert [len(s) for s in scores] == list(n_iter) == [len(c) for c in curves]
    assert [max(s) for s in scores] == list(best)
    assert min(n_iter) < 60
    if single:  # its validation loss can be recomputed from outside
        held = model.validation_indices_
        p = model.predict_proba(X[held])
        shares = np.array([(np.delete(y, held) == c).mean() for c in model.classes_])
        weights = 1 / shares[np.searchsorted(model.classes_, y[held])]
        recomputed = log_loss(y[held], p, sample_weight=weights)
        assert recomputed == pytest.approx(-best[0], abs=0.02)


def test_without_early_stopping_training_stops_when_the_loss_does(phantoms):
    """A training loss that no longer falls by tol ends training; nothing is held out."""
    model = ResNetClassifier(**{**SMALL, "max_epochs": 50}, tol=10.0, n_iter_no_change=3)
    model.fit(*phantoms)
    assert model.n_iter_ == 4
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None
    assert model.validation_indices_ is None


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.7])
def test_the_validation_part_has_about_the_size_asked_for(fraction, phantoms):
    """validation_fraction is kept to within a few rows, stratified."""
    X, y = phantoms
    model = ResNetClassifier(**SMALL, early_stopping=True, validation_fraction=fraction).fit(X, y)
    held = y[model.validation_indices_]
    assert len(held) == pytest.approx(fraction * len(X), abs=0.06 * len(X))
    counts = [np.sum(held == c) for c in model.classes_]
    assert max(counts) - min(counts) <= 2


def test_divergence_is_an_error_that_names_lr(phantoms):
    """A loss that is not finite is no model."""

    class Poison(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **_):
            for parameter in net.module_.parameters():
                parameter.data.fill_(float("nan"))

    with pytest.raises(ValueError, match=r"diverged .* lr=0\.001.*Reduce lr"):
        ResNetOvO(**SMALL, callbacks=[Poison()]).fit(*phantoms)


def test_ctrl_c_is_not_swallowed(phantoms):
    """An interrupt in the middle of an epoch ends fit; it returns no half-trained model."""
    original = RowDataset.batches

    def interrupt(self, order, views, bounds):
        yield next(original(self, order, views, bounds))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowDataset, "batches", interrupt)
        model = ResNetOvO(**SMALL)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*phantoms)
    assert not hasattr(model, "estimators_")


class Listening(Callback):
    """Listen to every batch."""

    def on_batch_end(self, net, **_):
        pass


@pytest.mark.parametrize("callbacks", [None, [Callback()], [Listening()]])
def test_losses_are_recorded_by_batch_and_epoch(callbacks, phantoms):
    """Reading losses once an epoch, or at every batch for a callback that listens, is the same."""
    model = ResNetClassifier(**SMALL, callbacks=callbacks).fit(*phantoms)
    reference = ResNetClassifier(**SMALL).fit(*phantoms)
    assert model.loss_curve_ == reference.loss_curve_
    for epoch in model.history_:
        losses = [batch["train_loss"] for batch in epoch["batches"]]
        sizes = [batch["train_batch_size"] for batch in epoch["batches"]]
        assert sum(sizes) == 60
        assert np.average(losses, weights=sizes) == pytest.approx(epoch["train_loss"])


def test_callbacks_reach_every_tail(phantoms):
    """A skorch scheduler changes the learning rate of each tail."""
    scheduler = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.0)
    still = ResNetOvO(**SMALL, callbacks=[scheduler]).fit(*phantoms)
    moving = ResNetOvO(**SMALL).fit(*phantoms)
    assert all(c[-1] == pytest.approx(c[1], abs=1e-5) for c in still.loss_curve_)
    assert all(c[-1] < c[1] for c in moving.loss_curve_)


# -- schedule, label smoothing, mixup -------------------------------------------------------------


class Rates(Callback):
    """Note the learning rate of every batch in RATES: the tails train copies of callbacks."""

    def on_batch_end(self, net, training, **_):
        if training:
            RATES.append(net.optimizer_.param_groups[0]["lr"])


RATES: list[float] = []


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine"])
@quiet
def test_the_learning_rate_follows_its_schedule(schedule, kind, phantoms):
    """It reaches `lr`, and ends where the schedule says, after max_epochs of every problem."""
    X, y = phantoms
    RATES.clear()
    options = {**SMALL, "lr": 0.01, "lr_schedule": schedule, "n_iter_no_change": 100}
    model = kind(**options, callbacks=[Rates()]).fit(X, y)
    first = model.n_iter_ if kind is ResNetClassifier else model.n_iter_[0]
    assert first == SMALL["max_epochs"]
    n_problems = {ResNetClassifier: 1, ResNetStacking: 3 * 6}.get(kind, 3)
    assert len(RATES) % n_problems == 0
    last = RATES[-(len(RATES) // n_problems) :]
    assert max(last) == pytest.approx(0.01, rel=0.05)
    if schedule == "constant":
        assert set(RATES) == {0.01}
    elif schedule == "one_cycle":
        assert 0 < last.index(max(last)) < len(last) / 2
        assert last[-1] < 1e-6
    else:
        assert last == sorted(last, reverse=True)
        assert last[-1] < 1e-6


def test_smoothed_labels_lower_confidence(phantoms):
    """A network trained on smoothed labels is less sure of its training images."""
    X, y = phantoms
    options = {**SMALL, "max_epochs": 40, "lr": 0.01}
    sharp, smooth = (
        ResNetClassifier(**options, label_smoothing=share).fit(X, y) for share in (0.0, 0.3)
    )
    assert smooth.predict_proba(X).max(axis=1).mean() < sharp.predict_proba(X).max(axis=1).mean()
    # of three classes, the least loss that labels smoothed by 0.3 permit
    assert min(smooth.loss_curve_) > -0.8 * np.log(0.8) - 0.2 * np.log(0.1) - 1e-6


@pytest.mark.parametrize("option", [{"label_smoothing": 0.3}, {"mixup": 0.4}])
@quiet
def test_validation_losses_are_of_the_labels_as_they_are(option, phantoms):
    """Smoothing and mixing stay out of the loss that early stopping looks at."""
    X, y = phantoms
    model = ResNetClassifier(
        **SMALL, early_stopping=True, validation_fraction=0.3, class_weight=None, **option
    ).fit(X, y)
    held = model.validation_indices_
    loss = log_loss(y[held], model.predict_proba(X[held]), labels=model.classes_)
    # running statistics are settled after the last epoch, so "near" is what can be had
    assert model.best_validation_score_ == pytest.approx(-loss, abs=0.1)


@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
@quiet
def test_mixup_mixes_each_batch_with_itself(trainable, phantoms, spied_rows):
    """In training rows are convex combinations; in prediction they are as they were given."""
    X, y = phantoms
    ResNetClassifier(**SMALL, trainable=trainable, mixup=0.4).fit(X, y)
    *_, module = spied_rows[-1]
    batch = torch.rand(8, *module.shape)
    seen = []
    module.standardise.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.train()(batch)
    order, share = module.mixture
    assert sorted(order.tolist()) == list(range(8))
    torch.testing.assert_close(seen[0], share * batch + (1 - share) * batch[order])
    module.eval()(batch)
    torch.testing.assert_close(seen[1], batch)


@pytest.mark.parametrize("kind", MODELS)
@quiet
def test_mixup_affects_only_training(kind, phantoms):
    """The same seed gives other weights with mixup, and the same again; none is left behind."""
    X, y = phantoms
    plain, mixed, again = (kind(**SMALL, mixup=m).fit(X, y).predict_proba(X) for m in (0, 0.4, 0.4))
    assert not np.allclose(plain, mixed)
    np.testing.assert_array_equal(mixed, again)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_skorchs_scoring_callbacks_work(early_stopping, phantoms):
    """EpochScoring sees plain labels, in training and validation."""
    X, y = phantoms
    callbacks = [
        ("train", EpochScoring("accuracy", on_train=True, name="train_accuracy")),
        ("batches", BatchScoring("accuracy", on_train=True, name="batch_accuracy")),
    ]
    if early_stopping:
        callbacks.append(("valid", EpochScoring("accuracy", name="valid_accuracy")))
    model = ResNetClassifier(**SMALL, early_stopping=early_stopping, callbacks=callbacks).fit(X, y)
    names = ["train_accuracy", *(["valid_accuracy"] if early_stopping else [])]
    for name in names:
        assert all(0 <= value <= 1 for value in model.history_[:, name])


# -- augmentation ---------------------------------------------------------------------------------


def test_views_are_functions_of_image_and_number():
    """A fixed view depends on nothing but the image and the number of the view."""
    images = torch.rand(4, 1, 16, 16)
    one = augmented_view(images, [1, 2, 3, 4], 1)
    assert one.shape == images.shape
    torch.testing.assert_close(augmented_view(images[2:3], [3], 1), one[2:3])
    assert not torch.allclose(augmented_view(images, [1, 2, 3, 4], 2), one, atol=1e-3)
    assert not torch.allclose(one, images, atol=1e-3)


def test_random_variants_stay_radiographs():
    """Variants move and re-expose an image a little; they do not mirror it."""
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 32, 32)
    image[..., 8:24, 4:12] = 1  # on the left
    variants = augmented(image.expand(50, -1, -1, -1))
    left, right = variants[..., :16].mean(), variants[..., 16:].mean()
    assert left > 3 * right.abs()
    assert variants.std(dim=0).mean() > 0.01


@quiet
def test_views_below_a_cut_are_cached(phantoms):
    """Two views per training image pass the trunk once each, in a first fit only."""
    from ..toys import IMAGES_SEEN, spied_toy

    X, y = phantoms
    IMAGES_SEEN.clear()
    options = {**SMALL, "backbone": spied_toy, "early_stopping": True}
    model = ResNetOvO(**options, augment=2).fit(X, y)
    n_trained = len(X) - len(model.validation_indices_)
    assert sum(IMAGES_SEEN) == len(X) + 2 * n_trained
    ResNetOvO(**options, augment=2, lr=0.01).fit(X, y)
    assert sum(IMAGES_SEEN) == len(X) + 2 * n_trained


@quiet
@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
def test_augmentation_affects_only_training(trainable, phantoms):
    """Augmented training gives another model; predictions see images as they are."""
    X, y = phantoms
    plain = ResNetClassifier(**SMALL, trainable=trainable).fit(X, y)
    model = ResNetClassifier(**SMALL, trainable=trainable, augment=True).fit(X, y)
    p = model.predict_proba(X)
    assert np.abs(p - plain.predict_proba(X)).max() > 1e-4
    np.testing.assert_array_equal(model.predict_proba(X), p)


# -- precision and printing -----------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_is_near_float32(precision, trainable, phantoms):
    """Mixed precision, with scaled gradients for float16, trains much the same model."""
    X, y = phantoms
    options = {**SMALL, "trainable": trainable}
    exact = ResNetClassifier(**options, precision="fp32").fit(X, y).predict_proba(X)
    model = ResNetClassifier(**options, precision=precision).fit(X, y)
    p = model.predict_proba(X)
    assert p.dtype == np.float32
    assert np.abs(p - exact).max() > 0
    assert np.abs(p - exact).mean() < 0.1
    assert all(v.dtype == torch.float32 for v in model.net_.module_.parameters())


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_verbose_prints_passes_and_epochs(kind, phantoms, capsys):
    """verbose=2 prints trunk passes and a line per epoch, with its problem; 0 prints nothing."""
    X, y = phantoms
    kind(**SMALL).fit(X, y).predict(X)
    assert capsys.readouterr().out == ""
    kind(**SMALL, verbose=2, early_stopping=True).fit(X, y)
    out = capsys.readouterr().out
    assert "trunk: 0 passes for 60 images (60 from the cache)" in out
    assert "epoch 5 of 5, loss" in out
    assert ", validation " in out
    if kind is ResNetOvO:
        problems = re.findall("(.*): epoch 1 of 5", out)
        assert problems == [
            "COVID-19 against Normal",
            "COVID-19 against Pneumonia",
            "Normal against Pneumonia",
        ]
    if kind in (ResNetOvR, ResNetStacking):
        assert "Normal against the rest: epoch 1 of 5" in out


@quiet
def test_verbose_names_pairs_as_pairs_does(phantoms, capsys):
    """The problems are printed in the order of pairs_, and so are the classes of each pair."""
    X, y = phantoms
    model = ResNetOvO(**SMALL, verbose=2).fit(X, y)
    problems = re.findall("(.*) against (.*): epoch 1 of", capsys.readouterr().out)
    assert problems == model.pairs_


@quiet
@pytest.mark.parametrize("trainable", ["head", "layer4", "layer1"])
@pytest.mark.parametrize("augment", [False, 2])
def test_verbose_counts_agree_at_every_cut(trainable, augment, phantoms, capsys):
    """The passes printed for the trunk are the misses printed for the cache."""
    X, y = phantoms
    clear_cache()
    options = {**SMALL, "verbose": 2, "trainable": trainable, "augment": augment}
    ResNetOvO(**options).fit(X, y)
    out = capsys.readouterr().out
    images, n_passes = "60 images", 60
    if augment:
        images, n_passes = "60 images and 2 augmented views of each", 180
    assert f"trunk: {n_passes} passes for {images} (0 from the cache)" in out
    assert f"cache: 0 hits, {n_passes} misses ({images}); the tails used" in out
    ResNetOvO(**options).fit(np.concatenate([X, X[:4] // 2]), np.r_[y, y[:4]])
    images = images.replace("60", "64")
    out = capsys.readouterr().out
    assert f"trunk: {n_passes // 15} passes for {images} ({n_passes} from the cache)" in out


def test_a_trained_network_learns_more_than_a_linear_model():
    """On phantoms a trained network finds what a linear model on pixels does not."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = make_chest_phantoms(900, image_size=64, random_state=0)
    linear_scores = [
        make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
        .fit(X[:600], y[:600])
        .score(X[600:], y[600:])
        for C in (1e-4, 1e-3, 1e-2, 1e-1)
    ]
    network = ResNetClassifier(
        backbone=wide_toy,
        weights=None,
        image_size=64,
        trainable="all",
        lr=3e-3,
        max_epochs=30,
        augment=True,
        random_state=0,
    ).fit(X[:600], y[:600])
    assert network.score(X[600:], y[600:]) > max(linear_scores) + 0.05


def test_nested_samplers_get_the_seed(features):
    """Samplers inside an imbalanced-learn pipeline are seeded too."""
    values, y = features
    sampler = Pipeline([("up", SMOTE(k_neighbors=3)), ("down", RandomUnderSampler())])
    one, two = (
        resample(sampler, rows_of(values, y), np.arange(40), y, seed=1)[2] for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("strategy", [{"Normal": 5}, {1: 5}, ["Normal"]])
def test_strategies_that_name_classes_are_refused(strategy, phantoms):
    """Within a binary problem a class's name or code is another's: an error, not a mix-up."""
    sampler = RandomUnderSampler(sampling_strategy=strategy)
    with pytest.raises(ValueError, match=r"sampling_strategy=.* names classes"):
        ResNetOvO(**SMALL, sampler=sampler).fit(*phantoms)


def test_ctrl_c_in_a_callback_is_not_swallowed(phantoms):
    """An interrupt that falls into a callback ends fit as well."""

    class Interrupt(Callback):
        def on_epoch_end(self, net, **_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ResNetOvO(**SMALL, callbacks=[Interrupt()]).fit(*phantoms)


@quiet
def test_numpys_true_is_true(phantoms):
    """A grid made with numpy asks for the same number of views."""
    p = [
        ResNetClassifier(**SMALL, augment=value).fit(*phantoms).predict_proba(phantoms[0])
        for value in (True, np.True_)
    ]
    np.testing.assert_array_equal(*p)


def test_splits_through_a_patient_are_refused(phantoms):
    """A user's cv must keep patients whole, as the package's own folds do."""
    model = ResNetStacking(**SMALL, cv=KFold(3))
    with pytest.raises(ValueError, match=r"patients .* in training and in test"):
        model.fit(*phantoms, groups=np.arange(60) % 20)


def test_heads_train_in_one_thread_and_leave_the_others(phantoms):
    """A second thread gains a head nothing, and waits where its core is taken."""
    seen = []

    class Asking(Callback):
        def on_epoch_end(self, net, **_):
            seen.append(torch.get_num_threads())

        def __deepcopy__(self, memo):
            return self

    torch.set_num_threads(2)
    try:
        ResNetClassifier(**SMALL, callbacks=[Asking()]).fit(*phantoms)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="diverged"):
            ResNetClassifier(**{**SMALL, "lr": 1e30, "max_epochs": 5}).fit(*phantoms)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_the_kernels_of_a_deep_tail_are_channels_last():
    """Its images are, and kernels of another layout would be reordered in every step."""
    body = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3))  # as a bottleneck begins
    place(body, torch.device("cpu"))
    assert body[1].weight.is_contiguous(memory_format=torch.channels_last)
