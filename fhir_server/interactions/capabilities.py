"""The CapabilityStatement (R4/capabilitystatement.html), made from what is routed and indexed.

The door hands in the interactions that it really answers; the search parameters are those
that search can compile. So nothing is claimed that is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from fhir_server import __version__
from fhir_server.definitions import compartments, search_parameters
from fhir_server.definitions.structures import resource_types
from fhir_server.definitions.versions import order
from fhir_server.interactions import named_queries, terminology_capabilities
from fhir_server.interactions.context import Context, Settings
from fhir_server.interactions.patch import FORMATS as PATCH_FORMATS
from fhir_server.interactions.search_type import resources
from fhir_server.model import json_format, temporal
from fhir_server.search.ast import Parameter
from fhir_server.search.named import NamedQuery
from fhir_server.search.parse import modifiers_of
from fhir_server.search.registry import Registry, standard
from fhir_server.search.registry import parameters as parameters_of
from fhir_server.search.types.special import ON_RESOURCE
from fhir_server.storage import definitions
from fhir_server.storage import parameters as stored

FHIR_VERSION = "4.0.1"

# TypeRestfulInteraction and SystemRestfulInteraction (R4/valueset-type-restful-interaction.html)
_TYPE_CODES = (
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
)
_SYSTEM_CODES = ("transaction", "batch", "search-system", "history-system")

ANSWERED = ON_RESOURCE | {"_filter"}
"""Parameters that have no expression and are answered all the same."""

_SECURITY_OFF = (
    "Authorization is off: whoever reaches the loopback address of this server may read and write "
    "everything. Meant for trying out and development; it is refused on any other address."
)


@dataclass(frozen=True, slots=True)
class Supported:
    """What is installed: profiles as (type, url, version), implementation guides as canonicals.

    `parameters` are what may be searched by, None for what R4 defines; `queries` what `_query` can name.
    """

    profiles: Sequence[tuple[str, str, str]] = ()
    guides: Sequence[str] = ()
    parameters: Registry | None = None
    queries: Sequence[NamedQuery] = ()


class Offered(NamedTuple):
    """An operation that is answered: its name, the canonical of its definition, and where it may be called.

    A definition without scheme is below our own base. `types` are those that have it on themselves or
    on their instances, ("Resource",) is all of them.
    """

    name: str
    definition: str
    system: bool
    types: tuple[str, ...]


MODES = ("full", "normative", "terminology")
"""What may be asked for (R4/http.html#capabilities)."""


class Published(NamedTuple):
    """A statement as JSON, and a tag that changes when what it says does, whenever a process started."""

    text: bytes
    tag: str


class Capabilities:
    """What one installation can do, encoded once a generation of its definitions and mode."""

    def __init__(
        self,
        settings: Settings,
        interactions: Iterable[str],
        started: datetime,
        *,
        auth: str = "off",
        operations: Sequence[Offered] = (),
    ) -> None:
        self._settings = settings
        self._interactions = frozenset(interactions)
        self._started = started
        self._auth = auth
        self._made: dict[str, tuple[tuple[int, int], Published]] = {}
        self._operations = tuple(operations)

    def published(self, context: Context, mode: str = "full") -> Published:
        """Return the statement of one of MODES, as of the definitions that are installed."""
        made = self._made.get(mode)
        if made is None or made[0] != _generations(context):
            context.unit.snapshot()
            generation = _generations(context)
            if mode == "terminology":
                resource = self._terminology(_code_systems(context))
            else:
                supported = Supported(
                    definitions.profiles(context.unit),
                    definitions.guides(context.unit),
                    context.searchable().all(),
                    named_queries.known(context.unit, self._settings.base_url),
                )
                resource = self._statement(mode, supported)
            self._made[mode] = made = (generation, _published(resource))
        return made[1]

    def last(self, mode: str = "full") -> Published:
        """Return what is known without the database: the last statement, or one without packages."""
        if mode in self._made:
            return self._made[mode][1]
        return _published(
            self._terminology(()) if mode == "terminology" else self._statement(mode, Supported())
        )

    def _statement(self, mode: str, supported: Supported) -> dict[str, Any]:
        made = statement(
            self._settings, self._interactions, self._started, self._auth, self._operations, supported
        )
        return normative(made) if mode == "normative" else made

    def _terminology(self, installed: Iterable[tuple[str, str]]) -> dict[str, Any]:
        return terminology_capabilities.statement(self._settings, self._started, installed)


def _generations(context: Context) -> tuple[int, int]:
    return definitions.generation(context.unit), stored.generation(context.unit)


def _published(resource: dict[str, Any]) -> Published:
    said = {name: value for name, value in resource.items() if name != "date"}
    tag = hashlib.blake2b(json_format.encode(said), digest_size=8).hexdigest()
    return Published(json_format.encode(resource), tag)


def _code_systems(context: Context) -> list[tuple[str, str]]:
    """Return url and version of the code systems of packages and of those that clients have stored."""
    stored = resources(context, "CodeSystem", [("_sort", "_id")])
    named = [(str(each["url"]), str(each.get("version", ""))) for each in stored if "url" in each]
    return [*definitions.code_systems(context.unit), *named]


_TRIAL_USE = frozenset({
    "useContext", "imports", "messaging", "document", "implementation.custodian", "rest.security",
    "rest.resource.supportedProfile", "rest.resource.versioning", "rest.resource.readHistory",
    "rest.resource.updateCreate", "rest.resource.conditionalCreate", "rest.resource.conditionalRead",
    "rest.resource.conditionalUpdate", "rest.resource.conditionalDelete", "rest.resource.referencePolicy",
    "rest.resource.searchInclude", "rest.resource.searchRevInclude",
})  # fmt: skip
"""The elements that R4 does not call normative (R4/capabilitystatement.html)."""


def normative(value: Any, path: str = "") -> Any:
    """Return the normative part of a CapabilityStatement (R4/http.html#capabilities, mode=normative).

    >>> normative({"status": "active", "rest": [{"mode": "server", "security": {"cors": True}}]})
    {'status': 'active', 'rest': [{'mode': 'server'}]}
    """
    if isinstance(value, list):
        return [normative(each, path) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: normative(member, f"{path}{name}.")
        for name, member in value.items()
        if f"{path}{name}" not in _TRIAL_USE
    }


def statement(
    settings: Settings,
    interactions: frozenset[str],
    started: datetime,
    auth: str,
    operations: Sequence[Offered] = (),
    supported: Supported = Supported(),
) -> dict[str, Any]:
    """Return the CapabilityStatement as a resource.

    `interactions` are the names of R4/http.html#summary that the door answers, conditional
    forms as "update-conditional" and "delete-conditional"; `supported` is what packages brought.
    """
    profiles = _by_type(supported.profiles)
    registry = supported.parameters or standard()
    worded = settings.environment.full_text
    searchable = {name: _searchable(name, registry, name in worded) for name in resource_types()}
    referring = _referring(searchable)
    rest: dict[str, Any] = {
        "mode": "server",
        "documentation": "Answers are JSON or XML. Searches are strict: an unknown parameter is refused "
        "unless Prefer: handling=lenient is sent. Modifiers: :missing on all parameters but composites; "
        ":exact and :contains on strings; :not, :text, :in, :not-in, :above, :below and :of-type on tokens; "
        ":above and :below on uris and references; :identifier and :[type] on references. "
        "_has and _list on all types.",
        "resource": [
            _resource(
                name, settings, interactions, parameters, referring.get(name, []), profiles.get(name, [])
            )
            for name, parameters in searchable.items()
        ],
        # one address serves both kinds of Bundle
        "interaction": _codes(
            _SYSTEM_CODES, interactions | ({"batch"} if "transaction" in interactions else set())
        ),
    }
    if "async-status" in interactions:
        rest["documentation"] += (
            " Prefer: respond-async is honoured on searches, histories, batches, transactions, operations "
            "and conditional deletes (R4/async.html)."
        )
    if "search-compartment" in interactions:
        rest["compartment"] = [
            f"http://hl7.org/fhir/CompartmentDefinition/{name.lower()}"
            for name in compartments.compartment_types()
        ]
    if "search-system" in interactions:
        rest["searchParam"] = _on_system(searchable)
    for resource in rest["resource"]:
        on_type = [one for one in operations if {"Resource", resource["type"]} & set(one.types)]
        queries = [
            {"name": one.code, "definition": one.url}
            for one in supported.queries
            if one.type_name == resource["type"]
        ]
        if on_type or queries:
            resource["operation"] = _operations(settings, on_type) + queries
    if on_system := [one for one in operations if one.system]:
        rest["operation"] = _operations(settings, on_system)
    if auth == "off":
        rest["security"] = {"cors": True, "description": _SECURITY_OFF}
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": temporal.instant(started),
        "publisher": "Xinglin",
        "kind": "instance",
        "name": "Xinglin",
        "title": "Xinglin FHIR server",
        "software": {"name": "Xinglin", "version": __version__},
        "implementation": {"description": "Xinglin FHIR R4 server", "url": settings.base_url},
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json", "json", "application/fhir+xml", "xml"],
        **({"patchFormat": list(PATCH_FORMATS)} if "patch" in interactions else {}),
        **({"implementationGuide": list(supported.guides)} if supported.guides else {}),
        "rest": [rest],
    }


