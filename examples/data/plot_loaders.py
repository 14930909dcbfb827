"""
Load images from a table, a COVIDx list or DICOM files
======================================================

Public sets of chest X-rays come with a table of labels, as a published list, or as DICOM files. The
package has a loader for each of them. All loaders return the same attributes: paths, classes,
patients, sources, and a data frame with the other columns.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pydicom
from PIL import Image

from cxr_sklearn.datasets import (
    load_covidx,
    load_dicom_folder,
    load_xray_table,
    make_chest_phantoms,
    patient_from_covidx,
    patient_from_nih,
    read_covidx_labels,
    select_rows,
)

folder = TemporaryDirectory()
root = Path(folder.name)
image_folder = root / "images"
image_folder.mkdir()
X, y = make_chest_phantoms(12, image_size=64, random_state=0)
phantoms = X.reshape(-1, 64, 64)

# %%
# A table of labels
# -----------------
# The ``Data_Entry`` file of the NIH is such a table. With ``preset="nih"`` the loader knows its
# columns. ``label_map`` maps findings to classes, and images with other findings are left out.

names = [
    "00001299_000.png",
    "00001299_001.png",
    "00001300_000.png",
    "00001300_001.png",
    "00001301_000.png",
    "00001301_001.png",
]
for k, name in enumerate(names):
    Image.fromarray(phantoms[k]).save(image_folder / name)
findings = ["No Finding", "No Finding", "Pneumonia", "Pneumonia|Mass", "Mass", "No Finding"]
table = pd.DataFrame(
    {
        "Image Index": names,
        "Finding Labels": findings,
        "Follow-up #": [0, 1, 0, 1, 0, 1],
        "Patient ID": [1299, 1299, 1300, 1300, 1301, 1301],
        "Patient Age": [57, 58, 81, 81, 44, 44],
        "Patient Gender": ["F", "F", "M", "M", "F", "F"],
        "View Position": ["PA", "PA", "AP", "AP", "PA", "PA"],
    }
)
nih = load_xray_table(
    table,
    root=image_folder,
    preset="nih",
    label_map={"No Finding": "Normal", "Pneumonia": "Pneumonia"},
)
print(nih.DESCR)
print("patient of the first file name:", patient_from_nih(names[0]))

# %%
# :func:`~cxr_sklearn.datasets.select_rows` restricts all attributes to the same images, here to
# those of the PA view.

frontal = select_rows(nih, nih.frame["view"] == "PA")
print(frontal.target)

# %%
# A COVIDx list
# -------------
# The label files of COVIDx contain rows of three, four and five fields, and the loader reads all of
# them. An image that is listed but missing raises an error by default. With
# ``on_missing="list"`` the attribute ``missing`` lists it instead.

labels = root / "train.txt"
labels.write_text(
    "101 ricord-0001-101.png COVID-19 ricord\n"
    "COVID 1 COVID(1).png COVID-19 sirm\n"
    "8 normal-8.png normal\n"
)
print(read_covidx_labels(labels))
Image.fromarray(phantoms[6]).save(image_folder / "ricord-0001-101.png")
Image.fromarray(phantoms[7]).save(image_folder / "COVID(1).png")
covidx = load_covidx(labels, image_folder, on_missing="list")
print("missing:", covidx.missing)
print("patient:", patient_from_covidx("MIDRC-RICORD-1C-SITE2-000216-21074-0.png"))

# %%
# DICOM files
# -----------
# In an archive of DICOM files, the headers state the patient, the view, the age and the sex. The
# loader replaces patient numbers by pseudonyms. It leaves out images of other views and lists the
# reasons.


def save_dicom(path, pixels, **tags):
    """Write an image with the tags that a hospital's archive would write."""
    data = pydicom.Dataset()
    data.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Modality = "DX"
    data.PhotometricInterpretation = "MONOCHROME2"
    data.SamplesPerPixel = 1
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelRepresentation = 0
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


rng = np.random.default_rng(0)
views = ["PA"] * len(phantoms)
views[5] = "LL"  # a lateral view, which the loader leaves out
for k, (pixels, label) in enumerate(zip(phantoms, y, strict=True)):
    save_dicom(
        root / "archive" / label / f"IM{k:04d}",
        pixels,
        PatientID=f"MRN-{k // 2}",
        StudyInstanceUID=f"1.2.3.{k}",
        ViewPosition=views[k],
        PatientAge=f"{rng.integers(20, 90):03d}Y",
        PatientSex=("M", "F", "F")[k % 3],
        Manufacturer="Acme",
    )
dicom = load_dicom_folder(root / "archive", salt="a secret of this study")
print(dicom.frame[["label", "patient", "view", "age", "sex"]].head())
print("left out:", dicom.ignored_reasons)

# %%
# Look at the columns of the frame before you train. If the classes differ in age, a model may learn
# the age instead of the disease.

# Large text stays legible in the thumbnail of the gallery.
plt.rcParams["font.size"] = 13
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for name in dicom.target_names:
    ages = dicom.frame.loc[dicom.target == name, "age"]
    axis.plot(ages, [name] * len(ages), "o", ms=10, alpha=0.7)
axis.set(xlabel="age in years")
axis.margins(y=0.3)
plt.show()

# %%

folder.cleanup()
