"""Bundles as text: searchset, history and the responses of batch and transaction (R4/bundle.html).

Stored resources are put in as the text they are; nothing is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import zip_longest
from types import MappingProxyType

from fhir_server.interactions.context import Result, Settings
from fhir_server.model import json_format
from fhir_server.outcome import Issue, operation_outcome
from fhir_server.storage.version import Version

Link = tuple[str, str]
"""A relation (self, next, first …) and its address."""

NOTHING: Mapping[int, str] = MappingProxyType({})

_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def quoted(text: str) -> str:
    """Return a text as a JSON string."""
    return json_format.encode(text).decode()


def outcome_text(issues: Sequence[Issue]) -> str:
    """Return an OperationOutcome as JSON text."""
    return json_format.encode(operation_outcome(issues)).decode()


def searchset(
    settings: Settings,
    now: str,
    links: Iterable[Link],
    matches: Iterable[str],
    includes: Iterable[str] = (),
    total: int | None = None,
    issues: Sequence[Issue] = (),
) -> str:
    """Return a searchset Bundle (R4/http.html#search).

    `matches` and `includes` are entries made by `entry`; `issues` become one OperationOutcome
    entry with the search mode outcome.
    """
    entries = [*matches, *includes]
    if issues:
        entries.append(f'{{"resource":{outcome_text(issues)},"search":{{"mode":"outcome"}}}}')
    return _bundle("searchset", now, links, entries, total)


def entries(
    settings: Settings,
    versions: Iterable[Version],
    mode: str,
    scores: Sequence[float | None] = (),
    extensions: Mapping[int, str] = NOTHING,
) -> list[str]:
    """Return the entries of a searchset for resources as they are stored.

    `scores` are theirs, if any; `extensions` what else there is to say of the match, by pk.
    """
    base, end = settings.base_url, f',"search":{{"mode":"{mode}"}}}}'
    if any(scores) or extensions:
        return [
            entry(settings, version, version.text(), mode, score, extension=extensions.get(version.pk))
            for version, score in zip_longest(versions, scores)
        ]
    return [
        f'{{"fullUrl":"{base}/{version.type_name}/{version.id}","resource":{version.text()}{end}'
        for version in versions
    ]


def entry(
    settings: Settings,
    version: Version,
    text: str,
    mode: str,
    score: float | None = None,
    fragment: str | None = None,
    extension: str | None = None,
) -> str:
    """Return one entry of a searchset; `text` is the resource, whole or a part of it.

    `score` says how well it fits, where words were asked for, `extension` is one of `search` as JSON. With a
    `fragment` it is the one of that id which the version contains (R4/search.html#contained).
    """
    said = "" if score is None else f',"score":{score:.6f}'
    more = "" if extension is None else f'"extension":[{extension}],'
    url = f"{settings.base_url}/{version.address}" + (f"#{fragment}" if fragment else "")
    return f'{{"fullUrl":"{url}","resource":{text},"search":{{{more}"mode":"{mode}"{said}}}}}'


def history(
    settings: Settings,
    now: str,
    links: Iterable[Link],
    versions: Iterable[Version],
    total: int | None,
    part: Callable[[Version], str] | None = None,
) -> str:
    """Return a history Bundle: each entry tells the request that made the version.

    `part` makes the text of what is wanted of a version; without it that is all.
    """
    text = part or Version.text
    return _bundle("history", now, links, [_past(settings, version, text) for version in versions], total)


def _past(settings: Settings, version: Version, text: Callable[[Version], str]) -> str:
    body = "" if version.deleted else f'"resource":{text(version)},'
    url = version.type_name if version.method == "POST" else version.address
    status = {"POST": "201", "DELETE": "204"}.get(version.method, "200" if version.version > 1 else "201")
    return (
        f'{{"fullUrl":"{settings.base_url}/{version.address}",{body}'
        f'"request":{{"method":"{version.method}","url":"{url}"}},'
        f'"response":{{"status":"{status}","etag":"W/\\"{version.version}\\"",'
        f'"lastModified":"{version.last_updated}"}}}}'
    )


def response_entry(
    settings: Settings,
    status: int,
    version: Version | None = None,
    *,
    with_body: bool = False,
    text: str | None = None,
    issues: Sequence[Issue] = (),
) -> str:
    """Return one entry of a batch-response or transaction-response (R4/http.html#transaction-response).

    `with_body` puts the stored resource in; `text` another resource (a search's Bundle).
    """
    parts: list[str] = []
    response = [f'"status":"{_STATUS[status]}"']
    if version is not None:
        if status == 201:
            parts.append(f'"fullUrl":"{settings.base_url}/{version.address}"')
        response += [
            f'"location":"{settings.base_url}/{version.address}/_history/{version.version}"',
            f'"etag":"W/\\"{version.version}\\""',
            f'"lastModified":"{version.last_updated}"',
        ]
        if with_body and not version.deleted:
            text = version.text()
    if text is not None:
        parts.append(f'"resource":{text}')
    if issues:
        response.append(f'"outcome":{outcome_text(issues)}')
    parts.append(f'"response":{{{",".join(response)}}}')
    return f"{{{','.join(parts)}}}"


def done(result: Result) -> Issue:
    """Return what an OperationOutcome says of a write that was carried out."""
    version = result.version
    if version is None:
        told = f"{result.changes} resources are deleted" if result.changes else "there was nothing to delete"
        return Issue("information", "informational", told)
    did = {201: "created", 204: "deleted"}.get(result.status, "stored")
    return Issue("information", "informational", f"{version.address} is {did}, version {version.version}")


def responses(kind: str, entries: Sequence[str]) -> str:
    """Return a batch-response or transaction-response Bundle."""
    body = f',"entry":[{",".join(entries)}]' if entries else ""
    return f'{{"resourceType":"Bundle","type":"{kind}"{body}}}'


def _bundle(kind: str, now: str, links: Iterable[Link], entries: Sequence[str], total: int | None) -> str:
    head = f'{{"resourceType":"Bundle","type":"{kind}","meta":{{"lastUpdated":"{now}"}}'
    if total is not None:
        head += f',"total":{total}'
    head += (
        ',"link":[' + ",".join(f'{{"relation":"{name}","url":{quoted(url)}}}' for name, url in links) + "]"
    )
    # An empty array is not allowed in FHIR JSON: a Bundle without hits has no member `entry`.
    return head + (f',"entry":[{",".join(entries)}]}}' if entries else "}")
