"""Referential integrity: references to resources of this server lead to something (R4/references.html).

Off, warn or enforce (setting referential_integrity). A written resource may not refer to what is not here
(422), and what others refer to may not be deleted (409); with warn both happen and are told. What counts
stands in docs/rest.md.

Under `enforce` a write that refers to X and a deletion of X never both succeed: before either looks, it
takes the lock of the address, the writer shared, the deleter alone, and looks only then. Addresses share a
few hundred locks, so that a large transaction does not need thousands; writers never wait for each other.
These locks are the last that a unit takes, after its rows, in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fhir_server.config import ConfigError
from fhir_server.database.unit_of_work import lock_number
from fhir_server.definitions.structures import type_name as type_named
from fhir_server.interactions.context import Context
from fhir_server.outcome import Conflict, Issue, Unprocessable, capped
from fhir_server.search import referrers
from fhir_server.search.keys import rid
from fhir_server.storage import writer
from fhir_server.storage.writer import Draft, Written

ACTIONS = ("off", "warn", "enforce")
LOCKS = 256
"""The locks that all addresses share."""
COUNTED, NAMED = 1000, 10
"""How far referrers are counted, and how many of them are named."""
TOGETHER = 50
"""Deletions that one statement asks about: each stands for several hundred keys."""


def action(text: str) -> str:
    """Return the setting, checked; raises ConfigError."""
    if text not in ACTIONS:
        raise ConfigError(f"referential_integrity is {text!r}; it can be {', '.join(ACTIONS)}")
    return text


@dataclass(frozen=True, slots=True)
class _Use:
    """One reference to a resource of this server: from which draft, where, and to what."""

    draft: int
    path: str
    text: str
    address: tuple[str, str]
    version: int


def store(context: Context, drafts: Sequence[Draft], paths: Sequence[str] = ()) -> list[Written]:
    """Write drafts and hold the installation's rule on references; every interaction writes by this.

    `paths` are where the drafts stand in a Bundle, for expressions. What is to be told under `warn` is in
    `Written.issues`. Raises what writer.write raises; under `enforce` Unprocessable (422) for references
    that lead to nothing, Conflict (409) for deletions of what others refer to.
    """
    written = writer.write(context.unit, drafts, context.now(), context.grant.subject)
    rule = context.settings.referential_integrity
    if rule == "off":
        return written
    gone = {
        n: (each.type_name, each.id)
        for n, each in enumerate(drafts)
        if each.method == "D" and written[n].changed
    }
    uses = _uses(context, drafts, [n for n, each in enumerate(written) if each.changed and n not in gone])
    if rule == "enforce":
        _lock(context, [use.address for use in uses], gone.values())
    told = _dangling(context, uses, rule) | _referred(context, gone, rule)
    for number, issues in told.items():
        if number < len(paths):
            told[number] = [issue.within(paths[number]) for issue in issues]
    if rule == "enforce":
        if wrong := [issue for number, each in sorted(told.items()) if number not in gone for issue in each]:
            raise Unprocessable(issues=capped(wrong))
        if wrong := [issue for _, each in sorted(told.items()) for issue in each]:
            raise Conflict(issues=capped(wrong))
    return [replace(each, issues=tuple(told.get(n, ()))) for n, each in enumerate(written)]


def alone(context: Context, drafts: Sequence[Draft]) -> dict[int, Unprocessable]:
    """Return which drafts cannot be stored under `enforce`, so that the others can be without them.

    A draft that refers to one that cannot be stored cannot be stored either.
    """
    if context.settings.referential_integrity != "enforce":
        return {}
    refused: dict[int, Unprocessable] = {}
    while True:
        left = [n for n in range(len(drafts)) if n not in refused]
        here = {(drafts[n].type_name, drafts[n].id) for n in left}
        uses = [use for use in _uses(context, drafts, left) if use.address not in here]
        wrong = _dangling(context, uses, "enforce")
        if not wrong:
            return refused
        refused |= {number: Unprocessable(issues=issues) for number, issues in wrong.items()}


def check_removal(context: Context, addresses: Sequence[tuple[str, str]]) -> list[Issue]:
    """Hold the rule for resources that are to be removed altogether, which are locked; return warnings."""
    rule = context.settings.referential_integrity
    if rule == "off":
        return []
    if rule == "enforce":
        _lock(context, (), addresses)
    told = _referred(context, dict(enumerate(addresses)), rule)
    issues = [issue for number in sorted(told) for issue in told[number]]
    if rule == "enforce" and issues:
        raise Conflict(issues=capped(issues))
    return issues


def _uses(context: Context, drafts: Sequence[Draft], numbers: Iterable[int]) -> list[_Use]:
    """Return all references of some drafts to resources of this server."""
    found = []
    for number in numbers:
        for reference, text, path in referrers.literal(
            drafts[number].resource or {}, context.settings.base_urls
        ):
            address = (reference.type or "", reference.id or "")
            version = reference.version or ""
            asked = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
            found.append(_Use(number, path, text, address, asked))
    return found


def _lock(context: Context, referred: Iterable[tuple[str, str]], deleted: Iterable[tuple[str, str]]) -> None:
    """Lock the addresses that are referred to with others, those that are deleted against others."""
    wanted = dict.fromkeys(map(_lock_of, referred), False) | dict.fromkeys(map(_lock_of, deleted), True)
    if wanted:
        numbers = sorted(wanted)
        context.unit.defer(
            "SELECT count(pg_advisory_xact_lock(n)) FILTER (WHERE against), "
            "count(pg_advisory_xact_lock_shared(n)) FILTER (WHERE NOT against) FROM "
            "(SELECT * FROM unnest(%s::bigint[], %s::boolean[]) AS each (n, against) ORDER BY n) AS sorted",
            (numbers, [wanted[number] for number in numbers]),
        )


def _lock_of(address: tuple[str, str]) -> int:
    return lock_number(f"references {int(rid(*address)[-8:], 16) % LOCKS}")


def _dangling(context: Context, uses: Sequence[_Use], rule: str) -> dict[int, list[Issue]]:
    """Return what is to be said of references that lead to nothing, by draft."""
    rids = {rid(*use.address): use.address for use in uses}
    current: dict[tuple[str, str], int] = {}
    if rids:
        rows = context.unit.execute(_THERE, (sorted(rids),))
        current = {rids[key]: version for key, version in rows}
    told: dict[int, list[Issue]] = {}
    for use in uses:
        version = current.get(use.address)
        if version is None:
            what = f"the reference {use.text!r} leads to nothing: no such resource is here, or it is deleted"
        elif use.version > version:
            what = f"the reference {use.text!r} leads to nothing: the current version is {version}"
        else:
            continue
        severity = "error" if rule == "enforce" else "warning"
        told.setdefault(use.draft, []).append(Issue(severity, "not-found", what, use.path))
    return told


_THERE = (
    "SELECT replace(rid::text, '-', ''), version FROM resource "
    "WHERE tenant = 0 AND rid = ANY(%s::uuid[]) AND NOT deleted"
)


def _referred(context: Context, gone: dict[int, tuple[str, str]], rule: str) -> dict[int, list[Issue]]:
    """Return what is to be said of deletions of what others refer to, by draft.

    It is asked behind the writes of the unit: what the unit deletes or changes itself refers no more.
    """
    told: dict[int, list[Issue]] = {}
    numbers = sorted(gone)
    for start in range(0, len(numbers), TOGETHER):
        part = numbers[start : start + TOGETHER]
        if not _referrers(context, [gone[number] for number in part], 1):
            continue
        for number in part:
            if found := _referrers(context, [gone[number]], COUNTED + 1):
                told[number] = [_told(gone[number], found, rule)]
    return told


def _referrers(context: Context, addresses: Sequence[tuple[str, str]], limit: int) -> list[str]:
    asked = referrers.statement([f"{name}/{id_}" for name, id_ in addresses], limit)
    rows = context.unit.execute(asked.sql, asked.parameters)
    return [f"{type_named(type_code)}/{id_}" for type_code, id_ in rows]


def _told(address: tuple[str, str], found: Sequence[str], rule: str) -> Issue:
    many = f"more than {COUNTED}" if len(found) > COUNTED else f"{len(found)}"
    noun = "resource refers" if len(found) == 1 else "resources refer"
    names = ", ".join(sorted(found)[:NAMED]) + (" …" if len(found) > NAMED else "")
    name = f"{address[0]}/{address[1]}"
    if rule == "warn":
        what = f"{name} is deleted, and {many} {noun} to it: {names}"
        return Issue("warning", "conflict", what, address[0])
    what = (
        f"{name} cannot be deleted: {many} {noun} to it ({names}); delete or change them first, or in the "
        "same transaction"
    )
    return Issue("error", "conflict", what, address[0])
