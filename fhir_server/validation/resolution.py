"""Where references lead: contained resources, Bundles, what is beside (R4/references.html).

In a Bundle an absolute reference is the fullUrl of an entry; a relative one begins at the base of the
fullUrl of the entry that it stands in (R4/bundle.html#references). What Compositions and
MessageHeaders point to has to be there; elsewhere a reference may lead out of the Bundle.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_server.definitions import structures
from fhir_server.model import elements
from fhir_server.model.elements import Node
from fhir_server.outcome import Issue
from fhir_server.validation import anchors
from fhir_server.validation.knowledge import R4, Task

Resource = Mapping[str, Any]

HOLDERS = frozenset({"Bundle", "Parameters"})
"""Resources with whole resources in them, besides contained ones."""
DOMAIN = "http://hl7.org/fhir/StructureDefinition/DomainResource"
NOTHING: Iterator[Issue] = iter(())
Pointer = tuple[str, tuple[str, ...]]
"""What a Reference says, and the types that it may lead to (none, or Resource: any)."""

# R4/documents.html: what these elements of the Composition point to is in the document.
_DOCUMENT = re.compile(
    r"\.(subject|encounter|author\[\d+\]|attester\[\d+\]\.party|custodian|event\[\d+\]\.detail\[\d+\]"
    r"|section\[\d+\].*\.(author\[\d+\]|focus|entry\[\d+\]))$"
)
_MESSAGE = re.compile(r"\.focus\[\d+\]$")
_RESTFUL = re.compile(r"(https?://.+/)[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_ANCHORED = frozenset(
    {
        "http://hl7.org/fhir/StructureDefinition/narrativeLink",
        "http://hl7.org/fhir/StructureDefinition/originalText",
    }
)
LINKED = frozenset({"document", "message"})
# These resolve their references when they are processed.
PROCESSED = frozenset({"batch", "transaction"})


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Return the references inside a resource that lead to nothing, or to what may not be there.

    >>> patient = {"resourceType": "Patient", "id": "p", "managingOrganization": {"reference": "#o"},
    ...            "contained": [{"resourceType": "Practitioner", "id": "o"}]}
    >>> [(issue.expression, issue.diagnostics) for issue in check(patient)]
    [('Patient.managingOrganization.reference', "'#o' is a Practitioner; expected Organization")]
    """
    kind = resource["resourceType"]
    if kind in HOLDERS or "contained" in resource or "dangling references" in task.strict:
        return _resource(resource, kind, task)
    return NOTHING


def _resource(resource: Any, kind: str, task: Task) -> Iterator[Issue]:
    if "contained" in resource:
        yield from _contained(resource, kind)
    if kind == "Bundle":
        yield from _bundle(resource, kind)
    elif kind == "Parameters":
        for inner, path in _held(resource, kind):
            yield from (issue.within(path) for issue in check(inner))
    if "dangling references" in task.strict:
        yield from _dangling(resource, task)


def nested(
    resource: Resource, type_name: str | None = None, path: str | None = None
) -> Iterator[tuple[Any, str]]:
    """Yield a resource and those in its Bundle entries and parameters, each with its path.

    >>> bundle = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}
    >>> [path for _, path in nested(bundle)], [path for _, path in nested(bundle, "Patient")]
    (['Bundle', 'Bundle.entry[0].resource'], ['Bundle.entry[0].resource'])

    Only those of `type_name` if one is named; contained ones are among them.
    """
    kind = resource["resourceType"]
    path = path or kind
    if type_name is None or kind == type_name:
        yield resource, path
    if kind == "Bundle":
        for number, entry in enumerate(resource.get("entry", ())):
            if "resource" in entry:
                yield from nested(entry["resource"], type_name, f"{path}.entry[{number}].resource")
    elif kind == "Parameters":
        for inner, place in _held(resource, path):
            yield from nested(inner, type_name, place)
    for number, inner in enumerate(resource.get("contained", ())):
        if type_name is None or inner["resourceType"] == type_name:
            yield inner, f"{path}.contained[{number}]"


