"""create and conditional create (R4/http.html#create, #ccreate)."""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.database.unit_of_work import RunAgain
from fhir_server.interactions import conditions, drafts
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.integrity import store
from fhir_server.storage import reader
from fhir_server.storage.version import Version


def create(
    context: Context,
    type_name: str,
    resource: Resource,
    if_none_exist: str | None = None,
    *,
    keep_id: bool = False,
) -> Result:
    """Store a new resource under an id of ours; an id in the body is not used.

    With `keep_id` it is used, and what stands there is replaced (loading of files).

    `if_none_exist` holds search criteria such as `identifier=urn:a|1`: with no match the
    resource is created (201), with one match that one is the answer and nothing is written
    (200). Any number of identical conditional creates at the same time make one resource.
    Raises Invalid (400) for a body that breaks a rule, MultipleMatches (412).
    """
    permit(context.grant, "create", type_name)
    drafts.check_type(resource, type_name)
    checked = drafts.judge(context, resource)
    if if_none_exist is not None:
        criteria = conditions.criteria(context, type_name, if_none_exist)
        conditions.lock(context, [criteria], [resource])
        if (match := conditions.match(context, criteria)) is not None:
            return Result(200, found(context, type_name, match))
    if keep_id and drafts.ID.match(str(resource.get("id", ""))):
        draft = drafts.draft(context, resource, resource["id"], "U", issues=checked.outcome)
    else:
        id_ = drafts.new_id()
        draft = drafts.draft(context, resource, id_, "C", must_be_new=True, issues=checked.outcome)
    written = store(context, [draft])[0]
    status = 201 if written.created else 200
    return Result(
        status, written.version, issues=checked.issues + written.issues, changes=int(written.changed)
    )


def found(context: Context, type_name: str, id_: str) -> Version:
    """Return what criteria matched; the unit begins again when it was deleted behind the search."""
    version = reader.read(context.unit, type_name, id_)
    if version is None or version.deleted:
        raise RunAgain
    return version
