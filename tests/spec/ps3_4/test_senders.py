"""The senders of the field at our door: dcmtk, gdcm and pynetdicom, with and without Nagle's algorithm."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, build_context

from tests.support.clause import clause
from tests.support.dicom_data import ct, data_set_of, file_of
from tests.support.dicom_fixtures import Node
from tests.support.peers import FIELD, NO_DELAY, dcmtk, gdcm, run

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(params=[FIELD, NO_DELAY], ids=["nagle", "nodelay"])
def environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    found: Mapping[str, str] = request.param
    return found


def to(port: int) -> tuple[str, ...]:
    return "-aec", "XINGLIN", "127.0.0.1", str(port)


@clause("PS3.4 A.4", "echoscu: again and again, with 128 contexts, aborting; termscu does not stop us")
def test_echoes_of_dcmtk(dimse_port: int, environment: Mapping[str, str]) -> None:
    echo = dcmtk("echoscu")
    for options in (("--repeat", "100"), ("-pts", "38", "--propose-pc", "128"), ("--abort",)):
        answer = run(echo, *options, *to(dimse_port), environment=environment)
        assert answer.returncode == 0, answer.stderr
    run(dcmtk("termscu"), *to(dimse_port), environment=environment)
    answer = run(echo, "-aec", "NOPE", "127.0.0.1", str(dimse_port))
    assert "Called AE Title Not Recognized" in answer.stderr
    assert run(echo, *to(dimse_port)).returncode == 0


@clause("PS3.4 B.5", "storescu in all transfer syntaxes that it can propose for what it has")
def test_transfer_syntaxes_of_storescu(
    node: Node, dimse_port: int, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    source = file_of(ct(pixels=64), plain)
    made = {"-xi": ("dcmconv", "+ti"), "-xb": ("dcmconv", "+tb"), "-xd": ("dcmconv", "+td")}
    made |= {"-xr": ("dcmcrle",), "-xs": ("dcmcjpeg", "+e1"), "-xt": ("dcmcjpls",)}
    for number, (option, (tool, *how)) in enumerate(made.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        uid = f"1.2.3.{number + 1}"
        changed = folder / "image.dcm"
        shutil.copy(source, changed)
        run(dcmtk("dcmodify"), "-nb", "-m", f"SOPInstanceUID={uid}", changed)
        converted = run(dcmtk(tool), *how, changed, folder / "sent.dcm")
        assert converted.returncode == 0, converted.stderr
        changed.unlink()
        answer = run(
            dcmtk("storescu"), option, "-R", *to(dimse_port), folder / "sent.dcm", environment=environment
        )
        assert answer.returncode == 0, answer.stderr
        (kept,) = node.kept(uid)
        assert len(kept) > 1000
        if option != "-xd":  # dcmtk packs what it deflates anew
            assert kept == data_set_of(folder / "sent.dcm"), option


@clause("PS3.4 B.2.3", "dcmsend chooses by itself; what was sent twice is kept once")
def test_a_mixed_set_of_dcmsend(node: Node, dimse_port: int, environment: Mapping[str, str]) -> None:
    names = (
        "CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "JPGExtended.dcm", "rtplan.dcm",
        "waveform_ecg.dcm", "reportsi.dcm",
    )  # fmt: skip
    files = [str(get_testdata_file(name)) for name in names]
    for _ in range(2):
        answer = run(dcmtk("dcmsend"), *to(dimse_port), *files, environment=environment)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    answer = run(dcmtk("storescu"), "-R", "--repeat", "3", *to(dimse_port), files[0], environment=environment)
    assert answer.returncode == 0, answer.stderr
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(len(names),)]


@clause("PS3.8 D.1", "PDUs from the shortest to the longest that dcmtk has")
@pytest.mark.parametrize("longest", ["4096", "16384", "131072"])
def test_lengths_of_pdus(
    node: Node, dimse_port: int, tmp_path: Path, longest: str, environment: Mapping[str, str]
) -> None:
    dataset = ct(pixels=512)
    file_of(dataset, tmp_path)
    answer = run(
        dcmtk("storescu"), "-pdu", longest, "--max-send-pdu", longest, "+sd", *to(dimse_port), tmp_path,
        environment=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert node.kept(str(dataset.SOPInstanceUID)) == [data_set_of(tmp_path / f"{dataset.SOPInstanceUID}.dcm")]


@clause("PS3.4 C.4.1", "a C-FIND to a node that does not offer its class is refused in the negotiation")
def test_a_query_of_a_class_that_nobody_has(dimse_port: int) -> None:
    ae = AE("ASKER")
    association = ae.associate(
        "127.0.0.1", dimse_port, contexts=[build_context("1.2.840.10008.5.1.4.37.1")], ae_title="XINGLIN"
    )
    assert not association.is_established
    assert [one.result for one in association.rejected_contexts] == [3]


def test_gdcmscu(node: Node, dimse_port: int, tmp_path: Path, environment: Mapping[str, str]) -> None:
    tool = gdcm("gdcmscu")
    dataset = ct(pixels=128)
    folder = tmp_path / "sent"
    folder.mkdir()
    file_of(dataset, folder)
    here = ("127.0.0.1", str(dimse_port), "--call", "XINGLIN")
    run(tool, "--echo", *here, environment=environment)
    # it dies at the release of whatever association; what counts is what it has stored
    run(tool, "--store", *here, "-i", folder, "-r", environment=environment)
    assert len(node.kept(str(dataset.SOPInstanceUID))) == 1


@clause("PS3.4 B.2.1", "a sender that is killed in the middle leaves nothing behind, and the next is served")
def test_a_sender_killed_in_the_middle(node: Node, dimse_port: int, tmp_path: Path) -> None:
    for number in range(1, 41):
        file_of(ct(number=number, pixels=512), tmp_path)
    sender = subprocess.Popen([dcmtk("storescu"), "-v", "+sd", *to(dimse_port), str(tmp_path)])
    deadline = 4000
    while not node.rows("SELECT 1 FROM dicom_instance LIMIT 1") and deadline:
        deadline -= 1
    sender.kill()
    sender.wait()
    answer = run(dcmtk("storescu"), "+sd", *to(dimse_port), tmp_path)
    assert answer.returncode == 0
    assert node.rows("SELECT count(*), max(version) FROM dicom_instance") == [(40, 1)]
    assert not list(node.ingest.folder.glob("*.part"))
