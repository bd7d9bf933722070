"""vread (R4/http.html#vread)."""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.interactions import published
from fhir_server.interactions.context import Context, Result
from fhir_server.outcome import Gone, NotFound
from fhir_server.storage import reader


def vread(context: Context, type_name: str, id_: str, version_id: str) -> Result:
    """Return one version of a resource, current or superseded.

    Raises NotFound (404) for an unknown id or version, Gone (410) for a version that is a
    deletion, or that was purged.
    """
    permit(context.grant, "vread", type_name)
    number = int(version_id) if version_id.isascii() and version_id.isdigit() and len(version_id) < 10 else 0
    version = reader.vread(context.unit, type_name, id_, number) if number else None
    if version is None and number == 1:
        version = published.read(context, type_name, id_)
    if version is None:
        _refuse_purged(context, type_name, id_, number)
        raise NotFound(
            f"there is no version {version_id!r} of {type_name}/{id_} here; "
            f"{type_name}/{id_}/_history lists those there are",
            expression=type_name,
        )
    if version.deleted:
        raise Gone.with_version(
            version.version,
            f"version {version_id} of {version.address} is its deletion at {version.last_updated}",
            expression=type_name,
        )
    return Result(200, version)


def _refuse_purged(context: Context, type_name: str, id_: str, number: int) -> None:
    """Raise Gone (410) for a version that must have been there: versions are numbered without gaps."""
    current = reader.read(context.unit, type_name, id_)
    if current is not None and 0 < number < current.version:
        raise Gone(
            f"version {number} of {type_name}/{id_} was purged; its _history lists what is left",
            expression=type_name,
        )
