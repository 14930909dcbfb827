"""
One pass of the trunk, and who shares it
========================================

The frozen trunk is most of the work where only heads are trained. Within a process its activations
are kept in memory, so each image passes it once. Processes do not share memory. This page counts
passes in one process and in two, with and without a folder, and shows the warnings that speak of
it.
"""

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import cross_val_score

from cxr_sklearn import CacheFolder, ResNetOvO, clear_cache
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import CacheWarning, DeviceWarning, TrunkPassWarning

X, y = make_chest_phantoms(240, image_size=64, random_state=0)
model = ResNetOvO(backbone="resnet18", weights=None, image_size=64, max_epochs=5, random_state=0)

# %%
# Counting
# --------
# ``verbose=2`` prints the passes. This function evaluates a candidate of a search by three folds,
# as a worker of ``GridSearchCV(n_jobs=2)`` does, and returns how many images passed the trunk, and
# which warnings it met. Python shows a worker's warnings on standard error, where they are easily
# missed.


def evaluate(model):
    """Return trunk passes and the categories of warnings."""
    printed = io.StringIO()
    with redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_val_score(model.set_params(verbose=2), X, y, cv=3)
    lines = [line.split() for line in printed.getvalue().splitlines()]
    passes = sum(int(words[1]) for words in lines if words[0] == "trunk:")
    return passes, sorted({w.category.__name__ for w in caught})


def candidate(**parameters):
    """Return the model with other hyperparameters."""
    return ResNetOvO(**{**model.get_params(), **parameters})


rates = [1e-4, 1e-3, 1e-2, 1e-1]
counts = {}

# %%
# One process
# -----------
# Four candidates, three folds: a fit looks at its images many times, and the trunk sees each once.
clear_cache()
counts["one process"] = [evaluate(candidate(lr=rate))[0] for rate in rates]
print(counts["one process"])

# %%
# Two processes
# -------------
# Each worker passes all images for itself, and says so by a
# :class:`~cxr_sklearn.exceptions.TrunkPassWarning`. (Were one worker so late that the other has
# done all candidates, there would be one pass only.)
with Parallel(n_jobs=2) as workers:
    results = workers(delayed(evaluate)(candidate(lr=rate)) for rate in rates)
counts["two processes"] = [passes for passes, _ in results]
print(counts["two processes"], {name for _, names in results for name in names})

# %%
# Two processes and a folder
# --------------------------
# ``memory`` names a folder in which activations are kept, for processes at the same time and for
# later ones. Here the images pass the trunk once beforehand, and the workers find them.
with TemporaryDirectory() as folder, Parallel(n_jobs=2) as workers:
    clear_cache()
    first, _ = evaluate(candidate(memory=folder))
    results = workers(delayed(evaluate)(candidate(lr=r, memory=folder)) for r in rates)
counts["two processes, memory"] = [first, *(passes for passes, _ in results)]
print(counts["two processes, memory"], {name for _, names in results for name in names})

# %%
# A folder of limited size
# ------------------------
# A :class:`~cxr_sklearn.CacheFolder` limits the size of the folder. Activations of other trunks are
# deleted when new ones need their place. If there is still not enough room, new activations are
# kept in the memory of the process, and a ``CacheWarning`` reports it.
with TemporaryDirectory() as folder:
    passes, warned = evaluate(candidate(memory=CacheFolder(folder, bytes_limit="100K")))
    assert warned == [CacheWarning.__name__]
print(passes, warned)

# %%
# A damaged folder
# ----------------
# Damage to the folder costs time, but does not change results. Here a file in it is overwritten.
# The file is kept, a new one is created next to it, and a
# :class:`~cxr_sklearn.exceptions.CacheWarning` reports it.
with TemporaryDirectory() as folder:
    expected = candidate(memory=folder).fit(X, y).predict_proba(X)
    next(Path(folder).glob("*.sqlite")).write_bytes(b"not a database any more")
    passes, warned = evaluate(candidate(memory=folder))
    assert warned == [CacheWarning.__name__]
    assert np.array_equal(candidate(memory=folder).fit(X, y).predict_proba(X), expected)
print(passes, warned)

# %%
# Warnings as errors, or as nothing
# ---------------------------------
# In a long job a warning may be worth stopping for. A model saved with ``device="cuda"`` runs on
# the CPU where there is no CUDA, with a :class:`~cxr_sklearn.exceptions.DeviceWarning`:
model.fit(X, y).set_params(device="cuda")
with warnings.catch_warnings():
    warnings.simplefilter("error", DeviceWarning)
    try:
        print("on CUDA:", model.predict(X[:3]))
    except DeviceWarning as warning:
        print("stopped:", warning)
print("on any machine:", model.set_params(device="auto").predict(X[:3]))

# %%
# If you accept a second pass, for example because there is no disk space, you can silence the
# warning. A filter applies only to its process: for workers, set the environment variable
# ``PYTHONWARNINGS`` to ``ignore::UserWarning`` before they start.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", TrunkPassWarning)
    model.fit(X, y)

# %%
# The count
# ---------
# Bars are stacked by candidate. 240 images need 240 passes.
figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
for name, passes in counts.items():
    left = 0
    for n in passes:
        axis.barh(name, n, left=left, color="C0", edgecolor="white")
        left += n
axis.axvline(len(X), color="k", ls="--", label="number of images")
axis.invert_yaxis()
axis.set(xlabel="images that passed the trunk, \nfour candidates and three folds")
axis.legend(loc="lower right")
plt.show()
