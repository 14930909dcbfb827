"""
Films of many kinds, and some that cannot be read
=================================================

A folder from a hospital holds files of several formats and depths, and a few that are broken. This
page writes such a folder, loads it, leaves out what cannot be read, and shows that the rest reads
alike.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from cxr_sklearn import XRayLoader
from cxr_sklearn.datasets import make_chest_phantoms
from cxr_sklearn.exceptions import UnreadableImageWarning

X, y = make_chest_phantoms(6, image_size=128, random_state=0)
films = X.reshape(-1, 128, 128)

# %%
# The files
# ---------
# Films as 8-bit PNG, as 12 bits in a 16-bit PNG, as 16-bit TIFF, as float TIFF, as WebP and as a
# JPEG that its EXIF data calls rotated. Two more files are broken: one is empty, one cut off.

folder = TemporaryDirectory()
root = Path(folder.name)
exif = Image.Exif()
exif[0x0112] = 6  # the camera was turned
pictures = {
    "8 bits.png": Image.fromarray(films[0]),
    "12 bits.png": Image.fromarray((films[1] * (4095 / 255)).astype(np.uint16)),
    "16 bits.tif": Image.fromarray(films[2].astype(np.uint16) * 257),
    "float.tif": Image.fromarray(films[3].astype(np.float32) / 255),
    "lossless.webp": Image.fromarray(films[4]).convert("RGB"),
    "rotated.jpg": Image.fromarray(np.rot90(films[5])),
}
for name, picture in pictures.items():
    options = {"lossless": True} if name.endswith("webp") else {}
    picture.save(
        root / name, quality=95, exif=exif if "rotated" in name else Image.Exif(), **options
    )
(root / "empty.png").touch()
(root / "cut off.png").write_bytes((root / "8 bits.png").read_bytes()[:2000])
paths = sorted(str(path) for path in root.iterdir())

# %%
# Loading
# -------
# ``on_error="raise"``, the default, would be one error that names both broken files. With
# ``on_error="mask"`` their rows are black and the loader tells which they are. The warning says so
# too; here it is an error, to show it.

loader = XRayLoader(image_size=128, on_error="mask").fit(paths)
with warnings.catch_warnings():
    warnings.simplefilter("error", UnreadableImageWarning)
    try:
        loader.transform(paths)
    except UnreadableImageWarning as warning:
        print(warning)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UnreadableImageWarning)
    rows = loader.transform(paths)
for failure in loader.failures_:
    print(Path(failure.path).name, "-", failure.reason)

# %%
# Leaving them out
# ----------------
# A black row with a label must not be trained on. The mask leaves it out of everything that has a
# row per image.

keep = loader.readable_
rows, names = rows[keep], [Path(path).name for path in np.array(paths)[keep]]
print(rows.shape, rows.dtype)

figure, axes = plt.subplots(1, len(rows), figsize=(12, 2.4), layout="constrained")
for axis, row, name in zip(axes, rows, names, strict=True):
    axis.imshow(row.reshape(128, 128), cmap="gray", vmin=0, vmax=255)
    axis.set(title=name, xticks=[], yticks=[])

# %%
# More films than memory holds
# ----------------------------
# ``memmap`` keeps the rows in a file. The second loader finds it and decodes nothing.

good = list(np.array(paths)[keep])
mapped = XRayLoader(image_size=128, memmap=root / "rows").fit_transform(good)
again = XRayLoader(image_size=128, memmap=root / "rows").fit_transform(good)
print(
    type(again).__name__, bool((again == rows).all()), len(list((root / "rows").iterdir())), "file"
)
del mapped, again
folder.cleanup()
