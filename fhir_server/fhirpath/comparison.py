"""Equality, equivalence and order of items and collections (N1 §6.1–6.2).

What these functions cannot do they say with a `Fault`, which `evaluate` turns into a
FhirPathTypeError with the position.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.temporal import Temporal
from fhir_server.fhirpath.values import (
    CALENDAR_UCUM,
    Collection,
    Element,
    Quantity,
    key,
    quantity_key,
    system,
    system_type,
)
from terminology import ucum

# Sums and products of N1's numbers (28 digits, 8 of them behind the point) are exact in this.
EXACT = Context(prec=100, Emax=1000, Emin=-1000)
DIVIDED = Context(prec=28, Emax=1000, Emin=-1000)


MAX_EQUIVALENT = 2000  # each is compared with each


class Fault(Exception):
    """The operands are not what the operator or function works on."""


def describe(item: Any) -> str:
    """Return what an item is, for messages; never what it says."""
    if isinstance(item, Element):
        return f"a {item.type}"
    return f"a System.{system_type(item)}"


def single(items: Collection, what: str) -> Any:
    """Return the one System value (or complex element) of `items`; None when empty.

    Raises Fault when there are several.
    """
    if not items:
        return None
    if len(items) > 1:
        raise Fault(f"{what} works on one value, got {len(items)}")
    return system(items[0])


def truth(items: Collection, what: str = "a condition") -> bool | None:
    """Return `items` as boolean: a single value that is no boolean counts as true (N1 §4.5)."""
    if not items:
        return None
    value = items[0]
    if type(value) is Element:
        value = value.value if value.type == "boolean" else True
    if len(items) > 1:
        raise Fault(f"{what} works on one boolean, got {len(items)} values")
    if value is None:
        return None
    return value is not False


def equal(left: Collection, right: Collection) -> bool | None:
    """`=` (§6.1.1): the same items in the same order."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    answer: bool | None = True
    for one, other in zip(left, right, strict=True):
        same = item_equal(one, other)
        if same is False:
            return False
        if same is None:
            answer = None
    return answer


def item_equal(left: Any, right: Any) -> bool | None:
    """Say whether two items are equal; None where precision or zone leave it open."""
    one, other = system(left), system(right)
    if type(one) is str and type(other) is str:
        return one == other
    if isinstance(one, Temporal) and isinstance(other, Temporal):
        if one.start != other.start:
            return False
        order = temporal.compare(one, other)
        return None if order is None else order == 0
    if isinstance(one, Quantity) or isinstance(other, Quantity):
        return _quantity_equal(one, other)
    if isinstance(one, Temporal) and isinstance(other, str) and isinstance(left, Element):
        return str(one) == other  # Patient.birthDate = '1970-01-01' is found all over the field
    if isinstance(other, Temporal) and isinstance(one, str) and isinstance(right, Element):
        return one == str(other)
    if one is None or other is None:
        if isinstance(left, Element) and isinstance(right, Element):
            return bool(key(left) == key(right))
        return None
    return bool(key(one) == key(other))


def _quantity_equal(left: Any, right: Any) -> bool | None:
    one, other = as_quantity(left), as_quantity(right)
    if one is None or other is None:
        return False
    if _calendar_meets_ucum(one, other):
        return None
    return bool(quantity_key(one) == quantity_key(other))


def _calendar_meets_ucum(one: Quantity, other: Quantity) -> bool:
    """Say whether a calendar year or month meets a UCUM duration: nobody knows how they relate."""
    vague = ("year", "month")
    return (one.unit in vague) != (other.unit in vague) and comparable(one, other)


def ucum_code(quantity: Quantity) -> str:
    """Return the UCUM code of a quantity's unit, for calendar words the nearest one."""
    return CALENDAR_UCUM.get(quantity.unit, quantity.unit)


def comparable(one: Quantity, other: Quantity) -> bool:
    """Say whether two quantities measure the same kind of thing."""
    first = ucum.canonical(one.value, ucum_code(one))
    second = ucum.canonical(other.value, ucum_code(other))
    if first is None or second is None:
        return one.unit == other.unit
    return bool(first[1] == second[1])


def as_quantity(value: Any) -> Quantity | None:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Quantity(value)
    return None


