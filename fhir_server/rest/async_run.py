"""The background worker's part of asynchronous requests: what the door would have answered, kept.

A request is sent to the door again, so that nothing is different but when. What it writes is committed in
one transaction with the note that it was: after a kill a transaction is answered as it was carried out,
or carried out anew, and never twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode

import msgspec

from fhir_server.authorization.grant import Grant
from fhir_server.database import contents
from fhir_server.database.engine import Mode
from fhir_server.interactions import bundle
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.entry import Entry
from fhir_server.jobs import queue
from fhir_server.jobs.queue import NDJSON, Cancelled, File, Job
from fhir_server.model import json_format
from fhir_server.observability import events
from fhir_server.outcome import Issue, operation_outcome
from fhir_server.rest.caller import GRANT
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import Installation
from fhir_server.rest.response import Answer
from fhir_server.rest.routes import BASE

T = TypeVar("T")

TELL_EVERY_S = 1.0
SWEEP_EVERY_S, SWEEP_CONTENTS_EVERY_S = 60.0, 3600.0
_SYSTEM = Grant.system("jobs")


class Stopping(BaseException):
    """Raised inside the work of a job when the worker shall end; the job is left to the next one."""


class Watch:
    """Looks up from the work of a job now and then: is it still wanted, shall we end, how far is it?"""

    def __init__(self, entry: Entry, job: Job, stopping: Callable[[], bool]) -> None:
        self._entry, self._job, self._stopping = entry, job, stopping
        self._told_at = 0.0
        self.said = "running"

    def tick(self) -> None:
        """Raise Stopping or Cancelled when the work shall end; tell the progress once a second."""
        if self._stopping():
            raise Stopping
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._entry.write(_SYSTEM, lambda context: queue.tell(context.unit, self._job, self.said))


@dataclass(frozen=True, slots=True)
class Watched(Entry):
    """An Entry whose units belong to a job: each commits what it came to with what it did."""

    job: Job | None = None
    watch: Watch | None = None
    steps: list[int] = field(default_factory=lambda: [0])

    def read(self, grant: Grant, work: Callable[[Context], T]) -> T:
        """Run `work` on a reading unit."""
        self._step()
        return Entry.read(self, grant, work)

    def write(self, grant: Grant, work: Callable[[Context], T]) -> T:
        """Run `work` in one transaction, in which its answer is kept."""
        self._step()

        def noted(context: Context) -> T:
            made = work(context)
            if self.job is not None:
                queue.keep(context.unit, self.job, _kept(context, made))
            return made

        return Entry.write(self, grant, noted)

    def _step(self) -> None:
        if self.watch is not None:
            self.watch.tick()
            self.steps[0] += 1
            self.watch.said = f"{self.steps[0]} steps begun"


def _kept(context: Context, made: Any) -> str:
    """Return the answer of a unit as an entry of a batch-response."""
    if isinstance(made, Result):
        settings, version = context.settings, made.version
        return bundle.response_entry(
            settings, made.status, version, text=made.text, issues=made.issues, with_body=made.text is None
        )
    if isinstance(made, dict) and "resourceType" in made:
        return bundle.response_entry(context.settings, 200, text=json_format.encode(made).decode())
    return bundle.response_entry(context.settings, 200)


class Runner:
    """Works at the jobs of an installation, one at a time."""

    def __init__(self, here: Installation, stopping: Callable[[], bool] = lambda: False) -> None:
        self._here, self._entry, self._stopping = here, here.entry, stopping
        self._swept_at = self._swept_contents_at = time.monotonic()

    def drain(self) -> int:
        """Carry out the oldest job that nobody works at; return how many there were: one or none."""
        with self._entry.engine.connection(Mode.SINGLE) as connection:
            cursor = connection.cursor()
            job = queue.claim(cursor)
            if job is not None:
                try:
                    self._carry_out(job)
                finally:
                    queue.release(cursor)
        if job is None:
            self._sweep_now_and_then()
        return 0 if job is None else 1

    def _sweep_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._swept_at >= SWEEP_EVERY_S:
            self._swept_at = now
            self._entry.write(_SYSTEM, lambda context: queue.sweep(context.unit))
        if now - self._swept_contents_at >= SWEEP_CONTENTS_EVERY_S:  # looks at all that are a day old
            self._swept_contents_at = now
            contents.sweep(self._entry.engine)

    def sweep(self) -> None:
        """Delete results that have expired, and contents that nobody points at."""
        self._entry.write(_SYSTEM, lambda context: queue.sweep(context.unit))
        contents.sweep(self._entry.engine)

    def _carry_out(self, job: Job) -> None:
        work = _Work(self._here, job, self._stopping)
        try:
            files, failed = work.made()
            hours = self._here.config.job_result_hours
            self._entry.write(
                _SYSTEM, lambda context: queue.end(context.unit, job, files, failed=failed, kept_hours=hours)
            )
        except Cancelled:
            work.discard()
        except Stopping:
            work.discard()
            self._entry.write(_SYSTEM, lambda context: queue.put_back(context.unit, job))
        except Exception as error:
            # Of a database that went away, for instance: the job stays, and is tried again.
            events.emit(events.crashed(error))
            raise


class _Work:
    """What is done for one job."""

    def __init__(self, here: Installation, job: Job, stopping: Callable[[], bool]) -> None:
        entry = here.entry
        self._watch = Watch(entry, job, stopping)
        watched = Watched(
            entry.engine, entry.settings, entry.clock, entry.listeners, job=job, watch=self._watch
        )
        self._door = Door(Installation(watched, here.config, here.capabilities))
        self._here, self._job = here, job
        self._writers: dict[tuple[str, str], _Lines] = {}

    def made(self) -> tuple[list[File], bool]:
        """Return the files that the job comes to, and whether it has failed."""
        job = self._job
        if job.units:
            return self._found_done()
        if job.attempt > queue.MOST_ATTEMPTS:
            said = (
                f"the server was stopped {queue.MOST_ATTEMPTS} times while it worked at this; send it again"
            )
            return self._refused(500, said)
        if job.kind == NDJSON:
            return self._pages()
        answer = self._sent(job.request.method, job.request.path, job.request.query, self._body())
        return [self._answer(_batch_response(_entry(answer)))], False

    def discard(self) -> None:
        """Take away what was written so far."""
        for lines in self._writers.values():
            lines.writer.discard()

    def _found_done(self) -> tuple[list[File], bool]:
        """Return what another attempt had committed before it was killed."""
        if self._is_batch():
            return self._refused(
                500,
                f"the server was stopped in the middle of this batch: {self._job.units} of the entries that "
                "write were carried out, the others were not; the history of the system shows which",
            )
        return [self._answer(_batch_response(self._job.kept or ""))], False

    def _is_batch(self) -> bool:
        try:
            sent = json_format.parse(self._body()) if self._job.body is not None else {}
        except Exception:  # XML, whose batches look like this too
            return any(kind in self._body() for kind in (b'"batch"', b'"history"'))
        return sent.get("resourceType") == "Bundle" and sent.get("type") in ("batch", "history")

    def _refused(self, status: int, said: str) -> tuple[list[File], bool]:
        outcome = operation_outcome([Issue("error", "exception", said)])
        return [self._answer(json_format.encode(outcome), status)], True

    def _body(self) -> bytes:
        if self._job.body is None:
            return b""
        pk = self._job.body
        content = self._here.entry.read(_SYSTEM, lambda context: contents.find(context.unit, pk))
        size_bytes = 0 if content is None else content.size_bytes
        return b"".join(contents.read(self._here.entry.engine, pk, 0, size_bytes))

    def _sent(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Send a request to the door on behalf of whoever asked."""
        request = self._job.request
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "wsgi.input": BytesIO(body),
            GRANT: Grant(self._job.subject),
        }
        if method == "POST":
            environ["CONTENT_LENGTH"] = str(len(body))
            environ.update(request.headers)
        elif "HTTP_PREFER" in request.headers:
            environ["HTTP_PREFER"] = request.headers["HTTP_PREFER"]
        if method == "DELETE":
            environ.update(request.headers)
        return self._door.answer(environ)

    def _answer(self, text: bytes, status: int = 200) -> File:
        writer = contents.Writer(self._here.entry.engine)
        writer.write(text)
        return File("answer", "answer", str(status), 1, writer.close().pk)

    def _pages(self) -> tuple[list[File], bool]:
        """Return the files of all resources of a search or history, however many pages it has."""
        method, path, body = self._job.request.method, self._job.request.path, self._body()
        pairs = parse_qsl(self._job.request.query, keep_blank_values=True)
        sent = [*pairs, *parse_qsl(body.decode("ascii", "replace"))]
        counted = ("_summary", "count") in sent or ("_count", "0") in sent
        if method == "GET" and not any(name in ("_count", "_cursor") for name, _ in pairs):
            pairs.append(("_count", str(self._here.entry.settings.max_count)))
        query = urlencode(pairs)
        pages = resources = 0
        while True:
            answer = self._sent(method, path, query, body)
            if answer.status != 200:
                self.discard()
                return [self._answer(answer.body, answer.status)], True
            page = _PAGE.decode(answer.body)
            if counted or page.resourceType != "Bundle":  # a total, or how a search is answered (_explain)
                return [self._answer(_batch_response(_entry(answer)))], False
            for entry in page.entry:
                self._add(entry)
            pages, resources = pages + 1, resources + len(page.entry)
            self._watch.said = f"{resources} resources on {pages} pages"
            found = next((link.url for link in page.link if link.relation == "next"), None)
            below, _, query = (found or "").removeprefix(self._here.base_url).partition("?")
            method, path, body = "GET", BASE + unquote(below), b""
            if found is None:
                break
        return [lines.file(*key) for key, lines in sorted(self._writers.items())], False

    def _add(self, entry: _PageEntry) -> None:
        if bytes(entry.resource):
            type_name = _TYPE.decode(entry.resource).resourceType
            role = "error" if entry.search is not None and entry.search.mode == "outcome" else "output"
            line = bytes(entry.resource)
        elif entry.request is not None:
            type_name, role = "Bundle", "deleted"
            deletion = {"request": {"method": "DELETE", "url": entry.request.url}}
            line = msgspec.json.encode({"resourceType": "Bundle", "type": "transaction", "entry": [deletion]})
        else:
            return
        lines = self._writers.get((role, type_name))
        if lines is None:
            lines = self._writers[role, type_name] = _Lines(contents.Writer(self._here.entry.engine))
        lines.add(line)


