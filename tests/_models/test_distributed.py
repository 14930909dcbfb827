"""On a real cluster of Dask: worker processes of its own, one of them killed."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from joblib import delayed, parallel_config
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from cxr_sklearn import ResNetFeatures, ResNetOvO, ResNetStacking, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms

from ..toys import Noted, noted, toy, write_images

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

TOY = {
    "backbone": toy,
    "weights": None,
    "image_size": 16,
    "max_epochs": 2,
    "random_state": 0,
}
GRID = {"lr": [1e-3, 1e-2, 3e-2]}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning"),
    # Dask's sockets are closed by the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Start two workers, each a process of one thread."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask's own: ports in use, sockets
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
            env={"PYTHONPATH": path},
        )
        client = distributed.Client(cluster)
        client.run(quietly)
    yield client
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client.close()
        cluster.close()


def quietly():
    """Let workers say nothing of tiny toys; in them warnings are errors to nobody."""
    warnings.simplefilter("ignore")


@pytest.fixture
def on_dask(client):
    """Run joblib's work on the cluster."""
    with parallel_config(backend="dask"):
        yield client


def searched(model, X, y, cv=2, **options):
    """Return what a search finds, without what a clock adds to it."""
    options = {"cv": cv, "scoring": "neg_log_loss", "error_score": "raise", **options}
    search = GridSearchCV(model, GRID, **options).fit(X, y)
    scores = {k: v for k, v in search.cv_results_.items() if not k.endswith("_time")}
    return scores, search.best_params_, search.predict_proba(X)


def assert_equal(found, expected):
    """Compare two searches."""
    assert found[1] == expected[1]
    for key, value in expected[0].items():
        np.testing.assert_array_equal(found[0][key], value)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)


def test_a_search_on_a_cluster_finds_the_same(phantoms, on_dask, tmp_path):
    """Scores, choice and predictions are those of one process."""
    X, y = phantoms
    found = searched(ResNetOvO(**TOY, memory=tmp_path), X, y, n_jobs=-1)
    with parallel_config(backend="sequential"):
        clear_cache()
        assert_equal(found, searched(ResNetOvO(**TOY), X, y))


@pytest.mark.parametrize("kind", [ResNetOvO, ResNetStacking])
def test_problems_fitted_on_a_cluster_are_the_same(kind, phantoms, on_dask):
    """Pairs, and folds of stacking, go to the workers, and come back without their rows."""
    X, y = phantoms
    model = kind(**TOY, n_jobs=2).fit(X, y)
    with parallel_config(backend="sequential"):
        expected = kind(**TOY).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    saved = pickle.dumps(model)
    assert not any(row.tobytes() in saved for row in model.trunk_.transform(X))


def test_features_are_extracted_by_workers(phantoms, on_dask, tmp_path):
    """Chunks of images, one call each; what comes back is what one process computes."""
    X, _ = phantoms
    features = ResNetFeatures(**{k: v for k, v in TOY.items() if k != "max_epochs"}).fit(X)
    expected = features.transform(X)
    features.set_params(memory=tmp_path)
    parts = joblib.Parallel(n_jobs=2)(
        delayed(features.transform)(part) for part in np.array_split(X, 4)
    )
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


def extracted(part, memory):
    """Run the trunk over some images, in a worker."""
    options = {k: v for k, v in TOY.items() if k != "max_epochs"}
    return ResNetFeatures(**options, memory=memory).fit_transform(part)


def test_features_are_extracted_by_a_function(phantoms, client, tmp_path):
    """A function that loads the network in the worker sends no network."""
    X, _ = phantoms
    parts = client.gather(client.map(extracted, np.array_split(X, 4), memory=tmp_path))
    clear_cache()
    np.testing.assert_allclose(np.concatenate(parts), extracted(X, None), atol=1e-5)


def test_workers_share_passes_through_a_folder(phantoms, on_dask, tmp_path):
    """An image passes once in all, though the workers begin together."""
    X, y = phantoms
    model = ResNetOvO(**{**TOY, "backbone": Noted(tmp_path)}, memory=tmp_path / "memory")
    searched(model, X, y, n_jobs=-1)
    assert sum(noted(tmp_path).values()) == len(X)


def fitted_problems(dask_scheduler=None):
    """Return how many tasks so far have fitted a binary problem."""
    prefixes = dask_scheduler.task_prefixes.values()
    return sum(p.state_counts["memory"] for p in prefixes if "fit_ovo_binary" in str(p.name))


@pytest.mark.parametrize("n_jobs", [None, 1])
def test_workers_keep_the_problems_of_their_models(n_jobs, phantoms, on_dask, tmp_path):
    """Dask heeds no n_jobs, and would send each pair, with its rows, to another worker."""
    X, y = phantoms
    before = on_dask.run_on_scheduler(fitted_problems)
    model = ResNetOvO(**TOY, memory=tmp_path, n_jobs=n_jobs)
    GridSearchCV(model, GRID, cv=2, refit=False, n_jobs=-1, error_score="raise").fit(X, y)
    assert on_dask.run_on_scheduler(fitted_problems) == before


