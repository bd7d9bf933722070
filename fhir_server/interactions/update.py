"""update, upsert and conditional update (R4/http.html#update, #upsert, #cond-update)."""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.interactions import conditions, drafts
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.drafts import Checked
from fhir_server.interactions.integrity import store
from fhir_server.outcome import Conflict, Invalid
from fhir_server.storage import writer
from fhir_server.storage.version import Version
from fhir_server.storage.writer import Draft, Written


def update(
    context: Context,
    type_name: str,
    id_: str,
    resource: Resource,
    if_match: int | None = None,
    *,
    must_be_new: bool = False,
) -> Result:
    """Replace a resource, or create it under the client's id (201).

    `if_match` is the version that must be current, `must_be_new` stands for If-None-Match: *.
    A body that equals the current version makes no new one (200 with the current version).
    Raises Invalid (400), PreconditionFailed (412), MethodNotAllowed (405) for an id that never was
    where the installation gives all ids itself.
    """
    permit(context.grant, "update", type_name)
    drafts.check_type(resource, type_name)
    check_id(resource, id_)
    checked = drafts.judge(context, resource)
    draft = drafts.draft(
        context,
        resource,
        id_,
        "U",
        if_version=if_match,
        must_be_new=must_be_new,
        may_create=context.settings.upsert,
        issues=checked.outcome,
    )
    return _written(context, draft, checked)


def conditional_update(
    context: Context,
    type_name: str,
    criteria_text: str,
    resource: Resource,
    if_match: int | None = None,
    *,
    must_be_new: bool = False,
) -> Result:
    """Replace the one resource that the criteria match, or create one when there is none.

    Without a match the body's id is that of the new resource, if it has one.
    Raises MultipleMatches (412); Invalid (400) when the body carries another id than the match;
    Conflict (409) when nothing matches and the body carries the id of another resource.
    """
    permit(context.grant, "update", type_name)
    drafts.check_type(resource, type_name)
    checked = drafts.judge(context, resource)
    criteria = conditions.criteria(context, type_name, criteria_text)
    conditions.lock(context, [criteria], [resource])
    match = conditions.match(context, criteria)
    own = resource.get("id")
    check_own_id(type_name, own, match)
    if match is not None:
        conditions.hold(context, criteria, [match])
    elif own is not None:
        refuse_taken(type_name, own, writer.lock(context.unit, [(type_name, own)]).get((type_name, own)))
    id_ = match or own or drafts.new_id()
    resource = {**resource, "id": id_}
    draft = drafts.draft(
        context,
        resource,
        id_,
        "U",
        if_version=if_match,
        must_be_new=must_be_new,
        may_create=own is None or context.settings.upsert,
        issues=checked.outcome,
    )
    return _written(context, draft, checked)


def check_own_id(type_name: str, own: str | None, match: str | None) -> None:
    """Raise Invalid (400) when a body carries another id than what its criteria match."""
    if match is not None and own is not None and own != match:
        raise Invalid(
            f"the criteria match {type_name}/{match}, but the body has the id {own!r}; leave the id out",
            expression=f"{type_name}.id",
        )


def refuse_taken(type_name: str, own: str, current: Version | None) -> None:
    """Raise Conflict (409) when the id that a body brings for a new resource is that of another one.

    R4 says "update as create" here and leaves open what is when the id is taken: what the criteria do not
    match is not what the client means.
    """
    if current is not None and not current.deleted:
        raise Conflict(
            f"the criteria match nothing, but the body has the id of {type_name}/{own}, which they do not "
            "match; leave the id out, or update that resource by its id",
            expression=f"{type_name}.id",
        )


def check_id(resource: Resource, id_: str) -> None:
    """Raise Invalid (400) unless the body carries the id of the address, which must be a FHIR id."""
    where = f"{resource['resourceType']}.id"
    if not drafts.ID.match(id_):
        raise Invalid(
            f"{id_!r} is no id; an id has 1 to 64 characters out of A-Z a-z 0-9 - .", expression=where
        )
    if resource.get("id") != id_:
        found = f'has the id "{resource["id"]}"' if "id" in resource else "has no id"
        raise Invalid(
            f'the body {found}, the URL says "{id_}"; an update needs the same id in both', expression=where
        )


def _written(context: Context, draft: Draft, checked: Checked) -> Result:
    written: Written = store(context, [draft])[0]
    status = 201 if written.created else 200
    return Result(
        status, written.version, issues=checked.issues + written.issues, changes=int(written.changed)
    )
