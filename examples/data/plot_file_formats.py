"""
Load images of many formats and skip unreadable files
=====================================================

A folder from a hospital may contain files of several formats and bit depths, and a few damaged
files. This page writes such a folder, loads it, and leaves out the files that cannot be read. All
other files are loaded as 8-bit images of one size.
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

SIZE = 128
X, y = make_chest_phantoms(6, image_size=SIZE, random_state=0)
phantoms = X.reshape(-1, SIZE, SIZE)

# %%
# Write files of several formats
# ------------------------------
# The folder contains an 8-bit PNG, 12-bit values in a 16-bit PNG, a 16-bit TIFF, a float TIFF, a
# WebP, and a JPEG with an EXIF orientation. Two more files are damaged: the first is empty, and
# the second is truncated.

folder = TemporaryDirectory()
root = Path(folder.name)
Image.fromarray(phantoms[0]).save(root / "8 bits.png")
Image.fromarray((phantoms[1] * (4095 / 255)).astype(np.uint16)).save(root / "12 bits.png")
Image.fromarray(phantoms[2].astype(np.uint16) * 257).save(root / "16 bits.tif")
Image.fromarray(phantoms[3].astype(np.float32) / 255).save(root / "float.tif")
Image.fromarray(phantoms[4]).convert("RGB").save(root / "colour.webp", lossless=True)

# 0x0112 is the tag of the orientation. The value 6 means that the stored image was rotated.
exif = Image.Exif()
exif[0x0112] = 6
Image.fromarray(np.rot90(phantoms[5])).save(root / "rotated.jpg", quality=95, exif=exif)

(root / "empty.png").touch()
whole_file = (root / "8 bits.png").read_bytes()
(root / "truncated.png").write_bytes(whole_file[:2000])
paths = sorted(str(path) for path in root.iterdir())

# %%
# Load the folder
# ---------------
# With ``on_error="raise"``, the default, the loader raises an error that names both damaged files.
# With ``on_error="mask"`` their rows are black, the attribute ``failures_`` lists the files with
# the reasons, and a warning states how many there are. This page turns the warning into an error
# to show its message.

loader = XRayLoader(image_size=SIZE, on_error="mask").fit(paths)
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
# Leave out the unreadable files
# ------------------------------
# Do not train on black rows. The mask ``readable_`` selects the other rows. Apply it to everything
# that has one row per image: X, y and the patients.

keep = loader.readable_
rows = rows[keep]
readable_paths = np.array(paths)[keep].tolist()
print(rows.shape, rows.dtype)

# Large text stays legible in the thumbnail of the gallery.
plt.rcParams["font.size"] = 13
figure, axes = plt.subplots(2, 3, figsize=(5, 3.7), layout="constrained")
for axis, row, path in zip(axes.flat, rows, readable_paths, strict=True):
    axis.imshow(row.reshape(SIZE, SIZE), cmap="gray", vmin=0, vmax=255)
    axis.set_title(Path(path).name)
    axis.set_axis_off()
plt.show()

# %%
# Load more images than fit into memory
# -------------------------------------
# With ``memmap`` the loader stores the rows in a file. A second loader finds this file and does
# not decode the images again.

row_folder = root / "rows"
first = XRayLoader(image_size=SIZE, memmap=row_folder).fit_transform(readable_paths)
second = XRayLoader(image_size=SIZE, memmap=row_folder).fit_transform(readable_paths)
n_files = len(list(row_folder.iterdir()))
print(f"{type(second).__name__}, equal rows: {np.array_equal(first, second)}, {n_files} file")

# %%

# Windows cannot delete a file that is still mapped into memory.
del first, second
folder.cleanup()
