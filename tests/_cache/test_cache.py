"""Activations by content: in memory, on disk, and where neither holds them."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from cxr_sklearn import (
    CacheFolder,
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    clear_cache,
)
from cxr_sklearn._cache import (
    ActivationCache,
    DiskCache,
    activation_cache,
    memory,
    size_limit,
    sqlite,
)
from cxr_sklearn._cache import (
    disk as disk_module,
)
from cxr_sklearn._images import reading
from cxr_sklearn._images.file_digests import FILE_DIGESTS
from cxr_sklearn._tail import activations
from cxr_sklearn.exceptions import CacheWarning, TrunkPassWarning

from ..toys import IMAGES_SEEN, Noted, ToyResNet, is_probe, noted, spied_toy, toy, write_images

SPIED = {"backbone": spied_toy, "weights": None, "image_size": 16, "random_state": 0}


@pytest.fixture
def passes():
    """Return a function that tells how many images passed the trunk since it was last asked."""
    IMAGES_SEEN.clear()

    def count():
        total = sum(IMAGES_SEEN)
        IMAGES_SEEN.clear()
        return total

    return count


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_an_image_is_run_through_the_trunk_once_in_all_uses(phantoms, passes):
    """Slices, copies, other estimators and other batch sizes use the stored activations."""
    X, y = phantoms
    ResNetFeatures(**SPIED).fit_transform(X)
    assert passes() == len(X)
    ResNetFeatures(**SPIED, batch_size=7).fit_transform(X[::-1].copy())
    ResNetOvO(**SPIED, max_epochs=2).fit(X[5:], y[5:]).predict(X[:20])
    ResNetFeatures(**SPIED).fit_transform(X.reshape(-1, 16, 16))
    assert passes() == 0


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_fitted_model_has_counts_of_hits_and_misses(phantoms, passes):
    """What it counts is what the network saw; without a trunk there is nothing to count."""
    X, y = phantoms
    first = ResNetOvO(**SPIED, max_epochs=2).fit(X[:30], y[:30])
    assert first.cache_info_[:2] == (0, passes()) == (0, 30)
    second = ResNetStacking(**SPIED, max_epochs=2, cv=2).fit(X, y)
    assert second.cache_info_[:2] == (30, passes()) == (30, len(X) - 30)
    whole = ResNetOvO(**{**SPIED, "backbone": toy}, trainable="all", max_epochs=2).fit(X, y)
    assert whole.cache_info_ == (0, 0, 0)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_passes_saved_are_relative_to_separate_networks(phantoms, capsys):
    """Each image belongs to two of three pairs, and is predicted by three; verbose says so."""
    X, y = phantoms
    model = ResNetOvO(**SPIED, max_epochs=4, n_iter_no_change=4, verbose=2).fit(X, y)
    uses = (2 * 4 + 3) * len(X)
    assert model.cache_info_ == (0, len(X), uses - len(X))
    again = ResNetOvO(**SPIED, max_epochs=4, n_iter_no_change=4).fit(X, y)
    assert again.cache_info_ == (len(X), 0, uses)
    printed = (
        f"cache: 0 hits, 60 misses (60 images); the tails used images {uses} times: "
        f"{uses - 60} passes saved"
    )
    assert printed in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("is_whole", [True, False])
def test_below_the_head_an_image_is_one_hit_or_one_miss(is_whole, phantoms, monkeypatch, tmp_path):
    """However often its rows are looked up: for their shape, and in every epoch."""
    X, y = phantoms
    if not is_whole:
        monkeypatch.setattr(activations, "IN_PROCESS_BYTES", 1000)
    options = {**SPIED, "trainable": "layer4", "max_epochs": 3, "memory": tmp_path}
    assert ResNetOvO(**options).fit(X[:40], y[:40]).cache_info_[:2] == (0, 40)
    assert ResNetOvO(**options).fit(X, y).cache_info_[:2] == (40, 20)


def test_rows_that_a_sampler_makes_are_passes_saved_too(phantoms):
    """A network that shares nothing would pass them in each epoch."""
    X, y = phantoms
    kept = np.flatnonzero((y != "Normal") | (np.arange(len(y)) % 2 == 0))
    options = {**SPIED, "max_epochs": 3, "n_iter_no_change": 3}
    model = ResNetClassifier(**options, sampler=SMOTE(k_neighbors=2, random_state=0))
    model.fit(X[kept], y[kept])
    n_sampled = 3 * max(np.unique(y[kept], return_counts=True)[1])
    uses = 3 * n_sampled + len(kept)  # three epochs, and one prediction of what was given
    assert model.cache_info_.passes_saved == uses - len(kept)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("trainable", ["layer4", "layer1"])
def test_a_search_at_a_middle_cut_passes_each_image_once(trainable, phantoms, passes):
    """Below the head, too, folds and candidates share one pass."""
    X, y = phantoms
    model = ResNetOvO(**SPIED, trainable=trainable, max_epochs=2)
    GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(X, y)
    assert passes() == len(X)


def test_equal_images_pass_once(phantoms, passes):
    """The same image many times in one call passes once."""
    ResNetFeatures(**SPIED).fit_transform(np.repeat(phantoms[0][:3], 5, axis=0))
    assert passes() == 3


@pytest.mark.parametrize(
    "change",
    [{"image_size": 24}, {"trainable": "layer2"}, {"precision": "bf16"}, {"random_state": 1}],
)
def test_other_activations_are_not_mixed_up(change, phantoms, passes):
    """What changes the activations is part of the key."""
    X, _ = phantoms
    before = ResNetFeatures(**SPIED).fit_transform(X)
    passes()
    after = ResNetFeatures(**{**SPIED, **change}).fit_transform(X)
    assert passes() == len(X)
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_floats_and_integers_of_equal_bytes_differ(passes):
    """Standardised floats are not images in [0, 1], whatever their bytes."""
    X = np.random.default_rng(0).random((4, 64)).astype(np.float32)
    unit = ResNetFeatures(**SPIED).fit_transform(X)
    standardised = ResNetFeatures(**SPIED).fit(np.r_[X, -X]).transform(X)
    assert not np.allclose(unit, standardised)
    assert passes() == 8


def test_a_changed_file_is_another_image(tmp_path, passes):
    """Files are known by content; a file that was overwritten passes again."""
    path = tmp_path / "xray.png"
    noise = np.random.default_rng(0).integers(0, 255, (2, 16, 16), np.uint8)
    Image.fromarray(noise[0]).save(path)
    features = ResNetFeatures(**SPIED).fit([path])
    first = features.transform([path])
    assert passes() == 1
    features.transform([str(path)])
    assert passes() == 0
    Image.fromarray(noise[1][:, ::-1].copy()).save(path, compress_level=1)
    assert not np.array_equal(features.transform([path]), first)
    assert passes() == 1


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_files_are_decoded_once_per_fit(grouped_files, monkeypatch):
    """Digests for the groups, the trunk and the tails share one decoding."""
    paths, y = grouped_files
    read = []
    original = reading.read_image
    monkeypatch.setattr(reading, "read_image", lambda p, *a: read.append(p) or original(p, *a))
    ResNetStacking(**{**SPIED, "backbone": toy}, cv=2, max_epochs=2).fit(paths, y)
    assert sorted(read) == sorted(paths[:, 0])


class Waiting(nn.Conv2d):
    """Go on with the first batch only when a file of the second is being read."""

    second_is_read: threading.Event

    def forward(self, x):
        if not is_probe(x):
            assert self.second_is_read.wait(60), "nothing was decoded while the trunk ran"
        return super().forward(x)


def waiting_toy():
    net = ToyResNet()
    net.conv1.__class__ = Waiting
    return net


@pytest.mark.parametrize("trainable", ["head", "layer2"])
def test_files_are_decoded_while_the_trunk_runs(trainable, grouped_files, monkeypatch):
    """The next batch is read ahead, and results come in order."""
    paths, _ = grouped_files
    options = {"weights": None, "image_size": 16, "trainable": trainable, "batch_size": 20}
    expected = ResNetFeatures(**options, backbone=ToyResNet).fit_transform(paths)
    clear_cache()
    FILE_DIGESTS.clear()
    Waiting.second_is_read = threading.Event()
    original = reading.read_image

    def read(path, *args):
        if path == paths[20, 0]:
            Waiting.second_is_read.set()
        return original(path, *args)

    monkeypatch.setattr(reading, "read_image", read)
    found = ResNetFeatures(**options, backbone=waiting_toy).fit_transform(paths)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_file_that_cannot_be_read_ends_the_reading(grouped_files):
    """An error met ahead is told as any other, and leaves no thread behind."""
    paths, _ = grouped_files
    Path(paths[45, 0]).write_bytes(b"no image")
    features = ResNetFeatures(**{**SPIED, "backbone": toy}, batch_size=20)
    with pytest.raises(OSError, match=r"1 of \d+ image files could not be read: .*45.png"):
        features.fit_transform(paths)
    assert not [t for t in threading.enumerate() if t.name.startswith("cxr_sklearn")]


@pytest.fixture
def grouped_files(phantoms, tmp_path):
    """Return phantoms as files."""
    X, y = phantoms
    paths = write_images(tmp_path, X)
    return np.array(paths, dtype=object)[:, None], y


@pytest.mark.parametrize("kind", ["str", "path", "joblib"])
def test_a_folder_keeps_activations_between_processes(kind, phantoms, passes, tmp_path):
    """Memory names a folder; what is there needs no pass, in whatever process."""
    X, _ = phantoms
    memory = {"str": str(tmp_path), "path": tmp_path, "joblib": joblib.Memory(tmp_path, verbose=0)}
    first = ResNetFeatures(**SPIED, memory=memory[kind]).fit_transform(X)
    assert passes() == len(X)
    clear_cache()
    second = ResNetFeatures(**SPIED, memory=memory[kind]).fit_transform(X)
    assert passes() == 0
    np.testing.assert_array_equal(first, second)


def test_a_bad_folder_is_named(phantoms, tmp_path):
    """A folder that cannot be made is an error at fit, in one line."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match=r"memory='.*file.*expected a writable folder") as caught:
        ResNetFeatures(backbone=toy, weights=None, image_size=16, memory=file / "x").fit(
            phantoms[0]
        )
    assert "\n" not in str(caught.value)


