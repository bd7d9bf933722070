"""audit: what was done is noted with it, summed up by study, and becomes AuditEvent resources."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from dicom_node.audit import Event, Kind, Outcome, Party, Studied, Transfer, note
from dicom_node.audit_log import AuditLog
from dicom_node.bridge.audit_drain import AuditDrain
from dicom_node.bridge.drain import GRANT, Bridge, BridgeSettings
from dicom_node.dimse.requestor import Remote, associate
from dicom_node.encode import encode
from dicom_node.upper_layer.negotiation import Proposed
from fhir_server.app import create_entry
from fhir_server.database.engine import Engine
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.server import wait_for

STUDY = f"{ROOT_UID}.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
SETTINGS = BridgeSettings(
    quiet_s=0.0,
    quiet_max_s=30.0,
    patient_id_system="urn:hospital:mrn",
    address="http://node.example/dicom-web",
)
SCANNER = Party("CT1", "10.0.0.7", requestor=True)
US = Party("XINGLIN", "10.0.0.1")


@pytest.fixture
def entry(node: Node) -> Entry:
    return replace(create_entry(node.config, node.config.database_url, connections=4), clock=node.clock)


@pytest.fixture
def drain(entry: Entry) -> AuditDrain:
    return AuditDrain(entry, SETTINGS, "XINGLIN", gather_s=0)


def noted(node: Node, *events: Event) -> None:
    with node.engine.connection() as connection:
        for event in events:
            note(connection.cursor(), event)
        connection.commit()


def told(entry: Entry) -> list[dict[str, Any]]:
    return entry.read(GRANT, lambda context: resources(context, "AuditEvent", [("_sort", "_lastUpdated")]))


@clause("PS3.15 A.5.3.7", "a transfer names both sides, the patient, the study and how many instances")
def test_a_transfer_is_told_with_both_sides_study_and_patient(
    node: Node, entry: Entry, drain: AuditDrain
) -> None:
    transfer = Transfer(SCANNER, US)
    for number in (1, 2):
        node.add(ct(1, 1, number))
        transfer.moved(Studied(STUDY, "P1", "ae:CT1", "A1"), CT)
    with node.engine.connection() as connection:
        transfer.note_all(connection.cursor(), node.clock())
        connection.commit()
    assert drain.drain() == 0, "the study is not told to FHIR yet"
    assert Bridge(entry, SETTINGS).drain() == 1
    assert drain.drain() == 1
    (found,) = told(entry)
    (patient,) = entry.read(GRANT, lambda context: resources(context, "Patient", []))
    assert found["type"] == {"system": DCM, "code": "110104", "display": "DICOM Instances Transferred"}
    assert (found["action"], found["outcome"]) == ("C", "0")
    source, destination = found["agent"]
    assert source["type"]["coding"][0]["code"] == "110153"
    assert (source["altId"], source["requestor"]) == ("CT1", True)
    assert source["network"] == {"address": "10.0.0.7", "type": "2"}
    assert (destination["type"]["coding"][0]["code"], destination["requestor"]) == ("110152", False)
    study, person = found["entity"]
    assert study["what"]["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    assert {one["type"]: one["valueString"] for one in study["detail"]} == {
        "NumberOfInstances": "2",
        f"SOPClass {CT}": "2",
        "AccessionNumber": "A1",
    }
    assert person["what"] == {"reference": f"Patient/{patient['id']}"}
    assert not node.rows("SELECT FROM dicom_audit")


def test_a_study_that_never_reaches_fhir_is_told_by_its_own_words(
    node: Node, entry: Entry, drain: AuditDrain
) -> None:
    node.add(ct())
    study = Studied(STUDY, "P1", "ae:CT1")
    noted(node, Event(Kind.TRANSFERRED, node.clock(), source=SCANNER, studies=[study]))
    assert drain.drain() == 0
    node.clock.advance(minutes=3)
    assert drain.drain() == 1
    (found,) = told(entry)
    assert found["entity"][1]["what"] == {
        "type": "Patient",
        "identifier": {"system": "urn:hospital:mrn", "value": "P1"},
    }


@clause("PS3.15 A.5.3.10", "a query is told with what was asked and of which SOP Class")
def test_a_query_is_told_as_it_was_asked(node: Node, entry: Entry, drain: AuditDrain) -> None:
    root = "1.2.840.10008.5.1.4.1.2.2.1"
    noted(
        node,
        Event(Kind.QUERY, node.clock(), source=SCANNER, destination=US, sop_class=root, query="PatientID=P1"),
    )
    assert drain.drain() == 1
    (found,) = told(entry)
    (query,) = found["entity"]
    assert base64.b64decode(query["query"]).decode() == "PatientID=P1"
    assert query["what"]["identifier"]["value"] == f"urn:oid:{root}"
    assert found["action"] == "E"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_a_valid_audit_event(node: Node, entry: Entry, drain: AuditDrain, kind: Kind) -> None:
    noted(node, Event(kind, node.clock(), Outcome.MINOR_FAILURE, subtype="110126", reason="not\0 known"))
    assert drain.drain() == 1
    (found,) = told(entry)
    assert found["type"]["code"] == kind.value
    assert found["outcomeDesc"] == "not known"


def test_what_was_told_and_not_forgotten_is_not_told_again(
    node: Node, entry: Entry, drain: AuditDrain
) -> None:
    noted(node, Event(Kind.APPLICATION_ACTIVITY, node.clock(), subtype="110120"))
    ((pk, id_, at, uid, event),) = node.rows(
        "SELECT pk, id::text, noted_at, study_uid, event::text FROM dicom_audit"
    )
    assert drain.drain() == 1
    with node.engine.connection() as connection:
        connection.cursor().execute(
            "INSERT INTO dicom_audit (pk, id, noted_at, study_uid, event) OVERRIDING SYSTEM VALUE"
            " VALUES (%s, %s, %s, %s, %s)",
            (pk, id_, at, uid, event),
        )
        connection.commit()
    assert drain.drain() == 1
    (found,) = told(entry)
    assert (found["id"], found["meta"]["versionId"]) == (id_, "1")


def test_a_transfer_counts_what_became_of_each_instance(node: Node) -> None:
    transfer = Transfer(SCANNER, US, every_s=10)
    one, other = Studied("1.2.3", "P1"), Studied("1.2.4")
    transfer.moved(one, CT)
    transfer.moved(one, CT, new=False)
    transfer.refused("no room on disk", one)
    transfer.moved(other, CT, new=False)
    transfer.refused("no usable StudyInstanceUID")
    now = node.clock()
    assert not transfer.due(now)
    assert transfer.due(now + timedelta(seconds=10))
    first, second, third = transfer.take(now)
    assert (first.action, first.outcome, first.studies[0].instances) == ("C", Outcome.MINOR_FAILURE, 2)
    assert first.reason == "1 refused (no room on disk); 1 were here already"
    assert (second.action, second.outcome) == ("R", Outcome.SUCCESS)
    assert (third.studies[0].uid, third.outcome) == ("", Outcome.SERIOUS_FAILURE)
    assert not transfer


def test_what_follows_closely_becomes_one_event(node: Node, entry: Entry) -> None:
    drain = AuditDrain(entry, SETTINGS, "XINGLIN", gather_s=5)
    for uid in (STUDY, STUDY, "1.2.99", STUDY):
        study = Studied(uid, instances=2, sop_classes={CT: 2})
        noted(node, Event(Kind.TRANSFERRED, node.clock(), source=US, destination=SCANNER, studies=[study]))
        node.clock.advance(seconds=2)
    for asked in ("PatientID=P1", "PatientID=P2", "PatientID=P1"):
        noted(node, Event(Kind.QUERY, node.clock(), source=SCANNER, query=asked))
    assert drain.drain() == 0
    node.clock.advance(seconds=3)
    assert drain.drain() == 4
    node.clock.advance(seconds=3)
    assert drain.drain() == 3
    (queries,) = [event["entity"] for event in told(entry) if event["type"]["code"] == "110112"]
    assert [base64.b64decode(one["query"]).decode() for one in queries] == ["PatientID=P1", "PatientID=P2"]
    counted = [event["entity"][0]["detail"][0] for event in told(entry) if "detail" in event["entity"][0]]
    assert sorted(detail["valueString"] for detail in counted) == ["2", "6"]
    (whole,) = [event for event in told(entry) if "period" in event and event["type"]["code"] == "110104"]
    assert (whole["period"]["start"][17:19], whole["period"]["end"][17:19]) == ("05", "11")
    assert not node.rows("SELECT FROM dicom_audit")


@clause("PS3.15 A.5.3.10", "a search over the web is told with its address")
def test_what_web_clients_search_for_is_noted(node: Node, web: FlaskClient) -> None:
    node.add(ct(1, 1, 1))
    assert web.get("/dicom-web/studies?PatientID=P1").status_code == 200
    assert web.get("/dicom-web/studies?limit=none").status_code == 400
    ((query,),) = wait_for(
        lambda: node.rows("SELECT event FROM dicom_audit WHERE event ->> 'kind' = '110112'")
    )
    assert query["query"] == "/dicom-web/studies PatientID=P1"
    assert query["source"]["address"] == "127.0.0.1"


def test_instances_and_queries_of_an_association_are_noted(node: Node, dimse_port: int) -> None:
    remote = Remote("XINGLIN", "127.0.0.1", dimse_port)
    datasets = [ct(1, 1, number) for number in (1, 2, 3)]
    proposed = [Proposed(CT, [EXPLICIT]), Proposed(STUDY_ROOT, [EXPLICIT])]
    with associate(remote, "CT1", proposed) as association:
        contexts = {context.abstract_syntax: context for context in association.contexts}
        for dataset in datasets:
            command = {0x0100: 1, 0x0002: CT, 0x1000: dataset.SOPInstanceUID, 0x0700: 0}
            association.request(contexts[CT], command, encoded(dataset))
        keys = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "00100020": {"vr": "LO", "Value": ["P1"]}}
        command = {0x0100: 0x20, 0x0002: STUDY_ROOT, 0x0700: 0}
        assert list(association.requests(contexts[STUDY_ROOT], command, encode(keys, EXPLICIT)))

    def noted() -> list[dict[str, Any]]:
        rows = node.rows("SELECT event FROM dicom_audit ORDER BY event ->> 'kind'")
        return [event for (event,) in rows] if len(rows) == 2 else []

    stored, query = wait_for(noted)
    assert (stored["source"]["ae"], stored["study"]["instances"], stored["action"]) == ("CT1", 3, "C")
    assert query["query"] == "STUDY 00100020=P1"


def test_while_the_database_is_away_the_audit_is_kept(node: Node) -> None:
    away = Engine("host=/nowhere dbname=none")
    log = AuditLog(away, node.clock, every_s=3600)
    log.note(Event(Kind.QUERY, node.clock(), source=SCANNER, query="PatientID=P1"))
    log.refused(SCANNER, US, "no room on disk")
    log.flush()
    log._engine = node.engine
    log.flush()
    assert node.rows("SELECT event ->> 'kind' FROM dicom_audit ORDER BY 1") == [("110104",), ("110112",)]
