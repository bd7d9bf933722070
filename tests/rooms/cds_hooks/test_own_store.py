"""Our own store as a source of data: for whom, under which address, and nothing but the one patient."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from cds_hooks.client_trust import Caller
from cds_hooks.fhir_access import Access, OwnStore
from cds_hooks.hooks.table import HOOKS
from cds_hooks.prefetch import CannotBeHad
from cds_hooks.records.clients import Client
from cds_hooks.request import parse
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.update import update
from fhir_server.model import json_format
from tests.support import cds_echo
from tests.support.cds_ehr import condition

OURS = "http://127.0.0.1/fhir"
ALIAS = "https://north.example/fhir"
NORTH = Caller(Client("north", "https://north.example", own_store=(ALIAS,)))
NOBODY = Caller()


@pytest.fixture
def patients(entry: Entry) -> tuple[str, str]:
    """Two patients, each with a Condition."""
    ids = (f"a-{uuid4().hex[:12]}", f"b-{uuid4().hex[:12]}")

    def store(context: Any) -> None:
        for id_ in ids:
            update(context, "Patient", id_, {"resourceType": "Patient", "id": id_})
            update(context, "Condition", f"c-{id_}", condition(f"c-{id_}", id_))

    entry.write(Grant("test"), store)
    return ids


def source(entry: Entry, server: str, caller: Caller, patient: str = "p1", **options: Any) -> Any:
    body = json_format.encode(cds_echo.call(patient, fhirServer=server))
    asked = parse(body, HOOKS, ("patient-view",))
    return Access(entry, entry.settings.base_urls, **options).source(asked, caller, 5.0)


@pytest.mark.parametrize(
    ("server", "caller", "is_open", "expected"),
    [
        (OURS, NOBODY, True, True),
        (f"{OURS}/", NOBODY, True, True),
        (OURS, NOBODY, False, False),
        (OURS, NORTH, False, True),
        (ALIAS, NORTH, False, True),
        (ALIAS, NOBODY, True, False),
        ("https://north.example/other", NORTH, True, False),
        ("http://127.0.0.1:8080/fhir", NORTH, True, False),
        ("http://127.0.0.1/fhir/x", NORTH, True, False),
        ("https://127.0.0.1/fhir", NORTH, True, False),
    ],
)
def test_who_gets_something_out_of_our_store(
    entry: Entry, server: str, caller: Caller, is_open: bool, expected: bool
) -> None:
    assert isinstance(source(entry, server, caller, open_store=is_open), OwnStore) is expected


def test_only_what_is_about_the_patient_of_the_call(entry: Entry, patients: tuple[str, str]) -> None:
    mine, other = patients
    store = source(entry, OURS, NOBODY, mine)
    found = store.fetch(
        {
            "patient": f"Patient/{mine}",
            "another": f"Patient/{other}",
            "conditions": f"Condition?patient={mine}",
            "others": f"Condition?patient={other}",
            "all": "Condition?_sort=_id",
            "one of them": f"Condition/c-{other}",
            "mine": f"Condition/c-{mine}",
        }
    )
    assert {key: [each["id"] for each in listed] for key, listed in found.items()} == {
        "patient": [mine], "another": [], "conditions": [f"c-{mine}"], "others": [], "all": [f"c-{mine}"],
        "one of them": [], "mine": [f"c-{mine}"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "query", ["Medication/7", "Practitioner?name=x", "Group?_id=7", "Condition?asserter:Patient.name=x",
              "Patient?_has:Condition:patient:code=x"]
)  # fmt: skip
def test_what_is_not_about_a_patient_cannot_be_had(entry: Entry, query: str) -> None:
    with pytest.raises(CannotBeHad, match="grant"):
        source(entry, OURS, NOBODY).fetch({"key": query})
