"""How far a Location is from the places that `near` asks about: `_sort=near`, and what answers tell of it.

The nearest comes first (`-near`: the farthest). A search by several places counts the nearest of them
(`near=a,b`); of several `near` the first decides. The distance is that by which `near` finds
(types/near.py): it depends on the place and the question alone, so pages go on by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fhir_server.outcome import Invalid
from fhir_server.schema.names import TENANT
from fhir_server.search.ast import Clause, Query, Sort
from fhir_server.search.conditions import param
from fhir_server.search.order import Key
from fhir_server.search.sql import Sql
from fhir_server.search.types.near import NearValue

DISTANCE = "http://hl7.org/fhir/StructureDefinition/location-distance"
"""The extension of R4 by which an entry of a searchset tells how far it is."""


def is_key(sort: Sort) -> bool:
    """Tell whether a sort key is the distance."""
    return sort.parameter.kind == "near"


def asked(query: Query) -> Clause | None:
    """Return the clause that names the places, None where none is named; of several types too."""
    for each in (*query.clauses, *(each for part in query.parts or () for each in part.clauses)):
        if isinstance(each, Clause) and each.parameter.kind == "near" and each.modifier is None:
            return each
    return None


def key_of(query: Query, sort: Sort, number: int) -> Key:
    """Return the distance as a sort key, looked up for each candidate.

    Raises Invalid (400) where no place is named that there could be a distance from.
    """
    clause = asked(query)
    if clause is None:
        raise Invalid(
            "_sort=near needs a place to measure from: near=latitude|longitude|distance|unit beside it, "
            "without a modifier"
        )
    way = distance_m(clause)
    join = Sql(
        f" join lateral (select min({way.text}) as v from idx_position i where i.tenant = {TENANT} "
        f"and i.pk = r.pk and i.{param(clause.parameter)}) s{number} on true",
        way.parameters,
    )
    return Key(f"s{number}.v", "double precision", sort.descending, False, join)


def distances(clause: Clause, pks: Sequence[int]) -> Sql:
    """Return the statement that gives pk and metres of resources that have a place."""
    way = distance_m(clause)
    return Sql(
        f"select i.pk, min({way.text}) from idx_position i where i.tenant = {TENANT} "
        f"and i.pk = any(%s::bigint[]) and i.{param(clause.parameter)} group by i.pk",
        (*way.parameters, list(pks)),
    )


def distance_m(clause: Clause) -> Sql:
    """Return the metres from the row `i` of a position to the nearest of the places that are asked for."""
    places = [each for each in clause.alternatives if isinstance(each, NearValue)]
    ways = ["geodesic_m(%s, %s, i.at[1], i.at[0])"] * len(places)
    centres = tuple(degrees for place in places for degrees in (place.latitude, place.longitude))
    return Sql(ways[0] if len(ways) == 1 else f"least({', '.join(ways)})", centres)


def told(metres: float) -> dict[str, object]:
    """Return a distance as R4 tells it in Bundle.entry.search.extension, to the metre.

    >>> told(12345.6)["valueDistance"]["value"]
    Decimal('12.346')
    """
    km = {
        "value": Decimal(round(metres)) / 1000,
        "unit": "km",
        "system": "http://unitsofmeasure.org",
        "code": "km",
    }
    return {"url": DISTANCE, "valueDistance": km}
