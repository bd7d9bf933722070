"""The slow filter over several types and in compartments.

Who is in a compartment is told by the official CompartmentDefinitions and the official expressions,
evaluated as FHIRPath; nothing of search is used.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fhir_server.definitions import search_parameters
from fhir_server.fhirpath import api
from fhir_server.model import json_format
from tests.support.oracle import data
from tests.support.oracle.matching import LOCAL, Oracle
from tests.support.oracle.queries import Generator
from tests.support.oracle.table import EVERYWHERE, entries

Address = tuple[str, str]
COMMON = [line.split()[0] for line in EVERYWHERE.strip().splitlines()]
ANYWHERE = {"", "not", "exact", "contains", "missing"}  # modifiers that mean the same for every type


@dataclass(frozen=True)
class Several:
    """A search: the types of `_type` (None: all), the compartment (None: none), the query string."""

    types: tuple[str, ...] | None
    compartment: Address | None
    query: str


@dataclass
class Compartments:
    """Who is in which compartment, looked up when it is first asked."""

    oracle: Oracle
    known: dict[str, dict[str, set[Address]]] = field(default_factory=dict)

    def members(self, kind: str, id_: str) -> set[Address]:
        """Return what is in one compartment."""
        if kind not in self.known:
            self.known[kind] = {}
            for type_name, codes in definitions()[kind].items():
                for number, resource in self.oracle.by_type.get(type_name, {}).items():
                    owners = {found for code in codes for found in self._owners(kind, code, resource)}
                    for owner in owners | ({number} if type_name == kind else set()):
                        self.known[kind].setdefault(owner, set()).add((type_name, number))
        return self.known[kind].get(id_, set())

    def _owners(self, kind: str, code: str, resource: dict[str, Any]) -> set[str]:
        found = set()
        for reference in _expression(resource["resourceType"], code)(resource):
            text = reference.get("reference", "") if isinstance(reference, dict) else ""
            place = LOCAL.fullmatch(text.removeprefix(self.oracle.base + "/"))
            if place and place[1] == kind:
                found.add(place[2])
        return found


@cache
def definitions() -> dict[str, dict[str, list[str]]]:
    """Return the parameters of each type by compartment, as HL7 publishes them."""
    found = {}
    with tarfile.open(data.SHARED / "r4-examples.tar.xz") as files:
        for member in files:
            if re.fullmatch(r".*/compartmentdefinition-(?!example)\w+\.json", member.name):
                content = files.extractfile(member)
                assert content is not None
                definition = json_format.parse(content.read())
                found[definition["code"]] = {
                    each["code"]: each["param"] for each in definition["resource"] if each.get("param")
                }
                found[definition["code"]].setdefault(definition["code"], [])
    return found


@cache
def _expression(type_name: str, code: str) -> Any:
    if code not in search_parameters.for_type(type_name):
        return lambda resource: []
    whole = search_parameters.for_type(type_name)[code].expression or ""
    parts = [part.strip() for part in re.sub(r"\.where\(resolve\(\) is \w+\)", "", whole).split("|")]
    own = [part for part in parts if re.match(rf"\(?{type_name}\b", part)]
    compiled = api.compile(" | ".join(own))
    return lambda resource: [api.to_json(item) for item in compiled.evaluate(resource)]


def search(oracle: Oracle, compartments: Compartments, asked: Several) -> set[Address]:
    """Return what a search finds."""
    found: set[Address] = set()
    for type_name in asked.types or oracle.by_type:
        if type_name in oracle.by_type:
            found |= {(type_name, id_) for id_ in _of_type(oracle, type_name, asked.query)}
    return found if asked.compartment is None else found & compartments.members(*asked.compartment)


def _of_type(oracle: Oracle, type_name: str, query: str) -> set[str]:
    for name, _ in parse_qsl(query):
        if name.startswith("_has:"):
            _, holder, code, _ = name.split(":", 3)
            if type_name not in entries()[holder][code].targets:
                return set()
    return oracle.search(type_name, query)


def draw(generator: Generator) -> Several:
    """Return a random search over several types or in a compartment."""
    random, oracle = generator.random, generator.oracle
    kind = random.choice(("Patient", "Patient", "Patient", *definitions())) if random.random() < 0.5 else None
    kind = kind if kind in oracle.by_type else None
    here = [name for name in generator.types if kind is None or name in definitions()[kind]]
    types = None
    if random.random() < 0.75 or not here:
        among = here or generator.types
        types = tuple(random.sample(among, min(len(among), random.choice((1, 2, 2, 3, 5)))))
    compartment = None
    pivot_type = random.choice(types or here or generator.types)
    pivot = random.choice(sorted(oracle.by_type[pivot_type]))
    if kind is not None:
        compartment = (kind, random.choice(sorted(oracle.by_type[kind])))
    codes = set(COMMON)
    if types:
        first = entries()[types[0]]
        codes |= {
            code
            for code in first
            if all(
                code in entries()[each] and entries()[each][code].kind == first[code].kind for each in types
            )
        }
    pairs = []
    for _ in range(random.choice((0, 1, 1, 2) if compartment else (1, 1, 2))):
        if random.random() < 0.1 and (made := generator.has(pivot_type, pivot, 1)):
            pairs.append(made)
            continue
        if types is not None and len(types) == 1 and (made := generator.clause(pivot_type, pivot, 0)):
            pairs.append(made)
            continue
        entry = entries()[pivot_type][random.choice(sorted(codes))]
        if entry.kind != "composite":
            name, text = generator.pair(entry, pivot)
            if name.partition(":")[2] in ANYWHERE:
                pairs.append((name, text))
    shared = [code for code in codes if entries()[pivot_type][code].kind in ("date", "string")]
    if random.random() < 0.4:
        keys = random.sample(sorted({"_id", "_lastUpdated", *shared}), random.choice((1, 1, 2)))
        pairs.append(("_sort", ",".join(random.choice(("", "-")) + key for key in keys)))
    return Several(types, compartment, urlencode(pairs))
