"""Method and address → interaction, as one table (R4/http.html#summary).

The CapabilityStatement and the answers to a wrong method are made from the same table. An
address is found by its shape, a tuple of its fixed words and holes: one dictionary access,
whatever the number of routes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from fhir_server.definitions.structures import resource_types
from fhir_server.outcome import Invalid, MethodNotAllowed, NotFound

BASE = "/fhir"


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table; `interaction` is its name in R4/http.html#summary, `level` its object."""

    method: str
    template: str
    interaction: str
    level: str


ROUTES = (
    Route("GET", "/metadata", "capabilities", "system"),
    Route("GET", "/jobs/{job}", "async-status", "system"),
    Route("DELETE", "/jobs/{job}", "async-cancel", "system"),
    Route("GET", "/jobs/{job}/{file}", "async-file", "system"),
    Route("POST", "/", "transaction", "system"),
    Route("GET", "/", "search-system", "system"),
    Route("POST", "/_search", "search-system", "system"),
    Route("GET", "/_history", "history-system", "system"),
    Route("GET", "/{type}", "search-type", "type"),
    Route("POST", "/{type}", "create", "type"),
    Route("PUT", "/{type}", "update-conditional", "type"),
    Route("PATCH", "/{type}", "patch-conditional", "type"),
    Route("DELETE", "/{type}", "delete-conditional", "type"),
    Route("POST", "/{type}/_search", "search-type", "type"),
    Route("GET", "/{type}/_history", "history-type", "type"),
    Route("GET", "/{type}/{id}", "read", "instance"),
    Route("PUT", "/{type}/{id}", "update", "instance"),
    Route("PATCH", "/{type}/{id}", "patch", "instance"),
    Route("DELETE", "/{type}/{id}", "delete", "instance"),
    Route("GET", "/{type}/{id}/_history", "history-instance", "instance"),
    Route("GET", "/{type}/{id}/_history/{version}", "vread", "instance"),
    Route("GET", "/{type}/{id}/{member}", "search-compartment", "instance"),
    Route("POST", "/{type}/{id}/{member}/_search", "search-compartment", "instance"),
    Route("GET", "/{operation}", "operation", "system"),
    Route("POST", "/{operation}", "operation", "system"),
    Route("GET", "/{type}/{operation}", "operation", "type"),
    Route("POST", "/{type}/{operation}", "operation", "type"),
    Route("GET", "/{type}/{id}/{operation}", "operation", "instance"),
    Route("POST", "/{type}/{id}/{operation}", "operation", "instance"),
)


@dataclass(frozen=True, slots=True)
class Match:
    """A found route with what stood in the holes of its template."""

    route: Route
    values: Mapping[str, str]


class WrongMethod(MethodNotAllowed):
    """405 that knows the methods of the address, for the Allow header (RFC 9110 15.5.6)."""

    def __init__(self, method: str, path: str, allowed: tuple[str, ...], advice: str = "") -> None:
        super().__init__(f"{method} is not possible on {path}; it takes {', '.join(allowed)}{advice}")
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Address:
    """All that one shape of address can do: method → route."""

    methods: Mapping[str, Route]
    holes: tuple[tuple[int, str], ...]

    @property
    def allowed(self) -> tuple[str, ...]:
        """The methods for the Allow header; HEAD goes with GET, OPTIONS with all."""
        names = set(self.methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())
        return tuple(name for name in _METHOD_ORDER if name in names)


_METHOD_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")


def _shape_of_template(template: str) -> tuple[str, ...]:
    """Return the shape of a template.

    >>> _shape_of_template("/{type}/{id}/_history/{version}")
    ('{}', '{}', '_history', '{}')
    >>> _shape_of_template("/{type}/{operation}")
    ('{}', '$')
    """
    return tuple(
        "$" if part == "{operation}" else "{}" if part.startswith("{") else part
        for part in template.split("/")
        if part
    )


def _compiled(routes: tuple[Route, ...]) -> dict[tuple[str, ...], Address]:
    methods: dict[tuple[str, ...], dict[str, Route]] = {}
    holes: dict[tuple[str, ...], tuple[tuple[int, str], ...]] = {}
    for route in routes:
        shape = _shape_of_template(route.template)
        methods.setdefault(shape, {})[route.method] = route
        parts = [part for part in route.template.split("/") if part]
        holes[shape] = tuple(
            (place, part.strip("{}")) for place, part in enumerate(parts) if part.startswith("{")
        )
    return {shape: Address(methods[shape], holes[shape]) for shape in methods}


_ADDRESSES = _compiled(ROUTES)
_READ = _ADDRESSES["{}", "{}"]
_FIRST_WORDS = frozenset(shape[0] for shape in _ADDRESSES if shape and shape[0][0] not in "{$")


def find(method: str, path: str) -> Match:
    """Return the route of a request and the values of its address.

    `path` is the decoded path with the base, for instance "/fhir/Patient/7".

    >>> match = find("GET", "/fhir/Patient/7/_history/2")
    >>> match.route.interaction, dict(match.values)
    ('vread', {'type': 'Patient', 'id': '7', 'version': '2'})

    Raises NotFound for an address or a resource type that is not there, WrongMethod (405) for
    one that is there but not for this method, Invalid for a PUT under something that is no id.
    """
    address, values = locate(path)
    if "id" in values and not _ID.match(values["id"]):
        reason = f"{values['id']!r} is not an id; an id is 1 to 64 of A-Z a-z 0-9 - and ."
        raise Invalid(reason, code="value") if method == "PUT" else NotFound(reason)
    route = address.methods.get("GET" if method == "HEAD" else method)
    if route is None:
        raise WrongMethod(method, path, address.allowed)
    return Match(route, values)


def locate(path: str) -> tuple[Address, dict[str, str]]:
    """Return the address that a path has, whatever the method, and the values of its holes."""
    parts = path[len(BASE) + 1 :].split("/")
    if parts[-1] == "":
        parts.pop()  # /fhir/ and /fhir/Patient/ are meant as without the slash
    shape = tuple([_kind(part, place) for place, part in enumerate(parts)])
    address = _ADDRESSES.get(shape)
    if address is None:
        raise _unknown_address(path)
    values = {name: parts[place] for place, name in address.holes}
    if "type" in values:
        _check_type(values["type"])
    return address, values


def _kind(part: str, place: int) -> str:
    """Return what a path segment is in a shape: a fixed word, "$" for an operation, "{}" for a value."""
    if part.startswith("_") or (place == 0 and part in _FIRST_WORDS):
        return part
    return "$" if part.startswith("$") else "{}" if part else ""


def _check_type(name: str) -> None:
    types = _types()
    if name not in types:
        near = get_close_matches(name, types, n=1, cutoff=0.6) or [
            known for known in types if known.lower() == name.lower()
        ]
        hint = f"; do you mean {near[0]}?" if near else "; /fhir/metadata lists them"
        raise NotFound(f"{name!r} is no resource type of FHIR R4{hint}", code="not-supported")


@cache
def _types() -> frozenset[str]:
    return frozenset(resource_types())


def _unknown_address(path: str) -> NotFound:
    return NotFound(
        f"{path} is no address of this server; addresses look like {BASE}/Patient, {BASE}/Patient/7, "
        f"{BASE}/Patient/7/_history/1 (R4/http.html#summary)"
    )
