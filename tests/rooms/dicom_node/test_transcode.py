"""pixels/transcode and recode: instances in other transfer syntaxes, as pydicom and dcmtk read them."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset

from dicom_node.files.content import opened
from dicom_node.pixels.decode import decode
from dicom_node.pixels.image import describe, locate_frames
from dicom_node.pixels.transcode import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    LOSSLESS,
    TARGETS,
    convertible,
    transcoded,
)
from fhir_server.outcome import Unprocessable
from tests.support.dicom_data import SHARED, ct, file_of

FILES = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))
PIXELS = {0x00280004, 0x00280006, 0x00280100, 0x00282110, 0x7FE00001, 0x7FE00002, 0x7FE00010}


@pytest.fixture(autouse=True)
def _odd_files_are_expected() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read(pieces: Iterator[bytes]) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(b"".join(pieces)))


def samples_of(path: Path) -> list[Any]:
    """Return the frames of a file as this house decodes them (test_pixels holds those against pydicom)."""
    with opened(path) as content:
        image = describe(content)
        frames = locate_frames(content, image)
        return [decode(content, image, frames, index)[0] for index in range(len(frames.spans))]


@pytest.mark.clause("PS3.18 8.7.3.5.2", "instances in explicit VR little endian and in lossless codings")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_image_is_the_same_in_every_transfer_syntax(path: Path) -> None:
    try:
        expected = samples_of(path)
    except Unprocessable as reason:
        pytest.skip(str(reason)[:80])
    try:
        source = pydicom.dcmread(path)
        converted = source.PhotometricInterpretation.startswith("YBR_FULL") and not path.name.count("jpeg")
        theirs_at_first = source.pixel_array
    except Exception as error:
        pytest.skip(f"pydicom does not read it: {str(error)[:60]}")
    if converted:  # pydicom shows such as RGB
        expected = list(theirs_at_first if len(expected) > 1 else [theirs_at_first])
    for target in TARGETS:
        try:
            found = read(transcoded(path, target))
        except Unprocessable:
            if target in LOSSLESS:  # single bits, floats, more than 16 bits
                continue
            raise
        assert found.file_meta.TransferSyntaxUID == target
        array = found.pixel_array if len(expected) > 1 else [found.pixel_array]
        assert len(array) == len(expected), target
        for ours, theirs in zip(expected, array, strict=True):
            assert np.array_equal(np.squeeze(ours), np.squeeze(theirs)), target


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("target", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED])
def test_what_is_not_pixels_stays_what_it_was(path: Path, target: str) -> None:
    expected = pydicom.dcmread(path, force=True)
    try:
        found = read(transcoded(path, target))
    except Unprocessable as reason:
        pytest.skip(str(reason)[:80])
    assert _plain(found) == _plain(expected)


def _plain(dataset: Dataset) -> dict[int, Any]:
    """Return the elements as values; what a reader must guess in implicit VR is compared as bytes."""
    found: dict[int, Any] = {}
    for element in dataset:
        if element.tag in PIXELS or element.tag.element == 0:
            continue
        if element.VR == "SQ":
            found[element.tag] = [_plain(item) for item in element.value]
        elif isinstance(element.value, bytes) or element.tag.is_private:
            found[element.tag] = "binary"
        else:
            found[element.tag] = str(element.value)
    return found


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("name", ["JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "SC_rgb_jpeg_gdcm.dcm"])
def test_lossless_jpeg_is_what_dcmtk_decodes(tmp_path: Path, name: str) -> None:
    path = next((path for path in FILES if path.name == name), None) or from_archive(name, tmp_path)
    theirs = tmp_path / "theirs.dcm"
    subprocess.run(["dcmdjpeg", "+cn", str(path), str(theirs)], check=True, timeout=60)
    found = read(transcoded(path, EXPLICIT_LITTLE))
    assert np.array_equal(found.pixel_array, pydicom.dcmread(theirs).pixel_array)


def from_archive(name: str, folder: Path) -> Path:
    archive = SHARED / "data" / "dicom" / "pydicom-data.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive}, which holds {name}, is not there")
    with tarfile.open(archive) as members:
        members.extract(f"pydicom-data/{name}", folder, filter="data")
    return folder / "pydicom-data" / name


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_dcmtk_reads_what_is_made(tmp_path: Path, target: str) -> None:
    made = tmp_path / "made.dcm"
    made.write_bytes(b"".join(transcoded(file_of(ct(), tmp_path), target)))
    checked = subprocess.run(["dcmftest", str(made)], capture_output=True, text=True, timeout=60, check=False)
    assert checked.stdout.startswith("yes"), checked.stdout
    dumped = subprocess.run(
        ["dcmdump", "+P", "SOPInstanceUID", str(made)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ct().SOPInstanceUID in dumped.stdout


@pytest.mark.parametrize("coding", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112"])
def test_jpeg_xl_is_decoded(tmp_path: Path, coding: str) -> None:
    import imagecodecs
    from pydicom.encaps import encapsulate

    dataset = ct(pixels=32)
    samples = dataset.pixel_array
    dataset.PixelData = encapsulate([imagecodecs.jpegxl_encode(samples, lossless=True)])
    dataset.file_meta.TransferSyntaxUID = coding
    found = read(transcoded(file_of(dataset, tmp_path), EXPLICIT_LITTLE))
    assert np.array_equal(found.pixel_array, samples)
    assert ("LossyImageCompression" in found) == (coding == "1.2.840.10008.1.2.4.112")


def test_what_cannot_be_had_is_refused_by_name(tmp_path: Path) -> None:
    assert not convertible("1.2.840.10008.1.2.4.102", EXPLICIT_LITTLE)
    assert not convertible(EXPLICIT_LITTLE, "1.2.840.10008.1.2.4.50")
    with pytest.raises(Unprocessable, match=r"cannot be had in 1\.2\.840\.10008\.1\.2\.4\.50"):
        transcoded(file_of(ct(), tmp_path), "1.2.840.10008.1.2.4.50")


def test_a_broken_frame_is_told_before_anything_is_given(tmp_path: Path) -> None:
    path = next(path for path in FILES if path.name == "JPEG2000.dcm")
    raw = path.read_bytes()
    at = raw.index(b"\xff\x4f\xff\x51")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(raw[: at + 8] + bytes(30) + raw[at + 38 :])
    with pytest.raises(Unprocessable, match="decoded"):
        transcoded(broken, EXPLICIT_LITTLE)
