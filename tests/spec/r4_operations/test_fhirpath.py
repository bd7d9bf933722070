"""$fhirpath: what an expression finds, in the form that fhirpath-lab's page reads (R4/fhirpath.html)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.model import json_format
from fhir_server.operations.fhirpath import MAX_EXPRESSION
from fhir_server.operations.parameters import JSON_VALUE
from fhir_server.operations.typed_values import RESOURCE_PATH
from fhir_server.validation.validator import validate
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply

Store = Callable[[dict[str, Any]], str]

PEOPLE = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"use": "official", "family": "Li", "given": ["Na", "Xi"]}, {"given": ["Jim"]}],
    "birthDate": "1970-02-28",
    "_birthDate": {"extension": [{"url": "urn:time", "valueDateTime": "1970-02-28T04:10:00Z"}]},
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Li</div>'},
    "contact": [{"name": {"text": "mother"}}],
    "managingOrganization": {"reference": "#o"},
    "contained": [{"resourceType": "Organization", "id": "o", "name": "Ward"}],
}


def ask(client: FhirClient, expression: str, resource: Any = PEOPLE, **more: Any) -> Reply:
    given: list[dict[str, Any]] = [{"name": "expression", "valueString": expression}]
    if resource is not None:
        given.append({"name": "resource", "resource": resource})
    if "context" in more:
        given.append({"name": "context", "valueString": more["context"]})
    if "variables" in more:
        given.append({"name": "variables", "part": more["variables"]})
    return client.post("$fhirpath", {"resourceType": "Parameters", "parameter": given})


def parts(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.data
    # inv-1: the form of fhirpath-lab has parameters with a value and parts, or with extensions only
    wrong = [issue for issue in validate(reply.json) if issue.severity == "error"]
    assert [issue for issue in wrong if "(inv-1)" not in issue.diagnostics] == []
    echo, *results = reply.json["parameter"]
    assert [echo["name"], *(result["name"] for result in results)] == ["parameters", "result"][
        : 1 + len(results)
    ]
    return [part for result in results for part in result["part"]]


def path_of(part: dict[str, Any]) -> str | None:
    told = [each["valueString"] for each in part.get("extension", ()) if each["url"] == RESOURCE_PATH]
    return told[0] if told else None


@clause("R4/fhirpath.html#types", "each result is a part, named by its type, with a value of that type")
@pytest.mark.parametrize(
    ("expression", "name", "value", "path"),
    [
        ("name.family", "string", {"valueString": "Li"}, "Patient.name[0].family"),
        ("name.given[2]", "string", {"valueString": "Jim"}, "Patient.name[1].given[0]"),
        ("name.use", "code", {"valueCode": "official"}, "Patient.name[0].use"),
        ("name[1]", "HumanName", {"valueHumanName": {"given": ["Jim"]}}, "Patient.name[1]"),
        ("active", "boolean", {"valueBoolean": True}, "Patient.active"),
        (
            "birthDate",
            "date",
            {"valueDate": "1970-02-28", "_valueDate": PEOPLE["_birthDate"]},
            "Patient.birthDate",
        ),
        ("contained", "Organization", {"resource": PEOPLE["contained"][0]}, "Patient.contained[0]"),  # type: ignore[index]
        ("managingOrganization.resolve().name", "string", {"valueString": "Ward"}, None),
        ("text.`div`", "xhtml", {"valueString": PEOPLE["text"]["div"]}, "Patient.text.div"),  # type: ignore[index, call-overload]
        ("1 + 1", "integer", {"valueInteger": 2}, None),
        ("3000000000", "decimal", {"valueDecimal": 3000000000}, None),
        ("1.50", "decimal", {"valueDecimal": json_format.number("1.50")}, None),
        ("'a' & 'b'", "string", {"valueString": "ab"}, None),
        ("''", "empty-string", {}, None),
        ("true", "boolean", {"valueBoolean": True}, None),
        ("@2020-02", "date", {"valueDate": "2020-02"}, None),
        ("@2020-02-01T10:00:00Z", "dateTime", {"valueDateTime": "2020-02-01T10:00:00Z"}, None),
        ("@2020-02-01T10", "dateTime", {"valueString": "2020-02-01T10"}, None),
        ("@T10:00:00", "time", {"valueTime": "10:00:00"}, None),
        (
            "4 'mg'",
            "Quantity",
            {"valueQuantity": {"value": 4, "system": "http://unitsofmeasure.org", "code": "mg"}},
            None,
        ),
        ("4 days", "Quantity", {"valueQuantity": {"value": 4, "unit": "day"}}, None),
    ],
)
def test_values(client: FhirClient, expression: str, name: str, value: Any, path: str | None) -> None:
    [part] = parts(ask(client, expression))
    assert part["name"] == name
    assert {key: member for key, member in part.items() if key not in ("name", "extension")} == value
    if path is not None or "resolve" not in expression:
        assert path_of(part) == path


@clause("R4/fhirpath.html", "what value[x] cannot hold is carried as JSON")
def test_backbone_elements(client: FhirClient) -> None:
    [part] = parts(ask(client, "contact"))
    assert part["name"] == "Patient.contact"
    assert part["extension"] == [
        {"url": RESOURCE_PATH, "valueString": "Patient.contact[0]"},
        {"url": JSON_VALUE, "valueString": '{"name":{"text":"mother"}}'},
    ]
    [info] = parts(ask(client, "active.type()"))
    assert info["name"] == "TypeInfo"


@clause("R4/fhirpath.html", "nothing found: no result")
def test_empty(client: FhirClient) -> None:
    assert parts(ask(client, "photo")) == []
    assert parts(ask(client, "1", resource=None))[0]["valueInteger"] == 1


@clause("R4/fhirpath.html#trace", "what trace() saw stands beside the results")
def test_trace(client: FhirClient) -> None:
    found = parts(ask(client, "name.given.trace('all').first().trace('none', $this.extension)"))
    assert [(part["name"], part["valueString"]) for part in found] == [
        ("string", "Na"),
        ("trace", "all"),
        ("trace", "none"),
    ]
    assert [path_of(part) for part in found[1]["part"]] == [
        "Patient.name[0].given[0]",
        "Patient.name[0].given[1]",
        "Patient.name[1].given[0]",
    ]


@clause("R4/fhirpath.html#variables", "with a context: one result for each of its items")
def test_context(client: FhirClient) -> None:
    reply = ask(client, "given.first() & ' of ' & %resource.name.count().toString()", context="name")
    assert [
        (result["valueString"], result["part"][0]["valueString"]) for result in reply.json["parameter"][1:]
    ] == [("Patient.name[0]", "Na of 2"), ("Patient.name[1]", "Jim of 2")]
    numbers = ask(client, "$this + %resource.name.count()", context="(1 | 2)").json["parameter"][1:]
    assert [result["part"][0]["valueInteger"] for result in numbers] == [3, 4]


@clause("R4/fhirpath.html#variables", "variables: primitives, data types, resources, and nothing")
def test_variables(client: FhirClient) -> None:
    variables = [
        {"name": "text", "valueString": "x"},
        {"name": "day", "valueDate": "2020-01-31"},
        {"name": "coding", "valueCoding": {"system": "urn:s", "code": "c"}},
        {"name": "other", "resource": observation("Patient/7")},
        {"name": "nothing"},
    ]
    found = parts(
        ask(
            client,
            "%text | (%day + 1 day).toString() | %coding.code | %other.subject.reference | %nothing",
            variables=variables,
        )
    )
    assert [part.get("valueString", part.get("valueCode")) for part in found] == [
        "x", "2020-02-01", "c", "Patient/7",
    ]  # fmt: skip
    assert [path_of(part) for part in found] == [None] * 4
    for wrong, says in (
        ({"valueString": "x"}, "a variable needs a name"),
        ({"name": "d", "valueDate": "yesterday"}, "the variable 'd': the value is no date"),
        ({"name": "d", "valueDate": "2020", "valueString": "x"}, "one value[x] is expected"),
    ):
        reply = ask(client, "1", variables=[wrong])
        assert (reply.status, says in reply.issue["diagnostics"]) == (400, True)
        assert reply.issue["expression"][0].startswith("Parameters.parameter[2].part[0]")


@clause("R4/fhirpath.html", "what was asked is told again, with who answered")
def test_echo(client: FhirClient) -> None:
    variables = [{"name": "x", "valueString": "y"}]
    echo = ask(client, "given", context="name", variables=variables).json["parameter"][0]["part"]
    assert [part["name"] for part in echo] == ["evaluator", "expression", "context", "resource", "variables"]
    assert echo[0]["valueString"].startswith("Xinglin ")
    assert echo[3]["resource"] == PEOPLE
    assert echo[4]["part"] == variables


@clause(
    "R4/fhirpath.html", "a resource may come as JSON in a text, as fhirpath-lab sends those of other versions"
)
def test_resource_as_text(client: FhirClient) -> None:
    def send(text: str) -> Reply:
        extension = [{"url": JSON_VALUE, "valueString": text}]
        given = [{"name": "expression", "valueString": "a.b"}, {"name": "resource", "extension": extension}]
        return client.post("$fhirpath", {"resourceType": "Parameters", "parameter": given})

    assert parts(send('{"resourceType": "New", "id": "1"}')) == []
    reply = send('{"resourceType": "New", "id": }')
    assert (reply.status, "line 1, column" in reply.issue["diagnostics"]) == (400, True)


@clause("R4/fhirpath.html", "on an instance: the stored resource; references lead to what is stored")
def test_stored(client: FhirClient, stored: Store) -> None:
    whom = stored(patient("Li"))
    id_ = stored(observation(f"Patient/{whom}"))
    reply = client.get(f"Observation/{id_}/$fhirpath?expression=subject.resolve().name.family")
    [part] = parts(reply)
    assert (part["valueString"], path_of(part)) == ("Li", None)
    client.delete(f"Patient/{whom}")
    assert parts(client.get(f"Observation/{id_}/$fhirpath?expression=subject.resolve()")) == []
    assert client.get("Observation/unknown/$fhirpath?expression=1").status == 404
    assert client.post(f"Observation/{id_}/$fhirpath?expression=name.family", patient("Wu")).status == 200


@clause("R4/fhirpath.html", "validate=true reads the expression and no more")
def test_only_read(client: FhirClient) -> None:
    reply = client.get("$fhirpath?validate=true&expression=name.nothing(")
    assert reply.status == 400
    [echo] = client.get("$fhirpath?validate=true&expression=name.given").json["parameter"]
    assert echo["part"][-1]["name"] == "debugOutcome"


@clause("R4/fhirpath.html", "an expression that cannot be read or evaluated: 400, and where it goes wrong")
@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("name.given +", "(line 1, column 13 of the expression)\nname.given +\n            ^"),
        ("name\n  .given)", "(line 2, column 9 of the expression)\n  .given)\n        ^"),
        ("name.nothing()", "there is no function nothing()"),
        ("name.given.single()", "single() wants one item, got 3"),
        ("%unknown", "%unknown is not defined"),
        ("'" + "x" * 500, "never closed"),
        ("9" * 5000, "a number of 5000 digits"),
        ("(" * 2000, "too deeply"),
    ],
)
def test_errors(client: FhirClient, expression: str, says: str) -> None:
    reply = ask(client, expression)
    assert reply.status == 400
    assert says in reply.issue["diagnostics"]
    assert reply.issue["expression"] == ["Parameters.parameter[0].value"]
    assert len(reply.issue["diagnostics"]) < 700


@clause("R4/fhirpath.html", "a resource that is no right one: what is wrong with it, not a crash")
def test_broken_resource(client: FhirClient) -> None:
    for broken in (
        {"resourceType": "Patient", "extension": [5]},
        {"resourceType": "Patient", "contained": [5]},
        {"resourceType": "Patient", "name": "Li", "contact": 5},
        {"resourceType": "Nothing", "x": 5},
    ):
        for expression in ("extension('urn:x')", "contained", "name.given", "descendants()", "contact.name"):
            assert ask(client, expression, broken).status in (200, 400, 422)


HOSTILE = {
    "without end": "(1).repeatAll($this)",
    "doubling": "name.given.select($this | $this).aggregate($total.combine($total), 1)"
    + ".combine($this)" * 9,
    "a text that grows": "('a').repeat(iif(length() < 90000000, $this & $this & $this & $this))",
    "all by all": "descendants().select(%resource.descendants()).select(%resource.descendants())",
    "a wild regular expression": f"('{'a' * 40}').matches('(a+)+b(a|aa)+$')",
    "a long sort": "(1).repeatAll(iif($this < 100000, $this + 1)).sort()",
    "a long answer": "entry.select(%resource)",
    "a long trace": "entry.trace('x', %resource).count()",
}


@clause(
    "R4/http.html#Status-Codes",
    "an expression that would hold a worker: 422 too-costly, or an answer in time",
)
@pytest.mark.parametrize("expression", HOSTILE.values(), ids=HOSTILE)
def test_hostile(client: FhirClient, expression: str) -> None:
    entries = [{"resource": patient(f"F{number}")} for number in range(2000)]
    reply = ask(client, expression, {"resourceType": "Bundle", "type": "collection", "entry": entries})
    assert reply.status in (200, 400, 422)
    if reply.status == 422:
        assert reply.issue["code"] == "too-costly"
    if expression.startswith(("(1)", "descendants", "entry")):
        assert reply.status == 422


@clause("R4/http.html#Status-Codes", "an expression longer than anybody writes: 422 too-costly")
def test_long_expression(client: FhirClient) -> None:
    reply = ask(client, "1" + " " * MAX_EXPRESSION)
    assert (reply.status, reply.issue["code"]) == (422, "too-costly")
