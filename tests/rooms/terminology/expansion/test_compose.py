"""Membership: composes, imports, expansions; and random composes against a naive expansion."""

import random
import re

import pytest

from terminology.terms import Terms

A = {"url": "urn:a", "content": "complete", "caseSensitive": True, "concept": [{"code": c} for c in "pqrs"]}
PART = {"url": "urn:part", "content": "fragment", "concept": [{"code": "p"}]}


def terms(value_sets, *systems):
    found = {
        "ValueSet": {
            f"urn:vs:{name}": {"url": f"urn:vs:{name}", **body} for name, body in value_sets.items()
        },
        "CodeSystem": {system["url"]: system for system in systems or (A, PART)},
    }
    return Terms(lambda kind, canonical: found[kind].get(canonical.partition("|")[0]))


def including(*parts, exclude=(), **more):
    compose = {"include": list(parts), **({"exclude": list(exclude)} if exclude else {}), **more}
    return {"compose": compose}


def listing(system, codes):
    return {"system": system, "concept": [{"code": code} for code in codes]}


ALL_A, SOME_A, UNKNOWN = {"system": "urn:a"}, listing("urn:a", "pq"), {"system": "urn:nobody"}


@pytest.mark.parametrize(
    ("body", "system", "code", "expected"),
    [
        (including(ALL_A), "urn:a", "p", True),
        (including(ALL_A), "urn:a", "x", False),
        (including(ALL_A), "urn:b", "p", False),
        (including(SOME_A), "urn:a", "r", False),
        # A system that nobody knows: enumerated codes are in, others are not.
        (including(listing("urn:nobody", "x")), "urn:nobody", "x", True),
        (including(listing("urn:nobody", "x")), "urn:nobody", "y", False),
        (including(UNKNOWN), "urn:nobody", "x", None),
        (including(UNKNOWN), "urn:a", "p", False),
        # Union, exclusion and intersection with unknown parts.
        (including(UNKNOWN, listing("urn:nobody", "x")), "urn:nobody", "x", True),
        (including(UNKNOWN, listing("urn:nobody", "x")), "urn:nobody", "y", None),
        (including(UNKNOWN, exclude=[listing("urn:nobody", "x")]), "urn:nobody", "x", False),
        (including(listing("urn:nobody", "x"), exclude=[UNKNOWN]), "urn:nobody", "x", None),
        (including(listing("urn:nobody", "x"), exclude=[UNKNOWN]), "urn:nobody", "y", False),
        (including({"system": "urn:part"}), "urn:part", "p", True),
        (including({"system": "urn:part"}), "urn:part", "x", None),
        (including({"valueSet": ["urn:vs:pq", "urn:vs:qr"]}), "urn:a", "q", True),
        (including({"valueSet": ["urn:vs:pq", "urn:vs:qr"]}), "urn:a", "p", False),
        (including({"valueSet": ["urn:vs:pq", "urn:vs:none"]}), "urn:a", "p", None),
        (including({"valueSet": ["urn:vs:pq", "urn:vs:none"]}), "urn:a", "r", False),
        (including({**ALL_A, "valueSet": ["urn:vs:pq"]}), "urn:a", "p", True),
        (including({**ALL_A, "valueSet": ["urn:vs:pq"]}), "urn:a", "r", False),
        (including(ALL_A, exclude=[{"valueSet": ["urn:vs:pq"]}]), "urn:a", "p", False),
        (including(ALL_A, exclude=[{"valueSet": ["urn:vs:pq"]}]), "urn:a", "r", True),
        # Circles.
        (including({"valueSet": ["urn:vs:it"]}), "urn:a", "p", None),
        (including({"valueSet": ["urn:vs:it"]}, SOME_A), "urn:a", "p", True),
        (including(SOME_A, exclude=[{"valueSet": ["urn:vs:it"]}]), "urn:a", "r", False),
        # Nothing to go by.
        ({}, "urn:a", "p", None),
        (including({}), "urn:a", "p", None),
    ],
)
def test_membership(body, system, code, expected):
    known = terms({"it": body, "pq": including(SOME_A), "qr": including(listing("urn:a", "qr"))})
    assert known.member("urn:vs:it", system, code) is expected


def test_an_unknown_value_set():
    assert terms({}).member("urn:vs:none", "urn:a", "p") is None
    assert terms({}).member("urn:vs:none", None, "p") is None


def test_a_code_without_a_system_is_looked_for_in_all():
    known = terms({"both": including(SOME_A, listing("urn:b", "x")), "more": including(SOME_A, UNKNOWN)})
    assert [known.member("urn:vs:both", None, code) for code in "pxy"] == [True, True, False]
    assert [known.member("urn:vs:more", None, code) for code in "px"] == [True, None]
    # Both statements are of the same system: a code that is in two systems is not in this.
    crossed = terms(
        {"x": including({**ALL_A, "valueSet": ["urn:vs:b"]}), "b": including(listing("urn:b", "p"))}
    )
    assert crossed.member("urn:vs:x", None, "p") is False


