"""One amount in other units: what `5.4|http://unitsofmeasure.org|mg` asks of a quantity in g.

R4/search.html#quantity leaves canonical units to servers. The number of the search is converted and not
those of the resources: they keep the digits they were written with, the index needs no second number,
and there are few units to convert into, those that a parameter really has stored (`present`).

What a number's digits leave open is converted with it: 5.4 mg is [5.35, 5.45) mg and so [0.00535,
0.00545) g. `ap` takes its tenth in the unit of the search, which matters where zeros differ, as those of
Cel and K. Scales that run the other way (pH against mol/L) are not converted: `gt` would turn into `lt`,
and an interval's open end would change sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache

from fhir_server.schema.names import TENANT
from fhir_server.search import keys, ranges
from fhir_server.search.ast import Parameter
from fhir_server.search.ranges import NumberValue
from fhir_server.search.registry import standard
from terminology import ucum

UCUM = "http://unitsofmeasure.org"
MOST = 1_000  # units of one parameter; UCUM's own examples of all of medicine are some 700


def alike(number: NumberValue, code: str, present: Sequence[str]) -> tuple[tuple[str, NumberValue], ...]:
    """Return the number in those of the units `present` that measure what `code` does, itself left out.

    >>> [(code, str(value.low)) for code, value in alike(ranges.read("5.4"), "mg", ["g", "mg", "mm"])]
    [('g', '0.00535')]
    """
    found = []
    for other in present:
        if other != code and _rises(code, other):
            moved = _moved(number, code, other)
            if moved is not None:
                found.append((other, moved))
    return tuple(found)


def converted(value: Decimal, code: str, other: str) -> Decimal | None:
    """Return an amount in another unit, None where there is none: of another kind, or beyond all numbers.

    >>> converted(Decimal(1), "kg", "g"), converted(Decimal(1), "kg", "m")
    (Decimal('1000'), None)
    """
    try:
        return ucum.convert(value, code, other)
    except (ArithmeticError, ValueError):
        return None


@lru_cache(maxsize=16_384)
def _rises(code: str, other: str) -> bool:
    """Tell whether more in one unit is more in the other."""
    one, two = converted(Decimal(1), code, other), converted(Decimal(2), code, other)
    return one is not None and two is not None and one < two


def _moved(number: NumberValue, code: str, other: str) -> NumberValue | None:
    if number.prefix == "ap":
        low, high = ranges.around(number)
        number = replace(number, prefix="meets", low=low, high=high)
    value, low_, high_ = (converted(each, code, other) for each in (number.value, number.low, number.high))
    if value is None or low_ is None or high_ is None:
        return None
    return NumberValue(number.prefix, value, low_, high_)


def statement(parameter: Parameter) -> str:
    """Return the SQL that gives the unit keys and codes of the quantities of a parameter.

    One step of an index a unit, whatever the number of quantities.
    """
    sources = parameter.sources or (parameter.code,)
    if sources == (parameter.code,):  # of a component, which does not say whose rows answer it
        known = standard().get(parameter.type_name, parameter.code)
        sources = known.sources if known is not None else sources
    selects = []
    for source in sources:
        column = keys.column_hash(parameter.type_name, source)
        next_ = (
            f"select q.unit, q.unit_code from idx_quantity q where q.tenant = {TENANT} "
            f"and q.param = {column} and q.unit"
        )
        selects.append(
            f"(with recursive u(unit, code) as (({next_} is not null order by q.unit limit 1) union all "
            f"select n.* from u cross join lateral ({next_} > u.unit order by q.unit limit 1) n) "
            "select replace(unit::text, '-', ''), code from u)"
        )
    return f"{' union all '.join(selects)} limit {MOST + 1}"


def codes(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return those of the codes that are UCUM's, by their keys."""
    return list(dict.fromkeys(code for unit, code in rows if code and unit == keys.unit(UCUM, code)))
