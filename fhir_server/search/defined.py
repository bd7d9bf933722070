"""A SearchParameter that somebody brings → the parameters of its types (R4/searchparameter.html).

R4's own codes keep R4's meaning: where a definition says the same of a type as R4 does (those of US Core
do), or is derived from R4's parameter of that code, R4's parameter answers; where it says something else
under the same code it is refused. What cannot
be indexed is refused with the reason: no FHIRPath, elements that a type does not have, values of which
the parameter's type makes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fhir_server.definitions import search_parameters
from fhir_server.definitions.structures import is_primitive, is_resource_type, resource_types
from fhir_server.fhirpath import api
from fhir_server.fhirpath.extract import selected, watched_extractor
from fhir_server.outcome import Issue
from fhir_server.search import elements
from fhir_server.search.ast import Component, Parameter
from fhir_server.search.registry import parameter_of, standard, targets
from fhir_server.search.types import composite
from fhir_server.search.types.table import SIMPLE

Resource = Mapping[str, Any]
Find = Callable[[str], Resource | None]

CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,63}\Z")
RESERVED = frozenset(
    {
        "_at", "_contained", "_containedType", "_content", "_count", "_cursor", "_elements", "_explain",
        "_filter", "_format", "_has", "_id", "_include", "_lastUpdated", "_list", "_pretty", "_query",
        "_revinclude", "_score", "_since", "_sort", "_summary", "_text", "_total", "_type",
    }
)  # fmt: skip
ABSTRACT = frozenset({"Resource", "DomainResource"})
NOT_DOMAIN = frozenset({"Binary", "Bundle", "Parameters"})  # the resources that are no DomainResource
SERVERS_OWN = {
    "id": "_id",
    "meta.lastUpdated": "_lastUpdated",
    "meta.versionId": "the history",
}

_COMPLEX = {
    "string": {"HumanName", "Address"},
    "token": {"CodeableConcept", "Coding", "Identifier", "ContactPoint"},
    "reference": {"Reference"},
    "date": {"Period", "Timing"},
    "number": {"Quantity", "Range", "Age", "Count", "Distance", "Duration", "Money", "SimpleQuantity"},
    "quantity": {
        "Quantity", "Range", "SampledData", "Age", "Count", "Distance", "Duration", "Money", "SimpleQuantity",
        "MoneyQuantity",
    },
    "uri": set(),
}  # fmt: skip
_TEXTS = {"string", "markdown", "code", "id"}
_URIS = {"uri", "url", "canonical", "oid", "uuid"}
_PRIMITIVES = {
    "string": _TEXTS | _URIS,
    "token": {"boolean", "code", "id", "string", "integer", "positiveInt", "unsignedInt", *_URIS},
    "reference": {"canonical", "uri", "url", "oid", "uuid"},
    "date": {"date", "dateTime", "instant"},
    "number": {"decimal", "integer", "positiveInt", "unsignedInt"},
    "quantity": {"decimal", "integer", "positiveInt", "unsignedInt"},
    "uri": _URIS | {"string"},
}
KINDS = (*_PRIMITIVES, "composite")


@dataclass(frozen=True, slots=True)
class Defined:
    """What a SearchParameter comes to.

    `parameters` have no `index` yet; `standard` are the types of which R4 says the same itself; `faults`
    are why it cannot be used at all.
    """

    parameters: tuple[Parameter, ...] = ()
    standard: tuple[str, ...] = ()
    faults: tuple[Issue, ...] = ()


@dataclass(slots=True)
class _Faults:
    issues: list[Issue] = field(default_factory=list)

    def add(self, says: str, element: str) -> None:
        issue = Issue("error", "business-rule", says, f"SearchParameter.{element}")
        if issue not in self.issues:
            self.issues.append(issue)


def is_of_r4(resource: Resource) -> bool:
    """Say whether a SearchParameter has the url of one of R4's own, which nothing replaces."""
    return any(resource.get("url") == known.url for known in search_parameters.all_parameters())


