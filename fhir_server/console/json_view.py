"""A resource as coloured JSON, and two versions of it line by line.

The colours are classes of the style sheet; every text goes through Markup's escaping. Relative
references become links to the console's own pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from typing import Any

from markupsafe import Markup

from fhir_server.model import json_format

_RELATIVE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(/_history/[0-9]+)?\Z")
_CONTEXT_LINES = 3


def coloured(value: Any, link_base: str) -> Markup:
    """Return indented JSON as markup; `link_base` is the address that resource pages begin with.

    >>> coloured({"active": True}, "/console/resources")
    Markup('{\\n  <span class="jk">&#34;active&#34;</span>: <span class="jl">true</span>\\n}')
    """
    return _value(value, "\n", link_base, "")


def _value(value: Any, newline: str, link_base: str, key: str) -> Markup:
    inner = newline + "  "
    if isinstance(value, Mapping):
        if not value:
            return Markup("{}")
        members = [
            Markup('<span class="jk">{}</span>: {}').format(
                _text(name), _value(member, inner, link_base, str(name))
            )
            for name, member in value.items()
        ]
        return Markup("{") + inner + Markup("," + inner).join(members) + newline + Markup("}")
    if isinstance(value, list):
        if not value:
            return Markup("[]")
        items = [_value(item, inner, link_base, key) for item in value]
        return Markup("[") + inner + Markup("," + inner).join(items) + newline + Markup("]")
    if isinstance(value, str):
        shown = Markup('<span class="js">{}</span>').format(_text(value))
        if key == "reference" and _RELATIVE.match(value):
            return Markup('<a href="{}/{}">{}</a>').format(link_base, value.partition("/_history")[0], shown)
        return shown
    name = "jn" if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else "jl"
    return Markup('<span class="{}">{}</span>').format(name, json_format.encode(value).decode())


def _text(text: str) -> str:
    return json_format.encode(text).decode()


def lines(value: Any) -> list[str]:
    """Return indented JSON as plain lines.

    >>> lines({"a": [1]})
    ['{', '  "a": [', '    1', '  ]', '}']
    """
    return _plain(value, "\n").split("\n")


def _plain(value: Any, newline: str) -> str:
    inner = newline + "  "
    if isinstance(value, Mapping) and value:
        members = (f"{_text(str(name))}: {_plain(member, inner)}" for name, member in value.items())
        return "{" + inner + ("," + inner).join(members) + newline + "}"
    if isinstance(value, list) and value:
        return "[" + inner + ("," + inner).join(_plain(item, inner) for item in value) + newline + "]"
    return json_format.encode(value).decode()


def _without_stamp(resource: Any) -> Any:
    """Leave out what differs between any two versions."""
    if not isinstance(resource, Mapping) or not isinstance(resource.get("meta"), Mapping):
        return resource
    meta = {
        name: value for name, value in resource["meta"].items() if name not in ("versionId", "lastUpdated")
    }
    return {name: meta if name == "meta" else value for name, value in resource.items()}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison: `kind` is same, old, new or gap; the numbers are 1-based or None."""

    kind: str
    old_number: int | None
    new_number: int | None
    text: str


def differences(old: Any, new: Any) -> list[Line]:
    """Return what changed from one resource to another, with three lines around each change.

    >>> [(line.kind, line.text) for line in differences({"a": 1}, {"a": 2}) if line.kind != "same"]
    [('old', '  "a": 1'), ('new', '  "a": 2')]
    """
    before, after = lines(_without_stamp(old)), lines(_without_stamp(new))
    found: list[Line] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT_LINES):
        if found or group[0][1] > 0:
            found.append(Line("gap", None, None, "⋯"))
        for tag, low, high, new_low, new_high in group:
            if tag == "equal":
                found += [
                    Line("same", low + step + 1, new_low + step + 1, before[low + step])
                    for step in range(high - low)
                ]
                continue
            found += [Line("old", number + 1, None, before[number]) for number in range(low, high)]
            found += [Line("new", None, number + 1, after[number]) for number in range(new_low, new_high)]
    return found
