"""What the package promises of every model: freezing, recall, determinism, groups, privacy."""

from __future__ import annotations

import itertools
import random
import warnings

import numpy as np
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.metrics import recall_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    clear_cache,
)
from cxr_sklearn._models.splits import patient_groups
from cxr_sklearn._tail.tail import Tail
from cxr_sklearn._trunk.build import build_network
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import NeverPredictedWarning

from ..toys import MODELS, toy, wide_toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 5}
# the scarce class of 60 phantoms may well go unpredicted after five epochs of a toy
quiet = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


def tensors(module):
    """Return all parameters and buffers by name."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# -- freezing ------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("trainable", ["head", "layer4", "layer2", "layer1"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_trunk_is_bit_identical_after_fit(kind, trainable, phantoms):
    """Parameters, buffers and features of the trunk are what they were before training."""
    X, y = phantoms
    features = ResNetFeatures(
        backbone=toy, weights=None, image_size=16, trainable=trainable, random_state=0
    ).fit(X)
    before, activations = tensors(features.module_), features.transform(X)
    model = kind(**SMALL, trainable=trainable, lr=0.1).fit(X, y)
    after = tensors(model.trunk_.module_)
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]), name
    clear_cache()
    np.testing.assert_array_equal(model.trunk_.transform(X), activations)


@quiet
@pytest.mark.parametrize("trainable", ["layer4", "layer1", "all"])
def test_what_is_trainable_trains(trainable, phantoms):
    """Every parameter above the cut moves, batch normalisation's statistics included."""
    network = build_network(toy, None, seed=int(np.random.RandomState(0).randint(2**31 - 1)))
    start = tensors(network.body(trainable))
    model = ResNetClassifier(**SMALL, trainable=trainable, lr=0.01).fit(*phantoms)
    assert model._runner.fingerprint.startswith(network.fingerprint)
    trained = tensors(model.net_.module_.body)
    assert start.keys() == trained.keys()
    for name in start:
        assert not torch.equal(start[name], trained[name]), name


def test_each_binary_problem_trains_its_own_copy(phantoms):
    """The tails share nothing that is trained."""
    model = ResNetOvO(**SMALL, trainable="layer4", lr=0.01).fit(*phantoms)
    parameters = [{id(p) for p in tail.net_.module_.parameters()} for tail in model.estimators_]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(parameters, 2))
    first, second, _ = (tail.net_.module_.body.state_dict() for tail in model.estimators_)
    assert not torch.equal(first["layer4.conv.weight"], second["layer4.conv.weight"])


# -- every class can be predicted -----------------------------------------------------------------

PAPER_COUNTS = {"COVID-19": 415, "Pneumonia": 1775, "Normal": 1577}


def paper_like(n_samples, seed=0):
    """Return phantoms in the class proportions of the paper's first experiment."""
    return make_chest_phantoms(n_samples, weights=PAPER_COUNTS, image_size=32, random_state=seed)


