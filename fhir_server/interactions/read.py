"""read, and whether the reader has it already (R4/http.html#read, #cread)."""

from __future__ import annotations

from datetime import datetime

from fhir_server.authorization.permit import inside, permit
from fhir_server.interactions import published
from fhir_server.interactions.context import Context, Result
from fhir_server.outcome import Gone, NotFound
from fhir_server.search.ast import Query
from fhir_server.search.compile import compile
from fhir_server.search.parse import Reader
from fhir_server.search.values import escape
from fhir_server.storage import reader
from fhir_server.storage.version import Version


def read(context: Context, type_name: str, id_: str) -> Result:
    """Return the current version of a resource.

    Raises NotFound (404) for an id that never was, Gone (410) for a deleted one.
    """
    permit(context.grant, "read", type_name)
    if not visible(context, type_name, id_):
        return Result(200, standing(None, type_name, id_))
    version = reader.read(context.unit, type_name, id_)
    if version is None or version.deleted:
        version = published.read(context, type_name, id_) or version
    return Result(200, standing(version, type_name, id_))


def visible(context: Context, type_name: str, id_: str) -> bool:
    """Say whether the caller may know of a resource: all of them, or those about one patient."""
    if context.grant.patient is None or (type_name, id_) == ("Patient", context.grant.patient):
        return True
    criteria = Reader(type_name, context.settings.environment, context.searchable())
    by_id = criteria.clause(criteria.parameter(type_name, "_id"), None, escape(id_))
    query = Query(type_name, (by_id, inside(context.grant, type_name, criteria)))
    statement = compile(query, 1)
    return bool(context.unit.execute(statement.sql, statement.parameters))


def standing(version: Version | None, type_name: str, id_: str) -> Version:
    """Return the current version of a resource that is there.

    Raises NotFound (404) where there never was one, Gone (410) for a deletion.
    """
    if version is None:
        raise NotFound(f"there is no {type_name} with the id {id_!r} here", expression=type_name)
    if version.deleted:
        raise Gone.with_version(
            version.version,
            f"{version.address} was deleted with version {version.version} at {version.last_updated}; "
            f"{version.address}/_history has its former versions",
            expression=type_name,
        )
    return version


def unchanged(version: Version, tags: str | None, since: datetime | None) -> bool:
    """Say whether a reader has this version already (R4/http.html#cread; RFC 9110 13.1.2, 13.1.3).

    `tags` is an If-None-Match, beside which `since`, an aware If-Modified-Since, does not count.
    """
    if tags is not None:
        return is_among(str(version.version), tags)
    if since is None:
        return False
    return datetime.fromisoformat(version.last_updated).replace(microsecond=0) <= since


def is_among(tag: str, tags: str) -> bool:
    """Say whether an If-None-Match names an entity tag, by weak comparison (RFC 9110 8.8.3.2).

    >>> is_among("3", '"2", W/"3"'), is_among("3", "*")
    (True, True)
    """
    return tags.strip() == "*" or any(
        each.strip().removeprefix("W/") == f'"{tag}"' for each in tags.split(",")
    )