def _held(holder: Resource, path: str, name: str = "parameter") -> Iterator[tuple[Any, str]]:
    for number, parameter in enumerate(holder.get(name, ())):
        place = f"{path}.{name}[{number}]"
        if "resource" in parameter:
            yield parameter["resource"], f"{place}.resource"
        yield from _held(parameter, place, "part")


def _contained(resource: Resource, path: str) -> Iterator[Issue]:
    types: dict[str, str] = {}
    for number, inner in enumerate(resource["contained"]):
        name = inner.get("id")
        if name in types:
            what = f"there is a contained resource with the id {name!r} already"
            yield Issue("error", "duplicate", what, f"{path}.contained[{number}].id", "contained-id")
        elif name is not None:
            types[name] = inner["resourceType"]
        elif not any(text == "#" for text, _ in pointers(inner)):
            # dom-3 says so too, but its expression overlooks those without an id.
            what = "a contained resource has an id, by which it is referred to; this one has none"
            yield Issue("error", "required", what, f"{path}.contained[{number}]", f"{DOMAIN}#dom-3")
    if any(_misled(pointer, types) for pointer in pointers(resource)):
        for node, text, targets in _references(resource):
            found = _misled((text, targets), types)
            if found is not None:
                yield Issue(
                    "error",
                    "value",
                    _wrong(text, found, targets),
                    f"{node.path}.reference",
                    "reference-target",
                )


def _misled(pointer: Pointer, types: Mapping[str, str]) -> str | None:
    text, targets = pointer
    kind = types.get(text[1:]) if text[:1] == "#" else None
    return kind if kind is not None and not _fits(kind, targets) else None


def _fits(kind: str, targets: tuple[str, ...]) -> bool:
    return not targets or kind in targets or targets == ("Resource",)


def _wrong(text: str, kind: str, targets: tuple[str, ...]) -> str:
    return f"{text!r} is a {kind}; expected {' or '.join(sorted(targets))}"


@dataclass(slots=True)
class Index:
    """The entries of a Bundle by their addresses, and by type and id."""

    entries: list[Any]
    by_url: dict[str, list[int]] = field(default_factory=dict)
    by_identity: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, entry in enumerate(self.entries):
            if "fullUrl" in entry:
                self.by_url.setdefault(entry["fullUrl"], []).append(number)
            resource = entry.get("resource")
            if resource is not None and "id" in resource:
                identity = f"{resource['resourceType']}/{resource['id']}"
                self.by_identity.setdefault(identity, []).append(number)

    def address(self, text: str, number: int) -> str | None:
        """Return the absolute address of a reference in an entry, None where the entry has no base.

        >>> entries = [{"fullUrl": "http://x/fhir/Patient/1"}, {"fullUrl": "urn:uuid:1"}]
        >>> Index(entries).address("Group/2", 0), Index(entries).address("Group/2", 1)
        ('http://x/fhir/Group/2', None)
        """
        if ":" in text.partition("/")[0]:
            return text
        match = _RESTFUL.fullmatch(self.entries[number].get("fullUrl", ""))
        return match[1] + text if match else None

    def find(self, text: str, number: int) -> int | None:
        """Return the entry that a reference in entry `number` leads to, None if none is here."""
        address = self.address(text.partition("#")[0], number)
        if address is None:
            return None
        address, _, version = address.partition("/_history/")
        for found in self.by_url.get(address, ()):
            has = self.entries[found].get("resource", {}).get("meta", {}).get("versionId")
            if not version or has is None or has == version:
                return found
        return None

    def near(self, text: str) -> int | None:
        """Return the entry of the type and id that a reference ends with, whatever its address."""
        identity = "/".join(text.partition("/_history/")[0].split("/")[-2:])
        return self.by_identity.get(identity, [None])[0]


