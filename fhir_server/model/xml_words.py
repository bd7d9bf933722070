"""What is said of XML that does not fit, and the values of attributes that are no text (R4/xml.html)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any
from xml.parsers import expat

from fhir_server.model import json_format, json_scan
from fhir_server.model.xml_plan import CONTAINER, FHIR, PRIMITIVE, XHTML, XML, Slot, plan
from fhir_server.outcome import Issue

_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SHOWN = 60
_UNDEFINED_ENTITY = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _integer(text: str) -> int:
    if len(text) > json_scan.MAX_DIGITS or not _INTEGER.fullmatch(text):
        raise ValueError("a whole number without leading zeros")
    return int(text)


def _decimal(text: str) -> Any:
    if not _DECIMAL.fullmatch(text) or json_scan.is_absurd(text):
        digits, power = json_scan.MAX_DIGITS, json_scan.MAX_EXPONENT
        raise ValueError(f"a decimal such as 1.50, of at most {digits} digits and within 10^±{power}")
    return int(text) if text.removeprefix("-").isdigit() else json_format.number(text)


CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "positiveInt": _integer,
    "unsignedInt": _integer,
    "decimal": _decimal,
}
"""Types whose JSON is no text; each raises ValueError with what is expected."""


def shown(text: str) -> str:
    """Return a text short enough for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def malformed(data: bytes, error: expat.ExpatError) -> Issue:
    """Return the issue for what expat refused to read."""
    line, column = error.lineno, error.offset + 1
    what = f"not XML: {expat.ErrorString(error.code)}"
    if not data.strip():
        what = "the body is empty; an XML document is expected"
        return Issue("error", "invalid", what, rule="xml-syntax")
    try:
        data.decode()
    except UnicodeDecodeError as wrong:
        before = data[: wrong.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what = f"not UTF-8: byte 0x{data[wrong.start]:02x}"
    if error.code == _UNDEFINED_ENTITY:
        what += "; XML has amp, lt, gt, quot and apos, narratives those of XHTML too"
    text = f"line {line}, column {column}: {what}"
    return Issue("error", "invalid", text, None, "xml-syntax", line, column)


def stray_element(namespace: str, local: str, slot: Slot, names: Iterable[str]) -> str:
    """Say why an element may not stand in `slot`, whose children are `names`."""
    known = {name.partition(" ")[2]: name.partition(" ")[0] for name in names}
    name = shown(local)
    if local in known or (namespace != FHIR and slot.kind == CONTAINER):
        found = f"namespace {shown(namespace)!r}" if namespace else "no namespace"
        return f'<{name}> has {found}; expected is <{name} xmlns="{known.get(local, FHIR)}">'
    if slot.kind == CONTAINER:
        return f"<{name}> is no resource of R4{_near(local, known)}"
    if slot.kind == PRIMITIVE:
        return f"<{name}> is not allowed in <{slot.key}>: a primitive holds extensions only"
    if namespace not in (FHIR, XHTML):
        return f"<{name}> of namespace {shown(namespace)!r} is not allowed; use <extension>"
    if local in plan(slot.type).attributes:
        return f'{name} is an attribute of <{slot.key}>: <{slot.key} {name}="…">'
    return f"<{name}> is no element of {slot.type}{_near(local, known)}"


def stray_attribute(
    namespace: str, local: str, where: str, known: tuple[str, ...], names: Iterable[str]
) -> str:
    """Say why an attribute may not stand in the element `where`, whose children are `names`."""
    name = shown(local)
    if namespace == XML:
        more = "; a resource has <language>" if local == "lang" else ""
        return f"xml:{name} is allowed in narratives only{more}"
    if namespace:
        return f"the attribute {name} of namespace {shown(namespace)!r} is not allowed"
    if f"{FHIR} {local}" in names:
        return f'<{where}> has {name} as an element: <{name} value="…"/>'
    rest = f"; {' and '.join(known)} {'is' if len(known) == 1 else 'are'}" if known else ""
    return f"<{where}> has no attribute {name}{rest}"


def _near(name: str, known: Iterable[str]) -> str:
    """Return a half-sentence with the nearest name, or nothing if none is near."""
    names = list(known)
    near = [each for each in names if each.lower() == name.lower()]
    near = near or difflib.get_close_matches(name[:_SHOWN], names, n=1)
    return f"; did you mean <{near[0]}>?" if near else ""