class _Lines:
    """The lines of one file, counted."""

    def __init__(self, writer: contents.Writer) -> None:
        self.writer, self.count = writer, 0

    def add(self, line: bytes) -> None:
        """Write one resource, on one line whatever its spaces are."""
        if b"\n" in line or b"\r" in line:
            line = msgspec.json.format(line, indent=-1)
        self.writer.write(line + b"\n")
        self.count += 1

    def file(self, role: str, type_name: str) -> File:
        """Return the finished file."""
        name = {"output": type_name, "deleted": "deleted", "error": "errors"}[role]
        return File(f"{name}.ndjson", role, type_name, self.count, self.writer.close().pk)


class _Link(msgspec.Struct):
    relation: str
    url: str


class _Search(msgspec.Struct):
    mode: str = ""


class _Made(msgspec.Struct):
    url: str = ""


class _PageEntry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    search: _Search | None = None
    request: _Made | None = None


class _Page(msgspec.Struct):
    resourceType: str
    link: list[_Link] = []
    entry: list[_PageEntry] = []


class _Typed(msgspec.Struct):
    resourceType: str


_PAGE, _TYPE = msgspec.json.Decoder(_Page), msgspec.json.Decoder(_Typed)


def _entry(answer: Answer) -> str:
    """Return an answer of the door as an entry of a batch-response (R4/bundle.html)."""
    headers = dict(answer.headers)
    told: dict[str, Any] = {"status": f"{answer.status} {HTTPStatus(answer.status).phrase}"}
    for name, header in (("location", "Location"), ("etag", "ETag")):
        if header in headers:
            told[name] = headers[header]
    parts: list[str] = []
    text = answer.body.decode()
    response = json_format.encode(told).decode()
    if text and answer.status >= 400:
        response = f'{response[:-1]},"outcome":{text}}}'
    elif text:
        parts.append(f'"resource":{text}')
    parts.append(f'"response":{response}')
    return f"{{{','.join(parts)}}}"


def _batch_response(entry: str) -> bytes:
    return bundle.responses("batch-response", [entry]).encode()
