"""What values of a data type say beyond their format (R4/datatypes.html, R4/narrative.html).

Addresses that are URNs, the system of an Identifier, what a canonical names, attachments against what
they say of themselves, links inside a narrative. A quick test sees that nearly every resource is in order;
only for the rest are the elements looked at one by one, with their places.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field
from fhir_server.fhirpath import api
from fhir_server.fhirpath.parser import parse
from fhir_server.model import elements, references
from fhir_server.model.elements import Node
from fhir_server.outcome import Issue
from fhir_server.validation import anchors
from fhir_server.validation.knowledge import R4, Task


@dataclass(slots=True)
class Asked:
    """What one quick test carries along: the task, and the element ids that it has seen."""

    task: Task
    ids: set[Any] = field(default_factory=set)


Fine = Callable[[Any, Asked], bool]
Problem = tuple[str, ...]
"""Severity, issue code, rule, what is wrong; and the member that it is about, if not the element itself."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>")
# Not every `<` begins a tag: Markdown also writes `<http://…>` and `<mail@…>`.
_MARKDOWN_TAG = re.compile(r"<[A-Za-z/!?](?![^<>\s]*[:@])")
_EXAMPLE = re.compile(r"https?://(?:[^/]*\.)?(?:example\.(?:org|com|net)|acme\.(?:org|com|net))(?:[/:?#]|$)")
ADDRESSES = frozenset({"uri", "url", "canonical"})
TEXTS = frozenset({"string", "code", "id"})
TEXTUAL = ADDRESSES | TEXTS | {"markdown", "xhtml"}
URI = "urn:ietf:rfc:3986"
"""The system of identifiers that are URIs themselves."""


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield what is wrong or doubtful with the values of a structurally right resource.

    >>> media = {"resourceType": "Media", "content": {"contentType": "text/plain", "data": "QUJD", "size": 5}}
    >>> for issue in check(media):
    ...     print(issue.expression, "–", issue.diagnostics)
    Media.content – size says 5 bytes, but data holds 3
    """
    wanted = task.strict & {"markup", "markup in markdown", "example addresses"}
    if not (wanted or task.malformed) and _object(resource["resourceType"])(resource, Asked(task)):
        return
    ids, contained = _Ids(resource["resourceType"]), _Contained(resource)
    for node in elements.walk(resource):
        for severity, code, rule, what, *member in _problems(node, task):
            yield Issue(severity, code, what, ".".join([node.path, *member]), rule)
        if contained.misses(node):
            what = f"{node.value!r} leads to no contained resource; the resource has none of this id"
            # R4's own plandefinition-example-cardiology-os does so: advice.
            yield Issue("warning", "not-found", what, node.path, "canonical-contained")
        if ids.repeats(node):
            what = f"the id {_held(node)['id']!r} stands at another element of this resource already"
            yield Issue("error", "duplicate", what, f"{node.path}.id", "element-id")


def _held(node: Node) -> dict[str, Any]:
    """Return the object of an element: itself, or what stands beside a primitive value."""
    return node.value if isinstance(node.value, dict) else node.sibling or {}


class _Ids:
    """The ids of elements, which are told apart within one resource (R4/element.html#id)."""

    def __init__(self, root: str) -> None:
        self.scopes = [(root, set[str]())]

    def repeats(self, node: Node) -> bool:
        """Return whether an element has an id that another one of its resource has."""
        while len(self.scopes) > 1 and not node.path.startswith(f"{self.scopes[-1][0]}."):
            self.scopes.pop()
        value = _held(node)
        if "resourceType" in value:
            self.scopes.append((node.path, set()))
            return False
        name, seen = value.get("id"), self.scopes[-1][1]
        if name is None or node.type == "ElementDefinition":
            return False
        again = name in seen
        seen.add(name)
        return again


class _Contained:
    """The ids of contained resources, which a canonical names by #id (R4/references.html#canonical)."""

    def __init__(self, root: Any) -> None:
        self.holders = [(root["resourceType"], _named(root))]

    def misses(self, node: Node) -> bool:
        """Return whether a canonical names a contained resource that is not there."""
        while len(self.holders) > 1 and not node.path.startswith(f"{self.holders[-1][0]}."):
            self.holders.pop()
        value = node.value
        if isinstance(value, dict) and "resourceType" in value and ".contained[" not in node.path:
            self.holders.append((node.path, _named(value)))
        if node.type != "canonical" or not isinstance(value, str) or value[:1] != "#" or value == "#":
            return False
        return value[1:] not in self.holders[-1][1]


def _named(resource: Mapping[str, Any]) -> set[Any]:
    contained = resource.get("contained")
    return {
        inner["id"]
        for inner in (contained if isinstance(contained, list) else ())
        if isinstance(inner, dict) and isinstance(inner.get("id"), str)
    }


def _problems(node: Node, task: Task) -> Iterator[Problem]:
    value = node.value
    if value is None or (node.type in TEXTUAL and value.__class__ is not str):
        return
    if node.type in ADDRESSES:
        yield from address(value, node.type)
        if node.type == "canonical" and node.field is not None:
            yield from canonical(value, node.field.element.targets)
        if "example addresses" in task.strict and _EXAMPLE.match(value):
            what = f"{value!r} is an address of an example, which is not allowed here"
            yield "error", "invalid", "strict-example", what
    elif node.type == "Identifier":
        yield from identifier(value)
    elif node.type == "Attachment":
        yield from attachment(value)
    elif node.type == "Reference":
        yield from reference(value)
    elif node.type == "Expression":
        yield from expression(value)
    elif node.type == "xhtml":
        for severity, rule, what in anchors.problems(value):
            yield severity, "invalid", rule, what
    elif node.type in TEXTS and "markup" in task.strict and _TAG.search(value):
        what = "a string with what looks like HTML, which is not allowed here"
        yield "error", "invalid", "strict-markup", what
    elif node.type == "markdown" and "markup in markdown" in task.strict:
        found = _MARKDOWN_TAG.search(value)
        if found is not None:
            tag = value[found.start() : found.start() + 10]
            what = f"Markdown with what looks like HTML, at {tag!r}; not allowed here"
            yield "error", "invalid", "strict-markdown", what


def address(text: str, type_name: str = "uri") -> Iterator[Problem]:
    """Yield what is wrong with a uri, if it is a URN (RFC 4122, RFC 3061, R4/datatypes.html#uri).

    >>> [what for _, _, _, what in address("urn:uuid:1-2-3")]
    ["'1-2-3' is no UUID; expected 32 hexadecimal digits in lower case as 8-4-4-4-12"]
    >>> list(address("urn:oid:1.2.840.113549"))
    []

    A canonical that is malformed leads nowhere, as others do: that is a warning.
    """
    scheme = text[:9].lower()
    if scheme == "urn:uuid:":
        rest = text[9:].partition("|")[0].partition("#")[0]
        if not _UUID.fullmatch(rest):
            severity = "warning" if type_name == "canonical" else "error"
            what = f"{rest!r} is no UUID; expected 32 hexadecimal digits in lower case as 8-4-4-4-12"
            yield severity, "value", "uri-uuid", what
        elif rest != rest.lower() or not text.startswith("urn:uuid:"):
            what = f"{text!r} has capitals; a UUID is written in lower case"
            yield "warning", "value", "uri-uuid", what
    elif scheme.startswith("urn:oid:"):
        rest = text[8:].partition("|")[0].partition("#")[0]
        if not _OID.fullmatch(rest):
            severity = "warning" if type_name == "canonical" else "error"
            what = f"{rest!r} is no OID; expected numbers with dots, such as 1.2.840.113549"
            yield severity, "value", "uri-oid", what


def canonical(text: str, targets: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what is wrong with what a canonical names (R4/references.html#canonical).

    >>> [what for _, _, _, what in canonical("Patient/1", ("Questionnaire",))]
    ["'Patient/1' is a Patient; expected the canonical of a Questionnaire"]

    The url that a canonical names is absolute, by its definition. That `Questionnaire/1` and plain names
    are not is a warning, as R4's own examples write both.
    """
    if text.startswith("#") or _ABSOLUTE.match(text):
        return
    head = text.partition("/")[0]
    if structures.is_resource_type(head) and targets and head not in targets and targets != ("Resource",):
        expected = " or ".join(targets)
        what = f"{text!r} is a {head}; expected the canonical of a {expected}"
        yield "error", "value", "canonical-target", what
    else:
        what = f"{text!r} is relative; the canonical url of a resource is absolute"
        yield "warning", "value", "canonical-absolute", what


def reference(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the form of a Reference (R4/references.html#literal).

    >>> [what for _, _, _, what in reference({"reference": "12345"})]
    ["'12345' leads to no resource; expected Type/id, an absolute address or #id"]
    >>> [what for _, _, _, what in reference({"type": "practitioner"})]
    ["'practitioner' is no resource type of R4"]
    """
    text, kind = value.get("reference"), value.get("type")
    if text is None:
        pass
    elif text.split() != [text]:
        what = f"{text!r} is no address; in one there is no white space"
        yield "error", "value", "reference-literal", what
    elif references.parse(text.removeprefix("/")).kind == "other":
        what = f"{text!r} leads to no resource; expected Type/id, an absolute address or #id"
        yield "error", "value", "reference-literal", what
    if kind is not None and not structures.is_resource_type(kind):
        name = kind.removeprefix("http://hl7.org/fhir/StructureDefinition/")
        if structures.is_resource_type(name):
            what = f"the type {kind!r} is written as {name}, relative to where R4's types are"
            yield "warning", "value", "reference-type", what
        elif not _ABSOLUTE.match(kind):
            yield "error", "value", "reference-type", f"{kind!r} is no resource type of R4"


def identifier(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is doubtful with an Identifier's system, and its value as one of it.

    R4/datatypes.html#Identifier calls the system "a URL that describes a set values that are unique";
    R4/identifier-registry.html has in urn:ietf:rfc:3986 what is a URI itself, OIDs and UUIDs as URNs.
    Neither says SHALL, and R4's own examples break the second.

    >>> [what for _, _, _, what, _ in identifier({"system": "mrn", "value": "7"})]
    ["the system 'mrn' is relative; what makes identifiers unique is named by an absolute URI"]
    >>> [what for _, _, _, what, _ in identifier({"system": "urn:ietf:rfc:3986", "value": "1.2.3"})]
    ["the value '1.2.3' is no URI, as those of urn:ietf:rfc:3986 are; expected urn:oid:1.2.3"]
    """
    system, text = value.get("system"), value.get("value")
    if system == URI:
        if text is not None and (text.split() != [text] or not _ABSOLUTE.match(text)):
            hint = f"urn:oid:{text}" if _OID.fullmatch(text) else "one such as urn:oid:1.2.3"
            what = f"the value {text!r} is no URI, as those of {URI} are; expected {hint}"
            yield "warning", "value", "identifier-uri", what, "value"
    elif system is not None and not _ABSOLUTE.match(system):
        what = f"the system {system!r} is relative; what makes identifiers unique is named by an absolute URI"
        yield "warning", "value", "identifier-system", what, "system"


def attachment(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield where an Attachment's data are not what it says of them (R4/datatypes.html#attachment).

    `size` counts the bytes before base64, `hash` is their SHA-1.
    """
    data = value.get("data")
    if data is None:
        return
    try:
        content = base64.b64decode(data)
    except (binascii.Error, ValueError):
        return
    if "size" in value and value["size"] != len(content):
        what = f"size says {value['size']} bytes, but data holds {len(content)}"
        yield "error", "value", "attachment-size", what
    if "hash" in value:
        digest = base64.b64encode(hashlib.sha1(content).digest()).decode()
        if "".join(value["hash"].split()) != digest:
            what = f"hash is not the SHA-1 of data, which is {digest}"
            yield "warning", "value", "attachment-hash", what


def expression(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield why an Expression that says it is FHIRPath is none (R4/metadatatypes.html#Expression).

    >>> [severity for severity, _, _, _ in expression({"language": "text/fhirpath", "expression": "$ and"})]
    ['error']
    """
    if value.get("language") == "text/fhirpath" and "expression" in value:
        fault = fhirpath_fault(value["expression"])
        if fault is not None:
            yield fault[0], "value", "expression-fhirpath", f"the expression is no FHIRPath: {fault[1]}"


def fhirpath_fault(text: str) -> tuple[str, str] | None:
    """Return why a text is no FHIRPath (severity, what), None if it is.

    What is well written but uses a function or a type that we do not know may be right elsewhere.

    >>> fhirpath_fault("$ and true")[0], fhirpath_fault("elsewhere()")[0], fhirpath_fault("name.given")
    ('error', 'warning', None)
    """
    severity = "error"
    try:
        parse(text)
        severity = "warning"
        api.compile(text, lenient=True)
    except api.FhirPathError as error:
        return severity, str(error)
    return None


def _address_fine(value: Any, asked: Asked) -> bool:
    return value[:4] not in ("urn:", "URN:") or not any(address(value))


def _identifier_fine(value: Any, asked: Asked) -> bool:
    system = value.get("system")
    return system is None or system[:4] == "http" or not any(identifier(value))


def _attachment_fine(value: Any, asked: Asked) -> bool:
    return "data" not in value or ("size" not in value and "hash" not in value)


def _expression_fine(value: Any, asked: Asked) -> bool:
    return bool(value.get("language") != "text/fhirpath")


def _reference_fine(value: Any, asked: Asked) -> bool:
    if "type" in value and not structures.is_resource_type(value["type"]):
        return False
    text = value.get("reference")
    if text is None:
        return True
    if " " in text or not text.isprintable():
        return False
    return (
        text[:4] in ("http", "urn:")
        or text[:1] == "#"
        or structures.is_resource_type(text.partition("/")[0].partition("?")[0])
    )


def _id_fine(value: Any, asked: Asked) -> bool:
    if value in asked.ids:
        return False
    asked.ids.add(value)
    return True


def _narrative_fine(value: Any, asked: Asked) -> bool:
    return "#" not in value


def _canonical_fine(value: Any, asked: Asked) -> bool:
    return bool(value[:4] == "http")


def _resource_fine(value: Any, asked: Asked) -> bool:
    return _object(value["resourceType"])(value, asked)


OBJECTS: Mapping[str, Fine] = {
    "Identifier": _identifier_fine,
    "Attachment": _attachment_fine,
    "Expression": _expression_fine,
    "Reference": _reference_fine,
}
PLAIN: Mapping[str, Fine] = {
    "uri": _address_fine,
    "url": _address_fine,
    "xhtml": _narrative_fine,
}


@cache
def _object(path: str) -> Fine:
    """Return the quick test of objects of a type, or of an element that has children."""
    own = OBJECTS.get(path)
    members: dict[str, Fine] = {}

    def prepare() -> None:
        # Not before the first object: HumanName has extensions, which have HumanNames.
        for key, member in structures.fields(path).items():
            test = _test(member)
            if test is not None:
                members[key] = test
            if member.primitive and member.key != "div":
                members[f"_{key}"] = _object("Element")
        if not structures.is_resource_type(path) and path != "ElementDefinition":
            members["id"] = _id_fine

    def fine(node: Any, asked: Asked) -> bool:
        if own is not None and not own(node, asked):
            return False
        if not members:
            prepare()
        for key in node:
            if key not in members:
                continue
            test, member = members[key], node[key]
            if member.__class__ is list:
                for item in member:
                    if item is not None and not test(item, asked):
                        return False
            elif not test(member, asked):
                return False
        return True

    return fine


def _test(member: Field) -> Fine | None:
    if member.type == "canonical":
        return _canonical_fine
    if member.primitive:
        return PLAIN.get(member.type)
    return _resource_fine if member.type == "Resource" else _object(member.type)
