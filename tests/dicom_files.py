"""Image files for tests: DICOM datasets made from arrays, and a writer of lossless JPEG."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLosslessSV1, generate_uid

# what no message may ever say
PATIENT = "Lovelace^Ada"
PATIENT_ID = "MRN-1815-12-10"


def dicom(values: np.ndarray, *, bits: int | None = None, **elements: object) -> Dataset:
    """Return a dataset that shows an array: (h, w) of any integers, or (h, w, 3) of uint8.

    Parameters
    ----------
    values : ndarray
        Stored values.
    bits : int
        Bits stored; by default those of the type.
    **elements
        Further elements, or others than by default.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["x"])
    ds.PatientName, ds.PatientID = PATIENT, PATIENT_ID
    ds.Rows, ds.Columns = values.shape[:2]
    ds.SamplesPerPixel = 1 if values.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    if values.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * values.dtype.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.PixelData = values.tobytes()
    ds["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    return ds


def save_dicom(ds: Dataset, path: Path) -> Path:
    """Write a dataset with preamble and file meta."""
    ds.save_as(path, enforce_file_format=True)
    return path


def save_bare(ds: Dataset, path: Path, *, implicit: bool, little: bool = True) -> Path:
    """Write the dataset alone, as files of before 1993 are: no preamble, no file meta."""
    del ds.file_meta
    ds.save_as(path, implicit_vr=implicit, little_endian=little)
    return path


def table(values: list[int], first: int, bits: int) -> list[Dataset]:
    """Return the sequence of one lookup table."""
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = values
    item["LUTData"].VR = "US"
    return [item]


def with_stream(ds: Dataset, stream: bytes, syntax: str) -> Dataset:
    """Give a dataset a compressed image."""
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def with_jpeg(ds: Dataset, image: Image.Image) -> Dataset:
    """Give a dataset a baseline JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=100)
    return with_stream(ds, file.getvalue(), JPEGBaseline8Bit)


def with_lossless_jpeg(ds: Dataset, values: np.ndarray, bits: int) -> Dataset:
    """Give a dataset a lossless JPEG (process 14, selection value 1), as radiography devices do."""
    return with_stream(ds, lossless_jpeg(values, bits), JPEGLosslessSV1)


def lossless_jpeg(values: np.ndarray, bits: int) -> bytes:
    """Compress one channel by JPEG's lossless process with the left neighbour as predictor."""
    height, width = values.shape
    wide = values.astype(int)
    predicted = np.empty_like(wide)
    predicted[:, 1:] = wide[:, :-1]
    predicted[1:, 0] = wide[:-1, 0]
    predicted[0, 0] = 2 ** (bits - 1)
    written = []
    for difference in (wide - predicted).ravel().tolist():
        size = abs(difference).bit_length()  # its category, of a code of five bits here
        size_bits = size if size < 16 else 0  # of category 16 there is one value
        low = difference if difference >= 0 else difference + 2**size - 1
        written.append(f"{size:05b}" + (f"{low:0{size_bits}b}" if size_bits else ""))
    stream = "".join(written)
    stream += "1" * (-len(stream) % 8)
    data = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0")
    codes = bytes(17)
    lengths = bytes([0, 0, 0, 0, len(codes), *[0] * 11])

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    return (
        b"\xff\xd8"
        + segment(0xC3, struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0))
        + segment(0xC4, b"\0" + lengths + bytes(range(len(codes))))
        + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
        + data
        + b"\xff\xd9"
    )
