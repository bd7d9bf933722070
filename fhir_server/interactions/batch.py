"""batch (R4/http.html#transaction): as many units of work as there are entries, each with its own fate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from fhir_server.authorization.grant import Grant
from fhir_server.database.refusals import refusal_of
from fhir_server.interactions import bundle as bundles
from fhir_server.interactions import entries, links
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.requests import Request, check_size, requests
from fhir_server.model.positions import placed_groups
from fhir_server.outcome import FhirError, Invalid, Issue
from fhir_server.storage import outcomes


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of an entry, and how it is told."""

    result: Result
    request: Request | None = None
    with_body: bool = False


def batch(
    entry: Entry,
    grant: Grant,
    bundle: Resource,
    *,
    returns: str | None = None,
    keep_ids: bool = False,
    sent: bytes | None = None,
    stated: entries.Stated | None = None,
    order: Sequence[int] | None = None,
) -> Result:
    """Carry out each entry by itself, in their order or in `order`, and return the fate of each.

    The answer is bounded by `max_response_bytes`: an entry whose body would not fit any more is carried
    out, and its part of the answer says that the body is left out.
    """
    check_size(entry.settings.max_bundle_entries, bundle)
    fates: dict[int, _Fate] = {}
    room = entries.Room(entry.settings.max_response_bytes)
    changes = 0
    urns = _urns(bundle)
    asked: Iterable[Request | FhirError] = requests(bundle, entry.settings.base_urls)
    if order is not None:
        waiting = list(asked)
        asked = (waiting[number] for number in order)
    for number, request in zip(count() if order is None else order, asked, strict=False):
        try:
            if isinstance(request, FhirError):
                raise request
            if urns:
                _refuse_dependent(request, urns)
            result = _alone(entry, grant, request, keep_ids, stated)
            changes += result.changes
            fates[number] = _fate(room, request, result, returns)
        except Exception as error:  # a crash too: what other entries wrote stays, so their fate must be told
            refusal = refusal_of(error)
            failed = Result(refusal.status, issues=refusal.issues)
            fates[number] = _Fate(failed)
    in_turn = [fates[number] for number in sorted(fates)]
    told = [_told(fate, returns) for fate in in_turn]
    if sent is not None:
        told = placed_groups(told, sent)
    answers = [
        bundles.response_entry(
            entry.settings,
            fate.result.status,
            fate.result.version,
            with_body=fate.with_body,
            text=fate.result.text,
            issues=issues,
        )
        for fate, issues in zip(in_turn, told, strict=True)
    ]
    return Result(200, text=bundles.responses("batch-response", answers), changes=changes)


def _urns(bundle: Resource) -> set[str]:
    """Return the urns that stand for resources of the Bundle, and for nothing outside of it."""
    sent = bundle.get("entry")
    entries = sent if isinstance(sent, list) else ()
    urls = (entry.get("fullUrl") for entry in entries if isinstance(entry, dict))
    return {url for url in urls if isinstance(url, str) and url.startswith("urn:")}


def _refuse_dependent(request: Request, urns: set[str]) -> None:
    """Raise Invalid (400) for an entry that refers to another one; it would be stored leading to nothing."""
    if not request.writes or request.resource is None:
        return
    for reference, path in links.references(request.resource, f"{request.path}.resource"):
        if reference in urns:
            raise Invalid(
                f"{reference} is an entry of the same batch, whose entries know nothing of each other "
                "(R4/http.html#brules); send a transaction",
                expression=path,
            )


def _told(fate: _Fate, returns: str | None) -> tuple[Issue, ...]:
    """Return the issues of the outcome of an entry; with return=OperationOutcome every entry has one."""
    issues = fate.result.issues
    if returns == "OperationOutcome" and fate.request is not None and fate.request.writes:
        return (*issues, bundles.done(fate.result))
    # warnings are told unasked, and what has no version to tell it: how many were deleted
    return issues if outcomes.worth_keeping(issues) or fate.result.version is None else ()


def _fate(room: entries.Room, request: Request, result: Result, returns: str | None) -> _Fate:
    """Return what is told of a result: with its body, if that fits into the answer."""
    version = result.version
    with_body = entries.shows_body(request, result, returns)
    text = result.text if version is None or not with_body else None if version.deleted else version.text()
    if request.method == "HEAD" or text is None:
        return _Fate(replace(result, text=None), request)
    try:
        room.take(text, request)
    except FhirError as error:
        if not request.writes:
            raise
        # Nobody may take a write that was done for one that failed: its status stays.
        told = tuple(replace(issue, severity="warning") for issue in error.issues)
        return _Fate(replace(result, issues=(*result.issues, *told)), request)
    return _Fate(result, request, with_body)


def _alone(
    entry: Entry, grant: Grant, request: Request, keep_ids: bool, stated: entries.Stated | None
) -> Result:
    """Carry out one entry of a batch in a unit of its own."""
    if request.operation is not None:
        call = entries.prepared(entry.settings, request)
        unit = entry.write if call.affects_state else entry.read
        return unit(grant, lambda context: entries.called(context, request, call))
    if not request.writes:
        try:
            return entry.read(grant, lambda context: entries.look(context, request, stated))
        except FhirError as error:
            raise entries.naming(request, error) from None

    def work(context: Context) -> Result:
        return entries.change(context, request, keep_id=keep_ids)

    try:
        result = entry.write(grant, work)
        issues = tuple(issue.within(f"{request.path}.resource") for issue in result.issues)
        return replace(result, issues=issues)
    except FhirError as error:
        raise error.within(f"{request.path}.resource") from None
