"""search-system (R4/http.html#search): a search over several types, or over all there are.

`_type` names them; its criteria must be parameters of each of them (R4/search.html#_type).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fhir_server.authorization.permit import narrow, permit
from fhir_server.definitions.structures import resource_types, type_name
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.search_type import Pairs, conduct, environment, reading
from fhir_server.search.ast import Query
from fhir_server.search.compile import compile_types
from fhir_server.search.several import named_types, parse_several


def search(context: Context, pairs: Pairs, *, strict: bool = True) -> Result:
    """Return one page of the matching resources of all types that `_type` names, or of all types.

    Raises Invalid (400).
    """
    permit(context.grant, "search-system", None)
    every = resource_types()
    return conduct(context, "", pairs, lambda asked: several(context, every, asked, None, strict=strict))


def several(
    context: Context,
    types: Sequence[str],
    pairs: Pairs,
    compartment: tuple[str, str] | None,
    *,
    strict: bool,
) -> Query:
    """Return a search over `types`, or those of them that `_type` names.

    Only types of which there is a resource are looked at; all of it is read in one snapshot.
    """
    named = named_types(pairs)
    searched = types if named is None else [name for name in named if name in types]
    context.unit.snapshot()
    statement = compile_types()
    present = [
        type_name(code) for (code,) in context.unit.execute_prepared(statement.sql, statement.parameters)
    ]
    searchable = context.searchable()
    query = parse_several(
        searched or named or types,
        [name for name in present if name in searched],
        pairs,
        compartment=compartment,
        strict=strict,
        environment=environment(context),
        registry=searchable,
    )
    issues = (*query.issues, *searchable.warnings())
    parts = tuple(narrow(context.grant, part, reading(context, part.type_name)) for part in query.parts or ())
    return replace(query, issues=issues, parts=parts)
