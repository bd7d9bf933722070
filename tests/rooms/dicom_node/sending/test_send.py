"""C-STORE SCU against dcmtk's storescp, with what can go wrong on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from dicom_node.dimse.requestor import Remote
from dicom_node.dimse.send import Fate, Originator, Outlet, Result
from dicom_node.index.locate import Located, located
from tests.support.dicom_data import ROOT_UID, ct, data_set_of, encoded
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import Receiver, cutting, free_port, storescp


def stored(node: Node, count: int = 5) -> list[Located]:
    """Return so many instances of one study, kept in the archive."""
    node.add(*(ct(number=number) for number in range(1, count + 1)))
    with node.engine.connection() as connection:
        return located(connection, f"{ROOT_UID}.1")


def sent(node: Node, instances: list[Located], peer: Receiver, **options: object) -> list[Result]:
    outlet = Outlet(node.files, "test", Originator("MOVER", 7))
    remote = Remote(peer.title, "127.0.0.1", peer.port)
    return list(outlet.send(instances, remote, "XINGLIN", timeout_s=20))


def test_what_arrives_is_what_is_stored(node: Node) -> None:
    instances = stored(node)
    with storescp() as peer:
        results = sent(node, instances, peer)
        assert [result.fate for result in results] == [Fate.SENT] * 5
        kept = {node.data_set(each.digest) for each in instances}
        assert {data_set_of(path) for path in peer.files()} == kept


def test_a_peer_that_takes_implicit_only(node: Node) -> None:
    instances = stored(node)
    with storescp("+xi") as peer:
        assert {result.fate for result in sent(node, instances, peer)} == {Fate.SENT}
        for each in peer.datasets():
            assert each.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
            original = ct(number=each.InstanceNumber)
            assert each.PixelData == original.PixelData
            assert str(each.PatientName) == str(original.PatientName)


def coded(node: Node, name: str) -> Located:
    """Return one of pydicom's coded files, kept in the archive."""
    path = Path(str(get_testdata_file(name)))
    dataset = dcmread(path)
    outcome = node.ingest.store([data_set_of(path)], str(dataset.file_meta.TransferSyntaxUID), "CT1")
    assert outcome.instance is not None, outcome
    with node.engine.connection() as connection:
        return located(connection, outcome.instance.study_uid)[0]


def test_coded_pixels_go_as_they_are_where_they_are_taken(node: Node) -> None:
    instance = coded(node, "JPEG2000.dcm")
    with storescp() as peer:
        assert [each.fate for each in sent(node, [instance], peer)] == [Fate.SENT]
        assert data_set_of(peer.files()[0]) == node.data_set(instance.digest)


def test_coded_pixels_are_decoded_for_a_peer_that_takes_plain_ones(node: Node) -> None:
    instance = coded(node, "MR_small_jp2klossless.dcm")
    with storescp("+x=") as peer:
        assert [each.fate for each in sent(node, [instance], peer)] == [Fate.SENT]
        (got,) = peer.datasets()
        assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        plain = dcmread(str(get_testdata_file("MR_small.dcm")))
        assert (got.pixel_array == plain.pixel_array).all()


def broken(node: Node, number: int, syntax: str) -> Located:
    """Return an instance whose coded pixels are none."""
    dataset = ct(number=number)
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51 no code stream"])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    node.ingest.store([encoded(dataset)], syntax, "CT1")
    with node.engine.connection() as connection:
        return located(connection, f"{ROOT_UID}.1", "", str(dataset.SOPInstanceUID))[0]


def test_what_cannot_be_decoded_fails_by_name_and_the_rest_goes(node: Node) -> None:
    others = stored(node, 2)
    garbled, video = broken(node, 8, JPEG2000Lossless), broken(node, 9, MPEG4HP41)
    with storescp("+x=") as peer:
        results = sent(node, [others[0], garbled, video, others[1]], peer)
        assert [each.fate for each in results] == [Fate.SENT, Fate.NOT_WRITABLE, Fate.NO_CONTEXT, Fate.SENT]
        assert "cannot be decoded" in results[1].reason


def test_a_missing_file_fails_alone(node: Node) -> None:
    instances = stored(node, 3)
    node.files.path(instances[1].digest).unlink()
    with storescp() as peer:
        assert [each.fate for each in sent(node, instances, peer)] == [Fate.SENT, Fate.MISSING, Fate.SENT]


def test_nobody_there(node: Node) -> None:
    instances = stored(node, 2)
    remote = Remote("DEST", "127.0.0.1", free_port())
    results = list(Outlet(node.files, "test").send(instances, remote, "XINGLIN"))
    assert [each.fate for each in results] == [Fate.UNREACHED] * 2
    assert "cannot be reached" in results[0].reason


@pytest.mark.parametrize("fault", ["--refuse", "--ignore", "--abort-after", "--abort-during"])
def test_a_peer_with_a_fault(node: Node, fault: str) -> None:
    instances = stored(node, 3)
    with storescp(fault) as peer:
        outlet = Outlet(node.files, "test")
        remote = Remote(peer.title, "127.0.0.1", peer.port)
        results = list(outlet.send(instances, remote, "XINGLIN", timeout_s=2))
        assert len(results) == 3
        assert not any(each.arrived for each in results if fault == "--refuse")
        assert {each.instance.sop_uid for each in results} == {each.sop_uid for each in instances}


def test_a_connection_that_is_lost_is_opened_again(node: Node) -> None:
    """A relay cuts the line after some bytes, once; everything arrives all the same."""
    instances = stored(node, 12)
    with storescp() as peer, cutting(peer.port, after_bytes=40_000) as port:
        outlet = Outlet(node.files, "test")
        results = list(outlet.send(instances, Remote(peer.title, "127.0.0.1", port), "XINGLIN"))
        assert [each.fate for each in results] == [Fate.SENT] * 12
        assert len(peer.files()) == 12


def test_who_stops_asking_ends_the_association(node: Node) -> None:
    instances = stored(node, 5)
    with storescp() as peer:
        results = Outlet(node.files, "test").send(
            instances, Remote("DEST", "127.0.0.1", peer.port), "XINGLIN"
        )
        assert next(results).arrived
        results.close()  # type: ignore[attr-defined]
        assert len(peer.files()) == 1


def test_an_instance_that_a_peer_cannot_stand_fails_alone(node: Node) -> None:
    """The peer hangs up whenever it comes; what stands behind it arrives all the same."""
    instances = stored(node, 5)
    bad = instances[2].sop_uid

    def store(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == bad:
            event.assoc.abort()
        return 0

    ae = AE("DEST")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    remote = Remote("DEST", "127.0.0.1", server.server_address[1])
    fates = [each.fate for each in Outlet(node.files, "test").send(instances, remote, "XINGLIN")]
    server.shutdown()
    assert fates == [Fate.SENT, Fate.SENT, Fate.LOST, Fate.SENT, Fate.SENT]
