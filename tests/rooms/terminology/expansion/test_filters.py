"""Each filter operator on a small code system (R4/valueset-filter-operator.html)."""

import time

import pytest

from terminology.code_systems import CodeSystem
from terminology.expansion.filters import matches, passes
from terminology.grammars import GRAMMARS, M49, UCUM

# animal ─ mammal ─ dog, cat       plant ─ rose        dog is a pet too, cat by the `child` of pet
CONCEPTS = [
    {
        "code": "animal",
        "display": "Animal",
        "concept": [
            {
                "code": "mammal",
                "concept": [
                    {
                        "code": "dog",
                        "display": "Dog",
                        "property": [
                            {"code": "parent", "valueCode": "pet"},
                            {"code": "legs", "valueInteger": 4},
                            {"code": "eats", "valueCode": "cat"},
                        ],
                    },
                    {"code": "cat", "property": [{"code": "tail", "valueBoolean": True}]},
                ],
            }
        ],
    },
    {"code": "pet", "property": [{"code": "child", "valueCode": "cat"}]},
    {
        "code": "plant",
        "concept": [
            {"code": "rose", "property": [{"code": "status", "valueCode": "retired"}]},
        ],
    },
]
WHOLE = {"url": "urn:life", "content": "complete", "caseSensitive": True, "concept": CONCEPTS}
SYSTEM = CodeSystem({**WHOLE, "property": [{"code": "legs", "type": "integer"}]})
FRAGMENT = CodeSystem({**WHOLE, "content": "fragment"})


def holding(name, operator, value, system=SYSTEM):
    condition = {"property": name, "op": operator, "value": value}
    return {code for code in SYSTEM.concepts if passes(system, code, [condition])}


@pytest.mark.parametrize(
    ("name", "operator", "value", "expected"),
    [
        ("concept", "is-a", "mammal", {"mammal", "dog", "cat"}),
        ("code", "is-a", "pet", {"pet", "dog", "cat"}),
        ("concept", "is-a", "unicorn", set()),
        ("concept", "descendent-of", "animal", {"mammal", "dog", "cat"}),
        ("concept", "is-not-a", "animal", {"pet", "plant", "rose"}),
        ("concept", "generalizes", "dog", {"dog", "mammal", "animal", "pet"}),
        ("concept", "=", "dog", {"dog"}),
        ("code", "in", "dog, rose", {"dog", "rose"}),
        ("concept", "not-in", "dog,cat,mammal,animal", {"pet", "plant", "rose"}),
        ("code", "regex", "[a-d].*", {"animal", "dog", "cat"}),
        ("code", "regex", "o", set()),
        ("display", "regex", "D.g", {"dog"}),
        ("display", "=", "Animal", {"animal"}),
        ("display", "exists", "true", {"animal", "dog"}),
        ("parent", "=", "mammal", {"dog", "cat"}),
        ("parent", "=", "pet", {"dog", "cat"}),
        ("parent", "exists", "false", {"animal", "pet", "plant"}),
        ("child", "=", "dog", {"mammal", "pet"}),
        ("child", "exists", "false", {"dog", "cat", "rose"}),
        ("legs", "=", "4", {"dog"}),
        ("legs", "exists", "false", {"animal", "mammal", "cat", "pet", "plant", "rose"}),
        ("tail", "=", "true", {"cat"}),
        ("status", "in", "retired,inactive", {"rose"}),
        ("status", "not-in", "retired", {"animal", "mammal", "dog", "cat", "pet", "plant"}),
        ("eats", "is-a", "mammal", {"dog"}),
        ("eats", "regex", "c.t", {"dog"}),
    ],
)
def test_an_operator(name, operator, value, expected):
    assert holding(name, operator, value) == expected


@pytest.mark.parametrize(
    "condition",
    [
        {"property": "colour", "op": "=", "value": "red"},
        {"property": "colour", "op": "exists", "value": "false"},
        {"property": "code", "op": "regex", "value": "("},
        {"property": "code", "op": "sounds-like", "value": "dog"},
        {"property": "code", "op": "="},
        {},
    ],
)
def test_what_cannot_be_judged_is_unknown(condition):
    assert passes(SYSTEM, "dog", [condition]) is None


