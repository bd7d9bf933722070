"""The parts of a Reference.reference (R4/references.html#literal)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fhir_server.definitions import structures

_RELATIVE = re.compile(
    r"(?:(?P<base>https?://.+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart; what it does not have is None.

    `kind` is one of local (a resource of this server: type and id), absolute (somewhere else: url,
    and type and id where its form tells them), urn (urn:uuid: or urn:oid:, in url), fragment (a
    contained resource; the empty fragment is the container), conditional (`Patient?identifier=…`
    in a transaction: type and criteria) or other. `fragment` may also stand behind an address.
    """

    kind: str
    type: str | None = None
    id: str | None = None
    version: str | None = None
    url: str | None = None
    fragment: str | None = None
    criteria: str | None = None


def parse(text: str, base_urls: Iterable[str] = ()) -> Reference:
    """Return the parts of a reference; `base_urls` are the addresses of this server.

    >>> parse("Patient/7/_history/2")
    Reference(kind='local', type='Patient', id='7', version='2', url=None, fragment=None, criteria=None)
    >>> parse("https://here/fhir/Patient/7", ["https://here/fhir/"]).kind
    'local'
    >>> elsewhere = parse("https://there/fhir/Patient/7")
    >>> elsewhere.kind, elsewhere.type, elsewhere.url
    ('absolute', 'Patient', 'https://there/fhir/Patient/7')
    >>> parse("#p1").fragment, parse("urn:uuid:c757873d-ec9a-4326-a141-556f43239520").kind
    ('p1', 'urn')
    >>> parse("Practitioner?identifier=x|1").criteria
    'identifier=x|1'
    """
    if text.startswith("#"):
        return Reference("fragment", fragment=text[1:])
    if text.startswith(("urn:uuid:", "urn:oid:")):
        return Reference("urn", url=text)
    address, hash_sign, fragment = text.partition("#")
    anchor = fragment if hash_sign else None
    match = _RELATIVE.fullmatch(address)
    if match and structures.is_resource_type(match["type"]):
        base = match["base"]
        if base is None or any(base == own.rstrip("/") for own in base_urls):
            return Reference("local", match["type"], match["id"], match["version"], fragment=anchor)
        return Reference("absolute", match["type"], match["id"], match["version"], address, anchor)
    if _SCHEME.match(address):
        return Reference("absolute", url=address, fragment=anchor)
    type_name, question_mark, criteria = text.partition("?")
    if question_mark and structures.is_resource_type(type_name):
        return Reference("conditional", type_name, criteria=criteria)
    return Reference("other", url=text)


def named_type(text: str) -> str | None:
    """Return the resource type that a reference's text names, or None; quick, for every write.

    >>> named_type("Patient/7"), named_type("urn:uuid:1"), named_type("#a"), named_type("Practitioner?name=x")
    ('Patient', None, None, 'Practitioner')
    """
    head = text.partition("/")[0].partition("?")[0]
    if structures.is_resource_type(head):
        return head
    if head in ("http:", "https:"):
        return parse(text).type
    return None
