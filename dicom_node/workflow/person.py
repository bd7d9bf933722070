"""Names of FHIR as person names of DICOM (PS3.5 6.2.1, R4/datatypes.html#HumanName).

Five components, three groups. Which group a name belongs to is said by the extension
iso21090-EN-representation (ABC, IDE, SYL), else by its script; a name that stands alone is the first group
whatever its script, since that is what consoles show and match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
GROUPS = {"ABC": "Alphabetic", "IDE": "Ideographic", "SYL": "Phonetic"}
LONGEST_GROUP = 64
_USES = ("official", "usual", "", "nickname", "anonymous", "temp")
"""Which name counts first; old names and maiden names are not what a patient is called."""

_IDEOGRAPHS = re.compile("[\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_SYLLABLES = re.compile("[\u3040-\u30ff\uff66-\uff9f\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")

Resource = dict[str, Any]


def person_name(names: Sequence[Resource]) -> dict[str, str]:
    """Return the name of somebody as the JSON model has it; empty when there is none.

    >>> person_name([{"family": "Müller", "given": ["Jörg", "Uwe"], "prefix": ["Dr."]}])
    {'Alphabetic': 'Müller^Jörg^Uwe^Dr.'}
    >>> person_name([{"family": "Yamada", "given": ["Tarou"]}, {"family": "山田", "given": ["太郎"]}])
    {'Alphabetic': 'Yamada^Tarou', 'Ideographic': '山田^太郎'}
    """
    found: dict[str, str] = {}
    ranked = sorted(
        (name for name in names if isinstance(name, dict) and name.get("use", "") in _USES),
        key=lambda name: _USES.index(name.get("use", "")),
    )
    for name in ranked:
        text = components(name)
        if text and (group := _group(name, text)) not in found:
            found[group] = text
    if found and "Alphabetic" not in found:
        first = next(group for group in ("Ideographic", "Phonetic") if group in found)
        found = {"Alphabetic": found[first], **found} if len(found) > 1 else {"Alphabetic": found[first]}
    return {group: found[group] for group in GROUPS.values() if group in found}


def components(name: Resource) -> str:
    """Return one name as family^given^middle^prefix^suffix; a name that is only text is the first of them.

    >>> components({"text": "Ann Lee"}), components({"family": "Lee", "suffix": ["MD", "PhD"]})
    ('Ann Lee', 'Lee^^^^MD PhD')
    """
    given = [one for one in name.get("given", ()) if one]
    parts = [
        name.get("family", ""),
        given[0] if given else "",
        " ".join(given[1:]),
        " ".join(one for one in name.get("prefix", ()) if one),
        " ".join(one for one in name.get("suffix", ()) if one),
    ]
    if not any(parts):
        parts = [name.get("text", "")]
    text = "^".join(_clean(str(part or "")) for part in parts).rstrip("^")
    return text[:LONGEST_GROUP].rstrip("^ ")


def from_text(display: str) -> dict[str, str]:
    """Return the name in a Reference.display.

    >>> from_text("Dr. Ann Lee"), from_text("")
    ({'Alphabetic': 'Dr. Ann Lee'}, {})
    """
    return person_name([{"text": display}]) if display else {}


def _clean(part: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f^=\\]", " ", part).split())


def _group(name: Resource, text: str) -> str:
    for extension in name.get("extension", ()):
        if isinstance(extension, dict) and extension.get("url") == REPRESENTATION:
            return GROUPS.get(str(extension.get("valueCode")), "Alphabetic")
    if _IDEOGRAPHS.search(text):
        return "Ideographic"
    return "Phonetic" if _SYLLABLES.search(text) else "Alphabetic"
