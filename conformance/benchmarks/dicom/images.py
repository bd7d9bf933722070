"""CT images of 0.53 MB with the header of a real scanner, other ones in every round."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

_ROOT = "1.2.826.0.1.3680043.10.1411"
_ROUND, _NUMBER = b"700001", b"800001"
"""What stands for the round and the image in the UIDs of the pattern; both always have six digits."""

SERIES_SIZE = 50


class Images:
    """A pattern from which files are cut: only the digits of the UIDs and a few pixels differ."""

    def __init__(self, seed: int = 1, pixels: int = 512) -> None:
        dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
        dataset.Rows = dataset.Columns = pixels
        chance = random.Random(seed)
        noise = chance.randbytes(pixels * pixels * 2)
        dataset.PixelData = bytes(byte & 0x0F if at % 2 else byte for at, byte in enumerate(noise))
        study = f"{_ROOT}.{_ROUND.decode()}"
        dataset.StudyInstanceUID = study
        dataset.SeriesInstanceUID = f"{study}.1"
        dataset.SOPInstanceUID = f"{study}.1.{_NUMBER.decode()}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientID = f"P{_ROUND.decode()}"
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        self._pattern = buffer.getvalue()
        self._header = self._pattern.index(dataset.PixelData[:64])
        self.size_bytes = len(self._pattern)

    def write(self, folder: Path, round_number: int, count: int) -> None:
        """Fill `folder` with the images of a round: a study of some series."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            # the series is told by the first digit behind the study, so its number is a round of its own
            series = round_number * 1000 + number // SERIES_SIZE
            header = self._pattern[: self._header].replace(_ROUND, f"{series + 100_000:06}".encode())
            header = header.replace(_NUMBER, f"{number + 100_000:06}".encode())
            pixels = bytearray(self._pattern[self._header :])
            pixels[:4] = number.to_bytes(4, "little")
            (folder / f"{number:06}.dcm").write_bytes(header + pixels)
