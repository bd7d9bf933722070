"""delete and conditional delete (R4/http.html#delete, #cdelete)."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.authorization.permit import permit
from fhir_server.interactions import conditions
from fhir_server.interactions.conditions import Criteria
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.integrity import store
from fhir_server.outcome import Invalid, Issue, PreconditionFailed
from fhir_server.storage.writer import Draft, Written

NAMED = 20
"""How many of the resources that a conditional delete deletes are named in its answer."""


def delete(context: Context, type_name: str, id_: str, if_match: int | None = None) -> Result:
    """Make a deletion the current version; its history stays.

    Deleting what is deleted or never was answers the same (204) and writes nothing.
    Raises PreconditionFailed (412) when `if_match` is not the current version.
    """
    permit(context.grant, "delete", type_name)
    draft = Draft(type_name, id_, "D", None, if_version=if_match)
    written = store(context, [draft])
    return deleted(type_name, written)


def conditional_delete(
    context: Context, type_name: str, criteria_text: str, if_match: int | None = None
) -> Result:
    """Delete what the criteria match: nothing (204), one resource (204) or several (200, and how many).

    Several are deleted together or not at all. `_count` among the criteria says how many the caller
    expects at most. Raises MultipleMatches (412) when more match than that or than the installation
    deletes at once, PreconditionFailed (412) when `if_match` is not the version of the one match.
    """
    permit(context.grant, "delete", type_name)
    criteria = conditions.criteria(context, type_name, criteria_text, countable=True)
    conditions.lock(context, [criteria])
    drafts = [
        Draft(type_name, id_, "D", None, if_version=if_match) for id_ in victims(context, criteria, if_match)
    ]
    if drafts:
        conditions.hold(context, criteria, [draft.id for draft in drafts])
    written = store(context, drafts)
    return deleted(type_name, written)


def victims(context: Context, criteria: Criteria, if_match: int | None) -> list[str]:
    """Return the ids that a conditional delete deletes; raises what `conditional_delete` raises."""
    most = context.settings.max_conditional_deletes
    asked = criteria.query.count
    if asked == 0:
        raise Invalid(
            "_count=0 deletes nothing; it says how many matches there may be at most",
            expression=criteria.type_name,
        )
    found = conditions.match_several(context, criteria, min(most, asked or most))
    if if_match is not None and len(found) != 1:
        raise PreconditionFailed(
            f"If-Match asks for one version, but {criteria} matches {len(found)} resources",
            expression=criteria.type_name,
        )
    return found


def deleted(type_name: str, written: Sequence[Written]) -> Result:
    """Return the answer to the deletion of some resources of one type."""
    changes = sum(each.changed for each in written)
    issues = tuple(issue for each in written for issue in each.issues)
    if len(written) <= 1:
        return Result(204, written[0].version if written else None, issues=issues, changes=changes)
    names = [each.version.address for each in written if each.version is not None]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    what = f"{len(names)} resources of type {type_name} are deleted: {', '.join(names[:NAMED])}{more}"
    return Result(200, issues=(Issue("information", "informational", what), *issues), changes=changes)
