"""The identifier of a C-FIND ↔ the match keys of the index, and rows of the index → identifiers.

PS3.4 C.2.2.2 (matching), C.4.1.1.3 (what request and response identifiers hold). A key with a value has
to match; every key, with a value or without, is wanted in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from dicom_node import header
from dicom_node.attributes import SPECIFIC_CHARACTER_SET, Attributes, read
from dicom_node.dictionary import vr_of
from dicom_node.index import keys
from dicom_node.index.conditions import Match
from dicom_node.index.facts import Facts
from dicom_node.index.matching import offset
from dicom_node.index.moments import TIMEZONE
from dicom_node.index.query import Found
from dicom_node.instance import Level
from dicom_node.values import DEFAULT_CHARACTER_SET, PN_GROUPS, strings
from fhir_server.outcome import Invalid

QUERY_LEVEL: Final = "00080052"
_NOT_KEYS: Final = frozenset(
    {QUERY_LEVEL, keys.SPECIFIC_CHARACTER_SET, keys.RETRIEVE_AE_TITLE, keys.AVAILABILITY, TIMEZONE}
)
DEEPEST: Final = 8

Wanted = dict[str, "Wanted"]
"""Tag → what is wanted of its items; empty for an attribute that is none of a sequence, or all of it."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request asks: its level, the keys that have to match, and what is wanted in the answer."""

    level: str
    matches: tuple[Match, ...]
    wanted: Wanted
    character_set: str | None = None
    zone: timedelta | None = None
    zone_text: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """Return the value of a key at the top, "" for a universal one."""
        return self.values.get(name, "")


def parse(data_set: bytes, transfer_syntax: str) -> Identifier:
    """Return what an encoded identifier asks. Raises Invalid when it cannot be read."""
    syntax = header.syntax_of(transfer_syntax)
    if syntax.deflated:
        data_set = header.inflate(data_set)
    reading = read(data_set, syntax)
    if reading.problem:
        raise Invalid(f"the identifier cannot be read: {reading.problem}")
    found = reading.attributes
    matches: list[Match] = []
    wanted: Wanted = {}
    values: dict[str, str] = {}
    for name, element in found.items():
        if name in _NOT_KEYS or int(name[:4], 16) < 8:
            continue
        if element["vr"] == "SQ":
            wanted[name] = _items(element, (name,), matches)
            continue
        wanted[name] = {}
        values[name] = value = _text(element)
        matches.append(Match((name,), value))
    zone_text = _text(found.get(TIMEZONE, {}))
    if TIMEZONE in found and not zone_text:
        wanted[TIMEZONE] = {}
    level = _text(found.get(QUERY_LEVEL, {})).upper()
    character_set = _character_set(data_set, syntax)
    return Identifier(level, tuple(matches), wanted, character_set, offset(zone_text), zone_text, values)


def _items(element: Mapping[str, Any], path: tuple[str, ...], matches: list[Match]) -> Wanted:
    """Read the one item of a sequence (C.2.2.2.6); of several, each adds its keys."""
    if len(path) > DEEPEST:
        raise Invalid(f"keys in more than {DEEPEST} sequences within each other")
    wanted: Wanted = {}
    for item in element.get("Value", []):
        for name, inner in item.items():
            if name == keys.SPECIFIC_CHARACTER_SET:
                continue
            if inner["vr"] == "SQ":
                wanted[name] = _items(inner, (*path, name), matches)
            else:
                wanted[name] = {}
                matches.append(Match((*path, name), _text(inner)))
    return wanted


def _text(element: Mapping[str, Any]) -> str:
    return "\\".join(_one(value) for value in element.get("Value", ()))


def _one(value: Any) -> str:
    """Return a value of the JSON model as a peer writes it.

    >>> _one({"Alphabetic": "A", "Ideographic": "B"}), _one(None), _one(1.0)
    ('A=B', '', '1.0')
    """
    if value is None:
        return ""
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in PN_GROUPS).rstrip("=")
    return str(value)