def _by_type(profiles: Sequence[tuple[str, str, str]]) -> dict[str, list[str]]:
    """Return the profiles of each type: every url, and with its version where there are several.

    >>> _by_type([("Patient", "urn:p", "6.1.0"), ("Patient", "urn:p", "7.0.0"), ("Device", "urn:d", "1")])
    {'Patient': ['urn:p', 'urn:p|6.1.0', 'urn:p|7.0.0'], 'Device': ['urn:d']}
    """
    versions: dict[tuple[str, str], list[str]] = {}
    for name, url, version in profiles:
        versions.setdefault((name, url), []).append(version)
    found: dict[str, list[str]] = {}
    for (name, url), there in versions.items():
        with_version = [f"{url}|{version}" for version in sorted(there, key=order) if version]
        found.setdefault(name, []).extend([url, *(with_version if len(there) > 1 else ())])
    return found


def _resource(
    name: str,
    settings: Settings,
    interactions: frozenset[str],
    searchable: Sequence[Parameter],
    referring: list[str],
    profiles: list[str],
) -> dict[str, Any]:
    """Return what one type can do (CapabilityStatement.rest.resource)."""
    resource: dict[str, Any] = {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": _codes(_TYPE_CODES, interactions),
        "versioning": "versioned-update",
        "readHistory": "vread" in interactions,
        "updateCreate": settings.upsert and "update" in interactions,
        "conditionalCreate": "create" in interactions,
        "conditionalRead": "full-support",
        "conditionalUpdate": "update-conditional" in interactions,
        "conditionalDelete": _conditional_delete(settings, interactions),
        "referencePolicy": [
            "literal",
            "logical",
            *(["enforced"] if settings.referential_integrity == "enforce" else []),
        ],
    }
    if name == "Binary":
        resource["documentation"] = "Contents are read and written in their own media type (R4/binary.html)."
    if profiles:
        resource["supportedProfile"] = profiles
    if includes := [f"{name}:{parameter.code}" for parameter in searchable if parameter.kind == "reference"]:
        resource["searchInclude"] = includes
    if referring:
        resource["searchRevInclude"] = referring
    types = search_parameters.for_type(name)
    resource["searchParam"] = [
        {
            "name": parameter.code,
            "definition": parameter.url,
            "type": types[parameter.code].type if parameter.code in types else parameter.kind,
            "documentation": _ways(parameter),
        }
        for parameter in searchable
        if parameter.code in types or parameter.index
    ]
    return resource


