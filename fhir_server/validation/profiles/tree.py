"""Snapshots as trees: the ElementDefinitions of a profile, with their children and slices.

R4/elementdefinition.html says that the list is in order: children follow their element, slices
follow the element that is sliced. The tree is made from paths and slice names, as ids are not
always what they should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from threading import Lock
from typing import Any, Protocol

from fhir_server.definitions import structures
from fhir_server.definitions.conformance import Conformance
from fhir_server.validation.element_tree import NoSnapshot
from fhir_server.validation.snapshot import elements

CORE = "http://hl7.org/fhir/StructureDefinition/"
IMPOSE = f"{CORE}structuredefinition-imposeProfile"
_SYSTEM = "http://hl7.org/fhirpath/System."
_FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
_BY_TYPE = {"discriminator": [{"type": "type", "path": "$this"}], "rules": "open"}


MOST_KEPT = 2000
"""Canonicals that a process remembers, the unknown ones too: anybody may send them."""

LONGEST = 1000
_NOT_ASKED = "not asked"


class Visitor(Protocol):
    """The compiled form of a definition."""

    def visit(self, item: Any, run: Any) -> None:
        """Report what an element breaks."""
        ...


class Definition:
    """One ElementDefinition; `name` is without `[x]`, `slices` holds those of this element in order."""

    def __init__(self, element: dict[str, Any], name: str, profile: Profile) -> None:
        self.element, self.name, self.profile = element, name, profile
        self.slice_name: str | None = element.get("sliceName")
        self.children: dict[str, Definition] = {}
        self.slices: list[Definition] = []

    def __repr__(self) -> str:
        return f"<{self.id} of {self.profile.url}>"

    @property
    def id(self) -> str:
        """The id of the ElementDefinition, or what it should be."""
        path: str = self.element.get("path", "")
        return self.element.get("id") or (f"{path}:{self.slice_name}" if self.slice_name else path)

    @property
    def rule(self) -> str:
        """The name of this definition for an Issue: canonical and id."""
        return f"{self.profile.url}#{self.id}"

    @property
    def label(self) -> str:
        """The name for a message, with the slice."""
        return f"{self.name}:{self.slice_name}" if self.slice_name else self.name

    @property
    def least(self) -> int:
        """The lower cardinality."""
        return int(self.element.get("min", 0))

    @property
    def most(self) -> int | None:
        """The upper cardinality, None for `*`."""
        text = self.element.get("max", "*")
        return None if text == "*" else int(text)

    @cached_property
    def types(self) -> tuple[dict[str, Any], ...]:
        """The types with FHIR names as codes."""
        return tuple({**entry, "code": _type_code(entry)} for entry in self.element.get("type", ()))

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The names of the types."""
        return tuple(entry["code"] for entry in self.types)

    def stated(self, stem: str) -> tuple[str, Any] | None:
        """Return (key, value) of a member such as fixed[x] or minValue[x], None if there is none."""
        for key, value in self.element.items():
            if key.startswith(stem) and key[len(stem) : len(stem) + 1].isupper():
                return key, value
        return None

    def content(self) -> Definition:
        """Return the definition that has the children: another one where contentReference says so."""
        there = self.element.get("contentReference")
        if there is None or self.children or self.slices:  # slices have children of their own
            return self
        url, _, name = there.partition("#")
        if url and url != self.profile.url:
            return self  # the base type's own rules, which are checked anyway
        return self.profile.by_id.get(name, self)


class Profile:
    """A StructureDefinition that resources or elements may have to meet."""

    def __init__(self, definition: Mapping[str, Any], listed: list[dict[str, Any]]) -> None:
        self.definition = definition
        self.url: str = definition["url"]
        self.version: str | None = definition.get("version")
        self.name: str = definition.get("title") or definition.get("name") or self.url
        self.type: str = definition["type"].rpartition("/")[2]
        self.imposed = [
            one["valueCanonical"]
            for one in definition.get("extension", ())
            if one.get("url") == IMPOSE and "valueCanonical" in one
        ]
        self.by_id: dict[str, Definition] = {}
        self.root = self._tree(listed)
        self.visitor: Visitor | None = None

    def _tree(self, listed: list[dict[str, Any]]) -> Definition:
        root = Definition(listed[0], listed[0]["path"], self)
        open_: list[tuple[str, Definition]] = [(listed[0]["path"], root)]
        self.by_id[root.id] = root
        for element in listed[1:]:
            path = element["path"]
            above, _, last = path.rpartition(".")
            while len(open_) > 1 and open_[-1][0] != above:
                open_.pop()
            found = self._placed(open_[-1][1], element, above, last)
            self.by_id.setdefault(found.id, found)
            open_.append((path, found))
        return root

    def _placed(self, parent: Definition, element: dict[str, Any], above: str, last: str) -> Definition:
        name = last.removesuffix("[x]")
        stem = _stem(above, last)
        if stem is not None:  # valueQuantity, as snapshots of old write it
            element = {**element, "sliceName": element.get("sliceName", last)}
            if stem not in parent.children:
                whole = {"path": f"{above}.{stem}[x]", "min": 0, "max": "1", "slicing": _BY_TYPE}
                parent.children[stem] = Definition(whole, stem, self)
            name = stem
        found = Definition(element, name, self)
        if name not in parent.children:
            parent.children[name] = found
        else:
            parent.children[name].slices.append(found)
        return found