def test_memory_is_bounded_and_survives_a_scan():
    """A full cache keeps what it has of a trunk; another trunk's rows make room."""
    cache = ActivationCache(max_bytes=400)
    rows = np.zeros((15, 10), np.float32)  # 40 bytes each
    keys = [bytes([i]) for i in range(15)]
    cache.put("one", keys, rows)
    for _ in range(2):
        held = [row is not None for row in cache.get("one", keys)]
        assert held == [True] * 10 + [False] * 5
        cache.put("one", keys[10:], rows[10:])
    cache.put("two", keys[:3], rows[:3])
    assert all(row is not None for row in cache.get("two", keys[:3]))
    assert [row is not None for row in cache.get("one", keys)] == [True] * 7 + [False] * 8


def in_turns(cache, rows, keys, turns=6):
    """Ask for, and put, the rows of two trunks by turns; return the hits of each turn."""
    hits = []
    for _ in range(turns):
        for trunk in ("one", "two"):
            missing = [i for i, row in enumerate(cache.get(trunk, keys)) if row is None]
            hits.append(len(keys) - len(missing))
            for start in range(0, len(missing), 4):
                part = missing[start : start + 4]
                cache.put(trunk, [keys[i] for i in part], rows[part])
    return hits


@pytest.mark.parametrize("share", [0.95, 0.8, 0.6])
def test_two_trunks_used_in_turn_keep_the_rows_that_fit(share):
    """A search over cuts does this. A limit that is a little too small drops few rows."""
    rows = np.zeros((40, 64), np.float32)
    cache = ActivationCache(int(share * 80) * rows[0].nbytes)
    hits = in_turns(cache, rows, [bytes([i]) for i in range(40)])
    assert set(hits[2:]) == {int(share * 80) - 40}


