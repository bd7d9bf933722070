"""Method and path → route."""

from __future__ import annotations

import pytest

from fhir_server.outcome import FhirError
from fhir_server.rest import routes
from fhir_server.rest.handlers import BUILT
from fhir_server.rest.routes import WrongMethod, find
from tests.support.clause import clause

SUMMARY = [
    ("GET", "/fhir/metadata", "capabilities", {}),
    ("HEAD", "/fhir/metadata", "capabilities", {}),
    ("POST", "/fhir", "transaction", {}),
    ("POST", "/fhir/", "transaction", {}),
    ("GET", "/fhir/_history", "history-system", {}),
    ("GET", "/fhir/Patient", "search-type", {"type": "Patient"}),
    ("GET", "/fhir/Patient/", "search-type", {"type": "Patient"}),
    ("POST", "/fhir/Patient", "create", {"type": "Patient"}),
    ("PUT", "/fhir/Patient", "update-conditional", {"type": "Patient"}),
    ("DELETE", "/fhir/Patient", "delete-conditional", {"type": "Patient"}),
    ("POST", "/fhir/Patient/_search", "search-type", {"type": "Patient"}),
    ("GET", "/fhir/Patient/_history", "history-type", {"type": "Patient"}),
    ("GET", "/fhir/Patient/7", "read", {"type": "Patient", "id": "7"}),
    ("HEAD", "/fhir/Patient/7", "read", {"type": "Patient", "id": "7"}),
    ("GET", "/fhir/Patient/metadata", "read", {"type": "Patient", "id": "metadata"}),
    ("PUT", "/fhir/Patient/7", "update", {"type": "Patient", "id": "7"}),
    ("DELETE", "/fhir/Patient/7", "delete", {"type": "Patient", "id": "7"}),
    ("GET", "/fhir/Patient/7/_history", "history-instance", {"type": "Patient", "id": "7"}),
    ("GET", "/fhir/Patient/7/_history/2", "vread", {"type": "Patient", "id": "7", "version": "2"}),
    (
        "GET",
        "/fhir/Patient/7/Observation",
        "search-compartment",
        {"type": "Patient", "member": "Observation"},
    ),
    (
        "POST",
        "/fhir/Patient/7/*/_search",
        "search-compartment",
        {"type": "Patient", "id": "7", "member": "*"},
    ),
    ("GET", "/fhir/Patient/7/$everything", "operation", {"type": "Patient", "operation": "$everything"}),
    ("POST", "/fhir/Patient/$match", "operation", {"type": "Patient"}),
    ("POST", "/fhir/$convert", "operation", {}),
]


@clause("R4/http.html#summary", "each interaction has its address")
@pytest.mark.parametrize(("method", "path", "interaction", "values"), SUMMARY)
def test_summary(method: str, path: str, interaction: str, values: dict[str, str]) -> None:
    match = find(method, path)
    assert match.route.interaction == interaction
    assert values.items() <= match.values.items()


@clause("R4/http.html#Status-Codes", "an address or type that is not there: 404; a bad id in a PUT: 400")
@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/fhir/Patiend", 404, "do you mean Patient?"),
        ("GET", "/fhir/patient", 404, "do you mean Patient?"),
        ("POST", "/fhir/Nothing", 404, "no resource type"),
        ("GET", "/fhir//Patient", 404, "no address"),
        ("GET", "/fhir/Patient//7", 404, "no address"),
        ("GET", "/fhir/Patient/7/_history/1/2", 404, "no address"),
        ("GET", "/fhir/Patient/_nothing", 404, "no address"),
        ("GET", "/fhir/_nothing", 404, "no address"),
        ("GET", "/fhir/Patient/a_b", 404, "not an id"),
        ("GET", "/fhir/Patient/" + "a" * 65, 404, "not an id"),
        ("PUT", "/fhir/Patient/a_b", 400, "not an id"),
    ],
)
def test_not_there(method: str, path: str, status: int, says: str) -> None:
    with pytest.raises(FhirError) as caught:
        find(method, path)
    assert (caught.value.status, says in str(caught.value)) == (status, True)


@clause("R4/http.html#Status-Codes", "a known address with a wrong method: 405 with Allow")
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/fhir/metadata", ("GET", "HEAD", "OPTIONS")),
        ("POST", "/fhir/Patient/7", ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")),
        ("PATCH", "/fhir/Patient/7/_history/1", ("GET", "HEAD", "OPTIONS")),
        ("PUT", "/fhir/Patient/7/_history/1", ("GET", "HEAD", "OPTIONS")),
        ("DELETE", "/fhir", ("GET", "HEAD", "POST", "OPTIONS")),
        ("BREW", "/fhir/Patient", ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    ],
)
def test_wrong_method(method: str, path: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(WrongMethod) as caught:
        find(method, path)
    assert caught.value.allowed == allowed


def test_every_route_is_answered() -> None:
    assert {route.interaction for route in routes.ROUTES} == BUILT
