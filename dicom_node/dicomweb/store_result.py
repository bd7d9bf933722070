"""What became of each instance of a store: the Store Instances Response Module and its HTTP status.

PS3.18 10.5.3 (statuses and payload), Annex I.2 (the module, its reasons), PS3.4 B.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.verdict import Outcome, Verdict

FAILURE: Final = {
    Verdict.NOT_UNDERSTOOD: 0xC000,
    Verdict.NOT_IDENTIFIED: 0xA900,
    Verdict.DISK_FULL: 0xA700,
    Verdict.UNAVAILABLE: 0xA701,
}
"""Failure Reason (0008,1197) by verdict: the statuses that C-STORE would give."""

DOUBTFUL: Final = 0xB007
OTHER_STUDY: Final = 0xC409
"""Failure Reason of an instance that belongs to another study than the address names."""

NOT_WHOLE: Final = 0x0110
CANNOT_UNDERSTAND: Final = 0xC000
_PASSING: Final = (0xA700, 0xA701)
MAX_WARNINGS: Final = 10


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is kept; `warning` is a Warning Reason (0008,1196) or 0."""

    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    warning: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance that is not kept; its UIDs are empty where the part did not say them."""

    reason: int
    sop_class: str = ""
    sop_uid: str = ""


@dataclass(slots=True)
class StoreResult:
    """The outcomes of one request, in the order of its parts."""

    address: str
    stored: list[Stored] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, number: int, outcome: Outcome, stated: tuple[str, str] = ("", "")) -> None:
        """Add what became of part `number`; `stated` are the SOP UIDs of its file meta information."""
        instance, verdict = outcome.instance, outcome.verdict
        if verdict in FAILURE or instance is None:
            sop_class = (instance.sop_class if instance else "") or stated[0]
            sop_uid = (instance.sop_uid if instance else "") or stated[1]
            self.fail(number, FAILURE.get(verdict, NOT_WHOLE), outcome.reason, sop_class, sop_uid)
            return
        doubtful = verdict is Verdict.STORED_DOUBTFUL
        self.stored.append(
            Stored(
                instance.sop_class,
                instance.sop_uid,
                instance.study_uid,
                instance.series_uid,
                DOUBTFUL if doubtful else 0,
            )
        )
        if doubtful:
            self._say(f"part {number} is stored with a warning: {outcome.reason}")

    def fail(self, number: int, reason: int, said: str, sop_class: str = "", sop_uid: str = "") -> None:
        """Add a part that is not kept, with its Failure Reason and that in words (no patient data)."""
        self.failed.append(Failed(reason, sop_class, sop_uid))
        self._say(f"part {number} is not stored: {said}")

    def _say(self, text: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)

    @property
    def status(self) -> int:
        """Return the HTTP status (table 10.5.3-1); 503 where trying again may well help.

        >>> StoreResult("http://a", failed=[Failed(0xA700)]).status
        503
        """
        if not self.stored:
            return 503 if self.failed and all(one.reason in _PASSING for one in self.failed) else 409
        return 202 if self.failed or any(one.warning for one in self.stored) else 200

    def attributes(self) -> Attributes:
        """Return the response data set as the DICOM JSON model has it (table I.2-1)."""
        found: Attributes = {}
        studies = {one.study_uid for one in self.stored}
        url: dict[str, Any] = {"vr": "UR"}
        if len(studies) == 1:
            url["Value"] = [f"{self.address}/studies/{studies.pop()}"]
        found["00081190"] = url
        if failed := [one for one in self.failed if one.sop_uid]:
            items = [
                {**_sop(one.sop_class, one.sop_uid), "00081197": {"vr": "US", "Value": [one.reason]}}
                for one in failed
            ]
            found["00081198"] = {"vr": "SQ", "Value": items}
        if self.stored:
            found["00081199"] = {"vr": "SQ", "Value": [self._referenced(one) for one in self.stored]}
        if others := [one for one in self.failed if not one.sop_uid]:
            found["0008119A"] = {
                "vr": "SQ",
                "Value": [{"00081197": {"vr": "US", "Value": [one.reason]}} for one in others],
            }
        return found

    def _referenced(self, one: Stored) -> Attributes:
        address = f"{self.address}/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_uid}"
        item = {**_sop(one.sop_class, one.sop_uid), "00081190": {"vr": "UR", "Value": [address]}}
        if one.warning:
            item["00081196"] = {"vr": "US", "Value": [one.warning]}
        return item


def _sop(sop_class: str, sop_uid: str) -> Attributes:
    stated: Sequence[str] = [sop_class] if sop_class else []
    return {
        "00081150": {"vr": "UI", "Value": list(stated)} if stated else {"vr": "UI"},
        "00081155": {"vr": "UI", "Value": [sop_uid]},
    }
