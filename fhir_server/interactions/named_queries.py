"""`_query`: OperationDefinitions of the kind query that are stored or installed (R4/search.html#query)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from fhir_server.search.named import NamedQuery, read
from fhir_server.search.names import unknown
from fhir_server.storage import definitions

QUERY = "_query"
Pairs = Sequence[tuple[str, str]]


def known(unit: UnitOfWork, base_url: str) -> list[NamedQuery]:
    """Return the queries that can be run, by code; those that cannot are refused when they are asked for."""
    found = []
    for id_, text in definitions.queries(unit):
        with suppress(Invalid):
            made = read(json_format.parse(text.encode()), f"{base_url}/OperationDefinition/{id_}")
            if made is not None:
                found.append(made)
    return sorted(found, key=lambda one: (one.code, one.url))


def asked(unit: UnitOfWork, type_name: str, pairs: Pairs) -> tuple[NamedQuery, Pairs, Pairs] | None:
    """Return the query that `_query` names, with the pairs that are its own and the others; None without it.

    Raises Invalid or Unknown (400) for a query that nobody knows, that is not for this type or cannot be run,
    and for several: lenient handling does not pass over it, R4 wants it refused.
    """
    names = [text for name, text in pairs if name.partition(":")[0] == QUERY]
    if not names:
        return None
    if len(names) > 1 or any(name.startswith(f"{QUERY}:") for name, _ in pairs):
        raise Invalid("there can be one _query in a search, without a modifier")
    documents = [json_format.parse(text.encode()) for _, text in definitions.queries(unit)]
    of_type = [each for each in documents if type_name in each.get("resource", [])]
    named = [each for each in of_type if each.get("code") == names[0]]
    if not named:
        codes = sorted({str(each.get("code")) for each in of_type if each.get("status") == "active"})
        raise unknown(f"{type_name} has no named query {names[0]!r}", names[0], codes)
    made = [one for each in named if (one := read(each)) is not None]
    if not made:
        raise Invalid(f"the definition of the named query {names[0]!r} is not active")
    if len(made) > 1:
        urls = ", ".join(sorted(one.url for one in made))
        raise Invalid(
            f"there are several definitions of the named query {names[0]!r}: {urls}; retire all but one"
        )
    own = [(name, text) for name, text in pairs if name in made[0].inputs]
    rest = [(name, text) for name, text in pairs if name != QUERY and name not in made[0].inputs]
    return made[0], own, rest
