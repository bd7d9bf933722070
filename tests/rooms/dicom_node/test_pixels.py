"""pixels: frames as arrays and as pictures, against pydicom and against the formulas of PS3.3."""

from __future__ import annotations

import tarfile
import warnings
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut, apply_voi_lut, convert_color_space

from dicom_node.files.content import opened
from dicom_node.pixels.colour import _from_ybr, rgb
from dicom_node.pixels.decode import decode
from dicom_node.pixels.grayscale import display_values, modality_values, window
from dicom_node.pixels.image import describe, locate_frames
from fhir_server.outcome import Invalid, Unprocessable
from tests.support.dicom_data import SHARED, ct, file_of

FILES = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_frame_that_pydicom_decodes_is_the_same_here(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            expected = dataset.pixel_array
        except Exception as error:
            pytest.skip(f"pydicom does not decode it either: {str(error)[:60]}")
        with opened(path) as content:
            image = describe(content)
            frames = locate_frames(content, image)
            found = [decode(content, image, frames, index) for index in range(len(frames.spans))]
            shown = [
                rgb(samples, photometric, image) if photometric.startswith("YBR") else samples
                for samples, photometric in found
            ]
    whole = expected if len(found) > 1 else [expected]
    assert len(whole) == len(found)
    for ours, theirs in zip(shown, whole, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(np.float64) - theirs).max() <= (1 if ours.ndim == 3 else 0)
    if image.samples == 1 and "SharedFunctionalGroupsSequence" not in dataset:
        ours = modality_values(found[0][0], image, 0)
        assert np.allclose(ours, apply_modality_lut(whole[0], dataset))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("vlut_04.dcm", 0, 65_535), ("mlut_18.dcm", None, None), ("MR_small.dcm", -32_768, 32_767)],
)
def test_a_lut_or_window_shows_what_pydicom_shows(
    tmp_path: Path, name: str, low: float | None, high: float | None
) -> None:
    path = next((path for path in FILES if path.name == name), None) or from_archive(name, tmp_path)
    dataset = pydicom.dcmread(path)
    with opened(path) as content:
        image = describe(content)
        samples, _ = decode(content, image, locate_frames(content, image), 0)
        shown = display_values(samples, image, 0)
        modality = modality_values(samples, image, 0)
    values = apply_modality_lut(dataset.pixel_array, dataset)
    assert np.array_equal(modality, values)
    if low is not None and high is not None:
        values = apply_voi_lut(values, dataset).astype(np.float64)
        assert np.abs(shown - (values - low) / (high - low) * 255).max() <= 1


def from_archive(name: str, folder: Path) -> Path:
    archive = SHARED / "data" / "dicom" / "pydicom-data.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive}, which holds {name}, is not there")
    with tarfile.open(archive) as members:
        members.extract(f"pydicom-data/{name}", folder, filter="data")
    return folder / "pydicom-data" / name


@pytest.mark.clause("PS3.3 C.11.2.1.2.1", "the example of the standard: center 2048, width 4096; and width 1")
@pytest.mark.parametrize(
    ("center", "width", "value", "expected"),
    [
        (2048, 4096, 0, 0),
        (2048, 4096, 4095, 255),
        (2048, 1, 2047, 0),
        (2048, 1, 2048, 255),
        (0, 100, -51, 0),
        (0, 100, 49, 255),
        (0, 100, -50, 0),
        (1, 2, 0, 0),
        (1, 2, 1, 255),
    ],
)
def test_linear_window(center: float, width: float, value: int, expected: int) -> None:
    assert window(np.array([value]), center, width).tolist() == [expected]


def test_a_window_without_width_is_refused() -> None:
    for function, width in (("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -1)):
        with pytest.raises(Invalid, match="width"):
            window(np.array([0]), 0, width, function)


@given(
    center=st.floats(-2000, 4000),
    width=st.floats(1, 5000),
    values=st.lists(st.integers(-32_768, 65_535), min_size=2, max_size=20),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_is_monotone(center: float, width: float, values: list[int], function: str) -> None:
    shown = window(np.array(sorted(values)), center, width, function)
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_an_image_without_pixels_says_so(tmp_path: Path) -> None:
    with opened(file_of(ct(PixelData=None), tmp_path)) as content:
        image = describe(content)
        with pytest.raises(Unprocessable, match="no pixel data"):
            locate_frames(content, image)


def test_monochrome1_is_shown_inverted(tmp_path: Path) -> None:
    shown = []
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        with opened(file_of(ct(PhotometricInterpretation=photometric), tmp_path)) as content:
            image = describe(content)
            samples, _ = decode(content, image, locate_frames(content, image), 0)
            shown.append(display_values(samples, image, 0).astype(int))
    assert (shown[0] + shown[1] == 255).all()


def test_ybr_is_the_conversion_of_pydicom() -> None:
    samples = np.random.default_rng(7).integers(0, 256, (16, 16, 3), np.uint8)
    theirs = convert_color_space(samples, "YBR_FULL", "RGB")
    assert np.abs(_from_ybr(samples).astype(int) - theirs).max() <= 1