def _bundle(bundle: Resource, path: str) -> Iterator[Issue]:
    entries = bundle.get("entry", ())
    index = Index(entries)
    kind = bundle.get("type", "")
    for number, entry in enumerate(entries):
        resource = entry.get("resource")
        if resource is None:
            continue
        place = f"{path}.entry[{number}].resource"
        yield from (issue.within(place) for issue in check(resource))
        if resource["resourceType"] == "Bundle":
            continue
        required = _required(kind, resource) if number == 0 else None
        seen = pointers(resource)
        if required is None and all(_fine(text, targets, index, number, kind) for text, targets in seen):
            continue
        for node, text, targets in _references(resource):
            for severity, rule, what in _led(text, targets, index, number, kind, required, node.path):
                yield Issue(severity, "value", what, f"{node.path}.reference", rule).within(place)
    if kind in LINKED and entries:
        yield from _unreached(bundle, index, path)
        yield from _links(bundle, index, path)


def _required(kind: str, first: Resource) -> re.Pattern[str] | None:
    if kind == "document" and first["resourceType"] == "Composition":
        return _DOCUMENT
    if kind == "message" and first["resourceType"] == "MessageHeader":
        return _MESSAGE
    return None


def _fine(text: str, targets: tuple[str, ...], index: Index, number: int, kind: str) -> bool:
    if text[:1] == "#" or (kind in PROCESSED and text[:4] != "urn:"):
        return True
    found = index.find(text, number)
    if found is not None:
        resource = index.entries[found].get("resource")
        return resource is None or _fits(resource["resourceType"], targets)
    return text[:4] != "urn:" and index.near(text) is None


