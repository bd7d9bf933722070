"""The console's pages of the DICOM network, and the button that echoes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom import AE

from dicom_node import failures
from dicom_node.dimse import peers
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.dimse.requestor import Remote
from dicom_node.dimse.verify import verify
from dicom_node.failures import Failures
from dicom_node.forward import queue, rules
from dicom_node.forward.rules import Rule
from dicom_node.forward.worker import Forwarder, ForwardSettings
from dicom_node.ingest import Ingest
from fhir_server.app import create_app, dicom_files
from fhir_server.interactions.context import utc_now
from tests.rooms.fhir_server.console.conftest import House, house, served
from tests.support import browser as support
from tests.support.browser import browser
from tests.support.dicom_data import ct, encoded
from tests.support.dicom_peers import free_port, storescp
from tests.support.server import wait_for

__all__ = ["house", "served"]

ELE = "1.2.840.10008.1.2.1"


def list_(house: House, title: str, port: int | None, **more: object) -> None:
    peers.add(house.entry.engine, Peer(title, "127.0.0.1", port, **more), utc_now)  # type: ignore[arg-type]


@pytest.fixture
def ingest(house: House) -> Iterator[Ingest]:
    made = Ingest(dicom_files(house.config), house.entry.engine, utc_now)
    yield made
    made.close()


def test_entities_with_their_rights(house: House) -> None:
    assert "No application entity is listed" in house.get("/console/dicom")
    list_(house, "PACS", 104, tls=True)
    list_(house, "CT1", None, rights=frozenset({"store", "commitment"}))
    page = house.get("/console/dicom")
    assert re.search(r"CT1.*commitment, store", page, re.DOTALL)
    assert re.search(r"PACS.*all.*TLS", page, re.DOTALL)
    assert page.count("<button") == 1  # who has no port cannot be asked
    assert "% full" in page


def test_an_echo_is_answered_or_says_why_not(house: House) -> None:
    client = house.app.test_client()
    with storescp() as peer:
        list_(house, "DEST", peer.port)
        page = client.post("/console/dicom/echo", data={"title": "DEST"})
        assert re.search(r"DEST answers, in <span class=\"num\">\d+</span> ms", page.text)
    page = client.post("/console/dicom/echo", data={"title": "DEST"})
    assert "DEST does not answer: DEST at 127.0.0.1" in page.text
    assert client.post("/console/dicom/echo", data={"title": "NOBODY"}).status_code == 404
    assert client.post("/console/dicom/echo", data={"title": "A" * 17}).status_code == 400


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}]
)
def test_a_form_of_another_site_is_refused(house: House, headers: dict[str, str]) -> None:
    client = house.app.test_client()
    for path in ("/console/dicom/echo", "/console/dicom/queue/retry"):
        assert client.post(path, data={"title": "DEST"}, headers=headers).status_code == 403


def test_an_echo_that_is_rejected_or_not_verified() -> None:
    ae = AE("OTHER")
    ae.require_called_aet = True
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    port = server.server_address[1]
    assert "rejected the association" in verify(Remote("WRONG", "127.0.0.1", port), "XINGLIN").words
    assert "does not take part" in verify(Remote("OTHER", "127.0.0.1", port), "XINGLIN").words
    server.shutdown()


def test_failures_of_each_entity(house: House, ingest: Ingest) -> None:
    list_(house, "CT1", None)
    entity = ApplicationEntity(replace(house.config, dimse_port=0), house.entry.engine, ingest)
    port = entity.start()
    for _ in range(3):
        ae = AE("STRANGER")
        ae.add_requested_context("1.2.840.10008.1.1")
        assert ae.associate("127.0.0.1", port, ae_title="XINGLIN").is_rejected
    ae = AE("CT1")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2", ELE)
    association = ae.associate("127.0.0.1", port, ae_title="XINGLIN")
    assert association.send_c_store(ct(StudyInstanceUID=None, PatientName="Secret^Name")).Status == 0xA900
    association.release()

    def noted() -> bool:
        with house.entry.engine.connection() as connection:
            return len(failures.recent(connection)) == 2

    wait_for(noted, 20)
    entity.stop()
    page = house.get("/console/dicom")
    assert re.search(r"STRANGER.*association rejected.*<td class=\"num\">3</td>", page, re.DOTALL)
    assert re.search(r"CT1.*not stored.*A900: no usable StudyInstanceUID", page, re.DOTALL)
    assert "Secret" not in page


def test_failures_are_counted_and_bounded(house: House) -> None:
    noted = Failures(house.entry.engine, utc_now)
    for number in range(failures.KEPT + 50):
        noted.note(failures.REJECTED, f"AE{number}", "10.0.0.7", "<script>alert(1)</script>")
    noted.write()
    noted.note(failures.REJECTED, "AE7", "10.0.0.7", "<script>alert(1)</script>")
    noted.write()
    with house.entry.engine.connection() as connection:
        found = failures.recent(connection, 10_000)
    assert len(found) == failures.KEPT
    assert (found[0].title, found[0].count) == ("AE7", 2)
    assert "<script>alert" not in house.get("/console/dicom")


def test_what_is_in_quarantine_can_be_downloaded(house: House, ingest: Ingest) -> None:
    outcome = ingest.store([encoded(ct(StudyInstanceUID=None))], ELE, "CT1")
    assert outcome.verdict.name == "NOT_IDENTIFIED"
    page = house.get("/console/dicom/quarantine")
    assert "no usable StudyInstanceUID" in page
    (address,) = re.findall(r'href="(/console/dicom/quarantine/[^"]+)"', page)
    answer = house.app.test_client().get(address)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.data[128:132] == b"DICM"
    for wrong in ("nonsense", "20260102T030405-aaaaaaaaaaaa", "..%2f..%2fjournal"):
        assert house.app.test_client().get(f"/console/dicom/quarantine/{wrong}").status_code == 404
    with house.entry.engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT event ->> 'kind' FROM dicom_audit")
        assert ("110106",) in cursor.fetchall()


def failing(house: House, ingest: Ingest) -> Forwarder:
    """Queue a study for a destination that nobody answers at, and try until it rests."""
    list_(house, "DEST", free_port())
    rules.add(house.entry.engine, Rule("night", "DEST", {"modality": "CT"}, quiet_s=0), utc_now)
    ingest.store([encoded(ct())], ELE, "CT1")
    engine = house.entry.engine
    files = dicom_files(house.config)
    work = Forwarder(
        engine, files, Destinations(engine), ForwardSettings("XINGLIN", max_age_hours=0), utc_now
    )

    def failed() -> bool:
        work.drain()
        with engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT count(*) FROM dicom_forward_job WHERE state = 'failed'")
            return bool(cursor.fetchone()[0])

    wait_for(failed, 30)
    return work


def test_the_queue_and_another_try(house: House, ingest: Ingest) -> None:
    assert "There is no rule" in house.get("/console/dicom/queue")
    failing(house, ingest)
    page = house.get("/console/dicom/queue")
    assert "cannot be reached" in page
    assert "not reached 1 time" in page
    assert "modality CT" in page
    assert "Müller" not in page
    client = house.app.test_client()
    (job,) = re.findall(r'name="job" value="(\d+)"', page)
    answer = client.post("/console/dicom/queue/retry", data={"job": job})
    assert answer.headers["Location"] == "/console/dicom/queue?retried=1"
    assert "1 study is tried again" in house.get("/console/dicom/queue?retried=1")
    with house.entry.engine.connection() as connection:
        assert queue.due(connection, utc_now()) == {"DEST": (1, 1)}
    assert client.post("/console/dicom/queue/retry", data={"job": "x"}).status_code == 400


def test_a_disk_that_fills_is_told(house: House, tmp_path: Path) -> None:
    config = replace(house.config, disk_warn_percent=99.9)
    client = create_app(config).test_client()
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert "% full" in ready.json["checks"]["disk"]["degraded"]
    assert ready.json["checks"]["disk"]["ok"] is True
    assert "Make room" in client.get("/console/dicom").text
    assert "look here" in client.get("/console/jobs").text


@pytest.mark.skipif(support.missing() is not None, reason=f"no browser: {support.missing()}")
def test_in_a_browser(served: House, ingest: Ingest) -> None:
    """Echo, the queue, another try: without a word of complaint from the browser."""
    failing(served, ingest)
    with storescp() as peer, browser() as page:
        list_(served, "ALIVE", peer.port)
        page.open(f"{served.url}/console/dicom")
        page.click("button[aria-label='Echo ALIVE']")
        wait_for(lambda: page.text("#echoed").startswith("ALIVE answers, in "))
        page.click("a[href='/console/dicom/queue']")
        assert page.text("h1") == "Forwarding"
        page.click("#failed button")
        wait_for(lambda: "1 study is tried again" in page.text("[role=status]"))
        page.click("a[href='/console/dicom/quarantine']")
        assert "Nothing is in quarantine" in page.text(".empty")
        assert page.problems() == []