@pytest.fixture
def small_pages(monkeypatch):
    """Give files pages of the size of a few toys' rows."""
    monkeypatch.setattr(sqlite, "PAGE_BYTES", 4096)


def used_bytes(folder):
    """Return the bytes of the pages in use of the only file of a folder."""
    (path,) = folder.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        return size_limit.page_bytes(connection)[1]


@pytest.mark.parametrize("n_values", [256, 2048, 50_000])
def test_a_folder_with_a_bound_keeps_to_it(n_values, small_pages, tmp_path):
    """Other trunks make room, as much as is needed; a bound that lacks a little costs a little."""
    rows = np.random.default_rng(0).random((40, n_values)).astype(np.float32)
    keys = [bytes([i]) * 16 for i in range(40)]
    in_turns(DiskCache(tmp_path / "unbounded"), rows, keys, turns=1)
    whole = used_bytes(tmp_path / "unbounded")
    bound = int(0.8 * whole) + 4 * size_limit.row_bytes(rows[0].nbytes)
    hits = in_turns(DiskCache(tmp_path / "bounded", bound), rows, keys)
    assert used_bytes(tmp_path / "bounded") <= bound
    assert min(hits[2:]) >= 6
    for trunk in ("one", "two"):
        for row, expected in zip(
            DiskCache(tmp_path / "bounded").get(trunk, keys), rows, strict=True
        ):
            assert row is None or np.array_equal(row, expected)


