"""Equality, comparison, arithmetic and logic, with the empty collection (N1 §6).

Functions here take whole collections and return one value, or None for empty. What they cannot
do they say with a `Fault`, which `evaluate` turns into a FhirPathTypeError with the position.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.temporal import Date, Temporal
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
    one, other = _as_quantity(left), _as_quantity(right)
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


def _as_quantity(value: Any) -> Quantity | None:
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
    one, other = _as_quantity(left), _as_quantity(right)
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
        one, other = _as_quantity(left), _as_quantity(right)
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


def _comparison(sign: str, holds: Callable[[int], bool]) -> Callable[[Collection, Collection], bool | None]:
    def compare(left: Collection, right: Collection) -> bool | None:
        one, other = single(left, sign), single(right, sign)
        if one is None or other is None:
            return None
        answer = order(one, other)
        return None if answer is None else holds(answer)

    return compare


def _member_of(left: Collection, right: Collection) -> bool | None:
    if not left:
        return None
    if len(left) > 1:
        raise Fault(f"in works on one value, got {len(left)}")
    wanted = key(left[0])
    return any(key(item) == wanted for item in right)


def _union(left: Collection, right: Collection) -> Collection:
    return distinct([*left, *right])


def distinct(items: Collection) -> Collection:
    """Return the items without repetitions, the first of each kept."""
    if len(items) < 2:
        return items
    return _first(items)


def _first(items: Collection) -> Collection:
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(key(item), item)
    return list(seen.values())


def _both(left: Any, right: Any, sign: str) -> tuple[Any, Any] | None:
    one, other = single(left, sign), single(right, sign)
    return None if one is None or other is None else (one, other)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def add(left: Collection, right: Collection) -> Any:
    """`+` (§6.6.3): numbers, texts, quantities, and a date or time with a quantity."""
    pair = _both(left, right, "+")
    if pair is None:
        return None
    one, other = pair
    if _is_number(one) and _is_number(other):
        return (
            _whole(one + other)
            if isinstance(one, int) and isinstance(other, int)
            else EXACT.add(Decimal(one), Decimal(other))
        )
    if isinstance(one, str) and isinstance(other, str):
        return one + other
    if isinstance(one, Temporal) and isinstance(other, Quantity):
        return move(one, other, 1)
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return _quantity_sum(one, other, 1)
    raise Fault(f"+ does not add {describe(other)} to {describe(one)}")


def subtract(left: Collection, right: Collection) -> Any:
    """`-` (§6.6.4)."""
    pair = _both(left, right, "-")
    if pair is None:
        return None
    one, other = pair
    if _is_number(one) and _is_number(other):
        return (
            _whole(one - other)
            if isinstance(one, int) and isinstance(other, int)
            else EXACT.subtract(Decimal(one), Decimal(other))
        )
    if isinstance(one, Temporal) and isinstance(other, Quantity):
        return move(one, other, -1)
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return _quantity_sum(one, other, -1)
    raise Fault(f"- does not take {describe(other)} from {describe(one)}")


def _whole(value: int) -> int | None:
    return value if -(2**63) <= value < 2**63 else None  # beyond a Long: overflow is empty (§6.6)


_DEFINITE = {"wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond"}


def move(value: Temporal, amount: Quantity, sign: int) -> Temporal | None:
    """Return a date or time moved by a calendar quantity or a definite UCUM duration (§6.6.7)."""
    unit = amount.unit
    if unit not in CALENDAR_UCUM:
        singular = unit.removesuffix("s")
        if unit in _DEFINITE:
            unit = _DEFINITE[unit]
        elif singular in CALENDAR_UCUM:
            unit = singular
        else:
            raise Fault(f"a date moves by years, months, weeks, days, hours …, not by {unit!r}")
    if isinstance(value, Date) and unit in ("hour", "minute", "second", "millisecond"):
        hours = {"hour": 24, "minute": 1440, "second": 86_400, "millisecond": 86_400_000}[unit]
        whole = (Decimal(amount.value) / hours).to_integral_value(ROUND_DOWN)
        return temporal.add(value, sign * whole, "day")
    return temporal.add(value, sign * Decimal(amount.value), unit)


def _quantity_sum(one: Quantity, other: Quantity, sign: int) -> Quantity | None:
    if one.unit == other.unit:
        return Quantity(EXACT.add(Decimal(one.value), sign * Decimal(other.value)), one.unit)
    converted = ucum.convert(other.value, ucum_code(other), ucum_code(one))
    if converted is None:
        return None
    return Quantity(EXACT.add(Decimal(one.value), sign * converted), one.unit)


def multiply(left: Collection, right: Collection) -> Any:
    """`*` (§6.6.1)."""
    pair = _both(left, right, "*")
    if pair is None:
        return None
    one, other = pair
    if _is_number(one) and _is_number(other):
        if isinstance(one, int) and isinstance(other, int):
            return _whole(one * other)
        return EXACT.multiply(Decimal(one), Decimal(other))
    first, second = _as_quantity(one), _as_quantity(other)
    if first is None or second is None:
        raise Fault(f"* does not multiply {describe(one)} by {describe(other)}")
    unit = ucum.product(ucum_code(first), ucum_code(second))
    return Quantity(EXACT.multiply(Decimal(first.value), Decimal(second.value)), unit)


def divide(left: Collection, right: Collection) -> Any:
    """`/` (§6.6.2): always a Decimal; empty when divided by zero."""
    pair = _both(left, right, "/")
    if pair is None:
        return None
    one, other = pair
    first, second = _as_quantity(one), _as_quantity(other)
    if first is None or second is None:
        raise Fault(f"/ does not divide {describe(one)} by {describe(other)}")
    if second.value == 0:
        return None
    value = DIVIDED.divide(Decimal(first.value), Decimal(second.value))
    if _is_number(one) and _is_number(other):
        return value
    unit = ucum.quotient(ucum_code(first), ucum_code(second))
    return Quantity(value, unit)


def _integral(
    sign: str, left: Collection, right: Collection, of: Callable[[Decimal, Decimal], Decimal]
) -> Any:
    pair = _both(left, right, sign)
    if pair is None:
        return None
    one, other = pair
    if not _is_number(one) or not _is_number(other):
        raise Fault(f"{sign} works on numbers, got {describe(one)} and {describe(other)}")
    if other == 0:
        return None
    return of(Decimal(one), Decimal(other))


def whole_quotient(left: Collection, right: Collection) -> Any:
    """`div` (§6.6.5), rounded towards zero."""
    value = _integral("div", left, right, EXACT.divide_int)
    return None if value is None or abs(value) >= 2**63 else int(value)


def remainder(left: Collection, right: Collection) -> Any:
    """`mod` (§6.6.6), with the sign of the dividend."""
    value = _integral("mod", left, right, EXACT.remainder)
    if value is None:
        return None
    whole = all(isinstance(system(items[0]), int) for items in (left, right))
    return int(value) if whole else value


def concatenate(left: Collection, right: Collection) -> str:
    """`&` (§6.6.8): empty counts as the empty text."""
    words = []
    for items in (left, right):
        value = single(items, "&")
        if value is not None and not isinstance(value, str):
            raise Fault(f"& joins texts, got {describe(value)}")
        words.append(value or "")
    return "".join(words)


def negate(items: Collection, sign: str) -> Any:
    """The polarity operators."""
    value = single(items, sign)
    if value is None:
        return None
    if isinstance(value, Quantity):
        return Quantity(-value.value, value.unit) if sign == "-" else value
    if not _is_number(value):
        raise Fault(f"{sign} works on a number or a quantity, got {describe(value)}")
    return -value if sign == "-" else value


def logic_and(left: bool | None, right: bool | None) -> bool | None:
    """`and` (§6.5.1)."""
    if left is False or right is False:
        return False
    return True if left and right else None


def logic_or(left: bool | None, right: bool | None) -> bool | None:
    """`or` (§6.5.2)."""
    if left or right:
        return True
    return False if left is False and right is False else None


def logic_xor(left: bool | None, right: bool | None) -> bool | None:
    """`xor` (§6.5.4)."""
    return None if left is None or right is None else left is not right


def logic_implies(left: bool | None, right: bool | None) -> bool | None:
    """`implies` (§6.5.5)."""
    if left is False or right:
        return True
    return False if left and right is False else None


def not_equal(left: Collection, right: Collection) -> bool | None:
    """`!=` (§6.1.3)."""
    answer = equal(left, right)
    return None if answer is None else not answer


# operator → function of two collections that answers one value, or None for empty
OPERATORS: dict[str, Callable[[Collection, Collection], Any]] = {
    "=": equal,
    "!=": not_equal,
    "~": equivalent,
    "!~": lambda left, right: not equivalent(left, right),
    "<": _comparison("<", lambda answer: answer < 0),
    ">": _comparison(">", lambda answer: answer > 0),
    "<=": _comparison("<=", lambda answer: answer <= 0),
    ">=": _comparison(">=", lambda answer: answer >= 0),
    "in": _member_of,
    "contains": lambda left, right: _member_of(right, left),
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "div": whole_quotient,
    "mod": remainder,
    "&": concatenate,
}
LOGIC: dict[str, Callable[[bool | None, bool | None], bool | None]] = {
    "and": logic_and,
    "or": logic_or,
    "xor": logic_xor,
    "implies": logic_implies,
}
