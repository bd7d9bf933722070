"""The receive benchmark: a look at it, so that it still runs when somebody wants figures."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
import pytest

from conformance.benchmarks.dicom.images import Images
from conformance.benchmarks.dicom.nodes import STORESCU
from conformance.benchmarks.dicom.receive import Received, Sent, Way, measure


def test_images_of_a_round_are_whole_and_new(tmp_path: Path) -> None:
    pattern = Images(pixels=16)
    for number in (1, 2):
        pattern.write(tmp_path / str(number), number, 60)
    found = [pydicom.dcmread(path) for path in sorted(tmp_path.rglob("*.dcm"))]
    assert len({dataset.SOPInstanceUID for dataset in found}) == 120
    assert len({dataset.StudyInstanceUID for dataset in found}) == 4
    assert all(dataset.SOPInstanceUID.startswith(dataset.SeriesInstanceUID) for dataset in found)
    assert all(len(dataset.PixelData) == 16 * 16 * 2 for dataset in found)


def test_ratios_are_formed_within_a_round() -> None:
    way = Way("way", True, 1, True, 10, 4.0, 2.5)
    received = Received(
        way,
        {
            "ours": [Sent(100, 1, 0.5, 0), Sent(50, 2, 0.5, 0), Sent(10, 3, 0.5, 0)],
            "Orthanc": [Sent(20, 9, 0, 0), Sent(10, 9, 0, 0), Sent(1, 9, 0, 0)],
        },
    )
    assert received.faster() == 5
    text = "\n".join(received.lines())
    assert "met    5.0 times Orthanc" in text
    assert "met    2.00 ms CPU" in text


@pytest.mark.slow
def test_a_short_run() -> None:
    if not STORESCU.exists():
        pytest.skip("dcmtk is not installed")
    with TemporaryDirectory(
        prefix="xinglin-receive-"
    ) as name:  # pytest's own are closed to Postgres' account
        Path(name).chmod(0o755)
        found = measure(Path(name), rounds=1, ways=[Way("look", True, 2, True, 8, 0.0)])
    (received,) = found.found
    assert received.rounds["ours"][0].per_second > 0
    assert "fdatasyncs" in found.text()
    assert found.document()["ways"][0]["way"]["name"] == "look"
