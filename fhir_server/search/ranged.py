"""A page of a search that asks for one range of one index and for nothing else: the first rows of it.

R4/search.html#sort leaves the order to the server where none is asked for. So `family=smi` comes in the
order of the names, `probability=gt0.5` in that of the numbers: the page is read off the index and ends
with its last row, however many there are. A range in several units is one range a unit, one after
the other; numbers that are no points are found by their other end (spans.py) and come behind.

A position is where the range was left: its part, the columns of the index, and pk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fhir_server.search import spans
from fhir_server.search.ast import Clause, Parameter, Query
from fhir_server.search.conditions import TENANT, Sql, is_on_rows, param, row_stretches
from fhir_server.search.elements import has_one_row, is_bound
from fhir_server.search.order import Key, Position, beyond
from fhir_server.search.page import Page, resource_of_row, selected
from fhir_server.search.sql import any_of_these, in_parentheses, joined
from fhir_server.search.types.composite import CompositeValue
from fhir_server.search.types.quantity import QuantityValue
from fhir_server.search.types.table import TYPES
from fhir_server.search.types.token import TokenValue

NUMBERS = (Key("d.low", "numeric", False, False), Key("d.high", "numeric", False, False))
COLUMNS: dict[str, tuple[Key, ...]] = {
    "string": (Key("d.value", "text", False, False),),
    "number": NUMBERS[:1],
    "quantity": NUMBERS,
    "composite": NUMBERS,
}
"""What the index of a type is ordered by, behind what a range has once, and before pk."""
PART = Key("d.part", "text", False, False)
LAST = "~"  # behind the keys of units


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the range; parts share no row and come in the order of their names."""

    name: str
    rows: Sql


def asked(query: Query, position: Position | None = None) -> list[Clause]:
    """Return the clauses of a search that is one range of one index, [] for what is none.

    >>> from fhir_server.search.parse import parse
    >>> len(asked(parse("Patient", [("family", "smi")]))), len(asked(parse("Patient", [("gender", "male")])))
    (1, 0)
    """
    clauses = [each for each in query.clauses if isinstance(each, Clause) and is_on_rows(each)]
    if query.sort or not clauses or len(clauses) < len(query.clauses):
        return []
    parameter = clauses[0].parameter
    if parameter.kind not in COLUMNS or len(parameter.sources) > 1:
        return []
    if len(clauses) > 1 and not all(is_bound(each) and each.parameter == parameter for each in clauses):
        return []
    if position is not None and not position.keys:
        return []  # a page link that was made in the order of pk
    single = len(clauses) == 1
    ranges = [len(each.alternatives) == 1 and _is_range(each.alternatives[0], single) for each in clauses]
    return clauses if all(ranges) else []


def _is_range(value: object, single: bool) -> bool:
    """Tell whether the rows of a value stand together in the index; those in further units are ranges too."""
    match value:
        case QuantityValue(_, system, code, also):
            return (system is None) == (code is None) and (single or not also)
        case CompositeValue(((_, TokenValue() as token), (kind, ordered))):
            return bool(token.code) and kind in ("number", "quantity") and _is_range(ordered, False)
        case CompositeValue():
            return False
    return True


def branch(page: Page, clauses: Sequence[Clause]) -> Sql:
    """Return the matches in the order of their rows, a resource by the first of its rows."""
    columns = list(COLUMNS[clauses[0].parameter.kind])
    page.keys = [PART, *columns]
    parts = _parts(clauses)
    once = (
        "" if has_one_row(clauses[0].parameter) else ", ".join([*[key.expression for key in columns], "d.pk"])
    )
    found = []
    for number, part in enumerate(parts):
        rows = _rows(clauses[0].parameter, part, parts[:number], columns)
        source = f"({rows.text}) d {resource_of_row(page)}"
        behind = _behind(page, part, columns)
        made = selected(page, source, page.where([]), page.keys, columns, behind, "d.pk", once)
        found.append(Sql(made.text, (*rows.parameters, *made.parameters)))
    if len(found) == 1:
        return found[0]
    if page.backward:
        found.reverse()
    united = joined([in_parentheses(each) for each in found], " union all ")
    return Sql(f"{united.text} limit %s", (*united.parameters, page.limit))


def _behind(page: Page, part: Part, columns: list[Key]) -> Sql | None:
    """Return the condition of what comes behind the position in a part, None for all of it."""
    if page.position is None:
        return None
    place = page.position.keys[0] or ""
    if part.name == place:
        return beyond(columns, page.position, page.position.keys[1:], page.descending_pk)
    return None if (part.name < place) == page.backward else Sql("false")


def _parts(clauses: Sequence[Clause]) -> list[Part]:
    """Return the parts of a range in their order: one a unit, and what is no point behind them."""
    units = spans.in_units(clauses)
    stretches = [(Sql(each.sql, each.parameters), each.long) for each in units] or row_stretches(clauses)
    points = [Part(str(rows.parameters[0]) if units else "", rows) for rows, long in stretches if not long]
    points.sort(key=lambda part: part.name)
    if long := [rows for rows, long in stretches if long]:
        points.append(Part(LAST, any_of_these([in_parentheses(rows) for rows in long])))
    return points


def _rows(parameter: Parameter, part: Part, before: Sequence[Part], columns: Sequence[Key]) -> Sql:
    """Select the rows of a part; of each resource only the first rows of the whole range, equal ones.

    Said by a case, as order.walk says it; with the condition once more in front, so that Postgres takes it
    for dearer than the condition and asks it last.
    """
    table = TYPES[parameter.kind].table
    names = [key.expression.removeprefix("d.") for key in columns]
    own = f"tenant = {TENANT} and {param(parameter)}"
    rows = Sql(f"i.{own} and {part.rows.text}", part.rows.parameters)
    if not has_one_row(parameter):
        there, here = (", ".join(f"{alias}.{name}" for name in names) for alias in ("e", "i"))
        same = Sql(f"({part.rows.text} and ({there}) < ({here}))", part.rows.parameters)
        first = any_of_these([*[in_parentheses(each.rows) for each in before], same])
        rows = Sql(
            f"{rows.text} and case when ({part.rows.text}) and exists (select from {table} e where e.{own} "
            f"and e.pk = i.pk and {first.text}) then false else true end",
            (*rows.parameters, *part.rows.parameters, *first.parameters),
        )
    shown = ", ".join(f"i.{name}" for name in names)
    select = f"select i.pk, %s::text as part, {shown} from {table} i where {rows.text}"
    return Sql(select, (part.name, *rows.parameters))