def equivalent(left: Collection, right: Collection) -> bool:
    """`~` (§6.1.2): the same items in any order, texts without case, numbers to the coarser one's digits."""
    if len(left) != len(right):
        return False
    if len(left) == 1:
        return item_equivalent(left[0], right[0])
    if len(left) > MAX_EQUIVALENT:
        raise Fault(f"~ compares up to {MAX_EQUIVALENT} items, got {len(left)}")
    rest = list(right)
    for one in left:
        match = next((place for place, other in enumerate(rest) if item_equivalent(one, other)), None)
        if match is None:
            return False
        del rest[match]
    return True


def item_equivalent(left: Any, right: Any) -> bool:
    """Say whether two items are equivalent."""
    one, other = system(left), system(right)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold().split() == other.casefold().split()
    if isinstance(one, (int, Decimal)) and isinstance(other, (int, Decimal)):
        return _numbers_equivalent(one, other)
    if isinstance(one, Temporal) and isinstance(other, Temporal):
        same_kind = one.start == other.start and one.precision == other.precision
        return same_kind and temporal.compare(one, other) == 0
    if isinstance(one, Quantity) or isinstance(other, Quantity):
        return _quantities_equivalent(one, other)
    if isinstance(one, Element) and isinstance(other, Element):
        return _json_equivalent(one.value, other.value)
    return bool(key(one) == key(other))


def _numbers_equivalent(one: int | Decimal, other: int | Decimal) -> bool:
    places = min(_places(one), _places(other))
    unit = Decimal(1).scaleb(-places)
    return EXACT.quantize(Decimal(one), unit) == EXACT.quantize(Decimal(other), unit)


def _places(value: int | Decimal) -> int:
    if isinstance(value, int):
        return 0
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _quantities_equivalent(left: Any, right: Any) -> bool:
    one, other = as_quantity(left), as_quantity(right)
    if one is None or other is None:
        return False
    if ucum_code(one) == ucum_code(other):
        return _numbers_equivalent(one.value, other.value)
    converted = ucum.convert(other.value, ucum_code(other), ucum_code(one))
    return converted is not None and _numbers_equivalent(one.value, converted)


def _json_equivalent(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        names = (one.keys() | other.keys()) - {"id"}
        return all(_json_equivalent(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        rest = list(other)
        for item in one:
            match = next((place for place, it in enumerate(rest) if _json_equivalent(item, it)), None)
            if match is None:
                return False
            del rest[match]
        return not rest
    if isinstance(one, (dict, list)) or isinstance(other, (dict, list)):
        return False
    return one is other if one is None or other is None else item_equivalent(one, other)


def order(left: Any, right: Any) -> int | None:
    """Return -1, 0 or 1 for two System values, None where it is open; raises Fault for other pairs."""
    if isinstance(left, bool) or isinstance(right, bool):
        raise Fault("booleans have no order")
    if isinstance(left, (int, Decimal)) and isinstance(right, (int, Decimal)):
        return (left > right) - (left < right)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, Temporal) and isinstance(right, Temporal) and left.start == right.start:
        return temporal.compare(left, right)
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        one, other = as_quantity(left), as_quantity(right)
        if one is not None and other is not None:
            return _quantity_order(one, other)
    raise Fault(f"{describe(left)} and {describe(right)} have no order")


def _quantity_order(one: Quantity, other: Quantity) -> int | None:
    if one.unit == other.unit:
        return (one.value > other.value) - (one.value < other.value)
    if one.unit in ("year", "month") and other.unit in ("year", "month"):
        first, second = (
            one.value * (12 if one.unit == "year" else 1),
            other.value * (12 if other.unit == "year" else 1),
        )
        return (first > second) - (first < second)
    left = ucum.canonical(one.value, ucum_code(one))
    right = ucum.canonical(other.value, ucum_code(other))
    if left is None or right is None or left[1] != right[1] or _calendar_meets_ucum(one, other):
        return None
    return (left[0] > right[0]) - (left[0] < right[0])


def distinct(items: Collection) -> Collection:
    """Return the items without repetitions, the first of each kept."""
    if len(items) < 2:
        return items
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(key(item), item)
    return list(seen.values())
