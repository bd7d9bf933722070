"""The terminology part of tools/distil.py: code systems, value sets and enumerated bindings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"

# The package is CC0, but the names of these concepts are not HL7's to give: codes only.
DISPLAYS_OF_OTHERS = frozenset(
    {
        "http://hl7.org/fhir/sid/icd-10",
        "http://loinc.org",
        "http://nucc.org/provider-taxonomy",
        "http://snomed.info/sct",
        "http://www.ama-assn.org/go/cpt",
        "urn:iso:std:iso:11073:10101",
    }
)

# Bound as required or as maximum, and not to be enumerated: fhir_server.validation.codes has a rule
# for each. bcp13.txt and LL379-9 are not even in the package.
RULED = frozenset(
    {
        "http://hl7.org/fhir/ValueSet/all-distance-units",
        "http://hl7.org/fhir/ValueSet/all-languages",
        "http://hl7.org/fhir/ValueSet/all-time-units",
        "http://hl7.org/fhir/ValueSet/currencies",
        "http://hl7.org/fhir/ValueSet/mimetypes",
        "http://hl7.org/fhir/ValueSet/ucum-units",
        "http://loinc.org/vs/LL379-9",
        "http://www.rfc-editor.org/bcp/bcp13.txt",
    }
)

# Two names of one property: a concept that only groups others.
GROUPING = ("notSelectable", "abstract")

# The package's examples of the resources CodeSystem and ValueSet; nothing of R4 refers to them.
EXAMPLES = re.compile(r"http://hl7\.org/fhir/(CodeSystem|ValueSet)/example(-.*)?")


def parts(
    code_systems: list[dict[str, Any]], value_sets: list[dict[str, Any]], types: dict[str, Any]
) -> dict[str, Any]:
    """Return file name → content."""
    systems = {resource["url"]: resource for resource in code_systems}
    sets = {resource["url"]: resource for resource in value_sets}
    return {
        "code_systems": {
            url: system_facts(resource) for url, resource in systems.items() if not EXAMPLES.fullmatch(url)
        },
        "value_sets": {
            url: set_facts(resource) for url, resource in sets.items() if not EXAMPLES.fullmatch(url)
        },
        "enumerations": {
            url: {system: sorted(codes) for system, codes in expand(url, sets, systems).items()}
            for url in bound(types) - RULED
        },
    }


def bound(types: dict[str, Any]) -> set[str]:
    """Return the value sets that an element may not leave: required ones and maximum ones."""
    found = set()
    for _, _, _, elements in types.values():
        for element in elements:
            if len(element) > 6 and element[6]:
                strength, url, *largest = element[6]
                found.update(largest)
                if strength == "required":
                    found.add(url)
    return found


# --- code systems -------------------------------------------------------------------------------


def system_facts(resource: dict[str, Any]) -> list[Any]:
    """Return a code system as a row of code_systems.CodeSystem; its concepts in the written order."""
    concepts = list(flat(resource.get("concept", ()), None))
    numbers = {concept["code"]: number for number, (concept, _) in enumerate(concepts)}
    names = resource["url"] not in DISPLAYS_OF_OTHERS
    return trimmed(
        [
            resource.get("version", ""),
            resource.get("name", ""),
            resource["content"],
            resource.get("caseSensitive"),
            [
                trimmed(
                    [
                        concept["code"],
                        concept.get("display", "") if names else "",
                        None if parent is None else numbers[parent],
                        not_selectable(concept),
                        properties(concept),
                        designations(concept) if names else [],
                    ]
                )
                for concept, parent in concepts
            ],
            resource.get("valueSet", ""),
            resource.get("hierarchyMeaning", ""),
            [
                [declared["code"], declared["type"], declared.get("uri", "")]
                for declared in resource.get("property", ())
            ],
        ]
    )


def properties(concept: dict[str, Any]) -> list[list[str]]:
    """Return [code, value] of a concept's properties, but for those that `not_selectable` reads."""
    return [
        [written["code"], str(value).lower() if isinstance(value, bool) else value]
        for written in concept.get("property", ())
        if written["code"] not in GROUPING
        for key, value in written.items()
        if key.startswith("value")
    ]


