"""(query string, AST), and what is said about query strings that have none."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from fhir_server.outcome import Invalid
from fhir_server.search.ast import Chain, Clause, Has, Include, Parameter, Sort
from fhir_server.search.moments import DateValue
from fhir_server.search.parse import DEEPEST, parse
from fhir_server.search.ranges import NumberValue
from fhir_server.search.registry import Registry
from fhir_server.search.types.quantity import QuantityValue
from fhir_server.search.types.reference import ReferenceValue
from fhir_server.search.types.string import StringValue
from fhir_server.search.types.token import TokenValue
from fhir_server.search.types.uri import UriValue


def parameter(type_name: str, code: str) -> Parameter:
    found = Registry().get(type_name, code)
    assert found is not None
    return found


def clause(address: str, modifier: str | None, *values: Any) -> Clause:
    return Clause(parameter(*address.split(".")), modifier, values)


def token(text: str, system: str | None = None) -> TokenValue:
    return TokenValue(system, text, (text if system is None else f"{system}|{text}",))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Patient?name=ann", clause("Patient.name", None, StringValue("starts", "ann"))),
        ("Patient?name:exact=Ann", clause("Patient.name", "exact", StringValue("exact", "Ann"))),
        ("Patient?gender:missing=true", clause("Patient.gender", "missing", True)),
        ("Condition?code:not=a,b", clause("Condition.code", "not", token("a"), token("b"))),
        ("Condition?code=a,a", clause("Condition.code", None, token("a"))),
        ("Condition?code=s%7Ca", clause("Condition.code", None, token("a", "s"))),
        ("Condition?patient=7", clause("Condition.patient", None, ReferenceValue(("Patient/7",)))),
        ("Condition?subject:Group=7", clause("Condition.subject", "Group", ReferenceValue(("Group/7",)))),
        (
            "ValueSet?url:below=http://a.org/b",
            clause("ValueSet.url", "below", UriValue("below", "http://a.org/b")),
        ),
        (
            "Observation?subject:Patient.name=ann",
            Chain(
                parameter("Observation", "subject"),
                (("Patient", clause("Patient.name", None, StringValue("starts", "ann"))),),
            ),
        ),
        (
            "Observation?subject.name:contains=ann",
            Chain(
                parameter("Observation", "subject"),
                (
                    ("Location", clause("Location.name", "contains", StringValue("contains", "ann"))),
                    ("Patient", clause("Patient.name", "contains", StringValue("contains", "ann"))),
                ),
            ),
        ),
        (
            "Patient?_has:Observation:patient:code=a",
            Has(parameter("Observation", "patient"), "Patient", clause("Observation.code", None, token("a"))),
        ),
        (
            "Patient?_has:Observation:patient:_has:Provenance:target:agent.name=x",
            Has(
                parameter("Observation", "patient"),
                "Patient",
                Has(
                    parameter("Provenance", "target"),
                    "Observation",
                    Chain(
                        parameter("Provenance", "agent"),
                        tuple(
                            (name, clause(f"{name}.name", None, StringValue("starts", "x")))
                            for name in ("Organization", "Patient", "Practitioner", "RelatedPerson")
                        ),
                    ),
                ),
            ),
        ),
    ],
)
def test_a_query_string_is_this_ast(query: str, expected: Any) -> None:
    type_name, _, pairs = query.partition("?")
    parsed = parse(type_name, parse_qsl(pairs))
    assert parsed.clauses == (expected,)
    assert parsed.applied == tuple(parse_qsl(pairs))


def test_ordered_values() -> None:
    query = parse("Observation", [("value-quantity", "ge5.4||mg"), ("date", "lt2020")])
    first, second = query.clauses
    assert isinstance(first, Clause)
    assert isinstance(second, Clause)
    assert isinstance(first.alternatives[0], QuantityValue)
    assert isinstance(first.alternatives[0].number, NumberValue)
    assert (first.alternatives[0].number.prefix, first.alternatives[0].code) == ("ge", "mg")
    assert isinstance(second.alternatives[0], DateValue)


def test_result_parameters() -> None:
    query = parse(
        "Observation",
        parse_qsl(
            "_sort=-date,code,-date&_count=5&_total=accurate&_elements=code,status&_elements=code"
            "&_include=Observation:subject:Patient&_revinclude:iterate=Provenance:target&_format=json"
        ),
    )
    assert query.sort == (
        Sort(parameter("Observation", "date"), True),
        Sort(parameter("Observation", "code")),
    )
    assert (query.count, query.total, query.summary, query.elements) == (
        5,
        "accurate",
        None,
        ("code", "status"),
    )
    assert query.includes == (
        Include(parameter("Observation", "subject"), "Patient"),
        Include(parameter("Provenance", "target"), None, True, True),
    )
    assert query.clauses == ()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("Patient?gneder=male", "Patient has no search parameter 'gneder'; did you mean gender?"),
        ("Patient?xyz=1", "Known are _filter, _id, _lastUpdated, _list"),
        ("Patient?gender:exact=male", "gender has no modifier 'exact'"),
        ("Patient?name:exct=A", "did you mean exact?"),
        ("Patient?gender=", "gender has no value"),
        ("Patient?gender=male,", "empty alternative"),
        ("Patient?gender:missing=yes", "gender:missing is true or false; got 'yes'"),
        ("Patient?gender:in=http://x.org", "nothing is known of the value set"),
        ("Patient?birthdate=gestern", "birthdate: 'gestern' is not a date"),
        ("Patient?birthdate=ge", "birthdate: 'ge' is not a date"),
        ("Observation?value-quantity=5|mg", "not a quantity"),
        ("Observation?value-quantity=5||", "names no unit"),
        ("Observation?code=a|b|c", "a token is code, system|code"),
        ("Observation?code=|", "names neither"),
        ("Observation?code-value-quantity=a", "code-value-quantity asks for code$value-quantity"),
        ("Observation?subject=Patient", "not"),
        ("Observation?patient=Nobody/7", "names Nobody"),
        ("Observation?subject:Patient=Group/7", "is no Patient"),
        ("Observation?subject:Encounter=7", "no modifier 'Encounter'"),
        ("Observation?code.name=x", "only a reference can be followed"),
        ("Observation?subject:Encounter.status=x", "does not refer to 'Encounter'"),
        ("Observation?subject.nome=x", "none of the types that subject refers to"),
        ("Observation?patient.nome=x", "Patient has no search parameter 'nome'; did you mean name?"),
        ("Patient?_has:Observation=x", "is incomplete"),
        ("Patient?_has:Nothing:patient:code=x", "names 'Nothing'"),
        ("Patient?_has:Observation:encounter:code=x", "does not refer to Patient; Known are"),
        ("Patient?_has:Observation:patient:cdoe=x", "did you mean code?"),
        ("Nothing?name=x", "'Nothing' is no resource type"),
        ("Patient?name=%20", "has no letter"),
        ("ValueSet?url:above=urn:oid:1", "follows the path of a url"),
        ("Patient?organization:below=Organization/7/_history/1", "goes with Type/id or an id"),
        ("Patient?link:below=7", "link has no modifier 'below'"),
        ("Observation?subject:below=Patient/7", "Patient is no hierarchy; those are CarePlan"),
        ("Patient?organization:below=http://a.org/Organization/7", "is somewhere else"),
    ],
)
def test_what_is_wrong_is_said(query: str, says: str) -> None:
    type_name, _, pairs = query.partition("?")
    if says == "not":
        # A word that may be an id is one: Patient is then no Patient/…, and nothing is found.
        assert parse(type_name, parse_qsl(pairs)).clauses
        return
    with pytest.raises(Invalid) as refusal:
        parse(type_name, parse_qsl(pairs, keep_blank_values=True))
    assert says in str(refusal.value)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        parse("Patient", [("gneder", "x"), ("birthdate", "y"), ("_count", "z")])
    assert len(refusal.value.issues) == 3


def test_lenient_reading_leaves_out_names_and_never_values() -> None:
    query = parse("Patient", [("gneder", "male"), ("name:txet", "x"), ("active", "true")], strict=False)
    assert [clause.parameter.code for clause in query.clauses if isinstance(clause, Clause)] == ["active"]
    assert query.applied == (("active", "true"),)
    assert [(issue.severity, issue.code) for issue in query.issues] == [("warning", "invalid")] * 2
    with pytest.raises(Invalid):
        parse("Patient", [("birthdate", "gestern")], strict=False)


def test_what_is_unknown_of_the_answer_is_left_out_too() -> None:
    asked = [("_sort", "nome"), ("_include", "Patient:nothing"), ("_sort", "name")]
    query = parse("Patient", asked, strict=False)
    assert (query.applied, len(query.issues)) == ((("_sort", "name"),), 2)


def test_readings_of_a_chain_are_bounded() -> None:
    with pytest.raises(Invalid, match="name the type that is meant"):
        parse("Basic", [("subject.subject.subject.subject.subject.subject.subject.identifier", "x")])


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x\udfffy"])
def test_signs_that_no_text_has(text: str) -> None:
    for pair in (("name", text), (text, "name"), ("_sort", text)):
        with pytest.raises(Invalid, match="which no stored text has"):
            parse("Patient", [pair], strict=False)


def test_nesting_has_a_bottom() -> None:
    with pytest.raises(Invalid, match="nested"):
        parse("Organization", [("partof." * (DEEPEST + 1) + "name", "x")])


def test_equivalent_spellings_are_one_canonical_text() -> None:
    first = parse("Patient", parse_qsl("identifier=urn:a|1,urn:a|2&active=true"))
    second = parse("Patient", parse_qsl("active=true&identifier=urn:a|2,urn:\\a|1&active=true&_sort=name"))
    assert first.canonical() != parse("Patient", parse_qsl("identifier=urn:a|1&active=true")).canonical()
    third = parse("Patient", parse_qsl("active=true&identifier=urn:a|2,urn:a|1&active=true&_sort=name"))
    assert first.canonical() == third.canonical() != second.canonical()


def test_stored_parameters_are_searched_once_they_are_put() -> None:
    registry = Registry()
    nickname = Parameter("Patient", "nickname", "string", "Patient.name.where(use='nickname').given")
    with pytest.raises(Invalid):
        parse("Patient", [("nickname", "x")], registry=registry)
    registry.put(nickname)
    assert parse("Patient", [("nickname", "x")], registry=registry).clauses
    registry.remove("Patient", "nickname")
    with pytest.raises(Invalid):
        parse("Patient", [("nickname", "x")], registry=registry)
    with pytest.raises(ValueError, match="R4 itself"):
        registry.put(Parameter("Patient", "name", "string", "Patient.name"))
