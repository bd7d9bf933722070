"""Asynchronous requests (R4/async.html): kick-off, status, result and cancellation.

`Prefer: respond-async` on what may take long puts the request into the queue: 202 and an address to ask.
A search or history becomes files of resources with a manifest, all of it and not a page; with
`_outputFormat=application/fhir+json`, and for everything else, the one answer comes in a batch-response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from fhir_server.authorization.grant import Grant
from fhir_server.database import contents
from fhir_server.jobs import queue
from fhir_server.jobs.queue import BUNDLE, NDJSON, File, Job
from fhir_server.outcome import Invalid, Issue, NotFound, Throttled
from fhir_server.rest import body, response
from fhir_server.rest.caller import caller
from fhir_server.rest.installation import Installation
from fhir_server.rest.preferences import without_async
from fhir_server.rest.request import Request
from fhir_server.rest.response import Answer
from fhir_server.rest.routes import BASE, Match

if TYPE_CHECKING:
    from fhir_server.interactions.context import Context

MAY_TAKE_LONG = frozenset(
    ("search-type", "search-system", "search-compartment", "history-instance", "history-type",
     "history-system", "transaction", "operation", "delete-conditional")
)  # fmt: skip
"""The interactions that are put off when the client prefers so; the others are answered at once."""

PAGED = frozenset(name for name in MAY_TAKE_LONG if name.startswith(("search", "history")))

FORMATS = {
    "application/fhir+ndjson": NDJSON, "application/fhir ndjson": NDJSON, "application/ndjson": NDJSON,
    "ndjson": NDJSON, "application/fhir+json": BUNDLE, "application/fhir json": BUNDLE, "json": BUNDLE,
}  # fmt: skip
"""What `_outputFormat` may say; an unescaped + in a URL is a space."""

NDJSON_TYPE = "application/fhir+ndjson"
RETRY_AFTER_S = 2

_NOT_KEPT = frozenset(("_format", "_pretty", "_outputFormat"))
_KEPT = (
    "CONTENT_TYPE",
    "HTTP_IF_MATCH",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_NONE_EXIST",
    "HTTP_IF_MODIFIED_SINCE",
)


def start(here: Installation, request: Request, match: Match) -> Answer:
    """Put the request into the queue: 202 with the address of its status in Content-Location.

    Raises Invalid (400) for another `_outputFormat`, TooLarge (413), Throttled (429).
    """
    grant = caller(request)
    kind = _kind(request, match.route.interaction)
    environ = request.environ
    headers = {name: str(environ[name]) for name in _KEPT if name in environ}
    if wish := without_async(request.header("PREFER")):
        headers["HTTP_PREFER"] = wish
    pairs = [pair for pair in request.parameters if pair[0] not in _NOT_KEPT]
    asked = queue.Request(request.method, request.path, urlencode(pairs), headers)
    kept = None
    here.entry.read(grant, lambda context: _check_number(here, context, grant))
    if request.method == "POST" and body.is_there(request):
        writer = contents.Writer(here.entry.engine)
        writer.write(body.read(request, here.config.max_body_bytes))
        kept = writer.close().pk

    def work(context: Context) -> str:
        return queue.enqueue(context.unit, grant.subject, kind, asked, kept, context.now())

    address = f"{here.base_url}/jobs/{here.entry.write(grant, work)}"
    said = Issue("information", "informational", f"the request is accepted; its status is at {address}")
    headers_out = [("Content-Location", address), ("Preference-Applied", "respond-async")]
    return Answer(202, response.outcome_text((), said.diagnostics), headers_out)


def _check_number(here: Installation, context: Context, grant: Grant) -> None:
    if queue.waiting(context.unit, grant.subject) >= here.config.max_jobs:
        raise Throttled(
            f"{here.config.max_jobs} requests of yours are under way (setting max_jobs); wait for one of "
            "them, or DELETE its address"
        )


def _kind(request: Request, interaction: str) -> str:
    wanted = request.parameter("_outputFormat")
    if wanted is None:
        counted = request.parameter("_summary") == "count"  # what is asked for is a Bundle's total
        return NDJSON if interaction in PAGED and not counted else BUNDLE
    if wanted not in FORMATS:
        known = ", ".join(name for name in FORMATS if "/" in name and " " not in name)
        raise Invalid(f"_outputFormat={wanted} is not known; {known} are")
    if FORMATS[wanted] == NDJSON and interaction not in PAGED:
        raise Invalid("only searches and histories become NDJSON; leave _outputFormat out")
    return FORMATS[wanted]


def status(here: Installation, request: Request, match: Match) -> Answer:
    """R4/async.html: 202 with X-Progress while it runs, 200 with the result or what went wrong at the end."""
    job, files = _found(here, request, match)
    if not job.over:
        progress = job.progress or ("waiting" if job.state == "waiting" else "running")
        return Answer(202, b"", [("X-Progress", progress[:100]), ("Retry-After", str(RETRY_AFTER_S))])
    expires = response.http_date((job.expires_at or "")[:19])
    headers = [("Expires", expires)]
    answer = next((file for file in files if file.role == "answer"), None)
    if answer is not None:
        text = _whole(here, answer)
        return Answer(int(answer.type), text, headers)
    manifest = msgspec.json.encode(_manifest(here, job, files))
    return Answer(200, manifest, headers, media_type="application/json")


def _manifest(here: Installation, job: Job, files: list[File]) -> dict[str, Any]:
    query = f"?{job.request.query}" if job.request.query else ""

    def listed(role: str) -> list[dict[str, Any]]:
        return [
            {"type": file.type, "url": f"{here.base_url}/jobs/{job.id}/{file.name}", "count": file.count}
            for file in files
            if file.role == role
        ]

    return {
        "transactionTime": job.begun_at,
        "request": f"{here.base_url}{job.request.path.removeprefix(BASE)}{query}",
        "requiresAccessToken": here.config.auth != "off",
        "output": listed("output"),
        "deleted": listed("deleted"),
        "error": listed("error"),
    }


def _whole(here: Installation, file: File) -> bytes:
    content = here.entry.read(_NOBODY, lambda context: contents.find(context.unit, file.content))
    size_bytes = 0 if content is None else content.size_bytes
    return b"".join(contents.read(here.entry.engine, file.content, 0, size_bytes))


_NOBODY = Grant.system("jobs")


def file(here: Installation, request: Request, match: Match) -> Answer:
    """One file of the result, as it is."""
    job, files = _found(here, request, match)
    name = match.values["file"]
    found = next((each for each in files if each.name == name and each.role != "answer"), None)
    if found is None or not job.over:
        raise NotFound(f"this request has made no file {name!r}; the manifest lists those there are")
    content = here.entry.read(_NOBODY, lambda context: contents.find(context.unit, found.content))
    if content is None:
        raise NotFound(f"the file {name!r} is gone")
    expires = ("Expires", response.http_date((job.expires_at or "")[:19]))
    return response.of_content(request, here.entry.engine, content, NDJSON_TYPE, [expires])


def cancel(here: Installation, request: Request, match: Match) -> Answer:
    """DELETE of a status address: 202; what was not committed yet never is, and the result is gone."""
    grant = caller(request)
    id_ = match.values["job"]

    def work(context: Context) -> None:
        queue.cancel(context.unit, _own(queue.find(context.unit, id_, grant.subject, context.now())))

    here.entry.write(grant, work)
    return Answer(202, response.outcome_text((), "the request is cancelled and its result deleted"))


def _found(here: Installation, request: Request, match: Match) -> tuple[Job, list[File]]:
    grant = caller(request)
    id_ = match.values["job"]

    def work(context: Context) -> tuple[Job, list[File]]:
        context.unit.snapshot()
        job = _own(queue.find(context.unit, id_, grant.subject, context.now()))
        return job, queue.files(context.unit, job) if job.over else []

    return here.entry.read(grant, work)


def _own(job: Job | None) -> Job:
    if job is None:
        # Others learn no more than that: not even that there is such a request.
        raise NotFound("there is no such request of yours; it may have expired or been cancelled")
    return job