def _character_set(data_set: bytes, syntax: header.Syntax) -> str | None:
    """Return (0008,0005) as it stands there, None when it does not."""
    for event in header.walk(data_set, syntax):
        if event.tag > SPECIFIC_CHARACTER_SET and event.depth == 0:
            return None
        if event.tag == SPECIFIC_CHARACTER_SET and event.kind == header.VALUE:
            raw = data_set[event.start : event.start + event.length]
            return "\\".join(strings(raw, "CS", DEFAULT_CHARACTER_SET))
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """What the answers to one request hold, in parts.

    `plain` keys are taken as they are kept, of `nested` ones some attributes of their items, `computed`
    ones are counted, and `fixed` elements are the same in every answer.
    """

    at: Level
    plain: list[str]
    nested: list[tuple[str, Wanted]]
    computed: list[str]
    fixed: Attributes
    all_supported: bool

    def answer(self, found: Found) -> Attributes:
        """Return the response identifier of a row."""
        kept = found.study
        if self.at >= Level.SERIES:
            kept = {**kept, **found.series, **found.instance}
        result = dict(self.fixed)
        for name in self.plain:
            result[name] = kept.get(name) or {"vr": vr_of(int(name, 16))}
        for name, inner in self.nested:
            result[name] = _only(kept.get(name), inner)
        for name in self.computed:
            result[name] = told(name, found.facts)
        return result


def answers(wanted: Wanted, level: str, unique: str, at: Level, *, patient: bool, fixed: Attributes) -> Shape:
    """Return the shape of the answers.

    `at` is the level of the index, `patient` says that only the patient's attributes are there to be
    had, `fixed` is in every answer. A key that is supported and has no value is given without one; one
    that is not supported is left out (C.4.1.1.3.2).
    """
    fixed = {**fixed, QUERY_LEVEL: {"vr": "CS", "Value": [level]}}
    shape = Shape(at, [], [], [], fixed, True)
    for name, inner in {unique: {}, **wanted}.items():
        kept = keys.COMPUTED.get(name)
        kept = keys.level_of(name) if kept is None else kept
        if kept is None or kept > at or (patient and name not in keys.PATIENT):
            shape = replace(shape, all_supported=False)
        elif name in keys.COMPUTED:
            shape.computed.append(name)
        elif inner:
            shape.nested.append((name, inner))
        elif name not in fixed:
            shape.plain.append(name)
    return shape


def told(name: str, facts: Facts) -> dict[str, Any]:
    """Return a computed attribute.

    >>> told("00080061", Facts(modalities=("CT", "SR")))
    {'vr': 'CS', 'Value': ['CT', 'SR']}
    """
    if name == keys.MODALITIES_IN_STUDY:
        return {"vr": "CS", "Value": list(facts.modalities)}
    if name == keys.SOP_CLASSES_IN_STUDY:
        return {"vr": "UI", "Value": list(facts.sop_classes)}
    counted = {
        keys.STUDIES_OF_PATIENT: facts.of_patient[0],
        keys.SERIES_OF_PATIENT: facts.of_patient[1],
        keys.INSTANCES_OF_PATIENT: facts.of_patient[2],
        keys.SERIES_OF_STUDY: facts.series,
        keys.INSTANCES_OF_STUDY: facts.instances,
        keys.INSTANCES_OF_SERIES: facts.of_series,
    }
    return {"vr": "IS", "Value": [counted[name]]}


def _only(element: dict[str, Any] | None, wanted: Wanted) -> dict[str, Any]:
    """Return a sequence with those attributes of its items that are wanted."""
    items = []
    for item in (element or {}).get("Value", []):
        shown: Attributes = {}
        for name, inner in wanted.items():
            kept = item.get(name)
            shown[name] = _only(kept, inner) if inner else kept or {"vr": vr_of(int(name, 16))}
        items.append(shown)
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
