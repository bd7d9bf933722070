"""Forward rules: which instances are sent on to which application entity, and when (`xinglin forward`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from pydicom.uid import UID, UID_dictionary

from dicom_node.attributes import Attributes
from dicom_node.dimse.peers import checked_title
from dicom_node.forward.hours import checked
from dicom_node.instance import first
from fhir_server.database.engine import Engine
from fhir_server.outcome import Conflict, Invalid, NotFound

CRITERIA: Final = {
    "source": "the AE that sent the instance to us",
    "modality": "Modality (0008,0060)",
    "sop_class": "SOP class, its UID or its keyword",
    "study": "StudyDescription (0008,1030)",
    "series": "SeriesDescription (0008,103E)",
    "station": "StationName (0008,1010)",
    "institution": "InstitutionName (0008,0080)",
}
"""What a rule may ask for; a value is one pattern or several between commas, with * and ?."""

_TAGS: Final = {
    "modality": "00080060",
    "series": "0008103E",
    "station": "00081010",
    "institution": "00080080",
}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. The instances that fit all criteria go to `destination`.

    `quiet_s`: only when nothing of the study has come for so long; `hours`: only then, 19:00-06:00;
    a higher `priority` goes first. `commits`: what was sent counts as arrived only when the
    destination has committed its storage (PS3.4 Annex J).
    """

    name: str
    destination: str
    criteria: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    quiet_s: float = 0.0
    hours: str = ""
    commits: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """What rules look at: an instance that has come."""

    source: str
    sop_class: str
    study: Attributes
    series: Attributes


def fits(rule: Rule, arrived: Arrived) -> bool:
    """Whether an instance fits all criteria of a rule; nothing goes back to where it came from.

    >>> ct = Arrived("CT1", "1.2.840.10008.5.1.4.1.1.2", {}, {"00080060": {"vr": "CS", "Value": ["CT"]}})
    >>> fits(Rule("r", "PACS", {"modality": "CT,MR", "source": "ct*"}), ct)
    True
    >>> fits(Rule("r", "PACS", {"sop_class": "CTImage*"}), ct), fits(Rule("r", "CT1"), ct)
    (True, False)
    """
    if rule.destination == arrived.source:
        return False
    return all(_matches(patterns, _values(name, arrived)) for name, patterns in rule.criteria.items())


def add(engine: Engine, rule: Rule, clock: Callable[[], datetime]) -> None:
    """Add a rule. Raises Invalid for one that cannot be, Conflict for a name that is taken."""
    if not _NAME.fullmatch(rule.name):
        raise Invalid(f"{rule.name!r} is no name of a rule; it has 1 to 64 letters, digits, dots, - and _")
    if unknown := sorted(set(rule.criteria) - set(CRITERIA)):
        raise Invalid(f"{unknown[0]!r} is no criterion; there are {', '.join(CRITERIA)}")
    if not 0 <= rule.quiet_s <= 86_400:
        raise Invalid(f"a study cannot be waited for {rule.quiet_s:g} s; 0 to 86400 s can be")
    if abs(rule.priority) > 1000:
        raise Invalid(f"priority {rule.priority} is none; it can be -1000 to 1000")
    title = checked_title(rule.destination)
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(
            "INSERT INTO dicom_forward_rule"
            " (created_at, quiet_s, priority, commits, name, destination, hours, criteria)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
            (
                clock(), rule.quiet_s, rule.priority, rule.commits, rule.name, title, checked(rule.hours),
                json.dumps({name: text for name, text in rule.criteria.items() if text.strip()}),
            ),
        )  # fmt: skip
        if not cursor.rowcount:
            raise Conflict(f"there is a rule {rule.name!r} already; remove it first, or choose another name")
        connection.commit()


def remove(engine: Engine, name: str) -> None:
    """Remove a rule; what it has queued is sent all the same. Raises NotFound."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("DELETE FROM dicom_forward_rule WHERE name = %s", (name,))
        if not cursor.rowcount:
            raise NotFound(f"there is no rule {name!r}; `xinglin forward list` shows all")
        connection.commit()


def rules(connection: Any) -> list[Rule]:
    """Return all rules, in the order of their names."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT name, destination, criteria, priority, quiet_s, hours, commits"
        " FROM dicom_forward_rule ORDER BY name"
    )
    return [Rule(*row) for row in cursor.fetchall()]


def _values(name: str, arrived: Arrived) -> list[str]:
    if name == "source":
        return [arrived.source]
    if name == "sop_class":
        known = arrived.sop_class in UID_dictionary
        return [arrived.sop_class, *([str(UID(arrived.sop_class).keyword)] if known else [])]
    if name == "study":
        return [str(first(arrived.study, "00081030") or "")]
    return [str(first(arrived.series, _TAGS[name]) or "")]


def _matches(patterns: str, values: list[str]) -> bool:
    return any(_compiled(patterns).match(value.casefold()) for value in values)


@lru_cache(maxsize=256)
def _compiled(patterns: str) -> re.Pattern[str]:
    several = (pattern.strip().casefold() for pattern in patterns.split(","))
    return re.compile("|".join(translate(pattern) for pattern in several if pattern))
