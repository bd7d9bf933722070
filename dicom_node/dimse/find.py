"""C-FIND SCP: what is kept here of a patient, a study, a series (PS3.4 C.4.1 and C.6).

Patient Root, Study Root and Patient/Study Only. Answers go out while the database still looks for more;
between two batches no connection to it is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from psycopg2.errors import QueryCanceled

from dicom_node.attributes import Attributes
from dicom_node.dimse import identifier, peers, status
from dicom_node.dimse.command import MESSAGE_ID, OFFENDING_ELEMENT, CommandField, number
from dicom_node.dimse.identifier import QUERY_LEVEL, Identifier, Shape, answers
from dicom_node.dimse.service import Request, Response, Service
from dicom_node.encode import encode
from dicom_node.forms import Form
from dicom_node.index import keys, patients
from dicom_node.index.conditions import Manner, Match
from dicom_node.index.moments import TIMEZONE, Zones, shifted
from dicom_node.index.query import Found, Question, find, stream
from dicom_node.instance import Level, first
from dicom_node.repertoire import UNICODE, known
from fhir_server.authorization.permit import permit
from fhir_server.config import Config
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import Invalid

PATIENT_ROOT: Final = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY: Final = "1.2.840.10008.5.1.4.1.2.3.1"
_SYNTAXES: Final = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)

# level of the query → (level of the index, unique key, unique keys above it: PS3.4 C.6.1.1 and C.6.2.1)
_LEVELS: Final = {
    "PATIENT": (Level.STUDY, keys.PATIENT_ID, ()),
    "STUDY": (Level.STUDY, keys.STUDY_UID, (keys.PATIENT_ID,)),
    "SERIES": (Level.SERIES, keys.SERIES_UID, (keys.STUDY_UID,)),
    "IMAGE": (Level.INSTANCE, keys.SOP_UID, (keys.STUDY_UID, keys.SERIES_UID)),
}
_OF_ROOT: Final = {
    PATIENT_ROOT: ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    STUDY_ROOT: ("STUDY", "SERIES", "IMAGE"),
    PATIENT_STUDY_ONLY: ("PATIENT", "STUDY"),
}
RELATIONAL, DATE_TIME, FUZZY, TIME_ZONE = range(4)
"""The bytes of the extended negotiation (PS3.4 table C.5-1)."""


CANCEL_EVERY: Final = 16
"""So many answers are made between two looks whether a C-CANCEL has come."""


class Mismatch(Invalid):
    """The identifier is not one of this SOP class; `elements` are those that offend."""

    def __init__(self, reason: str, *elements: str) -> None:
        super().__init__(reason)
        self.elements = elements


@dataclass(frozen=True, slots=True)
class Finder:
    """C-FIND for one application entity."""

    config: Config
    engine: Engine

    def find(self, request: Request) -> Iterator[Response]:
        """Yield a pending response a match, then the final one."""
        caller = request.association.caller
        permit(caller.grant, "search-type", "ImagingStudy")
        try:
            asked = identifier.parse(request.data_set, request.context.transfer_syntax)
            root = request.context.abstract_syntax
            options = request.association.extended.get(root, b"").ljust(4, b"\0")
            check(asked, root, relational=bool(options[RELATIONAL]))
            yield from self._matches(request, asked, options)
        except Mismatch as error:
            yield _refused(status.NOT_OF_THIS_CLASS, error, error.elements)
        except Invalid as error:
            yield _refused(status.CANNOT_UNDERSTAND, error, ())
        except QueryCanceled:
            yield Response(status.NO_ROOM, comment="the search took too long; narrow it by a date or a UID")

    def _matches(self, request: Request, asked: Identifier, options: bytes) -> Iterator[Response]:
        level, unique, _ = _LEVELS[asked.level]
        of_patients = asked.level == "PATIENT"
        zone = asked.zone if options[TIME_ZONE] else None
        manner = Manner(
            combined=bool(options[DATE_TIME]),
            fuzzy=bool(options[FUZZY]),
            zones=Zones(zone, self.config.time_zone),
        )
        matches = [match for match in asked.matches if self._can_match(match, level, of_patients)]
        left_out = any(not match.universal and match not in matches for match in asked.matches)
        limit = self.config.dimse_find_limit
        question = Question(
            level,
            matches,
            limit + 1,
            manner=manner,
            computed=frozenset(asked.wanted) & frozenset(keys.COMPUTED),
            above=zone is not None or any(_is_above(name, level) for name in asked.wanted),
        )
        fixed: Attributes = {
            keys.RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [self.config.ae_title]},
            keys.AVAILABILITY: {"vr": "CS", "Value": ["ONLINE"]},
        }
        if zone is not None:
            fixed[TIMEZONE] = {"vr": "SH", "Value": [asked.zone_text]}
        shape = answers(asked.wanted, asked.level, unique, level, patient=of_patients, fixed=fixed)
        supported = shape.all_supported and not left_out
        pending = status.PENDING if supported else status.PENDING_WITHOUT_SOME_KEYS
        character_set = self._character_set(request, asked)
        syntax = request.context.transfer_syntax
        form: Form | None = None
        if zone is None and not of_patients and not shape.nested:
            form = Form(shape.fixed, shape.plain, shape.computed, syntax, character_set)
            question = replace(question, raw=tuple(shape.plain))
        message_id = number(request.command, MESSAGE_ID)
        sent = 0
        for batch in stream(self._connect, question, patients.find if of_patients else find):
            for at, found in enumerate(batch):
                if at % CANCEL_EVERY == 0 and request.association.cancelled(message_id):
                    yield Response(status.CANCELLED, comment="cancelled by the requestor")
                    return
                if sent == limit:
                    yield Response(status.NO_ROOM, comment=f"stopped after {limit} matches; narrow the query")
                    return
                if form is not None:
                    told = {name: identifier.told(name, found.facts) for name in shape.computed}
                    raw = form.encode(found.raw, told)
                else:
                    raw = encode(self._answer(shape, found, zone), syntax, character_set=character_set)
                yield Response(pending, raw, more=at + 1 < len(batch))
                sent += 1
        yield Response(status.SUCCESS)

    def _answer(self, shape: Shape, found: Found, zone: timedelta | None) -> Attributes:
        """Return the response identifier of a row, its dates and times in the zone of the request."""
        result = shape.answer(found)
        if zone is None:
            return result
        moved = shifted(_all(found), zone, first(found.study, TIMEZONE), self.config.time_zone)
        return {
            name: moved.get(name, value) if value.get("vr") in ("DA", "TM") else value
            for name, value in result.items()
        }

    def _connect(self) -> AbstractContextManager[Any]:
        return self.engine.connection(Mode.SINGLE)

    @staticmethod
    def _can_match(match: Match, level: Level, of_patients: bool) -> bool:
        kept_at = keys.level_of(match.path[0])
        if kept_at is None or kept_at > level:
            return False
        return not of_patients or match.path[0] in keys.PATIENT

    def _character_set(self, request: Request, asked: Identifier) -> str:
        """Return the set of the answers: as the table of entities says, else as the request, else UTF-8."""
        peer = peers.find(self.engine, request.association.caller.calling_ae)
        if peer is not None and peer.character_set:
            return peer.character_set
        if asked.character_set is not None and known(asked.character_set):
            return asked.character_set
        return UNICODE


def service(config: Config, engine: Engine) -> Service:
    """Return the line of the table of services."""
    return Service(
        "find",
        tuple(_OF_ROOT),
        {CommandField.C_FIND_RQ: Finder(config, engine).find},
        _SYNTAXES,
        negotiated,
    )


def negotiated(asked: bytes) -> bytes:
    r"""Return the answer to the extended negotiation: all four options, when they are asked for.

    >>> negotiated(b"\1\0\1"), negotiated(b"\1\1\1\1\1")
    (b'\x01\x00\x01', b'\x01\x01\x01\x01\x00')
    """
    return bytes(int(value == 1 and at <= TIME_ZONE) for at, value in enumerate(asked))


def check(asked: Identifier, root: str, *, relational: bool) -> None:
    """Raise Mismatch when the identifier is none of its SOP class (PS3.4 C.4.1.2.1).

    Without relational queries every unique key above the level has a single value; a PatientID may be
    missing where a Study Instance UID says more.
    """
    levels = _OF_ROOT[root]
    if asked.level not in levels:
        got = repr(asked.level[:16]) if asked.level else "no Query/Retrieve Level"
        raise Mismatch(f"{got}; this SOP class has {', '.join(levels)}", QUERY_LEVEL)
    if relational:
        return
    _, _, above = _LEVELS[asked.level]
    if asked.level == "STUDY" and "PATIENT" not in levels:
        return
    for name in above:
        value = asked.value(name).strip()
        if not value or any(sign in value for sign in "*?\\"):
            keyword = {keys.PATIENT_ID: "Patient ID", keys.STUDY_UID: "Study Instance UID"}.get(
                name, "Series Instance UID"
            )
            raise Mismatch(f"{asked.level} needs one {keyword} (no relational queries)", name)


def _is_above(name: str, level: Level) -> bool:
    kept_at = keys.level_of(name)
    return kept_at is not None and kept_at < level


def _all(found: Found) -> Attributes:
    return {**found.study, **found.series, **found.instance}


def _refused(code: int, error: Invalid, elements: tuple[str, ...]) -> Response:
    fields: dict[int, int | str | list[int]] = {}
    if elements:
        fields[OFFENDING_ELEMENT] = [int(name, 16) for name in elements]
    return Response(code, comment=str(error), fields=fields)
