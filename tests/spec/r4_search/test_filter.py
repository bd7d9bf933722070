"""`_filter` (R4/search_filter.html) and `_list`."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.outcome import Invalid
from fhir_server.search.ast import Clause, Either
from fhir_server.search.parse import parse
from tests.spec.r4_http.test_errors import check
from tests.spec.r4_search.conftest import Search
from tests.spec.r4_search.test_keyed import coded
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

LOINC = "http://loinc.org"


def person(id: str, family: str, *given: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, "name": [{"family": family, "given": list(given)}], **more}


PEOPLE = (
    person("peter", "Chalmers", "Peter", "James", birthDate="1974-12-25", gender="male"),
    person("petra", "Petersen", "Petra", birthDate="2014-10-10", gender="female"),
    person("anna", "Müller", "Anna", birthDate="2015-01-01"),
    person("nobody", "(X) and Y", gender="unknown"),
)


def test_values_of_one_parameter_are_one_clause() -> None:
    """Else twenty ids were twenty branches of a union, gone through for each of the patients: 17 s."""
    text = " or ".join([*(f"_id eq x{number}" for number in range(20)), "gender ne male", "gender ne female"])
    (either,) = parse("Patient", [("_filter", text)]).clauses
    assert isinstance(either, Either)
    first, *others = either.criteria
    assert isinstance(first, Clause)
    assert len(first.alternatives) == 20
    assert len(others) == 2


@clause("R4/search_filter.html", "comparisons, and, or, not, parentheses; from left to right")
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('name co "pet"', ["peter", "petra"]),
        ('given eq "peter"', ["peter"]),
        ("given eq pete", []),
        ("given sw pet", ["peter", "petra"]),
        ("given ew ER", ["peter"]),
        ("family ew ller", ["anna"]),
        ("given ne peter", ["petra", "anna", "nobody"]),
        ('given eq "peter" and birthdate ge 2014-10-10', []),
        ('given eq "petra" and birthdate ge 2014-10-10', ["petra"]),
        ("given eq peter or birthdate ge 2014-10-10", ["peter", "petra", "anna"]),
        ("given eq peter or given eq petra and gender eq female", ["petra"]),
        ("given eq peter or (given eq petra and gender eq female)", ["peter", "petra"]),
        ("_id eq peter or _id eq anna or _id eq else", ["peter", "anna"]),
        ("_id eq peter or given eq petra or _id eq anna", ["peter", "petra", "anna"]),
        ("given eq petra or given eq peter or given sw pet", ["peter", "petra"]),
        ("gender ne male or gender ne female", ["peter", "petra", "anna", "nobody"]),
        ("gender pr true or gender pr false", ["peter", "petra", "anna", "nobody"]),
        ("birthdate lt 1980 or birthdate gt 2014-12 or birthdate eq 2000", ["anna", "peter"]),
        ("not (gender eq male)", ["petra", "anna", "nobody"]),
        ("not(gender pr true) or not (given sw pet)", ["anna", "nobody"]),
        ("not (gender eq male or gender eq female) and birthdate pr true", ["anna"]),
        ("gender ne male", ["petra", "anna", "nobody"]),
        ("gender pr true", ["peter", "petra", "nobody"]),
        ("gender pr false", ["anna"]),
        ("gender eq http://hl7.org/fhir/administrative-gender|female", ["petra"]),
        ("birthdate eq 2014", ["petra"]),
        ("birthdate ne 2014-10-10", ["anna", "peter"]),
        ("birthdate po 2014-10", ["petra"]),
        ("birthdate gt 2014-10-10 and birthdate le 2015", ["anna"]),
        ("birthdate sa 2014", ["anna"]),
        ("birthdate eb 2014", ["peter"]),
        ('family eq "(X) and Y"', ["nobody"]),
        (r'family eq "m\u00fcller"', ["anna"]),
        ("_id eq anna or _id eq petra", ["petra", "anna"]),
        ("_id ne anna and _lastUpdated ge 2020", ["peter", "petra", "nobody"]),
        (" ( gender eq male )  ", ["peter"]),
        ("((gender eq male) or (gender eq female)) and given ew ra", ["petra"]),
    ],
)
def test_filters(search: Search, text: str, ids: list[str]) -> None:
    assert search(f"Patient?_filter={text}", *PEOPLE) == ids


def seen(id: str, subject: str, code: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, "subject": {"reference": subject}, **more} | {
        "code": coded((LOINC, code))
    }


OBSERVATIONS = (
    *PEOPLE,
    seen("low", "Patient/peter", "1-8", valueQuantity={"value": 5, "unit": "mg", "code": "mg"}),
    seen("high", "Patient/petra", "1-8", valueQuantity={"value": 9, "unit": "mg", "code": "mg"}),
    seen("group", "Group/g", "2-6", hasMember=[{"reference": "Observation/low"}]),
    {"resourceType": "Group", "id": "g", "type": "person", "actual": True},
)


@clause("R4/search_filter.html", "chained paths, brackets on the same resource, references, quantities")
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('subject.name co "pet"', ["low", "high"]),
        ("patient.name co pet and code eq 1-8", ["low", "high"]),
        ("patient[gender eq male].name co pet", ["low"]),
        ("patient[gender eq male or given eq petra].birthdate gt 2000", ["high"]),
        ("has-member.patient.gender eq male", ["group"]),
        ("has-member[code eq 1-8].subject re Patient/peter", ["group"]),
        ("subject re Patient/peter", ["low"]),
        ("subject re http://127.0.0.1/fhir/Patient/petra", ["high"]),
        ("subject ne Patient/peter", ["high", "group"]),
        ("value-quantity gt 6", ["high"]),
        ("value-quantity le 5||mg or subject re Group/g", ["low", "group"]),
        (f"code eq {LOINC}|1-8 and not (value-quantity lt 6)", ["high"]),
        ("code-value-quantity eq 1-8$5", ["low"]),
        ("code-value-quantity ne 1-8$5", ["high", "group"]),
    ],
)
def test_paths(search: Search, text: str, ids: list[str]) -> None:
    assert search(f"Observation?_filter={text}", *OBSERVATIONS) == ids


@clause("R4/search_filter.html", "beside other parameters, twice, and sorted")
def test_beside(search: Search) -> None:
    query = "Patient?_filter=given sw pet or given sw ann&_filter=birthdate ge 2000&gender:missing=false"
    assert search(query, *PEOPLE) == ["petra"]
    assert search("Patient?_filter=given sw pet or given sw ann&_sort=-birthdate") == [
        "anna",
        "petra",
        "peter",
    ]


@clause("R4/search_filter.html", "a mistake is told with the sign where it stands")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gender", "at sign 7: expected an operator"),
        ("gender eq", "at sign 10: expected a space and a value"),
        ("gender eq ", "at sign 11: expected a value"),
        ("gender is male", "at sign 8: expected an operator"),
        ("gender eq male nor", "at sign 16: expected and, or, or the end; got 'nor'"),
        ("gender eq male and", "at sign 19: expected the name of a search parameter"),
        ("(gender eq male", "at sign 16: expected )"),
        ("gender eq male)", "at sign 15: expected and, or, or the end"),
        ('given eq "peter', "at sign 10: expected the closing quote"),
        (r'given eq "\q"', "at sign 10: expected a text with the escapes of JSON"),
        ("gneder eq male", "at sign 1: Patient has no search parameter 'gneder'; did you mean gender?"),
        ("gender eq male and brithdate ge 2000", "at sign 20: Patient has no search parameter 'brithdate'"),
        ("gender co male", "at sign 1: co is not for gender, which is token; possible are eq, ne, ss"),
        ("birthdate re 2000", "re is not for birthdate, which is date"),
        ("birthdate gt soon", "at sign 1: birthdate: 'gtsoon' is not a date"),
        ("birthdate ge le2000", "begins with a prefix"),
        ("gender pr yes", "pr is followed by true or false; got 'yes'"),
        ("name.family eq x", "only a reference can be followed by ."),
        ("general-practitioner.nome eq x", "none of the types that general-practitioner refers to"),
        ("organization.nome eq x", "at sign 1: Organization has no search parameter 'nome'"),
        ("organization[name eq x] eq y", "expected . and a parameter behind ]"),
        ("organization[name eq x.name eq y", "expected ]"),
        ("(" * 40 + "gender eq male" + ")" * 40, "not more than 32 parentheses"),
        (" and ".join(["gender eq male"] * 201), "not more than 200 comparisons"),
        ("gender eq male or _has eq x", "no search parameter '_has'"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse("Patient", [("_filter", text)])
    assert says in str(refusal.value)
    assert str(refusal.value).startswith("_filter, at sign ")


@clause("R4/search.html#list", "_list: the entries of a List, of several; what is wrong is refused by name")
def test_list(search: Search) -> None:
    def listed(id: str, *references: str) -> dict[str, Any]:
        entries = [{"item": {"reference": each}} for each in references]
        return {"resourceType": "List", "id": id, "status": "current", "mode": "working", "entry": entries}

    lists = (listed("a", "Patient/peter", "Patient/anna", "Observation/low"), listed("b", "Patient/petra"))
    assert search("Patient?_list=a", *OBSERVATIONS, *lists) == ["peter", "anna"]
    assert search("Patient?_list=a,b") == ["peter", "petra", "anna"]
    assert search("Patient?_list=a&gender=male") == ["peter"]
    assert search("Patient?_list=a&_list=b") == []
    assert search("Patient?_list=nobody") == []
    assert search("Observation?_list=a") == ["low"]
    assert search("Observation?subject:Patient._list=b") == ["high"]
    for name, text, says in (
        ("_list", "$current-alergies", "is no list that R4 defines; did you mean \\$current-allergies"),
        ("_list", "$current-drug-allergies", "has resources of the type AllergyIntolerance"),
        ("_list:not", "a", "takes neither a modifier nor a path"),
        ("_list", "", "has no value"),
    ):
        with pytest.raises(Invalid, match=says):
            parse("Patient", [(name, text)])


@clause("R4/search_filter.html", "over the wire: with pages, in compartments and over several types")
def test_wire(client: FhirClient, stored: Any) -> None:
    one = stored(patient("Filterson", birthDate="2001"))
    two = stored(patient("Filterson", birthDate="1901"))
    seen = stored(observation(f"Patient/{one}"))
    address = "Patient?_filter=family eq filterson and (birthdate gt 2000 or birthdate lt 1902)&_count=1"
    answer = client.get(address).json
    links = {each["relation"]: each["url"] for each in answer["link"]}
    assert "_filter=family+eq+filterson" in links["self"]
    assert "filterson" not in links["next"]
    following = client.get(links["next"].partition("/fhir/")[2]).json
    assert [each["resource"]["id"] for each in answer["entry"] + following["entry"]] == [one, two]
    inside = client.get(f"Patient/{one}/Observation?_filter=subject.family sw filter").json
    assert [each["resource"]["id"] for each in inside["entry"]] == [seen]
    several = client.get(f"?_type=Patient,Observation&_filter=_id eq {one} or _id eq {seen}").json
    assert [each["resource"]["id"] for each in several["entry"]] == [one, seen]
    check(client.get("?_filter=gender eq male"), 400, "has no search parameter 'gender'")
