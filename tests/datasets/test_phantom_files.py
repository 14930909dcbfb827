"""Phantoms as files, clean and flawed."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_sklearn.datasets import _phantoms, make_chest_phantom_files, make_chest_phantoms
from cxr_sklearn.datasets._phantom_files import FILE_FLAWS


def digests(root):
    """Return the content of a folder."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return [(str(p.relative_to(root)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]


def test_files_hold_the_phantoms(tmp_path):
    """The images are those of ``make_chest_phantoms``, with a row of metadata each."""
    bunch = make_chest_phantom_files(tmp_path, 30, image_size=32, random_state=0)
    X, y = make_chest_phantoms(30, image_size=32, random_state=np.random.RandomState(0))
    found = set()
    for path in bunch.data[:, 0]:
        with Image.open(path) as image:
            found.add(image.tobytes())
    assert found == {row.tobytes() for row in X}
    assert sorted(bunch.target) == sorted(y)
    assert set(bunch.sources) == {"hospital-a", "hospital-b"}
    assert {"view", "age", "sex"} <= set(bunch.frame)


def test_the_seed_determines_the_files(tmp_path):
    """Byte for byte."""
    for name in ("a", "b"):
        make_chest_phantom_files(tmp_path / name, 12, confound=FILE_FLAWS, random_state=3)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_clean_patients_have_one_class(tmp_path):
    """And some of them several images."""
    bunch = make_chest_phantom_files(tmp_path, 60, random_state=0)
    frame = pd.DataFrame({"y": bunch.target, "patient": bunch.groups})
    assert frame.groupby("patient")["y"].nunique().max() == 1
    assert frame["patient"].value_counts().max() > 1


@pytest.mark.parametrize("label", ["COVID-19", "Pneumonia"])
def test_differences_of_classes_do_not_touch_the_border(label, monkeypatch):
    """Opacities leave the outer eighth as it is, and show inside."""
    sick = [_phantoms._phantom(label, 64, np.random.RandomState(seed))[0] for seed in range(10)]
    opacities = _phantoms._opacities
    monkeypatch.setattr(_phantoms, "_opacities", lambda *args: 0 * opacities(*args))
    well = [_phantoms._phantom(label, 64, np.random.RandomState(seed))[0] for seed in range(10)]
    change = np.abs(np.array(sick, dtype=int) - well).max(axis=0)
    inside = np.zeros((64, 64), dtype=bool)
    inside[8:-8, 8:-8] = True
    assert change[~inside].max() <= 1
    assert change[inside].max() > 20


def test_pixel_flaws_mark_mostly_one_class():
    """The frame stands around most COVID-19 images and few others."""
    X, y = make_chest_phantoms(200, image_size=32, confound="border", random_state=0)
    framed = (X.reshape(-1, 32, 32)[:, 0] == 0).all(axis=1)
    assert framed[y == "COVID-19"].mean() > 0.8
    assert framed[y != "COVID-19"].mean() < 0.2


def test_an_unknown_flaw_raises_an_error_that_lists_the_known_flaws():
    with pytest.raises(ValueError, match="confound='colour'; expected some of border, exposure"):
        make_chest_phantoms(3, confound="colour")


def test_a_folder_that_is_not_empty_raises(tmp_path):
    """Synthetic images are never mixed with files of the user."""
    (tmp_path / "a.txt").touch()
    with pytest.raises(FileExistsError, match="it contains files; expected an empty folder"):
        make_chest_phantom_files(tmp_path, 3)
    with pytest.raises(FileExistsError, match="it is a file; expected an empty folder"):
        make_chest_phantom_files(tmp_path / "a.txt", 3)