def test_an_expansion_stands_in_for_a_compose():
    inner = {"system": "urn:a", "code": "q", "contains": [{"system": "urn:a", "code": "r"}]}
    contains = [{"system": "urn:a", "code": "p", "abstract": True, "contains": [inner]}]
    alone = terms({"it": {"expansion": {"contains": contains}}})
    assert [alone.member("urn:vs:it", "urn:a", code) for code in "pqrs"] == [False, True, True, False]
    page = terms({"it": {"expansion": {"total": 9, "contains": contains}}})
    assert [page.member("urn:vs:it", "urn:a", code) for code in "qs"] == [True, None]
    # Beside a compose it helps where that is not enough, and only to say yes.
    beside = terms({"it": {**including({"system": "urn:part"}), "expansion": {
        "contains": [{"system": "urn:part", "code": "z"}]}}})  # fmt: skip
    assert [beside.member("urn:vs:it", "urn:part", code) for code in "pzx"] == [True, True, None]


def test_inactive_codes_are_left_out_on_demand():
    system = {
        "url": "urn:s", "content": "complete", "concept": [
            {"code": "old", "property": [{"code": "inactive", "valueBoolean": True}]},
            {"code": "late", "property": [{"code": "status", "valueCode": "deprecated"}]}, {"code": "new"},
        ],
    }  # fmt: skip
    some = {"all": including({"system": "urn:s"}), "live": including({"system": "urn:s"}, inactive=False)}
    known = terms(some, system)
    assert [known.member("urn:vs:all", "urn:s", code) for code in ("old", "late", "new")] == [True] * 3
    assert [known.member("urn:vs:live", "urn:s", code) for code in ("old", "late", "new")] == [
        False,
        True,
        True,
    ]


def test_a_supplement_adds_properties_and_names_where_a_value_set_asks_for_it():
    more = {
        "url": "urn:more", "content": "supplement", "supplements": "urn:a",
        "property": [{"code": "big", "type": "boolean"}],
        "concept": [{"code": "p", "property": [{"code": "big", "valueBoolean": True}]}, {"code": "new"}],
    }  # fmt: skip
    big = including({"system": "urn:a", "filter": [{"property": "big", "op": "=", "value": "true"}]})
    url = "http://hl7.org/fhir/StructureDefinition/valueset-supplement"
    asked = {**big, "extension": [{"url": url, "valueCanonical": "urn:more"}]}
    known = terms({"plain": big, "asked": asked}, A, more)
    assert [known.member("urn:vs:asked", "urn:a", code) for code in ("p", "q", "new")] == [True, False, False]
    assert known.member("urn:vs:plain", "urn:a", "p") is None


def test_many_imports_of_imports_take_no_long():
    layers = {
        str(number): including({"valueSet": [f"urn:vs:{number + 1}"]}, {"valueSet": [f"urn:vs:{number + 1}"]})
        for number in range(30)
    }
    known = terms({**layers, "30": including(SOME_A)})
    assert known.member("urn:vs:0", "urn:a", "p") is True
    assert known.member("urn:vs:0", None, "x") is False
    deep = {str(number): including({"valueSet": [f"urn:vs:{number + 1}"]}) for number in range(5000)}
    assert terms(deep).member("urn:vs:0", "urn:a", "p") is None
    assert terms(deep).member("urn:vs:0", None, "p") is None


def test_value_sets_by_rule_of_snomed_ct_and_loinc():
    known = terms({})
    sct, everything = "http://snomed.info/sct", "http://snomed.info/sct?fhir_vs"
    assert known.member(everything, sct, "73211009") is None
    assert known.member(everything, "http://loinc.org", "8867-4") is False
    assert known.member(f"{everything}=isa/73211009", sct, "73211009") is None
    assert known.member(f"{everything}=isa/73211009", sct, "73211008") is False, "its check digit is wrong"
    assert known.member("http://loinc.org/vs/LL715-4", sct, "73211009") is False


def test_a_cache_stays_within_its_bounds(monkeypatch):
    monkeypatch.setattr("terminology.terms.MAX_VALUE_SETS", 10)
    many = {str(number): including(SOME_A) for number in range(40)}
    known = terms(many)
    assert all(known.member(f"urn:vs:{number}", "urn:a", "p") for number in range(40))
    assert known._value_sets.weight <= 10


# --- the oracle: a naive full expansion of composes whose parts are all known --------------------------

CODES = [f"c{number}" for number in range(14)]


def random_system(chance, url):
    """Return a complete system whose hierarchy is partly nested and partly told by properties."""
    made = {}
    for number, code in enumerate(CODES):
        concept = {"code": code, "property": [{"code": "n", "valueInteger": chance.randrange(3)}]}
        above = [CODES[chance.randrange(number)] for _ in range(chance.randrange(3))] if number else []
        concept["property"] += [{"code": "parent", "valueCode": parent} for parent in above]
        made[code] = concept
    return {"url": url, "content": "complete", "caseSensitive": True, "concept": list(made.values())}


