"""One call from body to answer, on a budget and never with a stack trace.

What goes wrong ends in `{"cards": []}` and a record. Only what the client can mend is said aloud:
400 names the field, 412 the data that is needed and cannot be had. What cannot be recorded is not
shown: a card that nobody could account for is worse than none. A record that the database does not
take in time goes to the spool, from where it is played back.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid4

from cds_hooks import prefetch
from cds_hooks import request as requests
from cds_hooks.client_trust import NOBODY, Caller
from cds_hooks.facts.chart import OtherPatient
from cds_hooks.fhir_access import Access
from cds_hooks.hooks.table import HOOKS
from cds_hooks.operation import burden as burdens
from cds_hooks.operation import inputs as documents
from cds_hooks.operation.burden import Burden, Reader
from cds_hooks.operation.inputs import Inputs
from cds_hooks.operation.modes import AlwaysOn, Mode
from cds_hooks.operation.recorder import NotKept, Recorder
from cds_hooks.operation.spool import Spool
from cds_hooks.prefetch import SourceFailed
from cds_hooks.records.entries import SHOWN, Call, Offer, body_of
from cds_hooks.records.store import Records
from cds_hooks.request import HookRequest
from cds_hooks.service import Decision, Service
from fhir_server import __version__
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.observability import events
from fhir_server.outcome import FhirError, Invalid, NotFound, PreconditionFailed

log = logging.getLogger(__name__)

BUDGET_S = 0.4
_FOR_THE_RECORD_S = 0.1  # of the budget: what deciding may not use up
_EMPTY = body_of([])
_ENDINGS = (
    "caller-unknown", "not-recorded", "timeout", "error", "fhir-server-failed", "switched-off",
    "switch-unknown", "shadow",
)  # fmt: skip


class HasModes(Protocol):
    """Who knows how each service is switched."""

    def of(self, service_id: str) -> Mode | None:
        """Return the mode of a service; None when nobody can know it now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer; `reasons` are those of its decision, for our own pages alone."""

    status: int
    body: bytes
    reasons: tuple[str, ...] = ()
    call_id: UUID | None = None


class Calls:
    """The services of an installation, with their records and the store they may fetch from.

    `entry` None: nothing is fetched. Threads start with the first call, not before a fork.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        records: Records,
        *,
        entry: Entry | None = None,
        base_urls: Sequence[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        budget_s: float = BUDGET_S,
        threads: int = 8,
        modes: HasModes | None = None,
        burden: Burden | None = None,
        spool: Spool | None = None,
        access: Access | None = None,
    ) -> None:
        self.services = services
        self.clock = clock
        self.modes: HasModes = modes or AlwaysOn()
        self._access = access or Access(entry, base_urls)
        self._budget_s = budget_s
        self._burden = burden or Burden()
        self._spool = spool
        self._recorder = Recorder(records)
        self._deciding = ThreadPoolExecutor(threads, thread_name_prefix="cds")

    def service(self, service_id: str) -> Service:
        """Return a service; raises NotFound (404) naming the known ones."""
        if service_id not in self.services:
            known = ", ".join(self.services) or "none"
            raise NotFound(f"there is no service {service_id!r}; known are {known}", expression="id")
        return self.services[service_id]

    def mode(self, service: Service) -> Mode | None:
        """Return how a service runs: its switch, and never more than shadow where it is itself in shadow."""
        mode = self.modes.of(service.id)
        return mode.and_not_more_than(Mode.SHADOW) if mode and service.shadow else mode

    def answer(
        self,
        service_id: str,
        body: bytes,
        client: str | None = None,
        *,
        caller: Caller = NOBODY,
        trial: bool = False,
    ) -> Answer:
        """Answer one call: 200, or 400, 404, 412 with an OperationOutcome.

        `caller` is who may have data fetched; `client` how the record names it, if otherwise.

        A `trial` is somebody's who looks at the service: it is recorded like any call, and neither
        withheld for being repeated nor counted as a card that a user had to read.
        """
        service = self.service(service_id)
        work = self._work(service, client or caller.name, body, trial=trial)
        work.caller = caller
        try:
            work.request = requests.parse(body, HOOKS, service.hooks)
        except Invalid as error:
            return self._refuse(work, error, "invalid-request")
        work.own_ids = self._access.ids_are_ours(work.request, caller)
        work.mode = self.mode(service)
        if work.mode is None:
            return self._finish(work, Decision(("switch-unknown",)))
        if work.mode is Mode.OFF:
            return self._finish(work, Decision(("switched-off",)))
        job: Future[Decision] = self._deciding.submit(self._decide, work)
        try:
            decision = job.result(timeout=max(self._left(work) - _FOR_THE_RECORD_S, 0.01))
        except TimeoutError:
            job.cancel()
            log.warning("cds call %s: over its time", work.call_id)
            decision = Decision(("timeout",))
        except PreconditionFailed as error:
            return self._refuse(work, error, "prefetch-missing")
        except Invalid as error:
            return self._refuse(work, error, "invalid-request")
        except OtherPatient:
            decision = Decision(("other-patient",))
        except SourceFailed as error:
            log.warning("cds call %s: the FHIR server of the caller failed, %s", work.call_id, error)
            decision = Decision(("fhir-server-failed",))
        except Exception as error:
            # the message may hold a patient's value: the type alone is logged
            log.error("cds call %s: %s in %s", work.call_id, type(error).__name__, _place(error))
            decision = Decision(("error",))
        return self._finish(work, decision)

    def refuse(self, service_id: str, error: FhirError, reason: str, client: str | None = None) -> Answer:
        """Record a call that is refused before it is read (413, 415, 401), and return the refusal."""
        return self._refuse(self._work(self.service(service_id), client, b""), error, reason)

    def silence(self, service_id: str, reason: str, client: str | None = None) -> Answer:
        """Answer a call with no cards that could not even be looked at, and record that it was made."""
        work = self._work(self.service(service_id), client, b"")
        return self._keep(work, Offer(work.call(200, Decision((reason,)), _EMPTY)))

    def _work(self, service: Service, client: str | None, body: bytes, *, trial: bool = False) -> _Work:
        now = self.clock()
        received_at = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as exact as it is kept
        return _Work(service, uuid4(), received_at, time.perf_counter(), client, body, trial)

    def _decide(self, work: _Work) -> Decision:
        request = work.request
        assert request is not None
        hook = HOOKS[request.hook]
        source = self._access.source(request, work.caller, self._left(work) - _FOR_THE_RECORD_S)
        gathered = prefetch.gather(work.service.prefetch, request, hook, source)
        found = Inputs(request.hook, request.context, [*gathered.resources, *hook.carried(request.context)])
        work.document = found.document()
        return documents.decide(work.service, work.call_id, work.received_at, found)

    def _finish(self, work: _Work, decision: Decision) -> Answer:
        bodies = [json_format.encode(card.as_json()).decode() for card in decision.cards]
        if work.mode is Mode.SHADOW:
            decision = replace(decision, reasons=(*decision.reasons, "shadow"))
            call = work.call(200, decision, _EMPTY)
            held = {card.uuid: "shadow" for card in decision.cards}
            return self._keep(work, Offer(replace(call, computed=body_of(bodies), withheld=held)))
        call = work.call(200, decision, body_of(bodies))
        request = work.request
        reader = Reader(work.client, request.user, request.patient_id) if request else Reader(None, None, "")
        limits = Burden() if work.trial else self._burden
        offered = tuple(
            burdens.offered(card, body, call.service, call.hook or "", reader, call.received_at, limits)
            for card, body in zip(decision.cards, bodies, strict=True)
        )
        return self._keep(work, Offer(call, offered))

    def _refuse(self, work: _Work, error: FhirError, reason: str) -> Answer:
        body = json_format.encode(error.as_json())
        return self._keep(work, Offer(work.call(error.status, Decision((reason,)), body.decode())))

    def _keep(self, work: _Work, offer: Offer) -> Answer:
        """Record a call within the rest of the budget; return what may be said."""
        try:
            verdicts = self._recorder.submit(offer).wait(max(self._left(work), 0.02))
            call = offer.settled(verdicts)
        except NotKept as error:
            call = self._spool_instead(offer, str(error))
        took_ms = 1000 * (time.perf_counter() - work.started)
        shown = len(call.cards)
        events.emit(events.CardsServed(call.service, outcome(call), call.reasons, shown, took_ms))
        return Answer(call.status, call.answer.encode(), call.reasons, call.call_id)

    def _spool_instead(self, offer: Offer, why: str) -> Call:
        """Return the call without its cards, and leave its record to the spool."""
        unseen = {offered.card: "not-recorded" for offered in offer.cards}
        call = offer.settled(unseen)
        if not offer.cards:
            call = replace(call, reasons=(*call.reasons, "not-recorded"))
        kept = self._spool is not None and self._spool.append(call)
        events.emit(events.CallSpooled(call.service, kept))
        log.error("cds call %s: not recorded, %s; no cards are shown", call.call_id, why)
        return call

    def _left(self, work: _Work) -> float:
        return self._budget_s - (time.perf_counter() - work.started)