def test_the_size_limit_holds_for_rows_of_a_middle_cut(tmp_path):
    """The test uses pages and rows of the sizes that real files have."""
    rows = np.random.default_rng(0).random((12, 200_704)).astype(np.float32)
    bound = 15 * size_limit.row_bytes(rows[0].nbytes)
    in_turns(DiskCache(tmp_path, bound), rows, [bytes([i]) * 16 for i in range(12)], turns=2)
    assert 0.7 * bound < used_bytes(tmp_path) <= bound


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_rows_beyond_a_folders_bound_are_kept_in_memory(phantoms, passes, small_pages, tmp_path):
    """A warning names the bound, and an image passes once still."""
    X, y = phantoms
    memory = CacheFolder(tmp_path, bytes_limit="32K")
    with pytest.warns(CacheWarning, match=r"\(bytes_limit=32768 is reached\)"):
        model = ResNetOvO(**SPIED, memory=memory, batch_size=8, max_epochs=2).fit(X, y)
    assert passes() == len(X)
    assert used_bytes(tmp_path) <= 32768
    clear_cache()
    ResNetFeatures(**SPIED, memory=tmp_path).fit_transform(X)
    assert 0 < passes() < len(X)
    twin = pickle.loads(pickle.dumps(clone(model)))
    assert twin.memory == memory


@pytest.mark.parametrize("bound", [0, -1, "20", "G", "", "many", 1.5, None, float("nan")])
def test_an_invalid_size_limit_raises(bound):
    """The error contains the value and describes valid values."""
    with pytest.raises(
        ValueError, match=r"bytes_limit=.*not a positive number of bytes; expected an integer"
    ):
        CacheFolder("anywhere", bytes_limit=bound)


