"""The parameters that shape the answer and not the match (R4/search.html#return): _sort to _total."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fhir_server.definitions import structures
from fhir_server.model import summary as parts
from fhir_server.outcome import Invalid, Issue, NotSupported
from fhir_server.search import paths
from fhir_server.search.ast import Criterion, Include, Parameter, Query, Sort
from fhir_server.search.names import NotIndexed, Unknown, unknown
from fhir_server.search.registry import Registry
from fhir_server.search.types.table import TYPES

NAMES = frozenset(
    {
        "_count",
        "_sort",
        "_include",
        "_revinclude",
        "_summary",
        "_elements",
        "_total",
        "_format",
        "_pretty",
        "_contained",
        "_containedType",
    }
)
CHOICES = {
    "_summary": ("true", "false", "text", "data", "count"),
    "_total": ("none", "estimate", "accurate"),
    "_contained": ("false", "true", "both"),
    "_containedType": ("container", "contained"),
    "_pretty": ("true", "false"),
}
SCORE = "_score"
"""What `_sort` calls the order by how well the words fit, which is no parameter of its own."""

ONCE = frozenset({"_count", "_summary", "_total", "_contained", "_containedType"})


@dataclass(slots=True)
class Draft:
    """Collects result parameters until the whole query string is read."""

    sort: list[Sort] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    count: int | None = None
    elements: list[str] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    applied: list[tuple[str, str]] = field(default_factory=list)

    def read(self, type_name: str, name: str, text: str, registry: Registry) -> None:
        """Take in one result parameter of a search on `type_name`."""
        name, modifier = self.checked(name, text)
        match name:
            case "_count":
                if not text.isascii() or not text.isdigit():
                    raise Invalid(f"_count is a whole number, 0 or more; got {text!r}")
                self.count = min(int(text[:10]), 2**31 - 1)
            case "_sort":
                self.sort += [sort_key(type_name, part, registry) for part in text.split(",")]
            case "_include" | "_revinclude":
                self.includes += include(type_name, name, text, modifier == "iterate", registry)
            case "_elements":
                self.elements += [part.strip() for part in text.split(",") if part.strip()]
            case "_contained" if text != "false" and not type_name:
                raise NotSupported(
                    "_contained is for a search on one type, GET [base]/Medication?_contained=true"
                )
            case _:
                self.chosen[name] = text

    def checked(self, name: str, text: str) -> tuple[str, str]:
        """Return name and modifier of a result parameter, whatever the type that is searched."""
        name, _, modifier = name.partition(":")
        if modifier and not (name in ("_include", "_revinclude") and modifier == "iterate"):
            raise Invalid(f"{name} has no modifier {modifier!r}")
        if not text:
            raise Unknown(f"{name} has no value; give one or leave the parameter out")
        if name in ONCE and any(name == known for known, _ in self.applied):
            raise Invalid(f"{name} is given more than once")
        if name in CHOICES and text not in CHOICES[name]:
            raise Invalid(f"{name} is one of {', '.join(CHOICES[name])}; got {text!r}")
        return name, modifier

    def query(self, type_name: str, clauses: tuple[Criterion, ...], issues: tuple[Issue, ...]) -> Query:
        """Return the whole search."""
        summary = self.chosen.get("_summary")
        if summary == "text" and self.elements:
            raise Invalid("_summary=text and _elements exclude each other")
        if summary == "text" and self.includes:
            raise Invalid("_summary=text and _include or _revinclude exclude each other")
        contained = self.chosen.get("_contained", "false")
        if contained != "false" and (self.sort or self.includes):
            what = "_sort" if self.sort else "_include and _revinclude"
            raise Invalid(f"_contained={contained} and {what} exclude each other")
        if type_name:
            parts.element_names(type_name, self.elements)  # refused whether or not there is a match
        return Query(
            type_name,
            clauses,
            distinct(self.sort),
            tuple(dict.fromkeys(self.includes)),
            self.count,
            self.chosen.get("_total", "none"),
            summary,
            tuple(dict.fromkeys(self.elements)),
            tuple(self.applied),
            issues,
            contained=contained,
            contained_type=self.chosen.get("_containedType", "container"),
        )


def distinct(keys: Iterable[Sort]) -> tuple[Sort, ...]:
    """Return the sort keys without those that come again, which decide nothing."""
    first: dict[str, Sort] = {}
    for sort in keys:
        first.setdefault(sort.parameter.code, sort)
    return tuple(first.values())


def sort_key(type_name: str, text: str, registry: Registry) -> Sort:
    """Return one key of `_sort`, such as `-date`.

    >>> sort_key("Observation", "-date", Registry()).descending
    True
    """
    descending, code = text.startswith("-"), text.removeprefix("-")
    if code == SCORE:
        # the best first: nobody asks for the worst matches
        return Sort(Parameter(type_name, SCORE, "special"), not descending)
    parameter = registry.get(type_name, code)
    if parameter is None:
        if why := registry.pending(type_name, code):
            raise NotIndexed(why)
        known = sorted(code for code, known in registry.for_type(type_name).items() if is_sortable(known))
        raise unknown(f"{type_name} cannot be sorted by {code!r}", code, known)
    if not is_sortable(parameter):
        raise NotSupported(f"{code} is no parameter that this server can sort by")
    return Sort(parameter, descending)


def is_sortable(parameter: Parameter) -> bool:
    """Tell whether an order can be told; a composite has none, nor has what only a function yields.

    By `near` it can where the search names a place (nearness.py).
    """
    if parameter.kind == "special":
        return parameter.code in ("_id", "_lastUpdated")
    if parameter.kind == "near":
        return True
    if parameter.expression is None or parameter.kind in ("composite", "words"):
        return False
    return TYPES[parameter.kind].order is not None or bool(paths.json_paths(parameter))


def include(type_name: str, name: str, text: str, iterate: bool, registry: Registry) -> list[Include]:
    """Return what one `_include` or `_revinclude` stands for; `*` is every reference parameter.

    `_include=*` is every one of the type that is searched (of all types, where it iterates), `_revinclude=*`
    every one of any type that may refer to it.

    >>> [found.parameter.code for found in include("Patient", "_include", "Patient:link", False, Registry())]
    ['link']
    """
    reverse = name == "_revinclude"
    source, _, rest = text.partition(":")
    code, _, target = rest.partition(":")
    if source == "*" and not rest:
        if not reverse and not iterate:
            source, code = type_name, "*"
        else:
            return [
                Include(known, None, reverse, iterate)
                for holder in structures.resource_types()
                for known in registry.for_type(holder).values()
                if known.kind == "reference" and (iterate or type_name in known.targets)
            ]
    if not structures.is_resource_type(source) or not code:
        raise Invalid(f"{name}={text} is not Type:parameter or Type:parameter:TargetType")
    if target and not structures.is_resource_type(target):
        raise Invalid(f"{name}={text} names {target!r}, which is no resource type of R4")
    if not reverse and not iterate and source != type_name:
        raise Invalid(
            f"{name}={text} begins at {source}, but the search is on {type_name}; "
            "add :iterate to follow what was included"
        )
    references = [known for known in registry.for_type(source).values() if known.kind == "reference"]
    if reverse:
        references = [known for known in references if iterate or type_name in known.targets]
    found = [known for known in references if code in ("*", known.code)]
    if not found:
        if why := registry.pending(source, code):
            raise NotIndexed(why)
        codes = sorted(known.code for known in references)
        raise unknown(f"{name}={text}: {source} has no such reference parameter here", code, codes)
    for known in found:
        if target and target not in known.targets and code != "*":
            raise Invalid(f"{name}={text}: {known.code} does not refer to {target}")
    return [Include(known, target or None, reverse, iterate) for known in found]
