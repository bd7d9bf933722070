"""OHIF's own build in a real browser against a real server: a study opens and an image is seen."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests.support import ohif
from tests.support.browser import Page, browser, missing
from tests.support.server import Server, wait_for

SLICES = 6
_WEBGL = (
    "--use-angle=swiftshader",
    "--use-gl=angle",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.skipif(ohif.missing() is not None, reason=ohif.missing() or ""),
    pytest.mark.slow,
]


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="xinglin-ohif-") as name:
        Path(name).chmod(0o755)
        running = Server(Path(name) / "data")
        yield running
        running.stop()


def send(port: int) -> str:
    """Send a little CT series and return its Study Instance UID."""
    path = Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm"
    first = pydicom.dcmread(path)
    study, series = generate_uid(), generate_uid()
    entity = AE("SCANNER")
    entity.add_requested_context(CTImageStorage, str(first.file_meta.TransferSyntaxUID))
    association = entity.associate("127.0.0.1", port, ae_title="XINGLIN")
    assert association.is_established
    for number in range(1, SLICES + 1):
        one = copy.deepcopy(first)
        one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID = study, series, generate_uid()
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.InstanceNumber = number
        one.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5.0 * number]
        one.SliceLocation = -75.7 + 5.0 * number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert association.send_c_store(one).Status == 0
    association.release()
    return str(study)


_LIGHT = """
const seen = [];
for (const canvas of document.querySelectorAll('canvas.cornerstone-canvas, .viewport-element canvas')) {
  if (!canvas.width || !canvas.height) continue;
  const copy = document.createElement('canvas');
  copy.width = canvas.width; copy.height = canvas.height;
  const context = copy.getContext('2d');
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data;
  const shades = new Set();
  for (let at = 0; at < data.length; at += 4) shades.add(data[at]);
  seen.push(shades.size);
}
return Math.max(0, ...seen);
"""


def shades(page: Page) -> Any:
    return page.run(_LIGHT)


def test_a_study_opens_in_ohif_and_its_image_is_seen(server: Server, tmp_path: Path) -> None:
    study = send(server.facts["dimse_port"])
    wait_for(
        lambda: len(json.loads(server.get(f"/dicom-web/instances?StudyInstanceUID={study}")[1])) == SLICES
    )
    with ohif.served(f"{server.url}/dicom-web") as site, browser(extra=_WEBGL) as page:
        page.open(f"{site}/viewer?StudyInstanceUIDs={study}")
        try:
            wait_for(lambda: shades(page) > 30, 120)
        finally:
            page.screenshot(tmp_path / "ohif.png")
        failed = [line for line in page.problems() if "/dicom-web/" in line]
        assert failed == []
        page.open(site)
        wait_for(lambda: "CompressedSamples" in page.text("body"), 60)
        assert [line for line in page.problems() if "/dicom-web/" in line] == []