def test_threads_share_both_caches(tmp_path):
    """Rows put by many threads at once come back whole."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((64, 3, 5)).astype(np.float32)
    keys = [bytes([i]) for i in range(64)]
    for cache in (ActivationCache(), DiskCache(tmp_path)):
        with ThreadPoolExecutor(8) as pool:
            starts = range(0, 64, 4)
            jobs = [pool.submit(cache.put, "t", keys[s : s + 8], rows[s : s + 8]) for s in starts]
            for job in jobs:
                job.result()
        np.testing.assert_array_equal(np.stack(cache.get("t", keys)), rows)


def test_loading_on_another_machine_creates_no_folder(tmp_path):
    """A model brought to a machine without its folder uses the memory of its process."""
    assert isinstance(activation_cache(tmp_path / "gone", create=False), ActivationCache)
    assert not (tmp_path / "gone").exists()
    assert isinstance(activation_cache(tmp_path / "new", create=True), DiskCache)


@pytest.fixture
def small_bound(monkeypatch):
    """Shrink every cache to 20 rows of the toy's features."""
    bound = 20 * 32 * 4
    monkeypatch.setattr(memory.IN_PROCESS, "max_bytes", bound)
    monkeypatch.setattr(activations, "IN_PROCESS_BYTES", bound)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_activations_beyond_the_bound_are_computed_again(phantoms, passes, small_bound):
    """Without memory a warning names it, and the model is the same."""
    X, y = phantoms
    with pytest.warns(TrunkPassWarning, match=r"memory=<folder>"):
        lazy = ResNetOvO(**SPIED, max_epochs=3).fit(X, y)
    assert passes() > 3 * len(X)
    p = lazy.predict_proba(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "IN_PROCESS_BYTES", 2**30)
        pinned = ResNetOvO(**SPIED, max_epochs=3).fit(X, y)
    np.testing.assert_allclose(pinned.predict_proba(X), p, atol=1e-4)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_a_folder_without_a_size_limit_stores_all_rows(phantoms, passes, small_bound, tmp_path):
    """With memory=folder, each image is run through the trunk once, and nothing warns."""
    X, y = phantoms
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrunkPassWarning)
        ResNetStacking(**SPIED, max_epochs=2, cv=2, memory=tmp_path).fit(X, y)
    assert passes() == len(X)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_workers_can_compute_beyond_the_bound(phantoms, small_bound):
    """Rows that no process holds whole are computed in the workers."""
    with pytest.warns(TrunkPassWarning, match=r"memory=<folder>"):
        model = ResNetOvO(**{**SPIED, "backbone": toy}, max_epochs=2, n_jobs=2).fit(*phantoms)
    assert len(model.estimators_) == 3


class Negating(ToyResNet):
    def __init__(self, negate):
        super().__init__()
        self.negate = negate

    def forward(self, x):
        return super().forward(-x if self.negate else x)


def test_equal_weights_with_another_setting_are_not_mixed_up(phantoms):
    """Two nets that differ in a setting of their code have activations of their own."""
    options = {"weights": None, "image_size": 16}
    one, two = (
        ResNetFeatures(backbone=lambda n=n: Negating(n), **options).fit_transform(phantoms[0])
        for n in (False, True)
    )
    assert not np.allclose(one, two)


# -- several processes ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("cuts", [["head"], ["head", "layer4"]])
def test_a_search_by_two_workers_passes_each_image_once_in_all(cuts, phantoms, tmp_path):
    """Two workers begin with the same images; neither computes what the other is computing."""
    X, y = phantoms
    model = ResNetOvO(
        backbone=Noted(tmp_path),
        weights=None,
        image_size=16,
        batch_size=8,
        max_epochs=2,
        random_state=0,
        memory=tmp_path / "memory",
    )
    grid = {"lr": [1e-4, 1e-3, 1e-2], "trainable": cuts}
    search = GridSearchCV(model, grid, cv=5, n_jobs=2, error_score="raise").fit(X, y)
    search.predict(X)
    passes = noted(tmp_path)
    # How the images are shared between the two depends on the load of the machine.
    assert sum(passes.values()) == len(cuts) * len(X)
    assert not list((tmp_path / "memory").glob("*.lock"))


OTHER = """
import sys
import numpy as np
from cxr_sklearn._cache import DiskCache
keys = [bytes([i]) * 16 for i in range(10)]
cache = DiskCache(sys.argv[1])
with cache.turn("t", keys) as (ready, mine):
    print(len(ready), len(mine), flush=True)
    sys.stdin.readline()
    cache.put("t", keys[:5], np.ones((5, 4), np.float32))
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Start a process that computes ten rows."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "0 10\n"
    yield process
    process.kill()
    process.communicate()


def taken(folder, keys, **options):
    """Return which rows are ready, and which are this process's to compute."""
    with DiskCache(folder).turn("t", keys, **options) as (ready, mine):
        return [keys.index(key) for key in ready], [keys.index(key) for key in mine]