def designations(concept: dict[str, Any]) -> list[list[str]]:
    """Return [language, name] of a concept's names in other languages and other uses."""
    return [[written.get("language", ""), written["value"]] for written in concept.get("designation", ())]


def flat(concepts: list[dict[str, Any]], parent: str | None) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield every concept with its parent's code, a parent before its children."""
    for concept in concepts:
        yield concept, parent
        yield from flat(concept.get("concept", ()), concept["code"])


def not_selectable(concept: dict[str, Any]) -> bool:
    """Return whether a concept only groups others (the property is called abstract in places)."""
    return any(
        written["code"] in GROUPING and written.get("valueBoolean", False)
        for written in concept.get("property", ())
    )


def trimmed(row: list[Any]) -> list[Any]:
    """Return `row` without the defaults at its end."""
    while row[-1] is None or row[-1] is False or row[-1] in ("", []):  # 0 is a place and stays
        row.pop()
    return row


# --- value sets ---------------------------------------------------------------------------------


def set_facts(resource: dict[str, Any]) -> list[Any]:
    """Return a value set as a row of value_sets.ValueSet: its compose stays FHIR JSON."""
    compose = resource["compose"]
    return [
        resource.get("version", ""),
        resource.get("name", ""),
        {
            key: [part_facts(part) for part in compose[key]]
            if key in ("include", "exclude")
            else compose[key]
            for key in compose
        },
    ]


def part_facts(part: dict[str, Any]) -> dict[str, Any]:
    """Return an include or exclude without extensions and translations, and without others' names."""
    kept = {key: value for key, value in part.items() if key not in ("extension", "concept")}
    if "concept" in part:
        names = part.get("system") not in DISPLAYS_OF_OTHERS
        kept["concept"] = [
            {key: concept[key] for key in ("code", "display") if key in concept and (names or key == "code")}
            for concept in part["concept"]
        ]
    return kept


Codes = dict[str, set[str]]


def expand(url: str, sets: dict[str, Any], systems: dict[str, Any]) -> Codes:
    """Return the codes of a value set by system."""
    compose = sets[url]["compose"]
    found: Codes = {}
    for part in compose["include"]:
        for system, codes in expand_part(part, sets, systems).items():
            found.setdefault(system, set()).update(codes)
    for part in compose.get("exclude", ()):
        for system, codes in expand_part(part, sets, systems).items():
            found.get(system, set()).difference_update(codes)
    assert any(found.values()), f"{url} expands to nothing"
    return found


def expand_part(part: dict[str, Any], sets: dict[str, Any], systems: dict[str, Any]) -> Codes:
    """Return the codes of one include or exclude: what all of its statements have in common."""
    alternatives = [expand(url.partition("|")[0], sets, systems) for url in part.get("valueSet", ())]
    if "system" in part:
        alternatives.append({part["system"]: expand_system(part, systems)})
    first, *others = alternatives
    return {
        system: codes.intersection(*(other.get(system, set()) for other in others))
        for system, codes in first.items()
    }


def expand_system(part: dict[str, Any], systems: dict[str, Any]) -> set[str]:
    """Return the codes of a system, or those that are listed, or those that pass the filters."""
    if "concept" in part:
        return {concept["code"] for concept in part["concept"]}
    system = systems[part["system"]]
    assert system["content"] == "complete", f"{part['system']} cannot be enumerated"
    parents = {concept["code"]: parent for concept, parent in flat(system["concept"], None)}
    codes = set(parents)
    for condition in part.get("filter", ()):
        assert condition["property"] == "concept", condition
        within = {code for code in parents if condition["value"] in ancestry(code, parents)}
        assert within, condition
        if condition["op"] == "is-a":
            codes &= within
        elif condition["op"] == "descendent-of":
            codes &= within - {condition["value"]}
        elif condition["op"] == "is-not-a":
            codes -= within
        else:
            raise AssertionError(condition)
    return codes


def ancestry(code: str | None, parents: dict[str, str | None]) -> Iterator[str]:
    """Yield a code and its ancestors."""
    while code is not None:
        yield code
        code = parents[code]
