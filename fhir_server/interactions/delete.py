"""delete and conditional delete (R4/http.html#delete, #cdelete)."""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.interactions import conditions
from fhir_server.interactions.context import Context, Result
from fhir_server.storage.writer import Draft, write


def delete(context: Context, type_name: str, id_: str, if_match: int | None = None) -> Result:
    """Make a deletion the current version; its history stays.

    Deleting what is deleted or never was answers the same (204) and writes nothing.
    Raises PreconditionFailed (412) when `if_match` is not the current version.
    """
    permit(context.grant, "delete", type_name)
    draft = Draft(type_name, id_, "D", None, if_version=if_match)
    written = write(context.unit, [draft], context.now(), context.grant.subject)[0]
    return Result(204, written.version, changes=int(written.changed))


def conditional_delete(context: Context, type_name: str, criteria_text: str) -> Result:
    """Delete the one resource that the criteria match; none is no error (204).

    Raises MultipleMatches (412) and deletes nothing when there are several.
    """
    permit(context.grant, "delete", type_name)
    criteria = conditions.criteria(context, type_name, criteria_text)
    conditions.lock(context, [criteria])
    match = conditions.match(context, criteria)
    return Result(204) if match is None else delete(context, type_name, match)
