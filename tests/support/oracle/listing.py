"""What is in Lists, by their ids and by what they say they are for (`_list`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Resource = dict[str, Any]
USES, LOINC = "http://terminology.hl7.org/CodeSystem/list-example-use-codes", "http://loinc.org"
CODES = {
    "$current-problems": {(USES, "problems"), (LOINC, "46105-3")},
    "$current-medications": {(USES, "medications"), (LOINC, "57828-6"), (LOINC, "10160-0")},
    "$current-allergies": {(USES, "allergies"), (LOINC, "18716-1"), (LOINC, "52472-8"), (LOINC, "48765-2")},
}


def listed(
    by_type: Mapping[str, Mapping[str, Resource]], type_name: str, names: Sequence[str], base: str
) -> set[str]:
    """Return the ids of the resources of a type that at least one of the Lists has as an entry."""
    lists, known = by_type.get("List", {}), by_type.get(type_name, {})
    found: set[str] = set()
    for name in names:
        drugs = name == "$current-drug-allergies"
        codes = CODES.get("$current-allergies" if drugs else name)
        some = (
            [lists.get(name, {})] if codes is None else [one for one in lists.values() if is_for(one, codes)]
        )
        for entry in (entry for one in some for entry in one.get("entry", [])):
            text = entry["item"].get("reference", "").removeprefix(f"{base}/")
            target = re.fullmatch(rf"{type_name}/([A-Za-z0-9.-]+)(/_history/.*)?", text)
            here = known.get(target[1]) if target else None
            if target and here is not None and (not drugs or "medication" in here.get("category", [])):
                found.add(target[1])
    return found


def is_for(listing: Resource, codes: set[tuple[str, str]]) -> bool:
    """Say whether a List is current and has one of the codes."""
    codings = listing.get("code", {}).get("coding", [])
    return listing.get("status") == "current" and any(
        (each.get("system"), each.get("code")) in codes for each in codings
    )
