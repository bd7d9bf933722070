"""The code sets of the services as FHIR ValueSets (R4 valueset.html), to be seen, compared or loaded.

They are made from the sets that the services read, so they cannot say anything else: codes become concepts
of an include, ICD-10 codes by which a set begins a filter. Words, by which some sets are also known, have no
place in a ValueSet and stand in its description; a terminology server that expands it finds the codes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any

from cds_hooks.facts import cardiovascular, heparin, laboratory, renal, stroke, value_sets
from cds_hooks.facts.laboratory import Measurement
from cds_hooks.facts.medication_products import TABLES, product_name, read
from cds_hooks.facts.value_sets import ICD10, RXNORM, CodeSet

MODULES: tuple[ModuleType, ...] = (value_sets, cardiovascular, heparin, laboratory, renal, stroke)
"""Where the code sets stand, as constants of these modules."""

ADDRESS = "urn:xinglin:value-set:"
_ADDED = re.compile(r"[^a-z0-9]+")


@cache
def code_sets() -> Mapping[str, CodeSet]:
    """Return every code set by its id, made of the name of its constant.

    >>> code_sets()["atrial-fibrillation"].name
    'atrial fibrillation'
    """
    found: dict[str, CodeSet] = {}
    for module in MODULES:
        for constant, value in vars(module).items():
            held = value.codes if isinstance(value, Measurement) else value
            if isinstance(held, CodeSet) and constant.isupper():
                found.setdefault(_ADDED.sub("-", constant.strip("_").lower()), held)
    return dict(sorted(found.items()))


def resources() -> Iterator[dict[str, Any]]:
    """Give every code set, then every table of drugs, as a ValueSet with the version of what it holds."""
    for name, found in code_sets().items():
        yield _value_set(name, found.name, _includes(found), _words(found))
    for table in TABLES:
        yield _drugs(table)


def _value_set(name: str, title: str, includes: list[dict[str, Any]], more: str) -> dict[str, Any]:
    return {
        "resourceType": "ValueSet",
        "id": f"xinglin-{name}",
        "url": f"{ADDRESS}{name}",
        "name": "".join(part.capitalize() for part in name.split("-")),
        "title": title,
        "status": "active",
        "experimental": False,
        "publisher": "Xinglin",
        "description": f"What the decision services read as: {title}.{more}",
        "immutable": True,
        "compose": {"include": includes},
    }


def _includes(found: CodeSet) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = [
        {"system": system, "concept": [{"code": code} for code in codes]}
        for system, codes in found.codes.items()
        if codes
    ]
    if found.icd10:
        begins = "|".join(_dotted(prefix) for prefix in found.icd10)
        chosen = [{"property": "code", "op": "regex", "value": f"({begins}).*"}]
        listed += [{"system": system, "filter": chosen} for system in ICD10]
    return listed


def _dotted(prefix: str) -> str:
    """Return the beginning of an ICD-10 code as a pattern: written with its dot.

    >>> _dotted("I48"), _dotted("I252")
    ('I48', 'I25\\\\.2')
    """
    return prefix if len(prefix) <= 3 else f"{prefix[:3]}\\.{prefix[3:]}"


def _words(found: CodeSet) -> str:
    parts = []
    if RXNORM in found.codes:
        parts.append(" An RxNorm product counts when one of its ingredients is listed.")
    if found.words:
        parts.append(f" Also known by words in text or display: {found.words}")
    return "".join(parts)


def _drugs(table: str) -> dict[str, Any]:
    name = table.removesuffix(".txt")
    lines = (files("cds_hooks.facts") / table).read_text(encoding="utf-8").splitlines()
    concepts = [
        {"code": code, "display": product_name(code) or " / ".join(part.name for part in parts)}
        for code, parts in sorted(read(table, lines).items())
        if code != "-"
    ]
    title = f"drugs of the table {name}: RxNorm ingredients and products"
    return _value_set(f"drugs-{name}", title, [{"system": RXNORM, "concept": concepts}], "")
