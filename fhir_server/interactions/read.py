"""read (R4/http.html#read)."""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.interactions.context import Context, Result
from fhir_server.outcome import Gone, NotFound
from fhir_server.storage import reader
from fhir_server.storage.version import Version


def read(context: Context, type_name: str, id_: str) -> Result:
    """Return the current version of a resource.

    Raises NotFound (404) for an id that never was, Gone (410) for a deleted one.
    """
    permit(context.grant, "read", type_name)
    return Result(200, standing(reader.read(context.unit, type_name, id_), type_name, id_))


def standing(version: Version | None, type_name: str, id_: str) -> Version:
    """Return the current version of a resource that is there.

    Raises NotFound (404) where there never was one, Gone (410) for a deletion.
    """
    if version is None:
        raise NotFound(f"there is no {type_name} with the id {id_!r} here", expression=type_name)
    if version.deleted:
        raise Gone(
            f"{version.address} was deleted with version {version.version} at {version.last_updated}; "
            f"{version.address}/_history has its former versions",
            expression=type_name,
        )
    return version
