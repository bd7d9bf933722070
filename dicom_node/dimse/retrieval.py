"""What C-MOVE and C-GET share: identifier, sub-operations, responses (PS3.4 C.4.2, C.4.3).

The keys of the levels above the one that is retrieved are used where they are given and not missed where
they are not: a UID names one thing, and clients leave the others out although they have not negotiated
relational retrieval (PS3.4 C.5.2).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any, Final

from dicom_node import header
from dicom_node.attributes import read
from dicom_node.dimse import command
from dicom_node.dimse.command import Value
from dicom_node.dimse.send import Result
from dicom_node.dimse.service import Request, Response
from dicom_node.dimse.status import CANCELLED, PENDING, SUB_OPERATIONS_FAILED, SUB_OPERATIONS_WARNING, SUCCESS
from dicom_node.index.locate import Located, selected
from dicom_node.upper_layer.negotiation import IMPLICIT_LITTLE
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import FhirError, Forbidden

NOT_MATCHED: Final = 0xA701
"""Out of resources: unable to calculate the number of matches."""

NOT_AN_IDENTIFIER: Final = 0xA900
REFUSED: Final = 0x0124

PATIENT_ID, STUDY, SERIES, INSTANCE = "00100020", "0020000D", "0020000E", "00080018"
_ISSUER = "00100021"
_LEVEL = 0x00080052
_FAILED_UIDS = 0x00080058
_UNIQUE: Final = {"PATIENT": PATIENT_ID, "STUDY": STUDY, "SERIES": SERIES, "IMAGE": INSTANCE}
_ROOT = "1.2.840.10008.5.1.4.1.2"
_MODELS: Final = {
    f"{_ROOT}.1": ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    f"{_ROOT}.2": ("STUDY", "SERIES", "IMAGE"),
    f"{_ROOT}.3": ("PATIENT", "STUDY"),  # retired, and still met
}
_MOST_UI_BYTES = 0xFFFE


class Refusal(Exception):
    """The request cannot be done; `status` says it in numbers."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


def sop_classes(operation: int) -> tuple[str, ...]:
    """Return the SOP classes of the three information models, for C-MOVE (2) or C-GET (3).

    >>> sop_classes(2)[1]
    '1.2.840.10008.5.1.4.1.2.2.2'
    """
    return tuple(f"{model}.{operation}" for model in _MODELS)


def negotiated(asked: bytes) -> bytes:
    r"""Return what is accepted of SOP class extended negotiation (PS3.4 C.5.2.1, C.5.3.1).

    Relational retrieval is; conversion of enhanced multi-frame images is not.

    >>> negotiated(b"\1\1")
    b'\x01\x00'
    """
    return asked[:1] + b"\0" * (len(asked) - 1)


@dataclass(slots=True)
class Tally:
    """How far the sub-operations are; `failed` are the SOP Instance UIDs of the ones that failed."""

    remaining: int
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)
    studies: dict[str, int] = field(default_factory=dict)
    reason: str = ""

    def count(self, result: Result) -> None:
        """Take a result into account."""
        self.remaining -= 1
        if not result.arrived:
            self.failed.append(result.instance.sop_uid)
            self.reason = self.reason or result.reason
            return
        study = result.instance.study_uid
        self.studies[study] = self.studies.get(study, 0) + 1
        if result.status:
            self.warned += 1
        else:
            self.completed += 1

    def response(self, status: int, transfer_syntax: str, comment: str = "") -> Response:
        """Return a response with the counters (PS3.7 9.1.4.1.7 to 10, PS3.4 C.4.2.1.6 to 9)."""
        fields: dict[int, Value] = {
            command.COMPLETED_SUB_OPERATIONS: min(self.completed, 0xFFFF),
            command.FAILED_SUB_OPERATIONS: min(len(self.failed), 0xFFFF),
            command.WARNING_SUB_OPERATIONS: min(self.warned, 0xFFFF),
        }
        if status in (PENDING, CANCELLED):
            fields[command.REMAINING_SUB_OPERATIONS] = min(self.remaining, 0xFFFF)
        data_set = b""
        if status not in (PENDING, SUCCESS) and self.failed:
            data_set = failed_uids(self.failed, transfer_syntax)
        return Response(status, data_set, comment, fields)

    def final(self, transfer_syntax: str) -> Response:
        """Return the response when nothing remains: success, warning, or failure when nothing arrived."""
        if self.failed and not self.completed and not self.warned:
            return self.response(SUB_OPERATIONS_FAILED, transfer_syntax, self.reason)
        if self.failed or self.warned:
            return self.response(SUB_OPERATIONS_WARNING, transfer_syntax, self.reason)
        return self.response(SUCCESS, transfer_syntax)


