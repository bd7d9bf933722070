"""What the token of a call may read, as its scopes say, in both syntaxes (SMART App Launch 1 and 2).

    patient/Observation.read   user/*.*        version 1: read, write or *
    patient/Observation.rs     system/*.cruds  version 2: of c, r, u, d and s, in this order

A scope of version 2 that is narrowed by a query (`patient/Observation.rs?category=laboratory`) lets a part
be seen that looks like the whole; what would be fetched by it alone counts as not to be had.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SCOPE = re.compile(
    r"(patient|user|system)/(\*|[A-Z][A-Za-z]*)\.(?:(read|write|\*)|(c?r?u?d?s?))(\?[^\s]*)?", re.ASCII
)
_VERSION_1 = {"read": frozenset("rs"), "write": frozenset("cud"), "*": frozenset("cruds")}


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope of resources: on whose behalf, of which type (`*`: all), letters of cruds."""

    level: str
    type_name: str
    letters: frozenset[str]
    query: str = ""


def scopes(text: str | None) -> tuple[Scope, ...]:
    """Return the scopes of resources in a scope text; others (openid, launch, fhirUser) say nothing here.

    >>> [sorted(each.letters) for each in scopes("launch patient/Observation.read user/Patient.rs")]
    [['r', 's'], ['r', 's']]
    """
    found = []
    for word in (text or "").split():
        matched = _SCOPE.fullmatch(word)
        if matched is None:
            continue
        level, type_name, first, second, query = matched.groups()
        letters = _VERSION_1[first] if first else frozenset(second)
        if letters and not (first and query):  # version 1 knows no query
            found.append(Scope(level, type_name, letters, query or ""))
    return tuple(found)


def allow(given: Iterable[Scope], letter: str, type_name: str) -> bool:
    """Whether scopes let all of a type be read (`r`) or searched (`s`).

    >>> allow(scopes("patient/*.rs"), "s", "Observation"), allow(scopes("patient/*.r"), "s", "Observation")
    (True, False)
    >>> allow(scopes("patient/Observation.rs?category=laboratory"), "s", "Observation")
    False
    """
    return any(
        letter in scope.letters and scope.type_name in ("*", type_name) and not scope.query for scope in given
    )
