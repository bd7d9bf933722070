"""Every template of every service is answered by our own store, under the grant of one patient."""

from __future__ import annotations

from typing import Any

import pytest

from cds_hooks.fhir_access import OwnStore
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.update import update
from tests.support.cds import services
from tests.support.opioids import OXYCODONE_10, PATIENT, tablets

TEMPLATES = [
    (service.id, key, template)
    for service in services().values()
    for key, template in service.prefetch.items()
]


@pytest.mark.parametrize(
    ("service", "key", "template"), TEMPLATES, ids=[f"{row[0]}-{row[1]}" for row in TEMPLATES]
)
def test_a_template_can_be_had(entry: Entry, service: str, key: str, template: str) -> None:
    query = template.replace("{{context.patientId}}", PATIENT["id"])
    store = OwnStore(entry, Grant.about_patient("cds-hooks", PATIENT["id"]))
    assert isinstance(store.fetch({key: query})[key], list)


def test_what_is_ordered_comes_and_what_is_over_does_not(entry: Entry) -> None:
    def write(context: Any) -> None:
        update(context, "Patient", PATIENT["id"], PATIENT)
        for identifier, status in (
            ("mme-active", "active"),
            ("mme-stopped", "stopped"),
            ("mme-hold", "on-hold"),
        ):
            update(context, "MedicationRequest", identifier, tablets(identifier, OXYCODONE_10, 1, 2, status))

    entry.write(Grant("test"), write)
    template = services()["opioid-mme"].prefetch["requests"].replace("{{context.patientId}}", PATIENT["id"])
    store = OwnStore(entry, Grant.about_patient("cds-hooks", PATIENT["id"]))
    found = store.fetch({"requests": template})["requests"]
    assert {each["id"] for each in found} == {"mme-active", "mme-hold"}