def define(resource: Resource, find: Find | None) -> Defined:
    """Return what a SearchParameter defines; `find` gives another one by its url.

    Without `find` the components of a composite are not looked up, and nothing is returned but faults.

    >>> nickname = {"code": "nickname", "type": "string", "base": ["Patient"], "url": "urn:n",
    ...             "expression": "Patient.name.where(use='nickname').given"}
    >>> [(each.type_name, each.code, each.kind) for each in define(nickname, None).parameters]
    [('Patient', 'nickname', 'string')]
    >>> define(nickname | {"expression": "Patient.birthDate"}, None).faults[0].diagnostics
    'Patient.birthDate gives date, of which a string parameter makes nothing; it takes Address, \
HumanName, canonical, code, id, markdown, oid, string, uri, url, uuid'
    """
    if is_of_r4(resource):
        return Defined(standard=tuple(_types(resource, _Faults())))
    faults = _Faults()
    code, kind = str(resource.get("code", "")), str(resource.get("type", ""))
    expression = resource.get("expression")
    if not CODE.match(code):
        says = f"the code {code!r} cannot stand in a search; take letters, digits, hyphens and underscores"
        faults.add(says, "code")
    if kind not in KINDS:
        faults.add(f"a parameter of type {kind!r} cannot be indexed; {', '.join(KINDS)} can", "type")
    if not isinstance(expression, str):
        faults.add("there is no expression, which says what is indexed; give one", "expression")
    types = _types(resource, faults)
    if faults.issues or not isinstance(expression, str):
        return Defined(faults=tuple(faults.issues))
    made: list[Parameter] = []
    same: list[str] = []
    for type_name in types:
        known = standard().get(type_name, code)
        if known is not None:
            if resource.get("derivedFrom") == known.url or _says_the_same(known, kind, expression):
                same.append(type_name)
            else:
                faults.add(_collision(known, type_name), "code")
            continue
        if code in RESERVED:
            faults.add(f"{code} has a meaning of its own in every search; choose another code", "code")
            break
        parameter = _parameter(resource, type_name, code, kind, expression, find, faults)
        if parameter is not None:
            made.append(parameter)
    if faults.issues:
        return Defined(standard=tuple(same), faults=tuple(faults.issues))
    return Defined(tuple(made), tuple(same))


def _types(resource: Resource, faults: _Faults) -> list[str]:
    """Return the concrete types of `base`."""
    found: dict[str, None] = {}
    for base in resource.get("base") or ():
        if base in ABSTRACT:
            every = resource_types()
            found.update(
                dict.fromkeys(name for name in every if base == "Resource" or name not in NOT_DOMAIN)
            )
        elif isinstance(base, str) and is_resource_type(base):
            found[base] = None
        else:
            faults.add(f"the base {base!r} is no resource type of R4", "base")
    if not found:
        faults.add("there is no base, the types that the parameter is for", "base")
    return list(found)


def _collision(known: Parameter, type_name: str) -> str:
    return (
        f"{known.code} of {type_name} is a parameter of R4 itself ({known.kind}: "
        f"{known.expression or 'no expression'}) and keeps R4's meaning; give this one another code"
    )


def _says_the_same(known: Parameter, kind: str, expression: str) -> bool:
    """Say whether an expression selects what R4's parameter selects, as far as the text can tell."""
    official = search_parameters.for_type(known.type_name)[known.code]
    if official.type != kind or known.expression is None:
        return False
    return _normal(known.expression, known.type_name) == _normal(expression, known.type_name)


def _normal(expression: str, type_name: str) -> frozenset[Any]:
    """Return the branches of an expression in a form in which spaces and the spelling of casts are one."""
    return frozenset(
        "".join(branch.split()) if (path := elements.steps(branch, type_name)) is None else tuple(path)
        for branch in elements.branches(expression, type_name)
    )


def _parameter(
    resource: Resource,
    type_name: str,
    code: str,
    kind: str,
    expression: str,
    find: Find | None,
    faults: _Faults,
) -> Parameter | None:
    try:
        watched_extractor(expression, type_name)
        found = selected(expression, type_name)
    except api.FhirPathError as error:
        faults.add(f"the expression cannot be used on {type_name}: {error}", "expression")
        return None
    if found is not None and not found:
        says = f"{expression} selects nothing of {type_name}; leave that base out, or say what is meant of it"
        faults.add(says, "expression")
        return None
    for path, _ in found or ():
        if path in SERVERS_OWN:
            says = f"{path} is given by the server and not indexed; ask {SERVERS_OWN[path]} for it"
            faults.add(says, "expression")
            return None
    components: tuple[Component, ...] = ()
    if kind == "composite":
        made = _components(resource, type_name, found, find, faults)
        if made is None:
            return None
        components = made
    elif found is not None and not _fits(kind, {name for _, name in found}, expression, faults, "expression"):
        return None
    to: tuple[str, ...] = ()
    if kind == "reference":
        to = targets(tuple(resource.get("target") or ()), elements.of(expression, type_name))
    return Parameter(type_name, code, kind, expression, to, components, (), str(resource.get("url", "")))


