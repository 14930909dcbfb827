"""Cache folders that are full, read-only, deleted, crafted, or no folders at all."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cxr_sklearn import CacheFolder, ResNetFeatures, ResNetOvO, XRayLoader, clear_cache
from cxr_sklearn._cache import DiskCache, disk, size_limit, sqlite
from cxr_sklearn.exceptions import CacheWarning

from ..toys import ToyResNet, toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0}
ROWS = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
KEYS = [bytes([i]) * 16 for i in range(6)]

pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@pytest.fixture(autouse=True)
def _nothing_in_memory():
    """Forget which folders failed, and what is in memory in their place."""
    yield
    disk.FAILED_FOLDERS.clear()
    clear_cache()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a folder the home folder."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


# -- the parameter --------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [True, False, "infG", "1e400G", "-infM", "nanK"])
def test_invalid_limits_raise(limit):
    """Truth values are not sizes, and infinity is not one either."""
    with pytest.raises(ValueError, match=r"bytes_limit=.* is invalid: it is not a positive number"):
        CacheFolder("anywhere", bytes_limit=limit)


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("", ValueError, "location='' is invalid: it is empty; expected the path of a folder"),
        ("a\0b", ValueError, "location=.* is invalid: it contains a null character"),
        (None, TypeError, "location=None is invalid: it is not a path"),
        (3, TypeError, "location=3 is invalid: it is not a path"),
    ],
)
def test_invalid_locations_raise(location, error, message):
    """A limit without a folder would be ignored."""
    with pytest.raises(error, match=message):
        CacheFolder(location, bytes_limit="1G")


class NoFolder:
    """An object that caches functions somewhere."""

    def cache(self, function):
        return function


class EmptyFolder(NoFolder):
    location = ""


@pytest.mark.parametrize(
    ("memory", "error", "message"),
    [
        ("", ValueError, "memory='' is invalid: it is empty; .* Pass '.' for the working dir"),
        (EmptyFolder(), ValueError, "memory='' is invalid: it is empty"),
        ("a\0b", ValueError, "memory=.* is invalid: it contains a null character; expected"),
        (NoFolder(), TypeError, "memory=.* is invalid: it has no attribute location; expected"),
    ],
)
def test_memory_that_names_no_folder_raises(
    memory, error, message, phantoms, tmp_path, monkeypatch
):
    """Nothing is written to the working directory, which an empty path would be."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        ResNetFeatures(**SMALL, memory=memory).fit(phantoms[0])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [str, Path, lambda path: CacheFolder(path, "1G")])
def test_a_tilde_is_the_home_folder(kind, phantoms, home, tmp_path, monkeypatch):
    """`~` does not become the name of a folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ResNetFeatures(**SMALL, memory=kind("~/cache")).fit_transform(phantoms[0])
    assert list((home / "cache").glob("*.sqlite"))
    assert not list((tmp_path / "here").glob("~*/*.sqlite"))


@pytest.mark.parametrize(
    ("memmap", "message"),
    [("", "memmap='' is invalid: it is empty"), ("a\0b", "memmap=.* contains a null character")],
)
def test_a_memmap_that_names_no_folder_raises(memmap, message, tmp_path, monkeypatch):
    """The folder of rows is checked in the same way."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        XRayLoader(image_size=4, memmap=memmap).fit_transform(["a.png"])
    assert not list(tmp_path.iterdir())


