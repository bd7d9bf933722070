"""The run of a load: order, groups, parallel workers, what was rejected and why.

Single resources are stored in groups, one transaction each. Batches go before transactions;
transactions wait on disk until everything else is in, and one whose conditional reference
has no match is tried once more after all others. With several workers, a document that
writes an id which another one in flight writes too waits for it: the later file wins.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from fhir_server.authorization.grant import Grant
from fhir_server.cli.loading.sources import Document, Unreadable, documents
from fhir_server.interactions.context import Result
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.store_many import store_many
from fhir_server.interactions.transaction import execute
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, NoMatch, Unavailable
from fhir_server.storage.writer import Written

GROUP = 200
"""Single resources of one transaction."""

GROUP_BYTES = 4 * 1024 * 1024

LOADER = Grant.system("load")


class _Resource(msgspec.Struct):
    resourceType: str | None = None
    id: str | None = None


class _Entry(msgspec.Struct):
    resource: _Resource | None = None


class _Head(msgspec.Struct):
    """What planning needs of a document; decoding it skips everything else."""

    resourceType: str | None = None
    id: str | None = None
    type: Any = None
    entry: list[_Entry] | msgspec.UnsetType = msgspec.UNSET


_heads = msgspec.json.Decoder(_Head)


@dataclass(slots=True)
class Fate:
    """What became of some documents; `rejected` holds (place, reason), `again` what to try once more."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    again: list[Document] = field(default_factory=list)

    def add(self, other: Fate) -> None:
        """Take the counts of `other` in."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.rejected += other.rejected
        self.again += other.again


@dataclass(slots=True)
class Report:
    """The whole run: `overwritten` are addresses that a later document replaced."""

    fate: Fate = field(default_factory=Fate)
    documents: int = 0
    overwritten: list[str] = field(default_factory=list)


def load(
    files: Iterable[Path],
    submit: Callable[[str, list[Document]], Future[Fate]],
    *,
    unpack: bool,
    in_flight: int,
    progress: Callable[[Path, int], None] = lambda path, count: None,
) -> Report:
    """Load all documents of `files` and report what became of them.

    `submit` runs `work` on (kind, documents) somewhere; at most `in_flight` of them at once.
    """
    report = Report()
    flight = _Flight(submit, in_flight, report)
    with tempfile.TemporaryFile() as spool:
        waiting: list[tuple[str, int, int]] = []
        for path in files:
            for document in documents(path):
                report.documents += 1
                if isinstance(document, Unreadable):
                    report.fate.rejected.append((document.place, document.reason))
                    continue
                kind, addresses = _kind(document, unpack)
                if kind == "transaction":
                    waiting.append((document.source, spool.tell(), len(document.data)))
                    spool.write(document.data)
                else:
                    flight.take(kind, document, addresses)
            progress(path, report.documents)
        flight.land()
        for document in _spooled(spool, waiting):
            flight.take("transaction", document, _kind(document, unpack)[1])
        flight.land()
    again, report.fate.again = report.fate.again, []
    for document in again:
        flight.take("last try", document, _kind(document, unpack)[1])
    flight.land()
    return report


def work(entry: Entry, kind: str, batch: list[Document], unpack: bool) -> Fate:
    """Store some documents of one kind: single, bundle, batch, transaction or last try."""
    fate = Fate()
    if kind == "single":
        _singles(entry, batch, unpack, fate)
        return fate
    for document in batch:
        try:
            bundle = json_format.parse(document.data)
            result = execute(entry, LOADER, bundle, keep_ids=True)
            _count_responses(document, result, fate)
        except NoMatch as error:
            if kind == "last try":
                fate.rejected.append((document.place, _reason(error)))
            else:
                fate.again.append(document)
        except Unavailable:
            raise
        except FhirError as error:
            fate.rejected.append((document.place, _reason(error)))
    return fate


def _singles(entry: Entry, batch: list[Document], unpack: bool, fate: Fate) -> None:
    places: list[str] = []
    resources: list[dict[str, Any]] = []
    for document in batch:
        try:
            resource = json_format.parse(document.data)
        except FhirError as error:
            fate.rejected.append((document.place, _reason(error)))
            continue
        for place, part in _parts(document.place, resource, unpack):
            places.append(place)
            resources.append(part)
    for page in _pages(resources):
        fates = entry.write(LOADER, lambda context, page=page: store_many(context, page))  # type: ignore[misc]
        for outcome in fates:
            place = places.pop(0)
            if isinstance(outcome, Written):
                fate.created += outcome.created
                fate.updated += outcome.changed and not outcome.created
                fate.unchanged += not outcome.changed
            else:
                fate.rejected.append((place, _reason(outcome)))


def _parts(place: str, resource: dict[str, Any], unpack: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the resource, or the resources of a Bundle that is to be taken apart."""
    entries = resource.get("entry")
    if not unpack or resource.get("resourceType") != "Bundle" or not isinstance(entries, list):
        yield place, resource
        return
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
            yield f"{place} Bundle.entry[{number}]", entry["resource"]


