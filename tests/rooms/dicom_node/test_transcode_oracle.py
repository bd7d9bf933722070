"""Data sets in another transfer syntax, held against what pydicom reads of both."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.pixels.transcode import data_set
from dicom_node.sending.contexts import PLAIN
from fhir_server.outcome import Unprocessable

UNCODED = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
)  # fmt: skip


def _files(*, coded: bool) -> list[Path]:
    found = []
    for name in get_testdata_files("*.dcm"):
        path = Path(name)
        try:
            with open(path, "rb") as file:
                dataset = dcmread(file, stop_before_pixels=True)
        except Exception:  # a broken file is for the tests of ingest
            continue
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is None or "SOPClassUID" not in dataset:
            continue
        if (syntax not in UNCODED and syntax.is_encapsulated) == coded:
            found.append(path)
    return sorted(set(found))


def _read(raw: bytes, target: str) -> Dataset:
    from pydicom.filereader import read_dataset

    return read_dataset(io.BytesIO(raw), is_implicit_VR=target == PLAIN[1], is_little_endian=True)


def _bare(dataset: Any, path: str = "") -> dict[str, Any]:
    """Return every element as text of its place → VR-free value."""
    found: dict[str, Any] = {}
    for element in dataset:
        place = f"{path}/{element.tag}"
        if element.tag.element == 0:
            continue
        if element.VR == "SQ":
            found[place] = len(element.value)
            for number, item in enumerate(element.value):
                found.update(_bare(item, f"{place}[{number}]"))
        elif isinstance(element.value, bytes):
            found[place] = element.value.rstrip(b"\0 ")
        else:
            found[place] = str(element.value)
    return found


@pytest.mark.parametrize("target", PLAIN)
@pytest.mark.parametrize("path", _files(coded=False), ids=lambda path: path.stem)
def test_a_plain_file_says_the_same_in_every_plain_syntax(path: Path, target: str) -> None:
    before = dcmread(path)
    if before.file_meta.TransferSyntaxUID == ExplicitVRBigEndian and target == PLAIN[1]:
        pytest.skip("private elements lose their VR")
    try:
        after = _read(b"".join(data_set(path, target)), target)
    except Unprocessable as error:
        pytest.skip(f"refused by name: {error}")
    if "PixelData" in before and "Rows" in before:
        try:
            wanted = before.pixel_array
        except Exception:
            wanted = None
        if wanted is not None:
            after.file_meta = Dataset()
            after.file_meta.TransferSyntaxUID = target
            assert np.array_equal(after.pixel_array, wanted)
            del before.PixelData, after.PixelData
    old, new = _bare(before), _bare(after)
    differing = {place for place in old.keys() | new.keys() if old.get(place) != new.get(place)}
    private = {place for place in differing if int(place.split("/")[1][1:5], 16) % 2}
    assert differing - private == set()


@pytest.mark.parametrize("path", _files(coded=True), ids=lambda path: path.stem)
def test_coded_pixels_become_plain_ones_or_are_refused_by_name(path: Path) -> None:
    before = dcmread(path)
    try:
        raw = b"".join(data_set(path, PLAIN[0]))
    except Unprocessable as error:
        pytest.skip(f"refused by name: {error}")
    after = _read(raw, PLAIN[0])
    after.file_meta = Dataset()
    after.file_meta.TransferSyntaxUID = PLAIN[0]
    try:
        wanted = before.pixel_array
    except Exception:
        return
    got = after.pixel_array
    assert got.shape == wanted.shape
    if "YBR" not in before.PhotometricInterpretation:
        assert np.array_equal(got, wanted)
    assert "00082111" not in after or after.PhotometricInterpretation in ("RGB", "MONOCHROME2")
