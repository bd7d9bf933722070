"""Small DICOM objects for tests: built by pydicom, which shares no code with our walker."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[3] / "shared"))
ROOT_UID = "1.2.826.0.1.3680043.10.1411"


def ct(study: int = 1, series: int = 1, number: int = 1, *, pixels: int = 64, **changes: Any) -> Dataset:
    """Return a valid little CT image; `changes` are keywords (None: the element is left out)."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{ROOT_UID}.{study}.{series}.{number}"
    dataset.StudyDate = "20260102"
    dataset.StudyTime = "030405"
    dataset.AccessionNumber = f"A{study}"
    dataset.Modality = "CT"
    dataset.StudyDescription = "Thorax"
    dataset.SeriesDescription = f"Series {series}"
    dataset.PatientName = "Müller^Jörg"
    dataset.PatientID = f"P{study}"
    dataset.PatientBirthDate = "19700131"
    dataset.PatientSex = "M"
    dataset.StudyInstanceUID = f"{ROOT_UID}.{study}"
    dataset.SeriesInstanceUID = f"{ROOT_UID}.{study}.{series}"
    dataset.StudyID = "1"
    dataset.SeriesNumber = series
    dataset.InstanceNumber = number
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = pixels
    dataset.Columns = pixels
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = -1024
    dataset.RescaleSlope = 1
    dataset.WindowCenter = 40
    dataset.WindowWidth = 400
    seed = random.Random(study * 1_000_000 + series * 1000 + number)
    dataset.PixelData = bytes(
        b & 0x0F if i % 2 else b for i, b in enumerate(seed.randbytes(pixels * pixels * 2))
    )
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    return dataset


def encoded(dataset: Dataset, *, implicit: bool = False, little: bool = True) -> bytes:
    """Return the bytes of a data set, without any file meta information."""
    buffer = io.BytesIO()
    bare = Dataset(dataset)
    bare.save_as(buffer, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return buffer.getvalue()


def file_of(dataset: Dataset, folder: Path) -> Path:
    """Write a data set as a file and return its path."""
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def data_set_of(path: Path) -> bytes:
    """Return the bytes behind the file meta information of a file, found by pydicom."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    with open(path, "rb") as file:
        read_preamble(file, force=True)
        _read_file_meta_info(file)
        return file.read()