def _fits(kind: str, found: set[str], expression: str, faults: _Faults, place: str) -> bool:
    """Say whether a parameter of a kind makes anything of the types; all of a choice need not."""
    takes = _COMPLEX[kind] | _PRIMITIVES[kind]
    if found & takes or found & ABSTRACT or ("Extension" in found and "extension(" in expression):
        return True
    gives = ", ".join(sorted(found))
    says = f"{expression} gives {gives}, of which a {kind} parameter makes nothing; "
    faults.add(f"{says}it takes {', '.join(sorted(takes))}", place)
    return False


def _components(
    resource: Resource,
    type_name: str,
    found: frozenset[tuple[str, str]] | None,
    find: Find | None,
    faults: _Faults,
) -> tuple[Component, ...] | None:
    """Return the components of a composite; None where there is a fault, () where nobody looked."""
    stated: Sequence[Any] = resource.get("component") or ()
    if len(stated) < 2:
        faults.add("a composite parameter has two components at least", "component")
        return None
    if any(is_primitive(name) for _, name in found or ()):
        faults.add("the expression gives primitive values, which have no components", "expression")
        return None
    made: list[Component] = []
    for number, each in enumerate(stated):
        place = f"component[{number}]"
        below, url = each.get("expression"), str(each.get("definition", "")).partition("|")[0]
        if not isinstance(below, str):
            faults.add("a component needs an expression", place)
            return None
        if find is None:
            continue
        parameter = _of_component(url, type_name, find)
        if parameter is None or parameter.kind in ("composite", "special"):
            faults.add(f"{url} is no search parameter that is known here and can be a component", place)
            return None
        for _, holder in found or ():
            try:
                inner = selected(below, holder)
            except api.FhirPathError as error:
                faults.add(f"the expression cannot be used on {holder}: {error}", f"{place}.expression")
                return None
            if inner and not _fits(
                parameter.kind, {name for _, name in inner}, below, faults, f"{place}.expression"
            ):
                return None
        made.append(Component(parameter, below))
    if find is not None and composite.layout(made, SIMPLE) is None:
        kinds = ", ".join(component.parameter.kind for component in made)
        faults.add(f"the index has no room for a composite of {kinds}", "component")
        return None
    return tuple(made)


def _of_component(url: str, type_name: str, find: Find) -> Parameter | None:
    try:
        return parameter_of(search_parameters.by_url(url), type_name)
    except KeyError:
        other = find(url)
    if other is None or other.get("type") not in SIMPLE:
        return None
    return Parameter(type_name, str(other.get("code")), str(other["type"]), other.get("expression"), url=url)


def as_json(parameter: Parameter) -> dict[str, Any]:
    """Return what the database keeps of a parameter; what `index` stands for depends on all but targets.

    >>> as_json(Parameter("Patient", "nickname", "string", "Patient.name.given"))
    {'kind': 'string', 'expression': 'Patient.name.given'}
    """
    made: dict[str, Any] = {"kind": parameter.kind, "expression": parameter.expression}
    if parameter.components:
        made["components"] = [
            {"code": each.parameter.code, "below": each.expression, **as_json(each.parameter)}
            for each in parameter.components
        ]
    if parameter.targets:
        made["targets"] = list(parameter.targets)
    return made


def from_json(type_name: str, code: str, url: str, index: str, kept: Mapping[str, Any]) -> Parameter:
    """Return the parameter that `as_json` was made from, with the name under which its rows stand.

    >>> from_json("Patient", "n", "urn:n", "n@7", {"kind": "string", "expression": "Patient.name"}).sources
    ('n@7',)
    """
    components = tuple(_component_from(type_name, each) for each in kept.get("components", ()))
    sources = (index,) if index else ()
    return Parameter(
        type_name,
        code,
        kept["kind"],
        kept["expression"],
        tuple(kept.get("targets", ())),
        components,
        sources,
        url,
        index,
    )


def _component_from(type_name: str, kept: Mapping[str, Any]) -> Component:
    return Component(from_json(type_name, kept["code"], "", "", kept), kept["below"])


def same_rows(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether two kept definitions leave the same rows: targets say how a search is read, no more.

    >>> same_rows({"kind": "reference", "expression": "a", "targets": ["Patient"]},
    ...           {"kind": "reference", "expression": "a"})
    True
    """
    return _without_targets(one) == _without_targets(other)


def _without_targets(kept: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in kept.items() if name not in ("targets", "components")}
    made["components"] = [_without_targets(each) for each in kept.get("components", ())]
    return made
