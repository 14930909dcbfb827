"""Images that the guard and curation find, and ordinary radiographs that they flag.

python benchmarks/guard.py --data FOLDER --views FOLDER

FOLDER of --data has a folder per class, of frontal radiographs. FOLDER of --views has
metadata.csv with the columns filename, patient and view, and the files in images/. Views that
begin with PA or AP are frontal, L is lateral, Axial and Coronal are CT slices.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold
from sklearn.utils import Bunch

from cxr_sklearn import XRayLoader
from cxr_sklearn.datasets import load_xray_folder
from cxr_sklearn.preprocessing import MeanRadiograph
from cxr_sklearn.quality import CurationRules, curate
from cxr_sklearn.quality._measure import measure_files

KINDS = {"PA": "frontal", "AP": "frontal", "L": "lateral", "Axial": "CT", "Coronal": "CT"}
LANDSCAPE = 1.1  # width / height from which a radiograph counts as landscape
SMALL = 100


def flagged(guard: MeanRadiograph, rows: np.ndarray) -> np.ndarray:
    """Return which rows a guard takes for outliers."""
    return guard.predict(rows) == -1


def of(found: np.ndarray, mask: np.ndarray) -> str:
    """Return a count of a number."""
    return f"{int(found[mask].sum())} of {int(mask.sum())}"


def guard_table(bunch: Bunch, views: pd.DataFrame) -> pd.DataFrame:
    """Return what the guard of a saved pipeline flags, trained on many images and on few."""
    loader = XRayLoader(image_size=224).fit(bunch.data)
    rows = loader.transform(bunch.data)
    others = loader.transform(views[["path"]].to_numpy())
    wide = measure_files(views["path"].tolist()).frame["aspect"].to_numpy(float) > LANDSCAPE
    kind = views["kind"].to_numpy()
    unseen = np.zeros(len(rows), dtype=bool)
    for training, held_out in GroupKFold(5).split(rows, groups=bunch.groups):
        unseen[held_out] = flagged(MeanRadiograph().fit(rows[training]), rows[held_out])
    found = {
        f"{len(rows)}": (flagged(MeanRadiograph().fit(rows), others), of(unseen, unseen | True))
    }
    few = np.random.default_rng(0).permutation(len(rows))
    guard = MeanRadiograph().fit(rows[few[:SMALL]])
    rest = flagged(guard, rows[few[SMALL:]])
    found[f"{SMALL}"] = (flagged(guard, others), of(rest, rest | True))
    return pd.DataFrame(
        {
            name: {
                "CT slices": of(hit, kind == "CT"),
                "laterals": of(hit, kind == "lateral"),
                "inverted": of(flagged(guard, 255 - rows), np.ones(len(rows), dtype=bool)),
                "upside down": of(flagged(guard, rows[:, ::-1]), np.ones(len(rows), dtype=bool)),
                "frontal, same collection": unseen_count,
                "frontal, other collection": of(hit, kind == "frontal"),
                "of these, landscape": of(hit, (kind == "frontal") & wide),
            }
            for name, (hit, unseen_count) in found.items()
        }
    )


def curation_table(bunch: Bunch, views: pd.DataFrame) -> pd.DataFrame:
    """Return what curation rejects or sends to review, in the collection and mixed into it."""
    kind = views["kind"].to_numpy()
    only = Bunch(
        data=views[["path"]].to_numpy(object),
        target=np.full(len(views), "other", dtype=object),
        groups=views["patient"].to_numpy(object),
        target_names=["other"],
        frame=views[["path"]].assign(label="other", patient=views["patient"], source=""),
        sources=None,
        ignored=[],
        ignored_reasons=[],
        missing=[],
        DESCR="",
    )
    mixed = Bunch(**only)
    for name in ("data", "target", "groups"):
        mixed[name] = np.concatenate([bunch[name], only[name]])
    mixed["target_names"] = sorted(set(mixed["target"]))
    mixed["frame"] = pd.concat([bunch.frame[list(only.frame)], only.frame], ignore_index=True)
    rules = CurationRules(duplicates=False, min_side=None, max_colour=None, max_saturated=None)
    columns = {}
    for name, data in (("alone", only), (f"among {len(bunch.data)} others", mixed)):
        out = (curate(data, rules=rules).manifest["tier"] != "keep").to_numpy()
        own = out[-len(views) :]
        columns[name] = {
            "CT slices": of(own, kind == "CT"),
            "laterals": of(own, kind == "lateral"),
            "frontal, these": of(own, kind == "frontal"),
            "frontal, others": of(out[: -len(views)], out[: -len(views)] | True),
        }
    return pd.DataFrame(columns)


def main() -> None:
    """Parse the command line, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="frontal radiographs in class folders")
    parser.add_argument("--views", required=True, help="radiographs and CT slices with their views")
    options = parser.parse_args()
    bunch = load_xray_folder(options.data)
    views = pd.read_csv(Path(options.views) / "metadata.csv")
    views["kind"] = [KINDS[view.split()[0]] for view in views["view"]]
    views["path"] = [str(Path(options.views) / "images" / name) for name in views["filename"]]
    print("guard of a model trained on this number of images: flagged")
    print(guard_table(bunch, views).to_string())
    print("\ncuration: rejected or sent to review")
    print(curation_table(bunch, views).to_string())


if __name__ == "__main__":
    main()
