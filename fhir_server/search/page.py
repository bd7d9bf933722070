"""A page of a search: what is asked for, and the parts of the statement that finds it.

plans.py decides which parts there are. A look is a CTE, and what it shows opens one branch of a UNION ALL;
the others are not begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import RESOURCE, TENANT
from fhir_server.search import score
from fhir_server.search.ast import Criterion, Query
from fhir_server.search.conditions import Conditions, Sql
from fhir_server.search.frequency import Judge
from fhir_server.search.order import Key, Position, Walk, beyond, order_by, walk
from fhir_server.search.sql import in_parentheses, joined

RAW = "r.pk, r.type, r.id, r.version, r.last_updated"
CHART = Key("r.chart_date", "timestamptz", descending=True, nullable=True)


@dataclass(slots=True)
class Page:
    """What is to be found, and the parts of the statement that finds it."""

    query: Query
    conditions: Conditions
    limit: int
    position: Position | None
    beside: int = 1  # so many types are searched in one statement
    judge: Judge = field(default_factory=Judge)
    keys: list[Key] = field(init=False)
    first: Walk | None = field(init=False)
    looks: list[tuple[str, Sql]] = field(default_factory=list)  # CTEs by name
    branches: list[Sql] = field(default_factory=list)
    probed: Sql | None = None  # when the first branch is not begun, where it has one best plan

    def __post_init__(self) -> None:
        sort = self.query.sort
        self.keys = [score.key_of(self.query, each, number) for number, each in enumerate(sort, start=1)]
        self.first = walk(sort[0]) if sort and not score.is_key(sort[0]) else None

    @property
    def backward(self) -> bool:
        """Whether the page goes back from its position."""
        return self.position is not None and self.position.backward

    @property
    def descending_pk(self) -> bool:
        """Whether equals come in falling order of pk: as the first key does, for one index to serve both."""
        return bool(self.query.sort) and self.query.sort[0].descending

    def where(self, criteria: Sequence[Criterion]) -> Sql:
        """Return the condition on matches `r`."""
        return self.conditions.rows("r", self.query.type_name, criteria)

    def found(self, select: Sql) -> Sql:
        """Return the whole statement, once its branches are made: those that are not asked before it."""
        asked = int(self.probed is not None)
        branches, looks = self.branches[asked:], self.looks[asked:]
        united = branches[0]
        if len(branches) > 1:
            united = joined([in_parentheses(branch) for branch in branches], " union all ")
        names = [Sql(f"{name} as materialized ({look.text})", look.parameters) for name, look in looks]
        head = Sql("")
        if names:
            listed = joined(names, ", ")
            head = Sql(f"with {listed.text} ", listed.parameters)
        return Sql(
            f"{head.text}{select.text} from ({united.text}) r",
            (*head.parameters, *select.parameters, *united.parameters),
        )

    def found_if_few(self, select: Sql) -> Sql | None:
        """Return the statement of the first branch alone, where it has one best plan.

        A last row without pk says that it was not begun.
        """
        if self.probed is None:
            return None
        name, look = self.looks[0]
        few, much = self.branches[0], self.probed
        nothing = ", ".join(["null"] * (RAW.count(",") + 1 + len(self.keys)))
        return Sql(
            f"with {name} as materialized ({look.text}) {select.text} from "
            f"(({few.text}) union all select {nothing} where {much.text}) r",
            (*look.parameters, *select.parameters, *few.parameters, *much.parameters),
        )


def behind_position(page: Page) -> Sql | None:
    """Return the condition of what comes behind the position, if there is one."""
    if page.position is None:
        return None
    return beyond(page.keys, page.position, page.position.keys, page.descending_pk)


def looked_up(page: Page, where: Sql, *, by_keys: bool = False) -> Sql:
    """Return the matches in order, their sort keys looked up for each."""
    behind = behind_position(page)
    pk = "r.pk + 0" if by_keys else "r.pk"
    return selected(page, f"{RESOURCE} r", where, page.keys, page.keys, behind, pk)


def selected(
    page: Page,
    source: str,
    where: Sql,
    shown: list[Key],
    keys: list[Key],
    behind: Sql | None,
    pk: str = "r.pk",
    once: str = "",
) -> Sql:
    """Return one ordered and limited selection, of what comes `behind` the position if anything.

    `pk` is how the last key of the order is said, which decides by what index it is served. Of rows that are
    equal in `once`, which is what they are ordered by, there is one.
    """
    distinct = f"distinct on ({once}) " if once else ""
    joins = [each.join for each in keys if each.join.text]
    columns = "".join(f", {each.expression} as k{number}" for number, each in enumerate(shown, start=1))
    conditions = where.text if behind is None else f"{where.text} and ({behind.text})"
    order = order_by(keys, page.descending_pk, page.backward, pk)
    return Sql(
        f"select {distinct}{RAW}{columns} from {source}{''.join(join.text for join in joins)} "
        f"where {conditions} order by {order} limit %s",
        (
            *(value for join in joins for value in join.parameters),
            *where.parameters,
            *(() if behind is None else behind.parameters),
            page.limit,
        ),
    )


def resource_of_row(page: Page) -> str:
    """Return the join of the resource `r` of a walked row `d`.

    Lateral and fenced: of a join the planner believes that few rows are left where the type is a small one,
    and sorts all of them.
    """
    own = f"r.tenant = {TENANT} and r.type = {type_code(page.query.type_name)} and r.pk = d.pk"
    return f"cross join lateral (select r.* from {RESOURCE} r where {own} offset 0) r"
