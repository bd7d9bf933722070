"""PS3.18 10.4.1.1.3, 10.4.1.1.4, 8.3.5: pictures of frames, instances, series and studies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.spec.ps3_18.test_retrieve import INSTANCE, STUDY, address, parts, store_file
from tests.support.dicom_data import ct
from tests.support.dicom_fixtures import Node

OF_STUDY = f"/dicom-web/studies/{STUDY}"
OF_SERIES = f"{OF_STUDY}/series/{STUDY}.1"


def seen(raw: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(raw)))


def png(web: FlaskClient, query: str) -> np.ndarray:
    answer = web.get(f"{INSTANCE}/rendered?accept=image/png&{query}")
    assert answer.status_code == 200, answer.text
    return seen(answer.data)


@pytest.mark.clause("PS3.18 8.3.5.1.3", "viewport: size, region, and a flip where a size is negative")
def test_the_region_that_is_asked_for(node: Node, web: FlaskClient) -> None:
    node.add(ct())
    whole = png(web, "")
    assert png(web, "viewport=64,64").shape == (64, 64)
    assert png(web, "viewport=128,32").shape == (32, 32)
    region = png(web, "viewport=16,8,10,20,16,8")
    assert np.array_equal(region, whole[20:28, 10:26])
    assert np.array_equal(png(web, "viewport=16,8,10,20,-16,8"), region[:, ::-1])
    assert np.array_equal(png(web, "viewport=16,8,10,20,16,-8"), region[::-1])
    assert np.array_equal(png(web, "viewport=64,64,,,,"), whole)
    for wrong in ("viewport=64", "viewport=64,64,1,1", "viewport=64,64,900,0,4,4", "viewport=64,64,a,0,4,4"):
        assert web.get(f"{INSTANCE}/rendered?{wrong}").status_code == 400, wrong
    assert web.get(f"{INSTANCE}/thumbnail?viewport=64,64,1,1,4,4").status_code == 400


@pytest.mark.clause("PS3.18 8.3.5.1", "what is not done is refused by name")
@pytest.mark.parametrize("name", ["annotation=patient", "iccprofile=srgb", "presentationUID=1.2"])
def test_what_is_not_done_is_refused_by_name(node: Node, web: FlaskClient, name: str) -> None:
    node.add(ct())
    answer = web.get(f"{INSTANCE}/rendered?{name}")
    assert answer.status_code == 400
    assert name.partition("=")[0] in answer.text
    assert web.get(f"{INSTANCE}/rendered?iccprofile=no").status_code == 200


@pytest.mark.clause("PS3.18 8.7.4", "JPEG, PNG, GIF; several frames move")
def test_frames_move_in_a_gif(node: Node, web: FlaskClient) -> None:
    dataset = store_file(node, "SC_rgb_rle_2frame.dcm")
    moving = web.get(f"{address(dataset)}/rendered", headers={"Accept": "image/gif"})
    picture = Image.open(io.BytesIO(moving.data))
    assert (moving.content_type, picture.n_frames) == ("image/gif", 2)
    one = web.get(f"{address(dataset)}/frames/2/rendered", headers={"Accept": "image/gif"})
    assert Image.open(io.BytesIO(one.data)).n_frames == 1
    both = web.get(
        f"{address(dataset)}/frames/1,2/rendered", headers={"Accept": "multipart/related; type=image/png"}
    )
    found = parts(both)
    assert np.array_equal(seen(found[1][2]), dataset.pixel_array[1])
    assert (
        web.get(f"{address(dataset)}/frames/1,2/rendered", headers={"Accept": "image/png"}).status_code == 400
    )
    assert web.get(f"{address(dataset)}/frames/3/rendered").status_code == 404


@pytest.mark.clause("PS3.18 10.4.1.1.3", "a series or a study is rendered: one picture, or all as multipart")
@pytest.mark.parametrize(("path", "count"), [(OF_STUDY, 4), (OF_SERIES, 3), (INSTANCE, 1)])
def test_every_level_is_rendered(node: Node, web: FlaskClient, path: str, count: int) -> None:
    node.add(*(ct(1, 1, number) for number in (1, 2, 3)), ct(1, 2, 1), ct(1, 3, 1, Rows=None, PixelData=None))
    every = parts(web.get(f"{path}/rendered", headers={"Accept": "multipart/related; type=image/jpeg"}))
    assert len(every) == count
    single = web.get(f"{path}/rendered")
    assert single.content_type == "image/jpeg"
    for ending in ("thumbnail", "thumbnail?viewport=32,32"):
        answer = web.get(f"{path}/{ending}", headers={"Accept": "image/png"})
        assert max(seen(answer.data).shape) == (32 if "=" in ending else 128)
        again = web.get(
            f"{path}/{ending}", headers={"Accept": "image/png", "If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304


def test_a_thumbnail_is_made_once(node: Node, web: FlaskClient) -> None:
    node.add(ct())
    first = web.get(f"{INSTANCE}/thumbnail").data
    (path,) = node.files.kept.rglob("*.dcm")
    raw = bytearray(path.read_bytes())
    path.write_bytes(raw[:-4000] + bytes(4000))  # another picture, under the same name
    assert web.get(f"{INSTANCE}/thumbnail").data == first


def test_a_pdf_comes_as_a_pdf(node: Node, web: FlaskClient) -> None:
    pdf = b"%PDF-1.4 nothing in it "
    dataset = ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", PixelData=None, Rows=None, Columns=None)
    dataset.EncapsulatedDocument = pdf
    node.add(dataset)
    answer = web.get(f"{INSTANCE}/rendered")
    assert (answer.content_type, answer.data.rstrip(b"\0")) == ("application/pdf", pdf)
    assert web.get(f"{INSTANCE}/rendered", headers={"Accept": "image/jpeg"}).status_code == 406


def test_a_presentation_state_says_what_it_is(node: Node, web: FlaskClient) -> None:
    node.add(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", PixelData=None, Rows=None, Columns=None))
    answer = web.get(f"{INSTANCE}/rendered")
    assert answer.status_code == 422
    assert "presentation state" in answer.text


def test_lossless_jpeg_is_rendered(node: Node, web: FlaskClient) -> None:
    dataset = store_file(node, "SC_rgb_jpeg_gdcm.dcm")
    answer = web.get(f"{address(dataset)}/rendered", headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    assert seen(answer.data).shape == (100, 100, 3)