_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class _Nothing:
    """The compiled form of what cannot be compiled."""

    def visit(self, item: Any, run: Any) -> None:
        """Report nothing."""


class Library:
    """The profiles that a Conformance knows, each taken apart once."""

    def __init__(self, conformance: Conformance, compiled: Callable[[Profile, Library], Visitor]) -> None:
        self.conformance = conformance
        self._compiled = compiled
        self._lock = Lock()
        self._profiles: dict[str, Profile | None] = {}
        self.faults: dict[str, str] = {}

    def find(self, canonical: str) -> Profile | None:
        """Return a profile, None where it is not known or has no elements."""
        known = self._profiles.get(canonical, _NOT_ASKED)
        if not isinstance(known, str):
            return known
        if len(canonical) > LONGEST:
            return None
        found = self._read(canonical)
        with self._lock:
            if len(self._profiles) >= MOST_KEPT:
                self._profiles.clear()  # whoever is at work keeps what it holds
                self.faults.clear()
            self._profiles[canonical] = found
        return found

    def _read(self, canonical: str) -> Profile | None:
        definition = self.conformance.find("StructureDefinition", canonical)
        if definition is None:
            return None
        try:
            return Profile(definition, elements(definition, self.conformance))
        except NoSnapshot as fault:
            self.faults[canonical] = str(fault)
        except _MALFORMED as fault:
            self.faults[canonical] = f"it is no proper StructureDefinition ({fault!r})"
        return None

    def missing(self, canonical: str) -> str:
        """Return why a profile cannot be asked, as half a sentence, and what would help."""
        if canonical in self.faults:
            return f"cannot be used: {self.faults[canonical]}"
        return "is not known here; `xinglin package install` adds the package that has it"

    def visitor(self, profile: Profile) -> Visitor:
        """Return a profile's compiled form."""
        if profile.visitor is None:
            try:
                profile.visitor = self._compiled(profile, self)
            except (*_MALFORMED, RecursionError) as fault:
                self.faults[profile.url] = f"it is no proper StructureDefinition ({fault!r})"
                profile.visitor = _Nothing()
        return profile.visitor


def core_type(canonical: str) -> str | None:
    """Return the type whose own definition a canonical names, None for a profile.

    >>> core_type("http://hl7.org/fhir/StructureDefinition/Patient|4.0.1")
    'Patient'
    >>> core_type("http://hl7.org/fhir/StructureDefinition/bp")
    """
    url = canonical.partition("|")[0]
    name = url.removeprefix(CORE)
    if name == url or name not in structures.type_names() or name in ("SimpleQuantity", "MoneyQuantity"):
        return None
    return name


def below(definition: Definition) -> Iterator[Definition]:
    """Yield the children with their slices."""
    for child in definition.children.values():
        yield child
        yield from child.slices


def _stem(above: str, last: str) -> str | None:
    try:
        field = structures.fields(above).get(last)
    except KeyError:
        return None
    if field is None or field.element.name == last:
        return None
    return field.element.name.removesuffix("[x]")


def _type_code(entry: Mapping[str, Any]) -> str:
    code: str = entry.get("code", "")
    if code.startswith(_SYSTEM):
        for extension in entry.get("extension", ()):
            if extension.get("url") == _FHIR_TYPE:
                named: str = extension.get("valueUrl") or extension.get("valueUri") or "string"
                return named
        return code.removeprefix(_SYSTEM).lower()
    return code.removeprefix(CORE)
