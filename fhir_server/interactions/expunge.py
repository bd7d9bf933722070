"""$expunge: history and resources removed for good. R4 has deletions, which keep what was; no purge.

The one place where something vanishes: it asks for the right `expunge` and tells the listeners of the unit.
A record of who removed how much belongs here, into the same transaction, once there is an audit.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhir_server.authorization.permit import permit
from fhir_server.database.changes import Change
from fhir_server.interactions import integrity
from fhir_server.interactions.context import Context
from fhir_server.outcome import Invalid, Issue, NotFound
from fhir_server.storage import purge
from fhir_server.storage.purge import Doomed, Scope

DEFAULT_LIMIT, MOST = 1000, 10_000
"""Versions, and resources, that one call removes."""


@dataclass(frozen=True, slots=True)
class Modes:
    """What is to be removed; at least one of the three."""

    previous_versions: bool = False
    deleted_resources: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Expunged:
    """What was removed, or would be: versions in all, and resources of which nothing is left.

    `more` says that the limit was reached, so that there may be more to remove.
    """

    versions: int
    resources: int
    more: bool
    issues: tuple[Issue, ...] = ()


def expunge(
    context: Context,
    type_name: str | None,
    id_: str | None,
    modes: Modes,
    limit: int = DEFAULT_LIMIT,
    *,
    dry_run: bool = False,
) -> Expunged:
    """Remove superseded versions, deleted resources, or all of one resource, within one transaction.

    Raises Invalid (400) without a mode and for a limit that is none, NotFound (404) for an id that never
    was, Conflict (409) where others refer to the resource and references are enforced.
    """
    permit(context.grant, "expunge", type_name)
    _check(modes, id_, limit)
    scope = Scope(type_name, id_)
    context.unit.lock(["$expunge"])  # two of them at once would remove the same rows in another order
    doomed, known = _doomed(context, scope, modes, limit)
    versions = purge.versions_of(context.unit, doomed) if doomed else 0
    more = len(doomed) == limit and not modes.everything
    # what is removed altogether takes its versions along: they are looked for behind that
    if doomed and not dry_run:
        purge.remove(context.unit, doomed)
    issues = integrity.check_removal(context, known) if known and not dry_run else []
    if modes.previous_versions and not modes.everything:
        gone = {each.pk for each in doomed}
        room = limit + 1 + (versions if dry_run else 0)
        old = [each for each in purge.superseded(context.unit, scope, room) if each[0] not in gone]
        more = more or len(old) > limit
        versions += len(old[:limit]) if dry_run else _remove_versions(context, old[:limit])
    if not dry_run:
        context.unit.changes += [
            Change(each.type_name, each.id, each.version, "delete", None, context.grant.subject)
            for each in doomed
            if not each.deleted
        ]
    return Expunged(versions, len(doomed), more, tuple(issues))


def _check(modes: Modes, id_: str | None, limit: int) -> None:
    if not (modes.previous_versions or modes.deleted_resources or modes.everything):
        raise Invalid(
            "$expunge needs to be told what to remove: expungePreviousVersions, expungeDeletedResources or, "
            "on one resource, expungeEverything",
            code="required",
        )
    if modes.everything and id_ is None:
        raise Invalid("expungeEverything is for one resource; call it on /fhir/Patient/7/$expunge")
    if not 1 <= limit <= MOST:
        raise Invalid(f"limit is {limit}; it can be 1 to {MOST}", code="value")


def _doomed(
    context: Context, scope: Scope, modes: Modes, limit: int
) -> tuple[list[Doomed], list[tuple[str, str]]]:
    """Return what is to be removed altogether, locked, and the addresses that others may refer to."""
    if scope.id is not None:
        found = purge.one(context.unit, scope)
        if found is None:
            raise NotFound(f"there is no {scope.type_name} with the id {scope.id!r} here")
        if not (modes.everything or (modes.deleted_resources and found.deleted)):
            return [], []
        return [found], [] if found.deleted else [(found.type_name, found.id)]
    if not modes.deleted_resources:
        return [], []
    return purge.deleted(context.unit, scope, limit), []


def _remove_versions(context: Context, versions: list[tuple[int, int]]) -> int:
    return purge.remove_versions(context.unit, versions) if versions else 0