def _conditional_delete(settings: Settings, interactions: frozenset[str]) -> str:
    if "delete-conditional" not in interactions:
        return "not-supported"
    return "multiple" if settings.max_conditional_deletes > 1 else "single"


def _searchable(name: str, registry: Registry, worded: bool) -> list[Parameter]:
    """Return the parameters of a type that search can answer; `worded` says that its words are indexed."""
    return [
        parameter
        for parameter in registry.for_type(name).values()
        if parameter.code in ANSWERED
        or (parameter.kind == "words" and worded)
        or (parameter.kind != "special" and parameter.expression is not None)
    ]


def _ways(parameter: Parameter) -> str:
    """Return which modifiers and prefixes a parameter takes, in words."""
    if parameter.kind == "words":
        return 'words, "phrases", begin*, and, or, not, parentheses'
    targets = set(parameter.targets) if parameter.kind == "reference" else set()
    modifiers = [f":{name}" for name in modifiers_of(parameter) if name not in targets]
    said = [f"modifiers {' '.join(modifiers)}"] if modifiers else []
    if targets:
        said.append("a type as modifier" if len(targets) > 1 else f"modifier :{min(targets)}")
        said.append("chains")
    if parameter.kind in ("date", "number", "quantity"):
        said.append("prefixes eq ne gt lt ge le sa eb ap")
    return f"{parameter.kind}: {'; '.join(said)}" if said else parameter.kind


def _on_system(searchable: Mapping[str, Sequence[Parameter]]) -> list[dict[str, str]]:
    """Return the parameters that a search over all types has."""
    known = search_parameters.for_type("Binary")  # which has these alone
    codes = {parameter.code for parameter in parameters_of("Binary")} | {"_filter"}
    if all(any(each.code == "_content" for each in some) for some in searchable.values()):
        codes |= {"_content", "_text"}
    known = {**search_parameters.for_type("Basic"), **known}  # Binary has no _text
    found = {code: (known[code].url, known[code].type) for code in codes}
    own = [{each.code: each for each in some if each.index} for some in searchable.values()]
    for code in set.intersection(*(set(each) for each in own)):
        found[code] = (own[0][code].url, own[0][code].kind)
    return [{"name": code, "definition": url, "type": kind} for code, (url, kind) in sorted(found.items())]


def _referring(searchable: Mapping[str, Sequence[Parameter]]) -> dict[str, list[str]]:
    """Return for each type the references that may point at it, as _revinclude names them."""
    found: dict[str, list[str]] = {}
    for name, parameters in searchable.items():
        for parameter in parameters:
            if parameter.kind == "reference":
                for target in parameter.targets:
                    found.setdefault(target, []).append(f"{name}:{parameter.code}")
    return found


def _operations(settings: Settings, offered: Sequence[Offered]) -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "definition": one.definition
            if ":" in one.definition
            else f"{settings.base_url}/{one.definition}",
        }
        for one in offered
    ]


def _codes(known: Sequence[str], interactions: frozenset[str]) -> list[dict[str, str]]:
    return [{"code": code} for code in known if code in interactions]