def _pages(resources: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut where a page is full or an id would stand in it twice."""
    page: list[dict[str, Any]] = []
    seen: set[tuple[Any, Any]] = set()
    for resource in resources:
        address = (resource.get("resourceType"), resource.get("id"))
        if len(page) == GROUP or (address[1] is not None and address in seen):
            yield page
            page, seen = [], set()
        seen.add(address)
        page.append(resource)
    if page:
        yield page


class _Issue(msgspec.Struct):
    diagnostics: str


class _Outcome(msgspec.Struct):
    issue: list[_Issue]


class _Response(msgspec.Struct):
    status: str
    outcome: _Outcome | None = None


class _ResponseEntry(msgspec.Struct):
    response: _Response


class _Responses(msgspec.Struct):
    entry: list[_ResponseEntry] = []


_responses = msgspec.json.Decoder(_Responses)


def _count_responses(document: Document, result: Result, fate: Fate) -> None:
    """Count what a batch or transaction did by the response it gave."""
    done = created = 0
    for number, entry in enumerate(_responses.decode(result.text or "").entry):
        response = entry.response
        if response.status.startswith(("4", "5")):
            issues = response.outcome.issue if response.outcome is not None else []
            reason = "; ".join(issue.diagnostics for issue in issues) or response.status
            fate.rejected.append((f"{document.place} Bundle.entry[{number}]", reason))
        else:
            done += 1
            created += response.status.startswith("201")
    fate.created += created
    fate.updated += result.changes - created
    fate.unchanged += done - result.changes


def _reason(error: FhirError) -> str:
    """Return what is wrong in one line, all problems of the resource behind each other."""
    return "; ".join(
        f"{issue.expression}: {issue.diagnostics}" if issue.expression else issue.diagnostics
        for issue in error.issues
    )


def _kind(document: Document, unpack: bool) -> tuple[str, list[str]]:
    """Return how a document is stored, and the addresses that it writes as far as it tells."""
    try:
        head = _heads.decode(document.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "single", []  # its parsing will say what is wrong
    own = [f"{head.resourceType}/{head.id}"] if head.id is not None else []
    if head.resourceType != "Bundle":
        return "single", own
    entries = head.entry if isinstance(head.entry, list) else []
    inner = [
        f"{entry.resource.resourceType}/{entry.resource.id}"
        for entry in entries
        if entry.resource is not None and entry.resource.id is not None
    ]
    if head.type in ("batch", "transaction"):
        return head.type, inner
    return "single", inner if unpack else own


def _spooled(spool: IO[bytes], waiting: Iterable[tuple[str, int, int]]) -> Iterator[Document]:
    for source, start, length in waiting:
        spool.seek(start)
        yield Document(source, None, spool.read(length))


class _Flight:
    """The documents under way: grouped, at most so many at once, no two on the same id."""

    def __init__(
        self, submit: Callable[[str, list[Document]], Future[Fate]], limit: int, report: Report
    ) -> None:
        self._submit, self._limit, self._report = submit, limit, report
        self._group: list[Document] = []
        self._group_bytes = 0
        self._group_addresses: set[str] = set()
        self._flying: dict[Future[Fate], set[str]] = {}
        self._seen: dict[str, str] = {}

    def take(self, kind: str, document: Document, addresses: list[str]) -> None:
        """Send a document on its way, or put a single one into the group that will go next."""
        for address in addresses:
            if kind != "last try" and self._seen.setdefault(address, document.place) != document.place:
                self._report.overwritten.append(f"{address}: {document.place} after {self._seen[address]}")
                self._seen[address] = document.place
        if kind != "single":
            self._depart()
            self._send(kind, [document], set(addresses))
            return
        self._group.append(document)
        self._group_addresses.update(addresses)
        self._group_bytes += len(document.data)
        if len(self._group) >= GROUP or self._group_bytes >= GROUP_BYTES:
            self._depart()

    def land(self) -> None:
        """Wait until everything that was taken is stored or rejected."""
        self._depart()
        while self._flying:
            self._collect()

    def _depart(self) -> None:
        if self._group:
            self._send("single", self._group, self._group_addresses)
            self._group, self._group_addresses, self._group_bytes = [], set(), 0

    def _send(self, kind: str, batch: list[Document], addresses: set[str]) -> None:
        while len(self._flying) >= self._limit or any(
            not addresses.isdisjoint(a) for a in self._flying.values()
        ):
            self._collect()
        self._flying[self._submit(kind, batch)] = addresses

    def _collect(self) -> None:
        done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
        for future in done:
            del self._flying[future]
            self._report.fate.add(future.result())
