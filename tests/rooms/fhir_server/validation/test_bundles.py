"""Bundles: entries, links, searches and requests that fit, and that do not."""

import pytest

from fhir_server.validation.bundles import check
from fhir_server.validation.validator import validate
from tests.support.clause import clause

PATIENT = {"resourceType": "Patient", "id": "1"}
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]}
HERE = "http://here/fhir/Patient/1"


def bundle(kind, *entries, **members):
    return {"resourceType": "Bundle", "type": kind, **members, "entry": list(entries)}


def places(resource, severity="error"):
    return [issue.expression for issue in check(resource) if issue.severity == severity]


@clause("R4/bundle.html", "fullUrl is absolute and does not disagree with the id of the resource")
@pytest.mark.parametrize(
    ("address", "good"),
    [
        (HERE, True),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", True),
        ("urn:oid:1.2.3", True),
        ("http://here/what/ever", True),
        ("http://here/fhir/Other/1", True),
        ("Patient/1", False),
        ("/Patient/1", False),
        ("http://here/fhir/Patient/2", False),
        ("http://here/fhir/Group/1", False),
    ],
)
def test_full_url(address, good):
    found = places(bundle("collection", {"fullUrl": address, "resource": PATIENT}))
    assert found == ([] if good else ["Bundle.entry[0].fullUrl"])


@clause("R4/bundle.html", "fullUrl has a value, except for results of operations and what is to be created")
@pytest.mark.parametrize(
    ("kind", "good"),
    [("document", False), ("message", False), ("history", False), ("searchset", True), ("collection", True)],
)
def test_missing_full_url(kind, good):
    assert places(bundle(kind, {"resource": PATIENT})) == ([] if good else ["Bundle.entry[0].fullUrl"])


@pytest.mark.parametrize(
    ("relations", "wrong"),
    [
        (["self", "next", "previous", "first", "last"], []),
        (["self", "self"], ["Bundle.link[1]"]),
        (["next", "self", "next"], ["Bundle.link[2]"]),
        (["alternate", "alternate"], []),
    ],
)
def test_links_of_a_kind(relations, wrong):
    links = [{"relation": relation, "url": "http://here/fhir/Patient?name=x"} for relation in relations]
    assert places(bundle("searchset", link=links)) == wrong


def test_pages_are_for_searches():
    links = [{"relation": "self", "url": "http://x"}, {"relation": "first", "url": "http://x"}]
    assert places(bundle("document", link=links), "warning") == ["Bundle.link[1].relation"]


@clause("R4/search.html", "an outcome is an OperationOutcome, a match of the type that was searched")
@pytest.mark.parametrize(
    ("url", "resource", "mode", "good"),
    [
        ("Patient?name=x", PATIENT, "match", True),
        ("Patient?name=x", OUTCOME, "outcome", True),
        ("Patient?name=x", {"resourceType": "Group", "id": "1"}, "include", True),
        ("Patient?name=x", {"resourceType": "Group", "id": "1"}, "match", False),
        ("http://here/fhir?_type=Patient,Group", {"resourceType": "Group", "id": "1"}, "match", True),
        ("http://here/fhir?_type=Patient,Group", {"resourceType": "Basic", "id": "1"}, "match", False),
        ("http://here/fhir/Patient/_search?name=x", PATIENT, "match", True),
        ("Patient/1/$everything", {"resourceType": "Group", "id": "1"}, "match", True),
        ("Patient?name=x", PATIENT, "outcome", False),
        ("Patient?name=x", {"resourceType": "Patient"}, "match", False),
        ("Patient?name=x", {"resourceType": "Patient"}, "include", False),
    ],
)
def test_search_entries(url, resource, mode, good):
    entry = {"fullUrl": "http://here/x", "resource": resource, "search": {"mode": mode}}
    found = places(bundle("searchset", entry, link=[{"relation": "self", "url": url}]))
    assert found == ([] if good else ["Bundle.entry[0].resource"])


def test_more_matches_than_the_total():
    entry = {"fullUrl": HERE, "resource": PATIENT, "search": {"mode": "match"}}
    assert places(bundle("searchset", entry, total=0), "warning") == ["Bundle.total"]
    assert places(bundle("searchset", entry, total=9), "warning") == []


@clause("R4/http.html#trules", "a request fits the resource that it brings")
@pytest.mark.parametrize(
    ("method", "url", "resource", "wrong"),
    [
        ("POST", "Patient", PATIENT, None),
        ("POST", "Group", PATIENT, "request.url"),
        ("POST", "Patient/1", PATIENT, "request.url"),
        ("POST", "Patient", None, "resource"),
        ("POST", "Patient/_search", None, None),
        ("POST", "Patient/$match", None, None),
        ("PUT", "Patient/1", PATIENT, None),
        ("PUT", "Patient/2", PATIENT, "request.url"),
        ("PUT", "Patient", PATIENT, "request.url"),
        ("PUT", "Patient?identifier=x", PATIENT, None),
        ("PUT", "Patient/1", None, "resource"),
        ("DELETE", "Patient/1", None, None),
        ("DELETE", "Patient", None, "request.url"),
        ("DELETE", "Patient?identifier=x", None, None),
        ("GET", "Patient", None, None),
        ("GET", "metadata", None, None),
    ],
)
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_requests(kind, method, url, resource, wrong):
    entry = {"request": {"method": method, "url": url}}
    if resource is not None:
        entry["resource"] = resource
    assert places(bundle(kind, entry)) == ([f"Bundle.entry[0].{wrong}"] if wrong else [])


def test_responses():
    told = {
        "resource": {**PATIENT, "meta": {"versionId": "2"}},
        "response": {"status": "200 OK", "etag": 'W/"2"'},
    }
    assert places(bundle("batch-response", told), "warning") == []
    told["response"] = {"status": "fine", "etag": 'W/"3"'}
    found = places(bundle("batch-response", told), "warning")
    assert found == ["Bundle.entry[0].response.status", "Bundle.entry[0].response.etag"]


def test_a_bundle_in_a_bundle_has_its_own_place():
    inner = bundle("collection", {"fullUrl": "Patient/1", "resource": PATIENT})
    outer = bundle("collection", {"fullUrl": "urn:oid:1.2.3", "resource": inner})
    assert [issue.expression for issue in validate(outer)] == ["Bundle.entry[0].resource.entry[0].fullUrl"]
