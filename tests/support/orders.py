"""An installation with imaging orders, for tests of the worklist and of what follows from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dicom_node.workflow.chart import WorkflowSettings
from dicom_node.workflow.orders import Orders
from dicom_node.workflow.procedures import Procedures
from dicom_node.workflow.requested import study_uid_of
from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import delete
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.history import history
from fhir_server.interactions.read import read
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import update
from fhir_server.model import json_format

GRANT = Grant.anonymous()
MRN = "urn:hospital:mrn"
IMAGING = {"coding": [{"system": "http://snomed.info/sct", "code": "363679005"}]}
V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
SETTINGS = WorkflowSettings(
    zone=ZoneInfo("Europe/Berlin"), patient_id_system=MRN, issuers={"CLINIC": "urn:clinic:mrn"}
)


@dataclass
class Hospital:
    """The FHIR side of an installation, and the drains that the worker would call."""

    entry: Entry
    orders: Orders
    procedures: Procedures

    def add(self, resource: dict[str, Any]) -> str:
        """Create a resource (or put it under its id) and return its address."""
        kind = resource["resourceType"]

        def work(context: Context) -> Any:
            if "id" in resource:
                return update(context, kind, resource["id"], resource)
            return create(context, kind, resource)

        version = self.entry.write(GRANT, work).version
        assert version is not None
        return str(version.address)

    def change(self, address: str, **elements: Any) -> None:
        """Update elements of a resource; None takes one away."""
        after = {**self.read(address), **elements}
        self.add({name: value for name, value in after.items() if value is not None})

    def delete(self, address: str) -> None:
        kind, _, id_ = address.partition("/")
        self.entry.write(GRANT, lambda context: delete(context, kind, id_))

    def read(self, address: str) -> dict[str, Any]:
        kind, _, id_ = address.partition("/")
        version = self.entry.read(GRANT, lambda context: read(context, kind, id_)).version
        assert version is not None
        return json_format.parse(version.text().encode())

    def all(self, kind: str, **parameters: str) -> list[dict[str, Any]]:
        pairs = list(parameters.items())
        return self.entry.read(GRANT, lambda context: resources(context, kind, pairs))

    def versions(self, address: str) -> int:
        kind, _, id_ = address.partition("/")
        text = self.entry.read(GRANT, lambda context: history(context, kind, id_, [])).text
        return len(json.loads(text or "{}")["entry"])

    def drain(self) -> None:
        """Do what the worker does until nothing is left to do."""
        while self.orders.drain() + self.procedures.drain():
            pass

    def study_uid(self, address: str) -> str:
        return study_uid_of(self.read(address))


def hospital(config: Config, clock: Callable[[], datetime] | None = None) -> Hospital:
    """Return the FHIR side of an installation."""
    made = create_entry(config, config.database_url, connections=8)
    entry = Entry(made.engine, made.settings, clock or made.clock, made.listeners)
    return Hospital(entry, Orders(entry, SETTINGS), Procedures(entry, SETTINGS))


def patient(value: str = "P1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": MRN, "value": value}],
        "name": [{"family": "Müller", "given": ["Jörg"]}],
        "gender": "male",
        "birthDate": "1970-01-31",
        **more,
    }


def order(subject: str, accession: str = "A1", **more: Any) -> dict[str, Any]:
    """Return a CT order for 2 January 2026, 09:30 in Berlin."""
    made = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "category": [IMAGING],
        "priority": "urgent",
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}],
            "text": "CT of the chest",
        },
        "subject": {"reference": subject},
        "occurrenceDateTime": "2026-01-02T09:30:00+01:00",
        "identifier": [
            {
                "type": {"coding": [{"system": V2, "code": "ACSN"}]},
                "system": "urn:oid:1.2.276.0.76.3.1",
                "value": accession,
            }
        ],
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}
