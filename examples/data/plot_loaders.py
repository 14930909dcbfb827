"""
Load what you have
==================

Images come with a table of labels, as a published list, or as DICOM files from an archive.
Every loader returns the same: paths, classes, patients, sources and a data frame.
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
X, y = make_chest_phantoms(12, image_size=64, random_state=0)
films = X.reshape(-1, 64, 64)

# %%
# A table of labels over one folder
# ---------------------------------
# The NIH's ``Data_Entry`` file is such a table. Its columns are known by name, and its findings
# become classes by a map.

names = [f"{1299 + k // 2:08d}_{k % 2:03d}.png" for k in range(6)]
(root / "images").mkdir()
for name, film in zip(names, films, strict=False):
    Image.fromarray(film).save(root / "images" / name)
table = pd.DataFrame(
    {
        "Image Index": names,
        "Finding Labels": ["No Finding", "No Finding", "Pneumonia", "Pneumonia|Mass", "Mass"]
        + ["No Finding"],
        "Follow-up #": [0, 1, 0, 1, 0, 1],
        "Patient ID": [1299, 1299, 1300, 1300, 1301, 1301],
        "Patient Age": [57, 58, 81, 81, 44, 44],
        "Patient Gender": list("FFMMFF"),
        "View Position": ["PA", "PA", "AP", "AP", "PA", "PA"],
    }
)
nih = load_xray_table(
    table,
    root=root / "images",
    preset="nih",
    label_map={"No Finding": "Normal", "Pneumonia": "Pneumonia"},
)
print(nih.DESCR)
print(patient_from_nih(names[0]))

# %%
# The loader's result can be restricted, everything aligned.

print(select_rows(nih, nih.frame["view"] == "PA").target)

# %%
# COVIDx
# ------
# The label files of COVIDx have rows of three, four and five fields. What they name and is not
# there is an error, or listed.

labels = root / "train.txt"
labels.write_text(
    "101 ricord-0001-101.png COVID-19 ricord\n"
    "COVID 1 COVID(1).png COVID-19 sirm\n"
    "8 normal-8.png normal\n"
)
print(read_covidx_labels(labels))
for k, name in enumerate(["ricord-0001-101.png", "COVID(1).png"]):
    Image.fromarray(films[6 + k]).save(root / "images" / name)
covidx = load_covidx(labels, root / "images", on_missing="list")
print(covidx.missing, patient_from_covidx("MIDRC-RICORD-1C-SITE2-000216-21074-0.png"))

# %%
# DICOM
# -----
# A folder from an archive: headers give patients, under pseudonyms, with view, age, sex and
# machine. Films of another view are set aside, with the reason.


def save_dicom(path, film, **tags):
    """Write a film as the archive of a hospital would."""
    data = pydicom.Dataset()
    data.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "DX", "MONOCHROME2", 1
    data.Rows, data.Columns = film.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = film.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


rng = np.random.default_rng(0)
for k, (film, label) in enumerate(zip(films, y, strict=True)):
    save_dicom(
        root / "archive" / label / f"IM{k:04d}",
        film,
        PatientID=f"MRN-{k // 2}",
        StudyInstanceUID=f"1.2.3.{k}",
        ViewPosition="LL" if k == 5 else "PA",
        PatientAge=f"{rng.integers(20, 90):03d}Y",
        PatientSex="F" if k % 3 else "M",
        Manufacturer="Acme",
    )
dicom = load_dicom_folder(root / "archive", salt="a secret of this study")
print(dicom.frame[["label", "patient", "view", "age", "sex"]].head())
print(dicom.ignored_reasons)

# %%
# The columns of the frame are there to look at before training.

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for k, name in enumerate(dicom.target_names):
    ages = dicom.frame.loc[dicom.target == name, "age"]
    axes.plot(ages, np.full(len(ages), k), "o", alpha=0.7)
axes.set_yticks(range(len(dicom.target_names)), dicom.target_names)
axes.set(xlabel="age, years", title="Ages by class, as the headers give them")
axes.margins(y=0.3)
plt.show()

# %%

folder.cleanup()
