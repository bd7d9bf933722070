"""A synthetic head CT of a sample patient.

Two axial series, brain and bone, of a seeded phantom in Hounsfield units: skin, skull, grey and white
matter, ventricles, falx, eyes, and on request the early shadow of an infarct. Nobody was ever
scanned. CT Image IOD of PS3.3 A.3; the same seed and patient give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SLICES = 24
PIXELS = 256
FIELD_MM = 230.0
SPACING_MM = FIELD_MM / PIXELS
SLICE_MM = 5.0
AIR, FAT, SKIN, BONE, GREY, WHITE, FLUID, FALX, EYE, INFARCT = -1000, -90, 40, 1100, 38, 29, 7, 55, 15, 19
OFFSET = -1024
_GENDERS = {"male": "M", "female": "F", "other": "O"}


@dataclass(frozen=True, slots=True)
class _Series:
    number: int
    description: str
    kernel: str
    noise: float
    window: tuple[int, int]


_SERIES = (
    _Series(1, "Head axial brain 5.0", "H31s", 4.0, (40, 80)),
    _Series(2, "Head axial bone 5.0", "H60s", 22.0, (600, 2800)),
)


def study(
    patient: dict[str, Any],
    seed: int = 1,
    *,
    taken_at: datetime = datetime(2026, 1, 15, 8, 42, 10),
    slices: int = SLICES,
    infarct: bool = True,
) -> Iterator[Dataset]:
    """Yield the images of a study of a FHIR Patient, each a data set with its file meta.

    The PatientID is the value of the identifier with use `usual`, else of the first one.

    >>> images = list(study({"identifier": [{"value": "P1"}]}, slices=2))
    >>> len(images), images[0].PatientID, images[0].Modality
    (4, 'P1', 'CT')
    """
    root = f"{seed}/{_patient_id(patient)}/{taken_at.isoformat()}"
    for series in _SERIES:
        noise = np.random.default_rng([seed, series.number])
        for number in range(1, slices + 1):
            height = (number - (slices + 1) / 2) / slices * 2  # -1 at the chin's side, 1 at the vertex
            values = phantom(height, infarct=infarct)
            grain = noise.normal(0, series.noise, values.shape)
            image = _image(patient, root, series, number, slices, taken_at)
            stored = np.clip(np.rint(values + np.where(values > AIR, grain, 0)) - OFFSET, 0, 4095)
            image.PixelData = stored.astype("<u2").tobytes()
            yield image


def phantom(height: float, *, infarct: bool = True) -> NDArray[np.float64]:
    """Return one slice in Hounsfield units; `height` runs from -1 (base) to 1 (vertex)."""
    axis = (np.arange(PIXELS) - (PIXELS - 1) / 2) * SPACING_MM
    x, y = np.meshgrid(axis, axis)  # x to the patient's left, y to the back
    shrink = float(np.sqrt(max(0.05, 1 - (0.78 * height) ** 2)))
    wide, long = 72 * shrink, 90 * shrink

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.bool_]:
        return np.asarray(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1)

    values = np.full((PIXELS, PIXELS), float(AIR))
    values[ellipse(0, 0, wide + 9, long + 9)] = SKIN
    values[ellipse(0, 0, wide + 6, long + 6)] = FAT
    values[ellipse(0, 0, wide + 4.5, long + 4.5)] = BONE
    inside = ellipse(0, 0, wide - 2, long - 2)
    values[inside] = GREY
    # the cortex folds: its inner edge waves with the angle
    angle = np.arctan2(y, x)
    fold = 0.80 + 0.035 * np.cos(11 * angle + 3 * height) + 0.02 * np.cos(23 * angle)
    values[((x / wide) ** 2 + (y / long) ** 2) <= fold**2] = WHITE
    for side in (-1, 1):  # basal ganglia
        values[ellipse(side * 19 * shrink, -4, 9 * shrink, 14 * shrink)] = GREY
    if -0.25 < height < 0.6:
        spread = 1 - abs(height - 0.15) / 0.6
        for side in (-1, 1):
            values[ellipse(side * 8 * shrink, -10, 4.5 * spread + 1, 20 * spread + 2)] = FLUID
        values[ellipse(0, 14, 1.6, 10 * spread + 1)] = FLUID
    values[inside & (np.abs(x) < 0.9) & (np.abs(y) > 28 * shrink)] = FALX
    if infarct and -0.1 < height < 0.5:  # the territory of the right middle cerebral artery
        territory = ellipse(-44 * shrink, -2, 20 * shrink, 26 * shrink) & inside & (values > FLUID)
        values[territory] = values[territory] * 0.35 + INFARCT * 0.65
    if height < -0.55:
        for side in (-1, 1):
            values[ellipse(side * 30, -long + 12, 12, 12) & ellipse(0, 0, wide + 4.5, long + 4.5)] = EYE
        values[ellipse(0, -long + 20, 8, 14)] = AIR + 60  # the nose's air
        values[ellipse(0, 10, 16, 18)] = BONE * 0.8  # the skull base
    return values


def _image(
    patient: dict[str, Any], root: str, series: _Series, number: int, slices: int, taken_at: datetime
) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = _uid(f"{root}/{series.number}/{number}")
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = f"{taken_at:%Y%m%d}"
    image.StudyTime = f"{taken_at:%H%M%S}"
    image.SeriesTime = image.AcquisitionTime = image.ContentTime = f"{taken_at:%H%M%S}"
    image.AccessionNumber = ""
    image.Modality = "CT"
    image.Manufacturer = "Xinglin"
    image.ManufacturerModelName = "Synthetic head"
    image.InstitutionName = "Sample hospital"
    image.StationName = "CT1"
    image.ReferringPhysicianName = ""
    image.StudyDescription = "CT head without contrast"
    image.SeriesDescription = series.description
    image.PatientName = _name(patient)
    image.PatientID = _patient_id(patient)
    image.PatientBirthDate = _date(str(patient.get("birthDate", "")))
    image.PatientSex = _GENDERS.get(str(patient.get("gender", "")), "")
    image.BodyPartExamined = "HEAD"
    image.SliceThickness = SLICE_MM
    image.KVP = 120
    image.SoftwareVersions = "1"
    image.ProtocolName = "Head"
    image.ConvolutionKernel = series.kernel
    image.PatientPosition = "HFS"
    image.StudyInstanceUID = _uid(root)
    image.SeriesInstanceUID = _uid(f"{root}/{series.number}")
    image.StudyID = "1"
    image.SeriesNumber = series.number
    image.AcquisitionNumber = 1
    image.InstanceNumber = number
    corner = -(PIXELS - 1) / 2 * SPACING_MM
    level = round((number - (slices + 1) / 2) * SLICE_MM, 3)
    image.ImagePositionPatient = [round(corner, 4), round(corner, 4), level]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.FrameOfReferenceUID = _uid(f"{root}/frame")
    image.PositionReferenceIndicator = ""
    image.SliceLocation = level
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = image.Columns = PIXELS
    image.PixelSpacing = [round(SPACING_MM, 6)] * 2
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.WindowCenter, image.WindowWidth = series.window
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = OFFSET, 1, "HU"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def _uid(name: str) -> str:
    """Return a UID under 2.25 (PS3.5 B.2) that follows from a name, shaped as a version 8 UUID."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "big")
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"2.25.{number}"


def _patient_id(patient: dict[str, Any]) -> str:
    identifiers = patient.get("identifier") or [{}]
    usual = next((one for one in identifiers if one.get("use") == "usual"), identifiers[0])
    return str(usual.get("value", ""))


def _name(patient: dict[str, Any]) -> str:
    name = (patient.get("name") or [{}])[0]
    given = [*name.get("given", []), "", ""]
    parts = [name.get("family", ""), given[0], given[1], " ".join(name.get("prefix", []))]
    return "^".join(str(part) for part in parts).rstrip("^")


def _date(text: str) -> str:
    return text.replace("-", "") if len(text) == 10 else ""