def random_part(chance, names):
    part = {}
    kind = chance.randrange(4)
    if kind < 3:
        part["system"] = chance.choice(["urn:x", "urn:y"])
    if kind == 0:
        part["concept"] = [
            {"code": code} for code in chance.sample([*CODES, "other"], chance.randrange(1, 8))
        ]
    elif kind == 1:
        part["filter"] = [random_filter(chance) for _ in range(chance.randrange(1, 3))]
    if names and (kind == 3 or chance.random() < 0.3):
        part["valueSet"] = [f"urn:vs:{chance.choice(names)}" for _ in range(chance.randrange(1, 3))]
    return part if part else {"system": "urn:x"}


OPERATORS = [
    ("concept", "is-a"), ("concept", "descendent-of"), ("concept", "is-not-a"), ("concept", "generalizes"),
    ("code", "regex"), ("code", "in"), ("code", "not-in"), ("n", "="), ("n", "in"), ("parent", "="),
    ("child", "exists"), ("parent", "exists"),
]  # fmt: skip


def random_filter(chance):
    name, operator = chance.choice(OPERATORS)
    if operator == "regex":
        return {"property": name, "op": operator, "value": chance.choice(["c1.*", "c[0-5]", ".*"])}
    if operator == "exists":
        return {"property": name, "op": operator, "value": chance.choice(["true", "false"])}
    if name == "n":
        return {"property": name, "op": operator, "value": "1" if operator == "=" else "0,2"}
    codes = chance.sample(CODES, 1 if operator not in ("in", "not-in") else 4)
    return {"property": name, "op": operator, "value": ",".join(codes)}


def expansion(name, sets, systems):
    """Return (system, code) of a value set by writing everything down, with no line of our own code."""

    def of(part):
        groups = [expansion(url.removeprefix("urn:vs:"), sets, systems) for url in part.get("valueSet", ())]
        if "system" in part:
            groups.append({(part["system"], code) for code in chosen(part)})
        return set.intersection(*groups)

    def chosen(part):
        if "concept" in part:
            return [concept["code"] for concept in part["concept"]]
        return [
            code for code in CODES if all(kept(part["system"], code, test) for test in part.get("filter", ()))
        ]

    def kept(url, code, test):
        tree = {
            concept["code"]: {
                "parent": [p["valueCode"] for p in concept["property"] if p["code"] == "parent"],
                "n": [str(p["valueInteger"]) for p in concept["property"] if p["code"] == "n"],
            }
            for concept in systems[url]["concept"]
        }

        def above(here):
            return {here}.union(*(above(parent) for parent in tree[here]["parent"]))

        children = [other for other in CODES if code in tree[other]["parent"]]
        values = {"code": [code], "concept": [code], "child": children, **tree[code]}[test["property"]]
        wanted = test["value"].split(",")
        return {
            "is-a": test["value"] in above(code),
            "descendent-of": test["value"] in above(code) - {code},
            "is-not-a": test["value"] not in above(code),
            "generalizes": test["value"] in CODES
            and code in above(wanted[0] if wanted[0] in CODES else code),
            "regex": any(re.fullmatch(test["value"], value) for value in values)
            if test["op"] == "regex"
            else 0,
            "=": any(value in wanted for value in values),
            "in": any(value in wanted for value in values),
            "not-in": not any(value in wanted for value in values),
            "exists": bool(values) is (test["value"] == "true"),
        }[test["op"]]

    compose = sets[name]["compose"]
    found = set().union(*(of(part) for part in compose["include"]))
    return found.difference(*(of(part) for part in compose.get("exclude", ())))


@pytest.mark.parametrize("seed", range(60))
def test_asking_for_one_code_says_what_a_full_expansion_says(seed):
    chance = random.Random(seed)
    systems = {url: random_system(chance, url) for url in ("urn:x", "urn:y")}
    sets, names = {}, []
    for number in range(6):
        include = [random_part(chance, names) for _ in range(chance.randrange(1, 4))]
        exclude = [random_part(chance, names) for _ in range(chance.randrange(3))]
        sets[str(number)] = including(*include, exclude=exclude)
        names.append(str(number))
    known = terms(sets, *systems.values())
    for name in names:
        whole = expansion(name, sets, systems)
        for url in systems:
            asked = {code for code in [*CODES, "other", "none"] if known.member(f"urn:vs:{name}", url, code)}
            assert asked == {code for system, code in whole if system == url}, (seed, name, url)
            answers = {known.member(f"urn:vs:{name}", url, code) for code in [*CODES, "other", "none"]}
            assert None not in answers
        assert {code for code in CODES if known.member(f"urn:vs:{name}", None, code)} == {
            code for _, code in whole if code in CODES
        }
        listed = known.listed(f"urn:vs:{name}", 1000)
        assert listed is None or set(listed) <= whole
