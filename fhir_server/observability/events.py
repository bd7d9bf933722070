"""What happened, as values: ids, counts and codes, never patient data.

    events.emit(RequestServed(method="GET", interaction="read", resource_type="Patient", status=200, ms=0.7))

Who emits does not know who listens; `logs.py` and `metrics.py` decide what to make of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


class Event:
    """The base of all events; a field is a number, a flag, a code or an id.

    `routine` events say that all is well; an installation may keep them out of its log.
    """

    __slots__ = ()
    routine: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RequestServed(Event):
    """An HTTP request was answered. `interaction` is the specification's code, or the address's name."""

    method: str
    interaction: str
    resource_type: str
    status: int
    ms: float
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class SearchServed(Event):
    """A search was answered: how many clauses it had, rows it gave, and time its SQL took."""

    resource_type: str
    clauses: int
    rows: int
    sql_ms: float


@dataclass(frozen=True, slots=True)
class InstanceReceived(Event):
    """A DICOM instance came in (C-STORE or STOW-RS) and was kept, known already, or refused."""

    outcome: str
    size_bytes: int
    ms: float


@dataclass(frozen=True, slots=True)
class InstanceSent(Event):
    """A DICOM instance was sent by a service (move, get, forward); `outcome` says whether it arrived."""

    service: str
    outcome: str
    size_bytes: int
    ms: float


@dataclass(frozen=True, slots=True)
class DestinationUnreached(Event):
    """An application entity that instances are forwarded to was not reached; it is tried again later."""

    routine: ClassVar[bool] = False
    destination: str
    again_in_s: float


@dataclass(frozen=True, slots=True)
class ForwardFailed(Event):
    """Studies could not be forwarded to a destination and are given up until a person retries them."""

    routine: ClassVar[bool] = False
    destination: str
    studies: int


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """What is there at this moment: a gauge by its name in metrics, of one part. For metrics only."""

    name: str
    part: str
    value: float


@dataclass(frozen=True, slots=True)
class DiskFilling(Event):
    """The disk of the data folder has less room than an installation wants; told once until it has again."""

    routine: ClassVar[bool] = False
    part: str
    free_bytes: int
    wanted_bytes: int


@dataclass(frozen=True, slots=True)
class AssociationRejected(Event):
    """A request for a DICOM association was refused, with the numbers of PS3.8 table 9-21."""

    routine: ClassVar[bool] = False
    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class AssociationEnded(Event):
    """A DICOM association ended; `lost` says that it was broken off, by the other side or by us."""

    messages: int
    ms: float
    lost: bool


@dataclass(frozen=True, slots=True)
class CardsServed(Event):
    """A CDS service answered: in one word how it ended, the codes of its reasons, how many cards it gave."""

    service: str
    outcome: str
    reasons: tuple[str, ...]
    cards: int
    ms: float


@dataclass(frozen=True, slots=True)
class CallerRefused(Event):
    """A caller was not believed: the code of the reason, nothing of its token or of what it claims."""

    routine: ClassVar[bool] = False
    door: str
    reason: str


@dataclass(frozen=True, slots=True)
class CallSpooled(Event):
    """The record of a CDS call was not taken by the database in time; `kept`: it waits in the spool."""

    routine: ClassVar[bool] = False
    service: str
    kept: bool


@dataclass(frozen=True, slots=True)
class FeedbackTaken(Event):
    """A CDS client told what became of a card."""

    service: str
    outcome: str


@dataclass(frozen=True, slots=True)
class ProfileBroken(Event):
    """A write did not keep a profile that it claims, and was stored (warn) or refused (reject)."""

    resource_type: str
    action: str


@dataclass(frozen=True, slots=True)
class Drained(Event):
    """The background worker took `count` entries off a queue."""

    queue: str
    count: int
    ms: float


@dataclass(frozen=True, slots=True)
class ProcessStarted(Event):
    """The supervisor started a process and it reported ready after `ms`."""

    name: str
    pid: int
    ms: float


@dataclass(frozen=True, slots=True)
class ProcessEnded(Event):
    """A process ended by itself; it is started again in `again_in_s`."""

    routine: ClassVar[bool] = False
    name: str
    pid: int
    exit_code: int
    lived_s: float
    again_in_s: float


@dataclass(frozen=True, slots=True)
class Crashed(Event):
    """Something failed that nobody foresaw: the kind of error and where, without its message.

    `incident` is the number that the client was given.
    """

    routine: ClassVar[bool] = False
    error: str
    where: str
    incident: str = ""


@dataclass(frozen=True, slots=True)
class RuleUnanswered(Event):
    """A rule of the specification got no answer, so it counts as kept: the rule, and the kind of error.

    `error` is the name of an exception's class; FhirPathTooCostly where the evaluation was stopped.
    """

    routine: ClassVar[bool] = False
    rule: str
    error: str


Listener = Callable[[Event], None]

_listeners: list[Listener] = []


def emit(event: Event) -> None:
    """Give the event to everybody who listens in this process."""
    for listener in _listeners:
        listener(event)


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Let `listeners` hear all events emitted in the block.

    >>> heard = []
    >>> with listening(heard.append): emit(Crashed("KeyError", "app.py:7"))
    >>> heard[0].error
    'KeyError'
    """
    _listeners.extend(listeners)
    try:
        yield
    finally:
        for listener in listeners:
            _listeners.remove(listener)


def crashed(error: BaseException) -> Crashed:
    """Return the event of an unforeseen error: its class and the way to it, not its message.

    Messages quote values (a name, an SQL literal), so they stay out.

    >>> try: {}["Smith"]
    ... except KeyError as error: crashed(error).error
    'KeyError'
    """
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 4:
        causes.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return Crashed("<".join(causes), ">".join(frames[-12:]))
