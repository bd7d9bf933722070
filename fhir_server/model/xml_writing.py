"""The values of FHIR JSON → FHIR XML, elements in the order of the definitions (R4/xml.html)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures
from fhir_server.model.xml_narrative import IllFormed, as_xml
from fhir_server.model.xml_plan import CONTAINER, FHIR, NARRATIVE, PRIMITIVE, Slot, plan

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_SPECIAL = re.compile('[&<>"\x00-\x1f\ufffe\uffff\ud800-\udfff]')
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


class Unwritable(Exception):
    """What XML cannot hold; the message names the element."""


def encode(resource: dict[str, Any], *, pretty: bool = False, whole: bool = True) -> bytes:
    """Return a resource as XML.

    >>> encode({"resourceType": "Patient", "birthDate": "1970", "active": True})
    b'<?xml version="1.0" encoding="UTF-8"?><Patient xmlns="http://hl7.org/fhir">\
<active value="true"/><birthDate value="1970"/></Patient>'

    `pretty` indents by two spaces, narratives excepted. Raises Unwritable for members that R4 does not
    have, for narratives that are not well-formed and for characters that XML has no spelling for
    (U+0001); without `whole` they are left out or replaced: for messages.
    """
    name = resource.get("resourceType")
    if not structures.is_resource_type(name):
        raise Unwritable(f"{name!r} is no resource of R4")
    writer = _Writer(whole)
    gap = "\n" if pretty else ""
    writer.parts.append(_HEAD)
    writer.object(resource, str(name), str(name), gap, f' xmlns="{FHIR}"')
    return "".join(writer.parts).encode()


class _Writer:
    def __init__(self, whole: bool) -> None:
        self.parts: list[str] = []
        self.whole = whole

    def object(self, value: dict[str, Any], type_path: str, tag: str, gap: str, attributes: str = "") -> None:
        """Write an object as the element `tag`."""
        below = plan(type_path)
        attributes += self.own_attributes(value, below.attributes, type_path)
        by_key = below.by_key
        slots: list[Slot] = []
        rank, in_order = -1, True
        for key in value:
            slot = by_key.get(key)
            if slot is None:
                if key not in (below.attributes or ("resourceType",)):
                    self.unwritable(f"{type_path} has the member {key!r}, which R4 does not have")
                continue
            if slot.rank < rank:
                in_order = False
            rank = slot.rank
            slots.append(slot)
        if not slots:
            self.parts.append(f"{gap}<{tag}{attributes}/>")
            return
        if not in_order:
            slots.sort(key=_rank)
        self.parts.append(f"{gap}<{tag}{attributes}>")
        inner = f"{gap}  " if gap else gap
        last: Slot | None = None
        for slot in slots:
            if slot is not last:
                self.member(value, slot, inner, type_path)
                last = slot
        self.parts.append(f"{gap}</{tag}>")

    def own_attributes(self, value: dict[str, Any], names: tuple[str, ...], type_path: str) -> str:
        """Return an element's id and an extension's url."""
        found = ""
        for name in names:
            text = value.get(name)
            if isinstance(text, str):
                found += f' {name}="{self.escaped(text, name)}"'
            elif text is not None:
                self.unwritable(f"{type_path}.{name} is no text")
            if f"_{name}" in value:
                self.unwritable(f"{type_path}._{name}: {name} is an attribute in XML and has no extensions")
        return found

    def member(self, value: dict[str, Any], slot: Slot, gap: str, type_path: str) -> None:
        """Write a member of an object: one element, or one for each item of an array."""
        member = value.get(slot.key)
        if slot.kind == PRIMITIVE:
            beside = value.get(slot.beside)
            if not isinstance(member, list) and not isinstance(beside, list):
                self.primitive(member, beside, slot, gap, type_path)
                return
            values = member if isinstance(member, list) else []
            siblings = beside if isinstance(beside, list) else []
            for place in range(max(len(values), len(siblings))):
                self.primitive(
                    values[place] if place < len(values) else None,
                    siblings[place] if place < len(siblings) else None,
                    slot,
                    gap,
                    type_path,
                )
            return
        if slot.beside in value:
            self.unwritable(f"{type_path} has the member {slot.beside!r}, which R4 does not have")
        for item in member if isinstance(member, list) else (member,):
            if slot.kind == NARRATIVE:
                self.narrative(item, gap)
            elif not isinstance(item, dict):
                self.unwritable(f"{type_path}.{slot.key} is no object")
            elif slot.kind == CONTAINER:
                name = item.get("resourceType")
                if not structures.is_resource_type(name):
                    self.unwritable(f"{type_path}.{slot.key} holds no resource of R4: {name!r}")
                    continue
                self.parts.append(f"{gap}<{slot.key}>")
                self.object(item, str(name), str(name), f"{gap}  " if gap else gap)
                self.parts.append(f"{gap}</{slot.key}>")
            else:
                self.object(item, slot.type, slot.key, gap)

    def primitive(self, value: Any, beside: Any, slot: Slot, gap: str, type_path: str) -> None:
        """Write a value with its id and extensions."""
        kind = value.__class__
        if kind is str:
            shown = self.escaped(value, slot.key) if _SPECIAL.search(value) else value
            attribute = f' value="{shown}"'
        elif value is None:
            if not beside:
                self.unwritable(f"{type_path}.{slot.key} has neither value nor extensions")
                return
            attribute = ""
        elif kind is bool:
            attribute = ' value="true"' if value else ' value="false"'
        elif kind is int or isinstance(value, Decimal):
            attribute = f' value="{getattr(value, "text", value)}"'
        else:
            self.unwritable(f"{type_path}.{slot.key} is no value of a primitive")
            return
        if beside:
            if isinstance(beside, dict):
                self.object(beside, "Element", slot.key, gap, attribute)
                return
            self.unwritable(f"{type_path}.{slot.beside} is no object")
        self.parts.append(f"{gap}<{slot.key}{attribute}/>")

    def narrative(self, value: Any, gap: str) -> None:
        """Write a div."""
        try:
            self.parts.append(gap + as_xml(value if isinstance(value, str) else ""))
        except IllFormed as error:
            self.unwritable(f"the narrative cannot stand in XML: {error}")

    def escaped(self, text: str, where: str) -> str:
        """Return a text as an attribute holds it."""
        wrong = _NO_CHARACTER.search(text)
        if wrong:
            self.unwritable(f"{where} has the character U+{ord(wrong[0]):04X}, which XML cannot hold")
            text = _NO_CHARACTER.sub("\ufffd", text)
        return text.translate(_ESCAPES)

    def unwritable(self, what: str) -> None:
        """Refuse, unless it is allowed to leave something out."""
        if self.whole:
            raise Unwritable(what)


def _rank(slot: Slot) -> int:
    return slot.rank
