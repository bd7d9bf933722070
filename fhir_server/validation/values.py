"""What values of a data type say beyond their format (R4/datatypes.html, R4/narrative.html).

Addresses that are URNs, the system of a Coding, what a canonical names, attachments against what they
say of themselves, links inside a narrative. A quick test sees that nearly every resource is in order;
only for the rest are the elements looked at one by one, with their places.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from fhir_server.definitions import structures, value_sets
from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.structures import Field
from fhir_server.fhirpath import api
from fhir_server.model import elements
from fhir_server.model.elements import Node
from fhir_server.outcome import Issue
from fhir_server.validation import anchors
from fhir_server.validation.knowledge import R4, Task

Fine = Callable[[Any, Task], bool]
Problem = tuple[str, str, str]
"""Severity, issue code, what is wrong."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>")
# Not every `<` begins a tag: Markdown also writes `<http://…>` and `<mail@…>`.
_MARKDOWN_TAG = re.compile(r"<[A-Za-z/!?](?![^<>\s]*[:@])")
_EXAMPLE = re.compile(r"https?://(?:[^/]*\.)?(?:example\.(?:org|com|net)|acme\.(?:org|com|net))(?:[/:?#]|$)")
ADDRESSES = frozenset({"uri", "url", "canonical"})
TEXTS = frozenset({"string", "code", "id"})


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield what is wrong or doubtful with the values of a structurally right resource.

    >>> media = {"resourceType": "Media", "content": {"contentType": "text/plain", "data": "QUJD", "size": 5}}
    >>> for issue in check(media):
    ...     print(issue.expression, "–", issue.diagnostics)
    Media.content – size says 5 bytes, but data holds 3
    """
    wanted = task.strict & {"markup", "markup in markdown", "example addresses"}
    if not wanted and _object(resource["resourceType"])(resource, task):
        return
    for node in elements.walk(resource):
        for severity, code, what in _problems(node, task):
            yield Issue(severity, code, what, node.path)


def _problems(node: Node, task: Task) -> Iterator[Problem]:
    value = node.value
    if value is None:
        return
    if node.type in ADDRESSES:
        yield from address(value, node.type)
        if node.type == "canonical" and node.field is not None:
            yield from canonical(value, node.field.element.targets)
        if "example addresses" in task.strict and node.path.endswith(".url") and _EXAMPLE.match(value):
            yield "error", "invalid", f"{value!r} is an address of an example, which is not allowed here"
    elif node.type == "Coding":
        yield from coding(value, task)
    elif node.type == "Attachment":
        yield from attachment(value)
    elif node.type == "Expression":
        yield from expression(value)
    elif node.type == "xhtml":
        for severity, what in anchors.problems(value):
            yield severity, "invalid", what
    elif node.type in TEXTS and "markup" in task.strict and _TAG.search(value):
        yield "error", "invalid", "a string with what looks like HTML, which is not allowed here"
    elif node.type == "markdown" and "markup in markdown" in task.strict:
        found = _MARKDOWN_TAG.search(value)
        if found is not None:
            tag = value[found.start() : found.start() + 10]
            yield "error", "invalid", f"Markdown with what looks like HTML, at {tag!r}; not allowed here"


def address(text: str, type_name: str = "uri") -> Iterator[Problem]:
    """Yield what is wrong with a uri, if it is a URN (RFC 4122, RFC 3061, R4/datatypes.html#uri).

    >>> [what for _, _, what in address("urn:uuid:1-2-3")]
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
            yield (
                severity,
                "value",
                f"{rest!r} is no UUID; expected 32 hexadecimal digits in lower case as 8-4-4-4-12",
            )
        elif rest != rest.lower() or not text.startswith("urn:uuid:"):
            yield "warning", "value", f"{text!r} has capitals; a UUID is written in lower case"
    elif scheme.startswith("urn:oid:"):
        rest = text[8:].partition("|")[0].partition("#")[0]
        if not _OID.fullmatch(rest):
            severity = "warning" if type_name == "canonical" else "error"
            yield severity, "value", f"{rest!r} is no OID; expected numbers with dots, such as 1.2.840.113549"


def canonical(text: str, targets: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what is wrong with what a canonical names (R4/references.html#canonical).

    >>> [what for _, _, what in canonical("Patient/1", ("Questionnaire",))]
    ["'Patient/1' is a Patient; expected the canonical of a Questionnaire"]

    `Questionnaire/1` is no canonical url either, but R4's own examples write it: a warning.
    """
    if text.startswith("#") or _ABSOLUTE.match(text):
        return
    head = text.partition("/")[0]
    if structures.is_resource_type(head) and targets and head not in targets and targets != ("Resource",):
        expected = " or ".join(targets)
        yield "error", "value", f"{text!r} is a {head}; expected the canonical of a {expected}"
    else:
        yield "warning", "value", f"{text!r} is relative; the canonical url of a resource is absolute"


def coding(value: Mapping[str, Any], task: Task = R4) -> Iterator[Problem]:
    """Yield what is wrong with a Coding's system: relative, or a value set (R4/datatypes.html#Coding).

    >>> [what for _, _, what in coding({"system": "Location1", "code": "x"})]
    ["the system 'Location1' is relative; a code system is named by an absolute URI"]
    """
    system = value.get("system")
    if system is None:
        return
    if not _ABSOLUTE.match(system):
        yield (
            "error",
            "value",
            f"the system {system!r} is relative; a code system is named by an absolute URI",
        )
    elif "ValueSet" in system and _is_value_set(system, task):
        yield "error", "value", f"the system {system!r} is a value set; name the code system of the code"


def _is_value_set(url: str, task: Task) -> bool:
    return _named(url, task.knowledge.conformance)


@lru_cache(maxsize=1024)
def _named(url: str, conformance: Conformance) -> bool:
    return url in value_sets.value_set_urls() or conformance.find("ValueSet", url) is not None


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
        yield "error", "value", f"size says {value['size']} bytes, but data holds {len(content)}"
    if "hash" in value:
        digest = base64.b64encode(hashlib.sha1(content).digest()).decode()
        if "".join(value["hash"].split()) != digest:
            yield "warning", "value", f"hash is not the SHA-1 of data, which is {digest}"


def expression(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield why an Expression that says it is FHIRPath is none (R4/metadatatypes.html#Expression).

    >>> [severity for severity, _, _ in expression({"language": "text/fhirpath", "expression": "$ and"})]
    ['error']
    """
    if value.get("language") == "text/fhirpath" and "expression" in value:
        try:
            api.compile(value["expression"], lenient=True)
        except api.FhirPathError as error:
            yield "error", "value", f"the expression is no FHIRPath: {error}"


def _address_fine(value: Any, task: Task) -> bool:
    return value[:4] not in ("urn:", "URN:") or not any(address(value))


def _coding_fine(value: Any, task: Task) -> bool:
    system = value.get("system")
    if system is None:
        return True
    return system[:4] in ("http", "urn:") and not ("ValueSet" in system and _is_value_set(system, task))


def _attachment_fine(value: Any, task: Task) -> bool:
    return "data" not in value or ("size" not in value and "hash" not in value)


def _expression_fine(value: Any, task: Task) -> bool:
    return bool(value.get("language") != "text/fhirpath")


def _narrative_fine(value: Any, task: Task) -> bool:
    return "#" not in value


def _canonical_fine(value: Any, task: Task) -> bool:
    return bool(value[:4] == "http")


def _resource_fine(value: Any, task: Task) -> bool:
    return _object(value["resourceType"])(value, task)


OBJECTS: Mapping[str, Fine] = {
    "Coding": _coding_fine,
    "Attachment": _attachment_fine,
    "Expression": _expression_fine,
}
PLAIN: Mapping[str, Fine] = {"uri": _address_fine, "url": _address_fine, "xhtml": _narrative_fine}
# An Extension is named by what its definition is called, mostly with http.
UNASKED = frozenset({"Coding.system", "Extension.url"})


@cache
def _object(path: str) -> Fine:
    """Return the quick test of objects of a type, or of an element that has children."""
    own = OBJECTS.get(path)
    members: dict[str, Fine] = {}

    def prepare() -> None:
        # Not before the first object: HumanName has extensions, which have HumanNames.
        for key, field in structures.fields(path).items():
            test = _test(field)
            if test is not None:
                members[key] = test
            if field.primitive and field.key != "div":
                members[f"_{key}"] = _object("Element")

    def fine(node: Any, task: Task) -> bool:
        if own is not None and not own(node, task):
            return False
        if not members:
            prepare()
        for key in node:
            if key not in members:
                continue
            test, member = members[key], node[key]
            if member.__class__ is list:
                for item in member:
                    if item is not None and not test(item, task):
                        return False
            elif not test(member, task):
                return False
        return True

    return fine


def _test(field: Field) -> Fine | None:
    if field.element.path in UNASKED:
        return None
    if field.type == "canonical":
        return _canonical_fine
    if field.primitive:
        return PLAIN.get(field.type)
    return _resource_fine if field.type == "Resource" else _object(field.type)