def stained(counts, seed=0):
    """Return noisy images of three classes: a stain above, below, or in both places."""
    rng = np.random.default_rng(seed)
    y = np.repeat(list(counts), list(counts.values()))
    axis = np.linspace(-1, 1, 16)
    X = np.empty((len(y), 16, 16), np.uint8)
    for image, label in zip(X, y, strict=True):
        xray = 0.3 + 0.05 * rng.standard_normal((16, 16)) + 0.05 * rng.standard_normal()
        for place in {"COVID-19": (-0.5, 0.5), "Normal": (-0.5,), "Pneumonia": (0.5,)}[label]:
            at_y, at_x = place + 0.1 * rng.standard_normal(2)
            xray += 0.4 * np.exp(-((axis[:, None] - at_y) ** 2 + (axis - at_x) ** 2) / 0.08)
        image[:] = (xray.clip(0, 1) * 255).astype(np.uint8)
    return X.reshape(len(y), -1), y


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
@pytest.mark.parametrize("kind", MODELS)
def test_every_class_is_recalled_under_the_papers_imbalance(kind, order):
    """Whatever the order of the labels, each class is found in images not seen in training."""
    X, y = stained({name: count // 20 for name, count in PAPER_COUNTS.items()})
    X_new, y_new = stained(dict.fromkeys(PAPER_COUNTS, 30), seed=1)
    names = dict(zip(("COVID-19", "Normal", "Pneumonia"), order, strict=True))
    y, y_new = (np.array([names[label] for label in labels]) for labels in (y, y_new))
    model = kind(**{**SMALL, "backbone": wide_toy, "max_epochs": 30}, lr=3e-3).fit(X, y)
    recall = recall_score(y_new, model.predict(X_new), average=None)
    assert recall.min() > 0.5, recall


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
@pytest.mark.parametrize("kind", MODELS)
def test_every_class_is_predicted_with_uninformative_features(kind, order):
    """Even where the frozen toy sees next to nothing, no class goes unpredicted."""
    X, y = paper_like(188)
    names = dict(zip(("COVID-19", "Normal", "Pneumonia"), order, strict=True))
    y = np.array([names[label] for label in y])
    options = {**SMALL, "backbone": wide_toy, "image_size": 32, "max_epochs": 15}
    model = kind(**options, lr=3e-3).fit(X, y)  # warnings are errors: NeverPredictedWarning too
    assert recall_score(y, model.predict(X), average=None).min() > 0


@pytest.mark.parametrize("kind", MODELS)
def test_a_hard_scarce_class_is_recalled(kind):
    """Also where only the scarce class is hard: it hides among the images of a frequent one."""
    rng = np.random.default_rng(0)
    y = np.repeat(["easy", "frequent", "scarce"], [80, 80, 16])
    level = np.select([y == "easy", y == "frequent", y == "scarce"], [0.2, 0.6, 0.68])
    X = (level[:, None] + 0.05 * rng.standard_normal((len(y), 64))).clip(0, 1).astype(np.float32)
    X += 0.04 * rng.standard_normal((len(y), 1)).astype(np.float32)
    X = X.clip(0, 1)
    model = kind(backbone=toy, weights=None, image_size=16, random_state=0, lr=3e-3).fit(X, y)
    recall = recall_score(y, model.predict(X), average=None)
    assert recall.min() > 0.4, recall


@pytest.mark.parametrize("kind", MODELS)
def test_a_class_that_is_never_predicted_is_named(kind, phantoms):
    """A model that gives a class up says so and names it."""
    X, y = phantoms
    weights = {"COVID-19": 1e-6, "Normal": 1.0, "Pneumonia": 1.0}
    with pytest.warns(NeverPredictedWarning, match=rf"{kind.__name__} never predicts 'COVID-19' "):
        kind(**SMALL, class_weight=weights).fit(X, y)


def test_warning_mentions_the_validation_part(phantoms):
    """With early stopping it is the validation part that the model is judged on."""
    X, y = phantoms
    weights = {"COVID-19": 1e-6, "Normal": 1.0, "Pneumonia": 1.0}
    model = ResNetOvO(**SMALL, class_weight=weights, early_stopping=True, validation_fraction=0.2)
    with pytest.warns(NeverPredictedWarning, match="'COVID-19' on its validation part"):
        model.fit(X, y)


def test_stacked_networks_that_memorise_give_no_false_alarm():
    """A chain is not judged on outputs for rows that its networks have memorised.

    On these it may give up COVID-19, although it recognises it in new images.
    """
    X, y = stained({"COVID-19": 8, "Normal": 40, "Pneumonia": 40})
    X_new, y_new = stained(dict.fromkeys(PAPER_COUNTS, 100), seed=99)
    options = {**SMALL, "backbone": wide_toy, "trainable": "layer4", "max_epochs": 15, "lr": 1e-2}
    model = ResNetStacking(**options, n_iter_no_change=100, cv=3).fit(X, y)  # no warning
    predicted = model.predict(X_new)
    assert recall_score(y_new, predicted, average="macro") > 0.6
    assert set(predicted) == set(y)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_stacked_model_is_judged_on_held_out_rows_only(early_stopping, monkeypatch):
    """What the final networks give for training rows is not consulted; for held-out rows it is."""
    X, y = stained(dict.fromkeys(PAPER_COUNTS, 20))
    judged = []

    def only_the_first_class(self, ids):
        judged.extend(np.ravel(ids))
        return np.tile([0.0, -9.0, -9.0], (len(ids), 1))

    monkeypatch.setattr(ResNetStacking, "_log_probabilities", only_the_first_class)
    options = {**SMALL, "backbone": wide_toy, "lr": 3e-3, "cv": 3}
    model = ResNetStacking(**options, early_stopping=early_stopping, validation_fraction=0.2)
    if not early_stopping:
        model.fit(X, y)  # no warning
        assert judged == []
        return
    with pytest.warns(NeverPredictedWarning, match="'Normal', 'Pneumonia' on its validation part"):
        model.fit(X, y)
    assert sorted(judged) == model.validation_indices_.tolist()


def test_a_memorised_class_that_new_images_never_get_is_named():
    """Networks that know a class on their training rows only do not silence the warning."""
    X, y = stained({"Normal": 60, "Pneumonia": 60})
    X_new, _ = stained({"Normal": 100, "Pneumonia": 100}, seed=99)
    y = y.astype("<U9")
    y[::20] = "COVID-19"  # labels at random: there is nothing to learn
    options = {
        **SMALL,
        "backbone": wide_toy,
        "hidden_layer_sizes": (64,),
        "max_epochs": 40,
        "lr": 1e-2,
    }
    model = ResNetStacking(**options, class_weight=None, cv=3, final_hidden_layer_sizes=())
    with pytest.warns(NeverPredictedWarning, match="'COVID-19' on its out-of-fold outputs"):
        model.fit(X, y)
    scores = model.estimators_[0].decision_function(model.trunk_.transform(X))
    assert (scores[y == "COVID-19"] > 0).any()  # the network has memorised some
    assert "COVID-19" not in model.predict(X_new)


def test_the_stacked_chain_learns_from_out_of_fold_outputs(phantoms, monkeypatch):
    """No tail gives the chain an output for an image it was trained on."""
    X, y = phantoms
    trained, asked = [], []
    fit, logits = Tail.fit, Tail.logits

    def spy_fit(self, X, y):
        trained.append(set(X[:, 0].tolist()))
        self.seen = trained[-1]
        return fit(self, X, y)

    def spy_logits(self, X, context=None):
        if X.dtype.kind == "i" and hasattr(self, "seen"):
            asked.append((set(X[:, 0].tolist()), self.seen))
        return logits(self, X, context)

    monkeypatch.setattr(Tail, "fit", spy_fit)
    monkeypatch.setattr(Tail, "logits", spy_logits)
    ResNetStacking(**SMALL, cv=4).fit(X, y)
    assert len(trained) == 3 + 3 * 4  # whole, and in four folds
    assert len(asked) == 3 * 4
    assert all(rows.isdisjoint(seen) for rows, seen in asked)
    assert set().union(*(rows for rows, _ in asked)) == set(range(len(X)))


# -- probabilities --------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", MODELS)
def test_predictions_agree_with_each_other(kind, n_classes, phantoms):
    """Probabilities, their logarithms, decisions and predictions tell one story, in float32."""
    X, y = phantoms
    X, y = (X, y) if n_classes == 3 else (X[y != "Normal"], y[y != "Normal"])
    model = kind(**SMALL).fit(X, y)
    p, logp, scores = model.predict_proba(X), model.predict_log_proba(X), model.decision_function(X)
    assert p.dtype == logp.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.exp(logp), p, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    if n_classes == 2:
        assert scores.shape == (len(X),)
        np.testing.assert_allclose(scores, logp[:, 1] - logp[:, 0], atol=1e-4)
    else:
        assert scores.shape == (len(X), 3)
        np.testing.assert_allclose(scores, logp - logp.mean(axis=1, keepdims=True), atol=1e-4)


def test_ovo_couples_the_probabilities_of_its_pairs(phantoms):
    """With each pair's own probabilities, Wu, Lin and Weng's objective is at its minimum."""
    X, y = phantoms
    model = ResNetOvO(**SMALL).fit(X, y)
    assert model.pairs_ == list(itertools.combinations(model.classes_, 2))
    activations = model.trunk_.transform(X)
    r = np.zeros((len(X), 3, 3))
    for (i, j), tail in zip([(0, 1), (0, 2), (1, 2)], model.estimators_, strict=True):
        r[:, j, i] = tail.predict_proba(activations)[:, 1]
        r[:, i, j] = 1 - r[:, j, i]

    def objective(p):
        terms = (r.transpose(0, 2, 1) * p[:, :, None] - r * p[:, None, :]) ** 2
        return terms.sum(axis=(1, 2)) - np.trace(terms, axis1=1, axis2=2)

    p = model.predict_proba(X).astype(float)
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = rng.standard_normal(p.shape) * 0.01
        step -= step.mean(axis=1, keepdims=True)  # stays on the simplex's plane
        assert (objective(p + step) >= objective(p)).all()


def test_balanced_ignores_priors_and_none_keeps_them():
    """Without weights a scarce class has low probabilities; balanced weights raise them."""
    X, y = paper_like(188)
    common = {**SMALL, "image_size": 32, "max_epochs": 10}
    plain = ResNetClassifier(**common, class_weight=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeverPredictedWarning)
        mean = plain.fit(X, y).predict_proba(X)[:, 0].mean()
    balanced = ResNetClassifier(**common).fit(X, y).predict_proba(X)[:, 0].mean()
    assert mean == pytest.approx((y == "COVID-19").mean(), abs=0.05)
    assert balanced > 2 * mean


# -- determinism ----------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("trainable", ["head", "layer3", "all"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_same_seed_gives_the_same_bits(kind, trainable, phantoms):
    """Same seed, data and cache state: bit-identical; another seed: different."""
    X, y = phantoms
    results = []
    for seed in (0, 0, 1):
        clear_cache()
        options = {**SMALL, "random_state": seed, "trainable": trainable, "dropout": 0.2}
        results.append(kind(**options, augment=2).fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-6


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_batches_and_cache_hardly_matter(kind, phantoms):
    """One by one or all at once, cold or warm, on disk or in memory: within 1e-4."""
    X, y = phantoms
    model = kind(**SMALL, trainable="layer3").fit(X, y)
    warm = model.predict_proba(X)
    clear_cache()
    cold = model.predict_proba(X)
    clear_cache()
    single = np.concatenate([model.predict_proba(row[None]) for row in X[:10]])
    np.testing.assert_allclose(cold, warm, atol=1e-4)
    np.testing.assert_allclose(single, warm[:10], atol=1e-4)


@quiet
@pytest.mark.parametrize("kind", MODELS)
def test_global_generators_are_left_as_found(kind, phantoms):
    """Neither fit nor predict moves Python's, numpy's or PyTorch's generator."""
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    kind(**SMALL, trainable="all", augment=True, dropout=0.5).fit(*phantoms).predict(phantoms[0])
    assert random.getstate() == states[0]
    assert str(np.random.get_state()) == states[1]
    assert torch.get_rng_state().tolist() == states[2]


@quiet
@pytest.mark.parametrize("n_rows", [33, 34])
def test_a_last_batch_of_one_joins_the_one_before(n_rows, phantoms):
    """33 rows in batches of 32 train as one batch: batch normalisation needs two rows."""
    X, y = phantoms
    model = ResNetClassifier(**SMALL, trainable="all").fit(X[:n_rows], y[:n_rows])
    sizes = [batch["train_batch_size"] for batch in model.history_[0]["batches"]]
    assert sizes == ([33] if n_rows == 33 else [32, 2])


# -- groups ---------------------------------------------------------------------------------------


@pytest.fixture
def grouped(phantoms, tmp_path):
    """Return phantoms as files of 20 patients, three images each, with paths and groups."""
    from PIL import Image

    X, y = phantoms
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    groups = np.array([f"p{i // 3:02d}" for i in range(len(X))])
    paths = []
    for i, row in enumerate(X):
        path = tmp_path / f"{groups[i]}_{i:03d}.png"
        Image.fromarray(row.reshape(16, 16)).save(path)
        paths.append(str(path))
    return np.array(paths, dtype=object)[:, None], y, groups


def patient_of(path):
    """Return the patient in a file's name."""
    return path.replace("\\", "/").rpartition("/")[2].split("_")[0]


@pytest.fixture
def splits_seen(monkeypatch):
    """Record the (training, validation or test) rows of every tail, as row ids."""
    seen = []
    fit = Tail._fit

    def spy(self, rows, ids, y):
        held = rows.is_validation[ids]
        seen.append((set(ids[~held].tolist()), set(np.flatnonzero(rows.is_validation).tolist())))
        return fit(self, rows, ids, y)

    monkeypatch.setattr(Tail, "_fit", spy)
    return seen


@quiet
@pytest.mark.parametrize("how", ["groups", "group_by"])
@pytest.mark.parametrize("kind", MODELS)
def test_no_patient_is_on_both_sides_of_early_stopping(kind, how, grouped):
    """Groups in fit, or group_by over paths, keep each patient on one side."""
    X, y, groups = grouped
    model = kind(**SMALL, early_stopping=True, validation_fraction=0.25)
    if how == "groups":
        model.fit(X, y, groups=groups)
    else:
        model.set_params(group_by=patient_of).fit(X, y)
    held = np.zeros(len(X), dtype=bool)
    held[model.validation_indices_] = True
    assert 0.1 < held.mean() < 0.4
    assert set(groups[held]).isdisjoint(groups[~held])
    assert set(y[held]) == set(y[~held]) == set(model.classes_)


@quiet
def test_no_patient_is_divided_by_the_stacking_folds(grouped, monkeypatch):
    """Out-of-fold outputs come from networks that never saw the patient."""
    X, y, groups = grouped
    pairs = []
    logits = Tail.logits
    fit = Tail.fit

    def spy_fit(self, X, y):
        self.seen = set(X[:, 0].tolist())
        return fit(self, X, y)

    def spy_logits(self, X, context=None):
        if X.dtype.kind == "i" and hasattr(self, "seen"):
            pairs.append((sorted(self.seen), X[:, 0]))
        return logits(self, X, context)

    monkeypatch.setattr(Tail, "fit", spy_fit)
    monkeypatch.setattr(Tail, "logits", spy_logits)
    ResNetStacking(**SMALL, cv=3, early_stopping=True).fit(X, y, groups=groups)
    pairs = pairs[:-3]  # the last three are the finished model's, judged on its validation part
    assert len(pairs) == 9
    for seen, asked in pairs:
        assert set(groups[seen]).isdisjoint(groups[asked])


@quiet
@pytest.mark.parametrize("routing", [True, False])
def test_groups_reach_the_fits_of_a_search(routing, grouped, monkeypatch):
    """With routing on, or with group_by and routing off, folds and validation keep patients."""
    X, y, groups = grouped
    seen = []
    fit = ResNetClassifier.fit

    def spy(self, X, y, **kwargs):
        fit(self, X, y, **kwargs)
        seen.append((X, self.validation_indices_))
        return self

    monkeypatch.setattr(ResNetClassifier, "fit", spy)
    model = ResNetClassifier(**SMALL, early_stopping=True, validation_fraction=0.25)
    if not routing:
        model.set_params(group_by=patient_of)
    with config_context(enable_metadata_routing=routing):
        search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=StratifiedGroupKFold(3))
        search.fit(X, y, groups=groups)
    assert len(seen) == 2 * 3 + 1
    for paths, held in seen:
        patients = np.array([patient_of(path) for path in paths[:, 0]])
        assert len(held)
        assert set(patients[held]).isdisjoint(np.delete(patients, held))


@quiet
def test_copies_behind_a_sampler_stay_together(phantoms):
    """After RandomOverSampler no validation row has a copy among the training rows."""
    X, y = phantoms
    keep = np.concatenate(
        [np.flatnonzero(y == c)[:n] for c, n in zip(np.unique(y), (5, 20, 20), strict=True)]
    )
    model = make_pipeline(
        RandomOverSampler(random_state=0), ResNetOvO(**SMALL, early_stopping=True)
    ).fit(X[keep], y[keep])
    resampled, _ = RandomOverSampler(random_state=0).fit_resample(X[keep], y[keep])
    held = model[-1].validation_indices_
    contents = [row.tobytes() for row in resampled]
    inside = {contents[i] for i in held}
    assert inside.isdisjoint({c for i, c in enumerate(contents) if i not in set(held)})


def test_equal_content_links_groups():
    """Two patients with one image in common are one group."""
    from cxr_sklearn._images.images import Images

    rows = np.array([[0], [1], [1], [2], [3]], dtype=np.uint8)
    images = Images(rows, None, (1, 1))
    codes = patient_groups(images, np.array(["a", "a", "b", "c", "b"]), None)
    assert codes[0] == codes[1] == codes[2] == codes[4] != codes[3]


def test_group_by_needs_paths(phantoms):
    """group_by on pixel rows is an error that says what to do instead."""
    model = ResNetOvO(**SMALL, early_stopping=True, group_by=patient_of)
    with pytest.raises(ValueError, match=r"group_by takes the path.*groups to fit"):
        model.fit(*phantoms)


def test_too_few_patients_are_named(phantoms):
    """A class with one patient cannot be divided, and is named."""
    X, y = phantoms
    groups = np.where(y == "Normal", "one", np.arange(len(y)).astype(str))
    for model in (ResNetOvO(**SMALL, early_stopping=True), ResNetStacking(**SMALL)):
        with pytest.raises(ValueError, match="class 'Normal' has images of 1 patient"):
            model.fit(X, y, groups=groups)


@quiet
def test_stacking_folds_shrink_to_the_scarcest_class(phantoms, splits_seen):
    """A class of three patients makes three folds of five."""
    X, y = phantoms
    keep = np.concatenate(
        [np.flatnonzero(y == c)[:n] for c, n in zip(np.unique(y), (3, 20, 20), strict=True)]
    )
    ResNetStacking(**SMALL, cv=5).fit(X[keep], y[keep])
    assert len(splits_seen) == 3 + 3 * 3 + 1  # whole, in three folds, and the chain


# -- privacy and state ----------------------------------------------------------------------------


def test_nothing_is_written_without_memory(phantoms, tmp_path, monkeypatch):
    """No file appears unless the user named a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ResNetOvO(**SMALL).fit(*phantoms).predict(phantoms[0])
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("kind", MODELS)
def test_rows_are_let_go_also_on_error(kind, phantoms, monkeypatch):
    """A fit that fails keeps no activations, and leaves the model unfitted."""
    kept = []
    fit = Tail._fit

    def fail(self, rows, ids, y):
        kept.append(rows)
        fit(self, rows, ids, y)
        raise MemoryError("planted")

    monkeypatch.setattr(Tail, "_fit", fail)
    model = kind(**SMALL)
    with pytest.raises(MemoryError, match="planted"):
        model.fit(*phantoms)
    assert kept
    assert not any(rows.is_live or rows.whole is not None for rows in kept)


def test_constructor_only_assigns_parameters():
    """Parameters are stored as given, and nothing is loaded or checked before fit."""
    model = ResNetOvO(backbone="no such net", weights="nowhere", device="cuda:99", lr=-1)
    assert model.get_params()["lr"] == -1
    with pytest.raises(Exception, match="not fitted yet"):
        check_is_fitted(model)


def test_groups_of_another_length_are_explained(phantoms):
    """Groups that a sampler upstream left behind are named, with the remedy."""
    X, y = phantoms
    with pytest.raises(ValueError, match=r"groups has 50 values for 60 images.*group_by"):
        ResNetOvO(**SMALL).fit(X, y, groups=np.arange(50))


@pytest.mark.parametrize("kind", MODELS)
@quiet
def test_a_fit_that_fails_leaves_the_model_as_it_was(kind, phantoms):
    """A fitted model predicts as before a refit that fails half way; a new one stays unfitted."""
    X, y = phantoms

    class Failing(Callback):
        def on_epoch_end(self, net, **_):
            raise RuntimeError("half way")

    model = kind(**SMALL).fit(X, y)
    expected, state = model.predict_proba(X), set(vars(model))
    model.set_params(callbacks=[Failing()])
    with pytest.raises(RuntimeError, match="half way"):
        model.fit(X[::-1], np.where(y == "Normal", "other", y)[::-1])
    assert set(vars(model)) == state
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    fresh = kind(**SMALL, callbacks=[Failing()])
    with pytest.raises(RuntimeError, match="half way"):
        fresh.fit(X, y)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