def failed_uids(uids: Sequence[str], transfer_syntax: str) -> bytes:
    r"""Return a data set with (0008,0058) Failed SOP Instance UID List; explicit VR has room for 64 KiB.

    >>> failed_uids(["1.2", "1.3"], "1.2.840.10008.1.2.1")
    b'\x08\x00X\x00UI\x08\x001.2\\1.3\x00'
    """
    value = "\\".join(uids).encode("ascii", "replace")
    if transfer_syntax != IMPLICIT_LITTLE and len(value) > _MOST_UI_BYTES:
        value = value[: value.rindex(b"\\", 0, _MOST_UI_BYTES)]
    value += b"\0" * (len(value) % 2)
    if transfer_syntax == IMPLICIT_LITTLE:
        return pack("<HHI", 0x0008, 0x0058, len(value)) + value
    return pack("<HH2sH", 0x0008, 0x0058, b"UI", len(value)) + value


def keys(request: Request) -> Mapping[str, Sequence[str]]:
    """Return the unique keys of an identifier and their values; raises Refusal (A900) when it is none.

    At each level a list of values is allowed (PS3.4 C.2.2.2.2, C.4.2.1.4).
    """
    model = request.context.abstract_syntax.rpartition(".")[0]
    levels = _MODELS[model]
    reading = read(request.data_set, header.syntax_of(request.context.transfer_syntax))
    if reading.problem:
        raise Refusal(NOT_AN_IDENTIFIER, "the identifier cannot be read")
    found = {name: _values(reading.attributes.get(name)) for name in (*_UNIQUE.values(), _ISSUER)}
    level = "".join(_values(reading.attributes.get(f"{_LEVEL:08X}"))).upper()
    if level not in levels:
        raise Refusal(NOT_AN_IDENTIFIER, f"the level can be {', '.join(levels)}")
    unique = _UNIQUE[level]
    if not found[unique]:
        raise Refusal(NOT_AN_IDENTIFIER, f"level {level} needs {unique[:4]},{unique[4:]}")
    above = [_UNIQUE[each] for each in _UNIQUE if each in ("PATIENT", *levels[: levels.index(level)])]
    wanted = {name: found[name] for name in (*above, _ISSUER, unique) if found[name]}
    if any("*" in value or "?" in value for name, values in wanted.items() for value in values):
        raise Refusal(NOT_AN_IDENTIFIER, "a retrieval names what it wants; no wild cards")
    return wanted


def chosen(engine: Engine, request: Request) -> list[Located]:
    """Return what a request asks for, on behalf of its caller. Raises Refusal."""
    wanted = keys(request)
    try:
        permit(request.association.caller.grant, "read", "ImagingStudy")
        with engine.connection(Mode.SINGLE) as connection:
            return selected(connection, wanted)
    except Forbidden as error:
        raise Refusal(REFUSED, str(error)) from error
    except FhirError as error:
        raise Refusal(NOT_MATCHED, "the index cannot be read right now") from error


def responses(
    request: Request, tally: Tally, results: Generator[Result, None, None], over: Callable[[Tally], None]
) -> Iterator[Response]:
    """Yield the responses of a retrieval while `results` come in; `over` is told the tally at the end.

    A pending response after each sub-operation, with what remains. A C-CANCEL-RQ ends it after the
    sub-operation that is under way (PS3.4 C.4.2.3.1).
    """
    association, syntax = request.association, request.context.transfer_syntax
    message_id = command.number(request.command, command.MESSAGE_ID)
    try:
        while True:
            if tally.remaining and association.cancelled(message_id):
                yield tally.response(CANCELLED, syntax)
                return
            result = next(results, None)
            if result is None:
                break
            tally.count(result)
            if tally.remaining:
                yield tally.response(PENDING, syntax)
        yield tally.final(syntax)
    finally:
        results.close()  # the association to the peer ends now
        over(tally)


def _values(element: Any) -> list[str]:
    values = (element or {}).get("Value") or []
    return [str(value) for value in values if value not in (None, "")]