def test_one_job_is_this_process(phantoms, on_dask):
    """A model told to use one job fits its pairs where it is."""
    before = on_dask.run_on_scheduler(fitted_problems)
    ResNetOvO(**TOY, n_jobs=1).fit(*phantoms)
    assert on_dask.run_on_scheduler(fitted_problems) == before


def fitted_in_a_worker(X, y):
    """Fit a model whose pairs go from this worker to others."""
    with warnings.catch_warnings(), parallel_config(backend="dask"):
        warnings.simplefilter("ignore")
        return ResNetOvO(**TOY, n_jobs=2).fit(X, y).predict_proba(X)


def test_rows_pass_a_scheduler_that_is_another_process(phantoms, client):
    """It unpickles what is to be fitted, and pickles it again."""
    X, y = phantoms
    found = client.submit(fitted_in_a_worker, X, y).result(timeout=60)
    np.testing.assert_allclose(found, ResNetOvO(**TOY).fit(X, y).predict_proba(X), atol=1e-6)


def test_activations_go_to_each_worker_once(on_dask):
    """They do not go with every problem: Dask warns of tasks of more than 10 MB."""
    X, y = make_chest_phantoms(1500, image_size=32, random_state=0)
    model = ResNetOvO(**{**TOY, "image_size": 32, "max_epochs": 1}, trainable="layer2", n_jobs=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert not [str(w.message) for w in caught if "large graph" in str(w.message)]


class Deadly(RandomOverSampler):
    """Kill the worker that uses it first."""

    def __init__(self, marker="", *, random_state=0):
        super().__init__(random_state=random_state)
        self.marker = marker

    def fit_resample(self, X, y, **params):
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().fit_resample(X, y, **params)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_worker_costs_a_retry(phantoms, on_dask, tmp_path):
    """Dask starts another worker, its tasks are done again, and the result is the same.

    Lists travel with every task. Of arrays joblib keeps one copy, on some worker, and a search
    whose copy has died is over: see the next test.
    """
    X, y = phantoms
    paths = write_images(tmp_path, X)
    folds = [(a.tolist(), b.tolist()) for a, b in StratifiedKFold(4).split(X, y)]
    model = ResNetOvO(**TOY, memory=tmp_path / "memory", sampler=Deadly(str(tmp_path / "marker")))
    on_dask.wait_for_workers(2, timeout=60)
    before = set(on_dask.scheduler_info()["workers"])
    found = searched(model, paths, y.tolist(), cv=folds, n_jobs=-1)
    assert (tmp_path / "marker").exists()
    on_dask.wait_for_workers(2, timeout=60)
    assert set(on_dask.scheduler_info()["workers"]) != before
    with parallel_config(backend="sequential"):
        assert_equal(found, searched(model, paths, y.tolist(), cv=folds))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_arrays_that_every_worker_has_outlive_one(on_dask, tmp_path):
    """With joblib's `scatter` each worker has a copy, of the folds' row numbers too."""
    X, y = make_chest_phantoms(300, image_size=16, random_state=0)
    folds = list(StratifiedKFold(4).split(X, y))
    everywhere = [X, y, *itertools.chain(*folds)]
    assert min(array.nbytes for array in folds[0]) < 1000 < max(a.nbytes for a in folds[0])
    model = ResNetOvO(**TOY, memory=tmp_path / "memory", sampler=Deadly(str(tmp_path / "marker")))
    on_dask.wait_for_workers(2, timeout=60)
    before = set(on_dask.scheduler_info()["workers"])
    with parallel_config(backend="dask", scatter=everywhere):
        found = searched(model, X, y, cv=folds, n_jobs=-1)
    on_dask.wait_for_workers(2, timeout=60)
    assert set(on_dask.scheduler_info()["workers"]) != before
    with parallel_config(backend="sequential"):
        assert_equal(found, searched(model, X, y, cv=folds))


def threads():
    """Return PyTorch's threads in this process."""
    import torch

    return torch.get_num_threads()


def test_workers_share_the_cores(client):
    """Dask's workers have one thread each unless they are given more."""
    client.wait_for_workers(2, timeout=60)
    with parallel_config(backend="dask"):
        found = joblib.Parallel(n_jobs=2)(delayed(threads)() for _ in range(4))
    assert set(found) == {1}
    assert sum(client.nthreads().values()) * max(found) <= max(2, os.cpu_count())


def test_workers_may_be_given_more_threads(tmp_path, monkeypatch):
    """Dask's configuration sets them before a worker starts; MKL's variable has the last word."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    for name in names:  # the environment's come first, which Dask's first cluster sets for good
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    with (
        dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": 2 for name in names}),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=":0",
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        assert client.submit(threads).result(timeout=60) == 2


def test_a_process_may_fit_in_more_than_one_thread(phantoms, tmp_path):
    """PyTorch's generators are the process's: fits in two threads do not disturb each other."""
    X, y = phantoms
    model = ResNetOvO(**{**TOY, "max_epochs": 10}, dropout=0.5, memory=tmp_path)
    expected = searched(model, X, y)
    with parallel_config(backend="threading"):
        assert_equal(searched(model, X, y, n_jobs=2), expected)
