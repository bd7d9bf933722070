"""Search in a compartment (R4/http.html#vsearch): `Patient/7/Observation?…`, `Patient/7/*?…`.

A compartment is what refers to its resource by one of the parameters of R4's definition, and that
resource itself (R4/compartmentdefinition.html). It is a criterion and no place: where nothing refers
to an id the answer is an empty page, whether or not there is or ever was a resource with that id.
R4 says nothing of such an id; a 404 would tell who may not know it whether somebody is a patient here.
"""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.definitions import compartments
from fhir_server.definitions.structures import is_resource_type
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.search_system import several
from fhir_server.interactions.search_type import Pairs, conduct, environment, parsed
from fhir_server.outcome import NotFound
from fhir_server.search.ast import Query
from fhir_server.search.parse import Reader
from fhir_server.search.several import member as in_compartment

ALL = "*"


def search(
    context: Context, compartment: str, id: str, member: str, pairs: Pairs, *, strict: bool = True
) -> Result:
    """Return one page of the resources of a type, or of all with `*`, that are in a compartment.

    Raises NotFound (404) for what has no compartment and for types that are in none, Invalid (400).
    """
    if compartment not in compartments.compartment_types():
        known = ", ".join(compartments.compartment_types())
        raise NotFound(f"{compartment} has no compartment; those of R4 are {known}")
    members = compartments.members(compartment)
    if member != ALL and member not in members:
        what = "is no resource type of R4" if not is_resource_type(member) else "is never in it"
        raise NotFound(f"{member!r} {what}; in the compartment of a {compartment} are {', '.join(members)}")
    permit(context.grant, "search-compartment", compartment)
    types = tuple(members) if member == ALL else (member,)
    for type_name in types:
        permit(context.grant, "search-type", type_name)

    def query(asked: Pairs) -> Query:
        if member == ALL:
            return several(context, types, asked, (compartment, id), strict=strict)
        reader = Reader(member, environment(context), context.searchable())
        return parsed(context, member, asked, strict).also(in_compartment(compartment, id, member, reader))

    return conduct(context, f"{compartment}/{id}/{member}", pairs, query)
