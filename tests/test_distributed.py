"""On a real cluster of Dask: worker processes of its own, one of them killed."""

from __future__ import annotations

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
from sklearn.model_selection import GridSearchCV

from cxr_sklearn import ResNetFeatures, ResNetOvO, ResNetStacking, clear_cache

from .toys import Noted, noted, toy

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
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask's own: ports in use, sockets
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
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


def searched(model, X, y, **options):
    """Return what a search finds, without what a clock adds to it."""
    search = GridSearchCV(model, GRID, cv=2, error_score="raise", **options).fit(X, y)
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


def test_workers_share_passes_through_a_folder(phantoms, on_dask, tmp_path):
    """An image passes once in all, though the workers begin together."""
    X, y = phantoms
    model = ResNetOvO(**{**TOY, "backbone": Noted(tmp_path)}, memory=tmp_path / "memory")
    searched(model, X, y, n_jobs=-1)
    assert sum(noted(tmp_path).values()) == len(X)


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
    """Dask starts another worker, its tasks are done again, and the result is the same."""
    X, y = phantoms
    before = set(on_dask.scheduler_info()["workers"])
    options = {**TOY, "memory": tmp_path / "memory"}
    marker = tmp_path / "marker"
    found = searched(ResNetOvO(**options, sampler=Deadly(str(marker))), X, y, n_jobs=-1)
    assert marker.exists()
    on_dask.wait_for_workers(2, timeout=60)
    assert set(on_dask.scheduler_info()["workers"]) != before
    with parallel_config(backend="sequential"):
        assert_equal(found, searched(ResNetOvO(**options, sampler=Deadly(str(marker))), X, y))


def threads():
    """Return PyTorch's threads in this process."""
    import torch

    return torch.get_num_threads()


def test_workers_share_the_cores(client):
    """Dask's workers have one thread each unless they are given more."""
    assert set(client.run(threads).values()) == {1}
