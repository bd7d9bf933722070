"""Calling operations (R4/operations.html): addresses, methods, parameters, and what is announced."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.validation.validator import validate
from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.http import FhirClient

VALIDATE = "http://hl7.org/fhir/OperationDefinition/Resource-validate"


def given(*parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(parameters), **more}


@clause("R4/operations.html#defined", "an operation that is not there, or not there at this level: 404")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("$nothing", "there is no operation $nothing"),
        ("Patient/$validat", "did you mean 'validate'?"),
        ("Patient/7/$everything", "there is no operation $everything here yet, though R4 defines one"),
        ("$validate", "on a type: /fhir/Patient/$validate or on one resource: /fhir/Patient/7/$validate"),
        ("Patient/$fhirpath", "on the whole system: /fhir/$fhirpath or on one resource"),
        ("Patiend/$validate", "do you mean Patient?"),
        ("Patient/a_b/$validate", "not an id"),
    ],
)
def test_not_there(client: FhirClient, path: str, says: str) -> None:
    for reply in (client.get(path), client.post(path, patient())):
        assert reply.status == 404
        assert says in reply.issue["diagnostics"]


@clause("R4/operations.html#executing", "another method than GET and POST: 405 with Allow")
def test_wrong_method(client: FhirClient) -> None:
    for path in ("Patient/$validate", "Patient/7/$validate", "$fhirpath"):
        reply = client.put(path, patient())
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, POST, OPTIONS")


@clause(
    "R4/operations.html#executing", "parameters that are unknown, missing, repeated, of another type: 400"
)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (given(), "$fhirpath needs the parameter expression (string)"),
        (given({"name": "expresion", "valueString": "1"}), "did you mean 'expression'?"),
        (given({"name": "expression", "valueInteger": 1}), "came as valueInteger, expected valueString"),
        (given({"name": "expression", "valueString": 1}), "expression is 1, expected"),
        (given({"name": "expression"}), "expression has no value; expected one valueString"),
        (given({"name": "expression", "valueString": "1", "valueCode": "1"}), "has valueString, valueCode"),
        (given({"name": "expression", "valueNonsense": "1"}), "came as valueNonsense"),
        (given(*[{"name": "expression", "valueString": "1"}] * 2), "expression came 2 times"),
        (given({"name": "resource", "valueString": "x"}), "resource has no resource"),
        (given({"name": "resource", "resource": {}}), "resource has no resource"),
        (given({"name": "variables", "part": 5}), "variables is made of parts"),
        (given({"valueString": "x"}), "a parameter is an object with a name"),
        (given(5), "a parameter is an object with a name"),  # type: ignore[arg-type]
        ({"resourceType": "Parameters", "parameter": 5}, "expected an array of parameters"),
        ({"resourceType": "Parameters", "paramter": []}, "did you mean 'parameter'?"),
    ],
)
def test_wrong_parameters(client: FhirClient, body: dict[str, Any], says: str) -> None:
    reply = client.post("$fhirpath", body)
    assert reply.status == 400
    assert says in " ".join(issue["diagnostics"] for issue in reply.json["issue"])
    assert b"Traceback" not in reply.data


@clause(
    "R4/operations.html#executing",
    "all that is wrong with the parameters is told at once, each with its place",
)
def test_all_at_once(client: FhirClient) -> None:
    text = (
        b'{"resourceType": "Parameters", "parameter": [\n{"name": "expression", "valueBoolean": true},\n'
        b'{"name": "contxt", "valueString": "x"}]}'
    )
    found = client.post("$fhirpath", text).json["issue"]
    assert [issue["expression"] for issue in found] == [
        ["Parameters.parameter[0].value"],
        ["Parameters.parameter[1]"],
    ]
    assert [[each["valueInteger"] for each in issue["extension"]] for issue in found] == [[2, 40], [3, 1]]


@clause("R4/operations.html#executing", "simple parameters may stand in the URL, resources not")
def test_url(client: FhirClient) -> None:
    assert client.get("$fhirpath?expression=1&_format=json&_pretty=true").status == 200
    assert client.get("$fhirpath?expression=1&validate=true").status == 200
    for wrong, says in (
        ("expression=1&resource=Patient/7", "resource is a resource and cannot stand in the URL"),
        ("expression=1&validate=yes", 'validate is "yes"'),
        ("expression=1&variables=x", "variables is made of parts"),
    ):
        reply = client.get(f"$fhirpath?{wrong}")
        assert (reply.status, says in reply.issue["diagnostics"]) == (400, True)


@clause("R4/operations.html#executing", "one resource parameter: the resource may be the body by itself")
def test_bare_resource(client: FhirClient) -> None:
    reply = client.post("$fhirpath?expression=name.family", patient("Li"))
    assert reply.json["parameter"][1]["part"][0]["valueString"] == "Li"


@clause("R4/search.html#errors", "handling=lenient passes over parameters that nobody knows")
def test_lenient(client: FhirClient) -> None:
    assert client.get("$fhirpath?expression=1&other=2").status == 400
    assert client.get("$fhirpath?expression=1&other=2", Prefer="handling=lenient").status == 200


@clause("R4/capabilitystatement.html", "the statement lists the operations, with their definitions")
def test_capabilities(client: FhirClient) -> None:
    statement = client.get("metadata").json
    [rest] = statement["rest"]
    on_system = ["fhirpath", "expunge", "reindex", "reindex-status", "reindex-cancel"]
    assert rest["operation"] == [
        {"name": name, "definition": f"http://127.0.0.1/fhir/OperationDefinition/{name}"}
        for name in on_system
    ]
    for resource in rest["resource"]:
        assert {"name": "validate", "definition": VALIDATE} in resource["operation"]
    assert [issue for issue in validate(statement) if issue.severity == "error"] == []


@clause("R4/operations.html#executing", "thousands of wrong parameters: the first hundred, in no time")
def test_many_wrong_parameters(client: FhirClient) -> None:
    wrong = [{"name": f"expresion{number}", "valueString": "x"} for number in range(20_000)]
    found = client.post("$fhirpath", given(*wrong)).json["issue"]
    assert (len(found), found[-1]["code"]) == (101, "too-long")
    body = {f"paramete{number}": 1 for number in range(5000)}
    assert len(client.post("$fhirpath", {"resourceType": "Parameters", **body}).json["issue"]) == 101