def test_a_tilde_in_memmap_is_the_home_folder(home, tmp_path, monkeypatch):
    """Rows are kept there, and no folder of that name is made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    XRayLoader(image_size=4, memmap="~/rows").fit_transform([str(tmp_path / "a.png")])
    assert list((home / "rows").glob("*.npy"))
    assert not list((tmp_path / "here").iterdir())


# -- full disks and read-only folders -------------------------------------------------------------


def failing_connection(code, message, is_readable=True):
    """Return a Connection that cannot write, nor read in the mode of a writer."""

    class Failing(sqlite.Connection):
        def __init__(self, path, mode="rw"):
            if mode == "ro" and is_readable:
                super().__init__(path, mode)
                return
            error = sqlite3.OperationalError(message)
            error.sqlite_errorcode = code
            raise error

    return Failing


FULL = sqlite3.SQLITE_FULL, "database or disk is full"
READ_ONLY = sqlite3.SQLITE_CANTOPEN, "unable to open database file"


def fitted(X, y, folder):
    """Return a fitted model."""
    return ResNetOvO(**SMALL, memory=folder, max_epochs=2).fit(X, y)


@pytest.mark.parametrize("is_made", [True, False])
@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN]
)
def test_a_disk_that_is_full_at_fit_is_a_warning(code, is_made, phantoms, tmp_path, monkeypatch):
    """Activations are kept in memory, and the model is the same."""
    X, y = phantoms
    expected = fitted(X, y, None).predict_proba(X)
    clear_cache()
    folder = tmp_path / "memory"
    if is_made:
        folder.mkdir()
    usage = SimpleNamespace(total=2**40, used=2**40, free=0)
    monkeypatch.setattr(size_limit.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(sqlite, "Connection", failing_connection(code, "it failed"))
    with pytest.warns(CacheWarning, match=r"\(it failed\).* kept in the memory of the process"):
        model = fitted(X, y, folder)
    assert model.cache_info_[:2] == (0, len(X))
    with pytest.warns(CacheWarning, match="kept in the memory of the process"):
        np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_a_folder_that_cannot_be_created_on_a_full_disk_warns(phantoms, tmp_path, monkeypatch):
    """The disk may be so full that even the folder cannot be created."""

    def mkdir(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.warns(CacheWarning, match="No space left on device.*the memory of the process"):
        ResNetFeatures(**SMALL, memory=tmp_path / "new").fit_transform(phantoms[0])


@pytest.mark.parametrize("failure", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_a_filled_folder_is_read_where_it_cannot_be_written(
    failure, phantoms, tmp_path, monkeypatch
):
    """What is stored needs no pass, and the rest is kept in memory; nothing is written."""
    X, y = phantoms
    expected = fitted(X, y, None).predict_proba(X)
    ResNetFeatures(**SMALL, memory=tmp_path).fit_transform(X[:40])
    clear_cache()
    # the mode counts for users whom permissions bind, the connection for all
    os.chmod(tmp_path, 0o500)
    monkeypatch.setattr(sqlite, "Connection", failing_connection(*failure))
    before = sorted(tmp_path.iterdir())
    try:
        with pytest.warns(CacheWarning, match=rf"cannot be written \({failure[1]}\) and are kept"):
            model = fitted(X, y, tmp_path)
        assert model.cache_info_[:2] == (40, 20)
        with pytest.warns(CacheWarning, match="cannot be written"):
            np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)
        assert sorted(tmp_path.iterdir()) == before
    finally:
        os.chmod(tmp_path, 0o700)


def test_damage_that_cannot_be_marked_is_not_read(tmp_path, monkeypatch):
    """In a read-only folder no other file can be begun; no wrong row is returned."""
    DiskCache(tmp_path).put("t", KEYS, ROWS)
    (path,) = tmp_path.glob("*.sqlite")
    path.write_bytes(path.read_bytes().replace(ROWS[3].tobytes(), ROWS[4].tobytes()))
    monkeypatch.setattr(sqlite, "Connection", failing_connection(*READ_ONLY))
    with pytest.warns(CacheWarning, match="cannot be written"):
        cache = DiskCache(tmp_path)
    assert cache.get("t", KEYS) == [None] * len(KEYS)
    cache.put("t", KEYS[3:4], ROWS[3:4])
    np.testing.assert_array_equal(cache.get("t", KEYS[3:4])[0], ROWS[3])
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_without_activations_raises(phantoms, tmp_path, monkeypatch):
    """It is of no use, so it is most likely the wrong folder."""
    monkeypatch.setattr(sqlite, "Connection", failing_connection(*READ_ONLY))
    with pytest.raises(
        OSError, match=r"memory=.* activations cannot be stored there \(unable to open"
    ):
        ResNetFeatures(**SMALL, memory=tmp_path).fit(phantoms[0])


def test_claims_that_find_no_room_do_not_set_a_file_aside(tmp_path, monkeypatch):
    """Only what was claimed is disclaimed: the table of claims may not be there."""
    cache = DiskCache(tmp_path)

    def full(*_):
        error = sqlite3.OperationalError(FULL[1])
        error.sqlite_errorcode = FULL[0]
        raise error

    monkeypatch.setattr(disk, "claim_rows", full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cache.turn("t", KEYS) as (ready, mine):
            assert (ready, mine) == ({}, KEYS)
    assert not list(tmp_path.glob("*.unusable"))


# -- deleted folders ------------------------------------------------------------------------------


class Deleting(ToyResNet):
    """Delete a folder in the third batch, as a user does who empties the cache."""

    folder: Path
    n_batches = -10  # `fit` passes some batches of its own

    def forward(self, x):
        Deleting.n_batches += 1
        if Deleting.n_batches == 3:
            while self.folder.exists():  # the thread that looks ahead may have a file open
                shutil.rmtree(self.folder, ignore_errors=True)
        return super().forward(x)


def test_folder_that_is_deleted_during_a_fit_is_not_created_again(phantoms, tmp_path, monkeypatch):
    """Activations are kept in memory from then on, with a warning."""
    X, _ = phantoms
    plain = {**SMALL, "backbone": ToyResNet, "batch_size": 8}
    expected = ResNetFeatures(**plain).fit_transform(X)
    folder = tmp_path / "memory"
    monkeypatch.setattr(Deleting, "folder", folder, raising=False)
    features = ResNetFeatures(**{**SMALL, "backbone": Deleting}, batch_size=8, memory=folder)
    features.fit(X)
    monkeypatch.setattr(Deleting, "n_batches", 0)
    with pytest.warns(CacheWarning, match=r"cannot be (read|written) \(.*No such file"):
        found = features.transform(X)
    np.testing.assert_array_equal(found, expected)
    assert not folder.exists()
    assert Deleting.n_batches == 8
    features.transform(X[16:])
    assert Deleting.n_batches == 8


# -- files that somebody crafted ------------------------------------------------------------------


def change_rows(folder, keys, dtype, shape, value):
    """Change rows of a file, with the checksum that belongs to the change."""
    is_row = isinstance(value, bytes)
    with closing(sqlite3.connect(folder / "activations-v3.sqlite")) as connection:
        for key in keys:
            checksum = sqlite.row_checksum("t", key, dtype, shape, value) if is_row else b""
            connection.execute(
                "UPDATE rows SET dtype = ?, shape = ?, value = ?, checksum = ? WHERE key = ?",
                (dtype, shape, value, checksum, key),
            )
        connection.commit()


VALUE = ROWS[0].tobytes()


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("O", "8", VALUE),
        ("<f8", "4", VALUE),
        ("<f8", "8", 2 * VALUE),
        ("<i4", "8", VALUE),
        ("S4", "8", VALUE),
        ("f4,f4", "4", VALUE),
        ("(2,)f4", "4", VALUE),
        (None, "8", VALUE),
        (b"<f4", "8", VALUE),
        ("<f4", "-1", VALUE),
        ("<f4", "1_0", VALUE),
        ("<f4", "9" * 5000, VALUE),
        ("<f4", "a", VALUE),
        ("<f4", None, VALUE),
        ("<f4", "8", VALUE[:8]),
        ("<f4", "8", 5),
        ("<f4", "8", "text"),
        ("<f4", "8", None),
        ("<f4", "4,2", VALUE),
        ("<f4", "8,1", VALUE),
        ("<f4", "", VALUE[:4]),
        ("<f4", "0,999999999999", b""),
    ],
)
@pytest.mark.parametrize("n", [1, len(KEYS)])
def test_crafted_rows_are_computed_again(dtype, shape, value, n, tmp_path):
    """A valid checksum does not make a row: its file is set aside like a damaged one."""
    DiskCache(tmp_path).put("t", KEYS, ROWS)
    change_rows(tmp_path, KEYS[:n], dtype, shape, value)
    with pytest.warns(CacheWarning, match="is unusable"):
        found = DiskCache(tmp_path).get("t", KEYS, ROWS.shape[1:])
    assert found == [None] * len(KEYS)
    DiskCache(tmp_path).put("t", KEYS, ROWS)
    np.testing.assert_array_equal(np.stack(DiskCache(tmp_path).get("t", KEYS)), ROWS)


def test_rows_of_one_trunk_have_one_shape(tmp_path):
    """Where the shape is not known beforehand, rows that differ from others are found still."""
    DiskCache(tmp_path).put("t", KEYS, ROWS)
    change_rows(tmp_path, KEYS[2:3], "<f4", "2,4", VALUE)
    with pytest.warns(CacheWarning, match=r"shape \(2, 4\) instead of \(8,\)"):
        DiskCache(tmp_path).get("t", KEYS)


@pytest.mark.parametrize("trainable", ["head", "layer4"])
def test_features_never_have_the_shape_of_a_crafted_file(trainable, phantoms, tmp_path):
    """Every row of a file may be crafted; the network says what shape they have."""
    X, _ = phantoms
    options = {"backbone": "resnet18", "weights": None, "image_size": 32, "trainable": trainable}
    expected = ResNetFeatures(**options, memory=tmp_path).fit_transform(X[:4])
    clear_cache()
    with closing(sqlite3.connect(tmp_path / "activations-v3.sqlite")) as connection:
        for trunk, key in connection.execute("SELECT trunk, key FROM rows").fetchall():
            checksum = sqlite.row_checksum(trunk, key, "<f4", "8", VALUE)
            connection.execute(
                "UPDATE rows SET shape = '8', value = ?, checksum = ? WHERE key = ?",
                (VALUE, checksum, key),
            )
        connection.commit()
    with pytest.warns(CacheWarning, match="instead of"):
        found = ResNetFeatures(**options, memory=tmp_path).fit_transform(X[:4])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER theirs AFTER INSERT ON rows BEGIN DELETE FROM rows; END"],
        ["DROP TABLE rows", "CREATE VIEW rows AS SELECT 't' trunk, x'00' key, 1 dtype, 2 shape"],
    ],
    ids=["trigger", "view"],
)
def test_a_file_with_code_is_set_aside(statements, tmp_path):
    """Triggers and views would run when rows are written or read."""
    DiskCache(tmp_path).put("t", KEYS, ROWS)
    with closing(sqlite3.connect(tmp_path / "activations-v3.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    with pytest.warns(CacheWarning, match="cxr_sklearn did not create it"):
        DiskCache(tmp_path).put("t", KEYS, ROWS)
    np.testing.assert_array_equal(np.stack(DiskCache(tmp_path).get("t", KEYS)), ROWS)


def test_rows_without_values_can_make_room(tmp_path):
    """What other trunks hold is not known to be rows until it is read."""
    DiskCache(tmp_path).put("t", KEYS, ROWS)
    with closing(sqlite3.connect(tmp_path / "activations-v3.sqlite")) as connection:
        connection.execute("INSERT INTO rows VALUES ('other', x'01', NULL, NULL, NULL, NULL)")
        connection.execute("INSERT INTO trunks VALUES ('other', 'some day')")
        connection.commit()
    cache = DiskCache(tmp_path, max_bytes=100_000)
    with pytest.warns(CacheWarning, match="bytes_limit=100000 is reached"):
        cache.put("t", [b"new"], ROWS[:1])


@pytest.mark.parametrize("name", ["x/../../outside", None, 5, b"x", "a\0b", "x" * 5000])
def test_claims_of_no_claimant_are_free(name, tmp_path):
    """The name in a claim is part of a path: it leads to no file outside the folder."""
    folder, outside = tmp_path / "memory", tmp_path / "outside.lock"
    outside.write_text("keep")
    cache = DiskCache(folder)
    (folder / "computing-x").mkdir()
    with cache.turn("t", KEYS):
        pass
    with closing(sqlite3.connect(folder / "activations-v3.sqlite")) as connection:
        connection.execute("INSERT INTO claims VALUES ('t', ?, ?)", (KEYS[0], name))
        connection.commit()
    with cache.turn("t", KEYS) as (_, mine):
        assert mine == KEYS
    assert outside.read_text() == "keep"


@pytest.mark.parametrize("is_dangling", [True, False])
def test_links_in_place_of_locks_are_not_followed(is_dangling, tmp_path):
    """A file of somebody else is neither created nor emptied."""
    folder, outside, name = tmp_path / "memory", tmp_path / "outside", 32 * "a"
    if not is_dangling:
        outside.write_text("keep")
    cache = DiskCache(folder)
    (folder / f"computing-{name}.lock").symlink_to(outside)
    with cache.turn("t", KEYS):
        pass
    with closing(sqlite3.connect(folder / "activations-v3.sqlite")) as connection:
        connection.execute("INSERT INTO claims VALUES ('t', ?, ?)", (KEYS[0], name))
        connection.commit()
    with cache.turn("t", KEYS) as (_, mine):
        assert mine == KEYS
    assert outside.exists() != is_dangling
    assert is_dangling or outside.read_text() == "keep"


@pytest.mark.parametrize("suffix", [".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal"])
def test_links_in_place_of_files_are_not_followed(suffix, tmp_path):
    """They are marked, and another file is begun."""
    folder, outside = tmp_path / "memory", tmp_path / "outside"
    folder.mkdir()
    (folder / f"activations-v3{suffix}").symlink_to(outside)
    with pytest.warns(CacheWarning, match="it is not a regular file"):
        DiskCache(folder).put("t", KEYS, ROWS)
    np.testing.assert_array_equal(np.stack(DiskCache(folder).get("t", KEYS)), ROWS)
    assert not outside.exists()


def test_a_broken_link_in_place_of_a_mark_is_a_mark(tmp_path):
    """Marking a damaged file through a link would create a file of somebody else."""
    folder, outside = tmp_path / "memory", tmp_path / "outside"
    folder.mkdir()
    (folder / "activations-v3.sqlite").write_bytes(b"damage" * 1000)
    (folder / "activations-v3.unusable").symlink_to(outside)
    DiskCache(folder).put("t", KEYS, ROWS)
    np.testing.assert_array_equal(np.stack(DiskCache(folder).get("t", KEYS)), ROWS)
    assert not outside.exists()


def test_link_in_place_of_the_marker_is_not_followed(tmp_path):
    """The same where the link is made after the file was chosen."""
    folder, outside = tmp_path / "memory", tmp_path / "outside"
    cache = DiskCache(folder)
    cache.put("t", KEYS, ROWS)
    change_rows(folder, KEYS[:1], "O", "8", VALUE)
    (folder / "activations-v3.unusable").symlink_to(outside)
    with pytest.warns(CacheWarning, match="is unusable"):
        cache.get("t", KEYS)
    assert not outside.exists()


def test_many_unusable_files_raise(tmp_path):
    """A disk that damages whatever is written to it is not filled with files."""
    for number in range(disk.MAX_FILES):
        (tmp_path / f"activations-v3{f'-{number}' if number else ''}.unusable").touch()
    with pytest.raises(
        OSError,
        match=rf"cannot be stored there .*{disk.MAX_FILES} files in the folder are unusable",
    ):
        DiskCache(tmp_path)