def test_what_another_process_computes_is_left_to_it(other, tmp_path):
    """Its rows are there when it has put them, and the others are free when it has ended."""
    keys = KEYS[:12]
    assert taken(tmp_path, keys) == ([], [10, 11])
    assert taken(tmp_path, keys, wait=False)[1] == list(range(12))
    other.stdin.write("\n")
    other.stdin.flush()
    deadline = time.monotonic() + 60
    while not taken(tmp_path, keys)[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(taken(tmp_path, keys)[0]) == list(range(5))
    other.communicate("\n")
    ready, mine = taken(tmp_path, keys)
    assert (sorted(ready), mine) == (list(range(5)), list(range(5, 12)))


def test_what_a_killed_process_was_computing_is_free(other, tmp_path):
    """Nobody waits for the dead, and their locks are cleared away."""
    assert taken(tmp_path, KEYS[:10]) == ([], [])
    other.kill()
    other.wait()
    assert taken(tmp_path, KEYS[:10]) == ([], list(range(10)))
    assert not list(tmp_path.glob("*.lock"))


def test_threads_of_a_process_pass_an_image_once(phantoms, passes):
    """They take turns."""
    features = ResNetFeatures(**SPIED, batch_size=10).fit(phantoms[0])
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(features.transform, [phantoms[0]] * 4))
    assert passes() == len(phantoms[0])
    for result in results:
        np.testing.assert_array_equal(result, results[0])


# -- what may happen to a file -------------------------------------------------------------------


ROWS = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
KEYS = [bytes([i]) * 16 for i in range(40)]


def spoil(path, where):
    """Overwrite some bytes of a file: at its head, all over it, or cut its end off."""
    data = bytearray(path.read_bytes())
    if where == "head":
        data[:100] = b"x" * 100
    elif where == "pages":
        for start in range(4096, len(data), 4096):
            data[start : start + 64] = b"\xff" * 64
    elif where == "end":
        del data[len(data) // 2 :]
    elif where == "text":
        data = bytearray(b"no database at all, whatever its name")
    path.write_bytes(data)


def filled(folder):
    """Return the only file of a folder with rows, its log taken in."""
    DiskCache(folder).put("t", KEYS, ROWS)
    (path,) = folder.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.mark.parametrize("where", ["head", "pages", "end", "text"])
def test_a_damaged_file_is_replaced_by_another(where, tmp_path):
    """It is named, left where it is, and what it held is kept anew; no wrong row comes of it."""
    path = filled(tmp_path)
    spoil(path, where)

    def use():
        found = DiskCache(tmp_path).get("t", KEYS)
        DiskCache(tmp_path).put("t", KEYS, ROWS)
        return found

    with pytest.warns(CacheWarning, match=r"activations-v3.sqlite' is unusable"):
        found = use()
    for row, expected in zip(found, ROWS, strict=True):
        assert row is None or np.array_equal(row, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(np.stack(DiskCache(tmp_path).get("t", KEYS)), ROWS)
    assert path.exists()
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ROWS[7].tobytes(), ROWS[8].tobytes()),  # a row in the place of another
        (ROWS[7].tobytes(), ROWS[7].byteswap().tobytes()),
        (KEYS[7], b"\x07" * 15 + b"\x06"),  # a key, so that SQLite may find its neighbour
        (b"<f464", b">f464"),
        (b"<f464", b"<f463"),
        (b"<f464", b",f464"),
    ],
    ids=["value", "swapped", "key", "byte order", "shape", "dtype"],
)
def test_a_changed_row_is_computed_again(old, new, tmp_path):
    """SQLite does not notice a changed byte; the checksum does. No wrong row is ever returned."""
    path = filled(tmp_path)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = DiskCache(tmp_path).get("t", KEYS)
        DiskCache(tmp_path).put("t", KEYS, ROWS)
        again = DiskCache(tmp_path).get("t", KEYS)
    assert all(row is None or np.array_equal(row, r) for row, r in zip(found, ROWS, strict=True))
    assert any(row is None for row in found)
    np.testing.assert_array_equal(np.stack(again), ROWS)
    assert {w.category for w in caught} <= {CacheWarning}


