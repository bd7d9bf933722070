"""R4's own value sets, asked through the terminology library for single codes."""

import gzip
import json
import tarfile

import pytest

from fhir_server.definitions import code_systems, value_sets
from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from terminology import iso
from terminology.terms import Terms

PACKAGE = "data/packages/hl7.fhir.r4.core-4.0.1.tgz"
# One code each that exists in a system that is not here, and one that exists nowhere.
ELSEWHERE = ("73211009", "8867-4", "no such code")


@pytest.fixture(scope="module")
def terms():
    return Terms(Conformance([Core()]).find)


def candidates(terms, url):
    for system in sorted(terms.value_set(url).systems(terms) or ()):
        known = terms.system(system)
        yield from ((system, code) for code in (known.codes() if known is not None else None) or ())
        yield from ((system, code) for code in ELSEWHERE)


def test_membership_agrees_with_the_enumerations_of_the_facts(terms):
    count = 0
    for url in value_sets.value_set_urls():
        enumerated = value_sets.enumeration(url)
        if enumerated is None:
            continue
        for system, codes in enumerated.items():
            assert [code for code in codes if terms.member(url, system, code) is not True] == [], url
        for system, code in candidates(terms, url):
            assert terms.member(url, system, code) is (code in enumerated.get(system, ())), (
                url,
                system,
                code,
            )
        count += 1
    assert count == 220


def test_most_value_sets_answer_for_every_code(terms):
    """The rest draws on SNOMED CT, LOINC and other systems that are not published with R4."""
    partly = []
    for url in value_sets.value_set_urls():
        asked = [("urn:s", "x"), *candidates(terms, url)]
        if any(terms.member(url, system, code) is None for system, code in asked):
            partly.append(url)
    assert len(value_sets.value_set_urls()) == 1311
    assert len(partly) == 92


def test_the_package_says_the_same_of_its_own_resources(terms, shared):
    """What the facts left out (prose, others' names) changes no answer."""
    found = {"CodeSystem": {}, "ValueSet": {}}
    with tarfile.open(shared(PACKAGE)) as package:
        for member in package:
            if member.name.startswith(("package/CodeSystem-", "package/ValueSet-")):
                resource = json.load(package.extractfile(member))
                found[resource["resourceType"]][resource["url"]] = resource
    original = Terms(lambda kind, canonical: found[kind].get(canonical.partition("|")[0]))
    known = set(value_sets.value_set_urls())
    assert len(found["ValueSet"]) == 1316
    for url in sorted(known):
        value_set = terms.value_set(url)
        for system in sorted(value_set.systems(terms) or ()):
            codes = sorted((terms.system(system).codes() if terms.system(system) else None) or ())[:100]
            for code in [*codes, *sorted(value_set.enumerated(system))[:100], *ELSEWHERE]:
                if "|3.6.0" not in str(value_set.include):  # the library's `find` here knows no versions
                    assert original.member(url, system, code) is terms.member(url, system, code), (url, code)
    for url in code_systems.code_system_urls():
        for code in (terms.system(url).codes() or ()) if terms.system(url) else ():
            names = terms.names(url, code)
            assert not names or names == original.names(url, code)


def test_code_systems_become_fhir_again():
    system = code_systems.resource("http://terminology.hl7.org/CodeSystem/v3-ActMood")
    assert system["hierarchyMeaning"] == "is-a"
    top = next(concept for concept in system["concept"] if concept["code"] == "_ActMoodPredicate")
    assert {"code": "notSelectable", "valueBoolean": True} in top["property"]
    assert "CRT" in {concept["code"] for concept in top["concept"]}
    assert code_systems.resource("urn:none") is None
    assert value_sets.resource("urn:none") is None


def test_the_core_has_one_version():
    core, url = Core(), "http://hl7.org/fhir/ValueSet/administrative-gender"
    assert core.find("ValueSet", url, None) is not None
    assert core.find("ValueSet", url, "4.0.1") is not None
    assert core.find("ValueSet", url, "5.0.0") is None
    assert core.find("ValueSet", "http://hl7.org/fhir/ValueSet/none", None) is None
    assert core.find("Patient", url, None) is None


def test_the_countries_are_those_of_the_value_set():
    include = value_sets.value_set("http://hl7.org/fhir/ValueSet/iso3166-1-2").compose["include"][0]
    listed = {concept["code"] for concept in include["concept"]}
    assert listed == {code for code in iso.countries() if len(code) == 2}


def test_the_facts_stay_small():
    folder = code_systems.load.__globals__["FACTS"]
    assert len(gzip.decompress((folder / "code_systems.json.gz").read_bytes())) < 1_500_000
