"""One call from body to answer, on a budget and never with a stack trace.

What goes wrong ends in `{"cards": []}` and a record. Only what the client can mend is said aloud:
400 names the field, 412 the data that is needed and cannot be had. What cannot be recorded is not
shown: a card that nobody could account for is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from cds_hooks import cards, prefetch
from cds_hooks import request as requests
from cds_hooks.facts.chart import Chart, OtherPatient
from cds_hooks.hooks.table import HOOKS
from cds_hooks.records.entries import Call
from cds_hooks.records.store import Records
from cds_hooks.request import HookRequest
from cds_hooks.service import Decision, Facts, Service
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Invalid, NotFound, PreconditionFailed

log = logging.getLogger(__name__)

BUDGET_S = 0.4
_FOR_THE_RECORD_S = 0.1  # of the budget: what deciding may not use up


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer; `reasons` are those of its decision, for our own pages alone."""

    status: int
    body: bytes
    reasons: tuple[str, ...] = ()


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
    ) -> None:
        self.services = services
        self.clock = clock
        self._records = records
        self._entry = entry
        self._base_urls = tuple(base_urls)
        self._budget_s = budget_s
        self._deciding = ThreadPoolExecutor(threads, thread_name_prefix="cds")
        self._recording = ThreadPoolExecutor(threads, thread_name_prefix="cds-record")

    def service(self, service_id: str) -> Service:
        """Return a service; raises NotFound (404) naming the known ones."""
        if service_id not in self.services:
            known = ", ".join(self.services) or "none"
            raise NotFound(f"there is no service {service_id!r}; known are {known}", expression="id")
        return self.services[service_id]

    def answer(self, service_id: str, body: bytes, client: str | None = None) -> Answer:
        """Answer one call: 200, or 400, 404, 412 with an OperationOutcome."""
        service = self.service(service_id)
        work = _Work(
            service, uuid4(), self.clock(), time.perf_counter(), client, hashlib.sha256(body).digest()
        )
        try:
            work.request = requests.parse(body, HOOKS, service.hooks)
        except Invalid as error:
            return self._refuse(work, error, "invalid-request")
        job: Future[Decision] = self._deciding.submit(self._decide, work)
        try:
            decision = job.result(timeout=max(self._budget_s - _FOR_THE_RECORD_S, 0.01))
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
        except Exception as error:
            # the message may hold a patient's value: the type alone is logged
            log.error("cds call %s: %s in %s", work.call_id, type(error).__name__, _place(error))
            decision = Decision(("error",))
        return self._finish(work, decision)

    def _decide(self, work: _Work) -> Decision:
        request = work.request
        assert request is not None
        hook = HOOKS[request.hook]
        source = prefetch.own_store(request, self._entry, self._base_urls, Grant.system("cds-hooks"))
        gathered = prefetch.gather(work.service.prefetch, request, hook, source)
        resources = [*gathered.resources, *hook.carried(request.context)]
        work.input_hash = input_hash(request, resources)
        chart = Chart.of(request.patient_id, work.received_at, resources)
        return work.service.decide(Facts(work.call_id, request.hook, request.context, chart))

    def _finish(self, work: _Work, decision: Decision) -> Answer:
        body = json_format.encode(cards.response(decision.cards))
        given = tuple(UUID(card.uuid) for card in decision.cards)
        if self._keep(work.call(200, decision, body, given)):
            return Answer(200, body, decision.reasons)
        if decision.cards:
            log.error("cds call %s: not recorded, so not shown", work.call_id)
        return Answer(200, _EMPTY, decision.reasons)

    def _refuse(self, work: _Work, error: FhirError, reason: str) -> Answer:
        body = json_format.encode(error.as_json())
        self._keep(work.call(error.status, Decision((reason,)), body, ()))
        return Answer(error.status, body, (reason,))

    def _keep(self, call: _Kept) -> bool:
        """Record a call within the rest of the budget; say whether it is kept."""
        gate = _Gate()
        job = self._recording.submit(self._records.keep, call.entry, gate.enter)
        try:
            job.result(timeout=max(self._budget_s - (time.perf_counter() - call.started), 0.02))
        except TimeoutError:
            return not gate.close() and _committed(job)
        except Exception as error:
            log.error("cds call %s: no record, %s", call.entry.call_id, type(error).__name__)
            return False
        return True


_EMPTY = json_format.encode(cards.response())


@dataclass(slots=True)
class _Kept:
    entry: Call
    started: float


@dataclass(slots=True)
class _Work:
    """What is known of a call while it is answered."""

    service: Service
    call_id: UUID
    received_at: datetime
    started: float
    client: str | None
    input_hash: bytes
    request: HookRequest | None = None

    def call(self, status: int, decision: Decision, body: bytes, given: tuple[UUID, ...]) -> _Kept:
        request, model = self.request, self.service.model
        entry = Call(
            call_id=self.call_id,
            received_at=self.received_at,
            latency_us=round(1e6 * (time.perf_counter() - self.started)),
            status=status,
            service=self.service.id,
            reasons=decision.reasons,
            input_hash=self.input_hash,
            answer=body.decode(),
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
            cards=given,
        )
        return _Kept(entry, self.started)


class _Gate:
    """Decides once whether a record is committed or given up, whichever side comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = "open"

    def enter(self) -> bool:
        """Called by the writer before COMMIT: say whether it may."""
        return self._move("entered")

    def close(self) -> bool:
        """Called by who waits no longer: True when nothing will be committed."""
        return self._move("closed")

    def _move(self, to: str) -> bool:
        with self._lock:
            if self._state == "open":
                self._state = to
            return self._state == to


def _committed(job: Future[None]) -> bool:
    """Wait for a COMMIT that is on its way; say whether it came through."""
    try:
        job.result(timeout=2.0)
    except Exception:
        return False
    return True


def input_hash(request: HookRequest, resources: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the SHA-256 of what a decision rests on: hook, context, resources; never the token."""
    digest = hashlib.sha256()
    for part in (request.hook, request.context, resources):
        digest.update(json.dumps(part, sort_keys=True, default=str, separators=(",", ":")).encode() + b"\n")
    return digest.digest()


def _place(error: BaseException) -> str:
    """Return file and line where an exception was raised, without any value."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "?" if frame is None else f"{frame.tb_frame.f_code.co_name}:{frame.tb_lineno}"