def test_no_flipped_bit_returns_a_wrong_row(tmp_path):
    """Bits drawn from the whole file, keys and headers of rows among them."""
    rows, keys = ROWS[:12, :8], KEYS[:12]
    DiskCache(tmp_path / "whole").put("t", keys, rows)
    (path,) = (tmp_path / "whole").glob("*.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = np.frombuffer(path.read_bytes(), np.uint8)
    used = np.flatnonzero(data)
    rng = np.random.default_rng(0)
    damaged = tmp_path / "damaged"
    missed = 0
    for _ in range(300):
        shutil.rmtree(damaged, ignore_errors=True)
        damaged.mkdir()
        changed = data.copy()
        changed[rng.choice(used)] ^= 1 << rng.integers(8)
        (damaged / path.name).write_bytes(changed.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            found = DiskCache(damaged).get("t", keys)
        for row, expected in zip(found, rows, strict=True):
            assert row is None or np.array_equal(row, expected)
        missed += any(row is None for row in found)
    assert missed > 100


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_or_link_with_the_name_of_the_cache_file_is_unchanged(kind, tmp_path):
    """The cache does not write into a folder or through a link of that name."""
    place = tmp_path / "activations-v3.sqlite"
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(CacheWarning, match="it is not a regular file"):
        DiskCache(tmp_path).put("t", KEYS, ROWS)
    np.testing.assert_array_equal(np.stack(DiskCache(tmp_path).get("t", KEYS)), ROWS)
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_of_another_program_is_unchanged(tmp_path):
    """A database of another program under the name of the cache file keeps its tables."""
    path = tmp_path / "activations-v3.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rows (theirs TEXT)")
        connection.commit()
    before = path.read_bytes()
    with pytest.warns(CacheWarning, match="cxr_sklearn did not create it"):
        DiskCache(tmp_path).put("t", KEYS, ROWS)
    assert path.read_bytes() == before
    np.testing.assert_array_equal(np.stack(DiskCache(tmp_path).get("t", KEYS)), ROWS)


def test_a_file_of_another_version_is_named(tmp_path):
    """It is not used, and not deleted: another process may use it."""
    (tmp_path / "activations-v1.sqlite").touch()
    with pytest.warns(CacheWarning, match=r"activations-v1.sqlite' was created by another version"):
        DiskCache(tmp_path)
    assert (tmp_path / "activations-v1.sqlite").exists()


@pytest.fixture
def disk(monkeypatch):
    """Return a function that sets the room on the disk; memory is empty again afterwards."""

    def set_free(free):
        usage = SimpleNamespace(total=2**40, used=0, free=free)
        monkeypatch.setattr(size_limit.shutil, "disk_usage", lambda _: usage)

    yield set_free
    disk_module.FAILED_FOLDERS.clear()
    clear_cache()


def test_on_a_nearly_full_disk_other_trunks_make_room(disk, small_pages, tmp_path):
    """The one written longest ago goes first, as far as is needed; its own rows never go."""
    cache = DiskCache(tmp_path)
    for trunk in ("a", "b", "c"):
        cache.put(trunk, KEYS, ROWS)
    disk(2**30 + 100)
    cache.put("c", [b"new"], ROWS[:1])
    assert any(row is None for row in cache.get("a", KEYS))
    np.testing.assert_array_equal(np.stack(cache.get("b", KEYS)), ROWS)
    np.testing.assert_array_equal(np.stack(cache.get("c", [*KEYS, b"new"])), ROWS[[*range(40), 0]])


def test_rows_are_not_deleted_if_that_frees_no_space(disk, small_pages, tmp_path):
    """On a disk without room, and for a batch beyond the bound, other trunks' rows stay."""
    cache = DiskCache(tmp_path)
    cache.put("a", KEYS, ROWS)
    disk(0)
    with pytest.warns(CacheWarning, match="No space left on device"):
        cache.put("b", KEYS, ROWS)
    disk(2**40)
    cache.put("b", KEYS, ROWS)
    clear_cache()
    # all of "a" would not be enough
    bounded = DiskCache(tmp_path, max_bytes=2 * ROWS.nbytes)
    with pytest.warns(CacheWarning, match="bytes_limit=.* is reached"):
        bounded.put("b", [b"2" + key for key in KEYS], np.tile(ROWS, 2))
    clear_cache()
    np.testing.assert_array_equal(np.stack(DiskCache(tmp_path).get("a", KEYS)), ROWS)


def test_a_full_disk_is_a_warning(disk, tmp_path):
    """What finds no room is kept in memory; what is on the disk is still read."""
    cache = DiskCache(tmp_path)
    cache.put("t", KEYS[:20], ROWS[:20])
    disk(0)
    with pytest.warns(CacheWarning, match=r"cannot be written .*No space left on device"):
        cache.put("t", KEYS[20:], ROWS[20:])
    np.testing.assert_array_equal(np.stack(cache.get("t", KEYS)), ROWS)
    clear_cache()
    assert sum(row is None for row in DiskCache(tmp_path).get("t", KEYS)) == 20


def test_full_disk_of_sqlite_is_recognised(disk, small_pages, tmp_path, monkeypatch):
    """The same when the room runs out between the look and the writing."""
    cache = DiskCache(tmp_path)

    class Full(sqlite.Connection):
        def __enter__(self):
            connection = super().__enter__()
            connection.execute("PRAGMA max_page_count = 4")
            return connection

    monkeypatch.setattr(sqlite, "Connection", Full)
    with pytest.warns(CacheWarning, match=r"cannot be written .*full"):
        cache.put("t", KEYS, ROWS)
    np.testing.assert_array_equal(np.stack(cache.get("t", KEYS)), ROWS)


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
def test_a_model_predicts_where_its_folder_fails(disk, phantoms, tmp_path, monkeypatch):
    """A fitted model needs its folder for speed only."""
    X, y = phantoms
    model = ResNetOvO(**SPIED, max_epochs=2, memory=tmp_path).fit(X, y)
    expected = model.predict_proba(X)

    def failing(*args, **options):
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        raise error

    monkeypatch.setattr(sqlite, "Connection", failing)
    with pytest.warns(CacheWarning, match="kept in the memory of the process"):
        found = model.predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(OSError, match="activations cannot be stored there"):
        model.fit(X, y)


WRITER = """
import sys
import numpy as np
from cxr_sklearn._cache import DiskCache
cache = DiskCache(sys.argv[1])
seed = int(sys.argv[2])
for block in range(10_000):
    ids = [f"{seed} {block} {i}" for i in range(8)]
    rows = np.stack([np.random.default_rng(list(id.encode())).random(512, "f4") for id in ids])
    cache.put("t", [id.encode() for id in ids], rows)
    print(*ids, sep="\\n", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_writers_leave_no_wrong_row_and_lose_no_row(tmp_path):
    """Sixty processes, two at a time, each killed at a moment drawn at random."""
    rng = np.random.default_rng(0)
    told: list[str] = []
    for round_ in range(30):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(2 * round_ + k)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for k in range(2)
        ]
        first = [writer.stdout.readline() for writer in writers]  # they have begun
        for writer, line in zip(writers, first, strict=True):
            time.sleep(rng.uniform(0, 0.15))
            writer.kill()
            rest, _ = writer.communicate()
            told += [line.strip(), *rest.split("\n")[:-1]]  # the last may be half a line
    assert len(told) > 60 * 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = DiskCache(tmp_path).get("t", [id.encode() for id in told])
    for id_, row in zip(told, found, strict=True):
        assert row is not None, f"{id_} was kept, and is lost"
        expected = np.random.default_rng(list(id_.encode())).random(512, "f4")
        np.testing.assert_array_equal(row, expected)
    assert list(tmp_path.glob("*.unusable")) == []
