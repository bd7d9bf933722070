"""How precise a value is, and the bounds that its digits leave open (N1 3.0 §5.7.11–5.7.13)."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.comparison import EXACT, Fault, comparable, describe, single
from fhir_server.fhirpath.functions.table import eager
from fhir_server.fhirpath.scope import Scope
from fhir_server.fhirpath.temporal import Date, Temporal, Time
from fhir_server.fhirpath.values import Collection, Quantity

_DIGITS = 8  # of a Decimal where no precision is asked for
_MAX_DIGITS = 28


def _places(value: int | Decimal) -> int:
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _bound(value: int | Decimal, places: int, upwards: bool) -> Decimal | None:
    """Return the least (or greatest) number that is written as `value`, cut to `places` outwards."""
    if not 0 <= places <= _MAX_DIGITS:
        return None
    half = Decimal(5).scaleb(-_places(value) - 1)
    edge = EXACT.add(Decimal(value), half if upwards else -half)
    return edge.quantize(Decimal(1).scaleb(-places), ROUND_CEILING if upwards else ROUND_FLOOR, EXACT)


def _boundary(items: Collection, precision: Collection | None, upwards: bool) -> Collection:
    name = "highBoundary()" if upwards else "lowBoundary()"
    value = single(items, name)
    asked = None if precision is None else single(precision, name)
    if value is None or (precision is not None and asked is None):
        return []
    if asked is not None and (not isinstance(asked, int) or isinstance(asked, bool)):
        raise Fault(f"{name} wants an integer")
    if isinstance(value, Temporal):
        default = 8 if isinstance(value, Date) else 9 if isinstance(value, Time) else 17
        found = temporal.boundary(value, default if asked is None else asked, upwards)
        return [] if found is None else [found]
    places = _DIGITS if asked is None else asked
    if isinstance(value, Quantity):
        bound = _bound(value.value, places, upwards)
        return [] if bound is None else [Quantity(bound, value.unit)]
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        bound = _bound(value, places, upwards)
        return [] if bound is None else [bound]
    raise Fault(f"{name} works on numbers, quantities, dates and times, got {describe(items[0])}")


def _low(scope: Scope, items: Collection, precision: Collection | None = None) -> Collection:
    return _boundary(items, precision, False)


def _high(scope: Scope, items: Collection, precision: Collection | None = None) -> Collection:
    return _boundary(items, precision, True)


def _precision(scope: Scope, items: Collection) -> Collection:
    value = single(items, "precision()")
    if value is None:
        return []
    if isinstance(value, Temporal):
        return [value.digits]
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return [_places(value)]
    raise Fault(f"precision() works on numbers, dates and times, got {describe(items[0])}")


def _comparable(scope: Scope, items: Collection, other: Collection) -> Collection:
    one, two = single(items, "comparable()"), single(other, "comparable()")
    if one is None or two is None:
        return []
    if not isinstance(one, Quantity) or not isinstance(two, Quantity):
        raise Fault(f"comparable() works on quantities, got {describe(items[0])}")
    return [comparable(one, two)]


CHAPTER = (
    eager("lowBoundary", _low, 0, 1),
    eager("highBoundary", _high, 0, 1),
    eager("precision", _precision),
    eager("comparable", _comparable, 1),
)