def _led(
    text: str,
    targets: tuple[str, ...],
    index: Index,
    number: int,
    kind: str,
    required: re.Pattern[str] | None,
    path: str,
) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a reference in entry `number`: (severity, rule, what)."""
    if text[:1] == "#" or (kind in PROCESSED and text[:4] != "urn:"):
        return
    found = index.find(text, number)
    if found is not None:
        resource = index.entries[found].get("resource")
        if resource is not None and not _fits(resource["resourceType"], targets):
            yield "error", "reference-target", _wrong(text, resource["resourceType"], targets)
        return
    near = index.near(text)
    full = None if near is None else index.entries[near].get("fullUrl")
    if full is not None:
        what = f"{text!r} has the type and id of entry {near}, but not its address {full!r}"
        yield "warning", "bundle-reference", what
    elif required is not None and required.search(path):
        what = f"{text!r} is not in the Bundle; a {kind} brings what its first resource points to"
        yield "error", f"{kind}-reference", what
    elif text[:4] == "urn:":
        what = f"{text!r} is not in the Bundle, and leads nowhere outside of it"
        yield "warning", "bundle-reference", what


def _unreached(bundle: Resource, index: Index, path: str) -> Iterator[Issue]:
    """Yield the entries that no reference leads to from the first one; Provenance points at others."""
    beside: dict[int, set[int]] = {}
    for number, entry in enumerate(index.entries):
        resource = entry.get("resource")
        beside.setdefault(number, set())
        for text, _ in pointers(resource) if resource is not None else ():
            found = index.find(text, number)
            found = index.near(text) if found is None else found
            if found is not None:
                beside[number].add(found)
    reached, todo = {0}, [0]
    while todo:
        for other in beside[todo.pop()] - reached:
            reached.add(other)
            todo.append(other)
    for number, entry in enumerate(index.entries):
        kind = entry.get("resource", {}).get("resourceType")
        if number not in reached and kind not in (None, "Provenance", "Binary", "OperationOutcome"):
            what = f"no reference leads from the first resource of the {bundle['type']} to this {kind}"
            yield Issue("warning", "value", what, f"{path}.entry[{number}]", f"{bundle['type']}-unreached")


def _links(bundle: Resource, index: Index, path: str) -> Iterator[Issue]:
    """Yield the extensions that point into a narrative of the Bundle, and miss it."""
    for number, entry in enumerate(index.entries):
        resource = entry.get("resource")
        if resource is None or not _says(resource, _ANCHORED):
            continue
        for node in elements.walk(resource):
            if node.type != "Extension" or node.value.get("url") not in _ANCHORED:
                continue
            text = node.value.get("valueUrl") or node.value.get("valueUri") or ""
            address, hash_sign, anchor = text.partition("#")
            found = index.find(address, number) if address else number
            if not hash_sign or found is None:
                continue
            times = _marks(index.entries[found].get("resource"))[anchor]
            if times != 1:
                what = f"{text!r} leads to {times or 'no'} places of the narratives there; expected one"
                place = f"{path}.entry[{number}].resource"
                yield Issue("error", "value", what, f"{node.path}.value", "narrative-reference").within(place)


def _marks(resource: Any) -> Counter[str]:
    """Return the ids in all narratives of a resource: a Composition has one for each section."""
    found: Counter[str] = Counter()
    for node in elements.walk(resource) if resource is not None else ():
        if node.type == "xhtml" and node.value.__class__ is str:
            found += anchors.ids(node.value)
    return found


def _says(value: Any, urls: frozenset[str]) -> bool:
    todo = [value]
    while todo:
        item = todo.pop()
        if item.__class__ is dict:
            if item.get("url") in urls and item["url"].__class__ is str:
                return True
            todo += item.values()
        elif item.__class__ is list:
            todo += item
    return False


def _dangling(resource: Resource, task: Task) -> Iterator[Issue]:
    """Yield the relative references to resources that are neither here nor known."""
    there = {f"{inner['resourceType']}/{inner.get('id')}" for inner, _ in nested(resource)}
    for node, text, _ in _references(resource):
        if text[:1] == "#" or ":" in text.partition("/")[0]:
            continue
        if text.partition("/_history/")[0] not in there and task.knowledge.resolve(text) is None:
            what = f"{text!r} is not known here, nor does it come with this resource"
            yield Issue("error", "not-found", what, f"{node.path}.reference", "reference-dangling")


def _references(resource: Any) -> Iterator[tuple[Node, str, tuple[str, ...]]]:
    """Yield the References of a resource, those of Bundles and contained resources within too."""
    for node in elements.walk(resource):
        if node.type == "Reference" and node.field is not None:
            text = node.value.get("reference")
            if text is not None:
                yield node, text, node.field.element.targets


def pointers(resource: Any) -> list[Pointer]:
    """Return what the References of a resource say and may lead to; quick, and without places.

    >>> pointers({"resourceType": "Group", "managingEntity": {"reference": "Practitioner/1"}})[0][0]
    'Practitioner/1'
    """
    found: list[Pointer] = []
    _object(resource["resourceType"])(resource, found)
    return found


Collect = Callable[[Any, list[Pointer]], None]


@cache
def _object(path: str) -> Collect:
    members: dict[str, Collect] = {}
    ready = False

    def prepare() -> None:
        nonlocal ready
        for key, field_ in structures.fields(path).items():
            if field_.type == "Reference":
                members[key] = _reference(field_.element.targets)
            elif field_.type == "Resource":
                members[key] = lambda value, found: _object(value["resourceType"])(value, found)
            elif not field_.primitive:
                members[key] = _object(field_.type)
        ready = True

    def collect(node: Any, found: list[Pointer]) -> None:
        if not ready:
            prepare()
        for key, member in node.items():
            if key in members:
                if member.__class__ is list:
                    for item in member:
                        members[key](item, found)
                else:
                    members[key](member, found)

    return collect


def _reference(targets: tuple[str, ...]) -> Collect:
    def collect(node: Any, found: list[Pointer]) -> None:
        text = node.get("reference")
        if text is not None:
            found.append((text, targets))
        if "identifier" in node or "extension" in node:
            _object("Reference")(node, found)

    return collect