@dataclass(slots=True)
class _Work:
    """What is known of a call while it is answered."""

    service: Service
    call_id: UUID
    received_at: datetime
    started: float
    client: str | None
    body: bytes
    trial: bool = False
    caller: Caller = NOBODY
    request: HookRequest | None = None
    mode: Mode | None = Mode.ON
    own_ids: bool = False
    document: bytes | None = None

    def call(self, status: int, decision: Decision, answer: str) -> Call:
        request, model, document = self.request, self.service.model, self.document
        return Call(
            call_id=self.call_id,
            received_at=self.received_at,
            latency_us=round(1e6 * (time.perf_counter() - self.started)),
            status=status,
            service=self.service.id,
            reasons=decision.reasons,
            input_hash=hashlib.sha256(self.body).digest() if document is None else documents.digest(document),
            answer=answer,
            hook=request.hook if request else None,
            hook_instance=request.hook_instance if request else None,
            client=self.client,
            user_reference=request.user if request else None,
            patient=request.patient_id if request else None,
            model=model.id if model else None,
            model_version=model.version if model else None,
            model_hash=model.sha256 if model else None,
            inputs=decision.inputs,
            output=decision.output,
            mode="off" if self.mode is None else self.mode.value,
            model_state=model.state if model else None,
            code=__version__,
            own_ids=self.own_ids,
            content=None if document is None else documents.packed(document),
        )


def outcome(call: Call) -> str:
    """Return in one word how a call ended, for metrics and lists.

    >>> from datetime import UTC
    >>> outcome(Call(UUID(int=1), datetime(2026, 1, 2, tzinfo=UTC), 1, 200, "s", ("timeout",), b"", "…"))
    'timeout'
    """
    if call.status != 200:
        return "refused"
    if call.cards:
        return SHOWN
    for reason in _ENDINGS:
        if reason in call.reasons or reason in call.withheld.values():
            return reason
    return "withheld" if call.withheld else "none"


def _place(error: BaseException) -> str:
    """Return file and line where an exception was raised, without any value."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "?" if frame is None else f"{frame.tb_frame.f_code.co_name}:{frame.tb_lineno}"