def test_one_false_decides_whatever_is_unknown():
    unknown = {"property": "colour", "op": "=", "value": "red"}
    wrong = {"property": "code", "op": "=", "value": "cat"}
    assert passes(SYSTEM, "dog", [unknown, wrong]) is False
    assert passes(SYSTEM, "dog", [unknown, {**wrong, "value": "dog"}]) is None
    assert passes(SYSTEM, "unicorn", [unknown]) is False


def test_a_fragment_says_what_it_has_and_not_what_it_lacks():
    animal = {"property": "concept", "op": "is-a", "value": "animal"}
    assert passes(FRAGMENT, "dog", [animal]) is True
    assert passes(FRAGMENT, "rose", [animal]) is None
    assert passes(FRAGMENT, "unicorn", [animal]) is None
    outside = {"property": "concept", "op": "is-not-a", "value": "animal"}
    assert passes(FRAGMENT, "dog", [outside]) is False
    assert passes(FRAGMENT, "rose", [outside]) is None


def test_without_the_system_the_code_may_decide():
    assert passes(None, "CHE", [{"property": "code", "op": "regex", "value": "[A-Z]{2}"}]) is False
    assert passes(None, "a", [{"property": "concept", "op": "is-a", "value": "a"}]) is True
    assert passes(None, "b", [{"property": "concept", "op": "is-a", "value": "a"}]) is None
    assert passes(None, "a", [{"property": "concept", "op": "descendent-of", "value": "a"}]) is False


def test_filters_of_systems_by_rule():
    time_unit = [{"property": "canonical", "op": "=", "value": "a"}]
    assert [passes(GRAMMARS[UCUM], code, time_unit) for code in ("min", "m", "x")] == [True, False, False]
    region = [{"property": "class", "op": "=", "value": "region"}]
    assert [passes(GRAMMARS[M49], code, region) for code in ("150", "756", "999")] == [True, False, None]


def test_a_pattern_that_does_not_end_is_given_up_and_not_tried_again():
    text = "a" * 80 + "b"
    assert matches("(a|aa)+c?", text) is None
    started = time.perf_counter()
    assert all(matches("(a|aa)+c?", text + str(number)) is None for number in range(200))
    assert time.perf_counter() - started < 0.5


def test_a_circle_in_the_hierarchy_does_no_harm():
    circle = CodeSystem(
        {
            "content": "complete",
            "concept": [
                {"code": "a", "property": [{"code": "parent", "valueCode": "b"}]},
                {"code": "b", "property": [{"code": "parent", "valueCode": "a"}]},
            ],
        }
    )
    assert circle.subsumes("a", "b") is circle.subsumes("b", "a") is True


def test_parts_of_a_whole_are_not_kinds_of_it():
    body = CodeSystem({**WHOLE, "hierarchyMeaning": "part-of"})
    assert body.subsumes("animal", "dog") is None
    assert body.subsumes("dog", "dog") is True
    assert SYSTEM.subsumes("animal", "dog") is True
    assert SYSTEM.subsumes("dog", "animal") is False
    assert SYSTEM.subsumes("dog", "unicorn") is None


def test_properties_may_have_another_code_than_their_usual_one():
    """R4/codesystem.html#properties: the uri says what a property means."""
    system = CodeSystem(
        {
            "content": "complete",
            "property": [{"code": "above", "uri": "http://hl7.org/fhir/concept-properties#parent"}],
            "concept": [{"code": "a"}, {"code": "b", "property": [{"code": "above", "valueCode": "a"}]}],
        }
    )
    assert system.subsumes("a", "b") is True
    assert passes(system, "b", [{"property": "parent", "op": "=", "value": "a"}]) is True


def test_case_matters_where_the_system_says_so():
    assert SYSTEM.has("Dog") is False
    assert SYSTEM.near("DOG") == "dog"
    relaxed = CodeSystem({key: value for key, value in WHOLE.items() if key != "caseSensitive"})
    assert relaxed.has("Dog") is True
    assert passes(relaxed, "DOG", [{"property": "concept", "op": "is-a", "value": "Animal"}]) is True
