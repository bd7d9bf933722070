"""Rejection Notes: a key object document takes instances out of use (IHE RAD TF, IOCM, RAD-66).

A note is a Key Object Selection whose title is one of four codes; the instances that it rejects stand
in its Current Requested Procedure Evidence Sequence (0040,A375). What a code does is a setting: `hide`
(out of every answer, the file stays, restore brings it back), `delete` (and the files go when the time
of grace is over) or `keep` (in use as before). (113010, DCM, Quality Issue) marks and rejects nothing. A
note comes before its instances or after them; its tombstones work either way. The note itself goes
where its instances go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dicom_node import audit
from dicom_node.attributes import Attributes
from dicom_node.instance import first
from dicom_node.lifecycle.removal import MOST_TARGETS, Kind, Order, Target, announce_order, apply
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine

KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
CODES: Final = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}
"""The titles of Rejection Notes (PS3.16 CID 7010, IHE RAD TF-3 4.66.4.1.3)."""

BEHAVIOURS: Final = ("hide", "delete", "keep")
USUAL: Final = {"113001": "hide", "113037": "hide", "113038": "hide", "113039": "delete"}


@dataclass(frozen=True, slots=True)
class Note:
    """A Rejection Note: its own place, its title, what it rejects and what it says."""

    study_uid: str
    series_uid: str
    sop_uid: str
    code: str
    targets: Sequence[Target]
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation does with Rejection Notes: by code, and from which AE titles (*: all)."""

    behaviours: Mapping[str, str]
    senders: frozenset[str]
    grace: timedelta

    def of(self, code: str, calling_ae: str) -> str:
        """Return what a note of this code from this AE does.

        >>> Rules({"113001": "hide"}, frozenset({"PACS"}), timedelta(7)).of("113001", "CT1")
        'keep'
        """
        if "*" not in self.senders and calling_ae not in self.senders:
            return "keep"
        return self.behaviours.get(code, "keep")


def rules(settings: Sequence[str], senders: Sequence[str], grace: timedelta) -> Rules:
    """Return the rules of an installation from its settings, each CODE=BEHAVIOUR; ValueError for others.

    >>> rules(["113001=keep"], ["*"], timedelta(0)).behaviours["113001"]
    'keep'
    """
    found = dict(USUAL)
    for setting in settings:
        code, _, behaviour = setting.partition("=")
        if code not in CODES or behaviour not in BEHAVIOURS:
            raise ValueError(
                f"rejection_notes has {setting!r}; it takes CODE=BEHAVIOUR, with the codes"
                f" {', '.join(CODES)} and the behaviours {', '.join(BEHAVIOURS)}"
            )
        found[code] = behaviour
    return Rules(found, frozenset(senders), grace)


def title(instance: Attributes) -> str:
    """Return the DCM code that titles a document, or nothing."""
    concept = first(instance, "0040A043")
    if not isinstance(concept, dict) or first(concept, "00080102") != "DCM":
        return ""
    return str(first(concept, "00080100") or "")


def read(found: Attributes) -> Note | None:
    """Return the Rejection Note that a data set is, None when it is none."""
    code = title(found)
    if first(found, "00080016") != KEY_OBJECTS or code not in CODES:
        return None
    targets = list(dict.fromkeys(_evidence(found)))[:MOST_TARGETS]
    return Note(
        _text(found, "0020000D"),
        _text(found, "0020000E"),
        _text(found, "00080018"),
        code,
        targets,
        _said(found),
    )


def carry_out(
    engine: Engine, note: Note, behaviour: str, calling_ae: str, rules: Rules, now: datetime
) -> bool:
    """Order what a note asks for, once; false when it was carried out before or rejects nothing."""
    if behaviour == "keep" or not note.targets:
        return False
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT FROM dicom_removal WHERE note_uid = %s LIMIT 1", (note.sop_uid,))
        if cursor.fetchone() is not None:
            return False
    own = Target(note.study_uid, note.series_uid, note.sop_uid)
    order = Order(
        kind=Kind.EXPIRED if behaviour == "delete" else Kind.REJECTED,
        targets=[*note.targets[: MOST_TARGETS - 1], own],
        grant=Grant.system("dicom-rejection"),
        reason=note.text or CODES[note.code],
        at=now,
        purge_at=now + rules.grace if behaviour == "delete" else None,
        code=note.code,
        note_uid=note.sop_uid,
        party=audit.Party(ae=calling_ae, requestor=True),
    )
    apply(engine, announce_order(engine, order, must_exist=False), now)
    return True


def _evidence(found: Attributes) -> Iterator[Target]:
    """Yield the instances of the evidence sequence (PS3.3 C.17.2.3)."""
    for study in _items(found, "0040A375"):
        for series in _items(study, "00081115"):
            for instance in _items(series, "00081199"):
                target = Target(
                    _text(study, "0020000D"), _text(series, "0020000E"), _text(instance, "00081155")
                )
                if target.study_uid and target.series_uid and target.sop_uid:
                    yield target


def _said(found: Attributes) -> str:
    """Return the Key Object Description (113012) of the note, if it has one (PS3.16 TID 2010)."""
    for item in _items(found, "0040A730"):
        concept = first(item, "0040A043")
        if isinstance(concept, dict) and first(concept, "00080100") == "113012":
            return _text(item, "0040A160")
    return ""


def _items(found: Attributes, name: str) -> list[dict[str, Any]]:
    return [item for item in found.get(name, {}).get("Value", []) if isinstance(item, dict)]


def _text(found: Attributes, name: str) -> str:
    value = first(found, name)
    return value if isinstance(value, str) else ""
