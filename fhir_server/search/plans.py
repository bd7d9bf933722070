"""How a page is found: the shapes of statement that have no bad plan (docs/decisions/0001).

Postgres knows how often a key occurs and how values are spread, each for itself; it multiplies, and
medicine is not independent: two frequent codes may never meet. A page must not depend on such a
guess, so its shape is chosen by what is asked, and where that is not enough by a look at the data:

    chart       the newest of one patient: a walk of the chart index (chart.py)
    range       one range of one index and nothing else: its first rows (ranged.py)
    keys        a key that few resources have (a reference, an identifier): GIN, then order
    stretch     keys that many have: walk 2,000 in order; GIN only if they do not fill the page
    few rows    a condition on ordered rows: up to 1,000 (4,000 without sort) of them, then their resources
    targets     a chain: what refers to few of what it leads to; else a stretch, compared with up to 200
    holders     `_has`: where up to 300 have what is asked for, what they refer to; else a stretch
    walk        none of these: in order until the page is full

`r.pk + 0` in an ORDER BY is what the primary key does not serve: the keys come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import RESOURCE
from fhir_server.search import chart, ranged, score
from fhir_server.search.ast import Chain, Clause, Criterion, Has, innermost
from fhir_server.search.conditions import (
    TENANT,
    Sql,
    is_on_rows,
    row_source,
    row_stretches,
)
from fhir_server.search.elements import is_bound
from fhir_server.search.linked import by_row, is_tried
from fhir_server.search.order import Key, Walk, beyond, order_by
from fhir_server.search.page import CHART, Page, behind_position, looked_up, resource_of_row, selected
from fhir_server.search.settled import is_by_keys, is_few_rows, is_linked_by_keys, is_tried_on_few
from fhir_server.search.sql import OfType, in_parentheses, joined
from fhir_server.search.types import words
from fhir_server.search.types.table import TYPES

FEW = 1000  # so many rows are fetched and sorted in some milliseconds
FEW_IN_ORDER = 4  # times as many where they come in the order of the page, and not all are fetched
FEW_TARGETS = 200  # each may be referred to by many
FEW_HOLDERS = 300  # what they refer to is fetched
FEW_REFERRED = 3  # so many are not compared with a stretch first, where nothing is known of them
MOST_REFERRED = 1000  # each is a step of GIN
STRETCH = 2000  # so many resources are looked at in some milliseconds
CHARTED = 200  # of one patient's, which lie scattered
DENSE = 0.1  # the part of a type from which on a look at these is worth it
PROBED = ("idx_text", "idx_position", "idx_composite", "idx_string", "idx_quantity", "idx_number", "idx_date")
"""The tables of rows, the one that tells most first."""


def plan(page: Page) -> None:
    """Make the branches of a page."""
    if (charted := chart.asked(page.query)) is not None:
        page.keys[0] = CHART
        page.conditions.at_hand = True
        _by_chart(page, *charted)
        return
    clauses = page.query.clauses
    if page.query.sort and score.is_key(page.query.sort[0]):
        page.branches.append(_by_score(page))
        return
    if (
        page.beside == 1
        and page.conditions.visible is None
        and (only := ranged.asked(page.query, page.position))
    ):
        page.branches.append(ranged.branch(page, only))
        return
    worded = words.asked(clauses)
    limit = page.conditions.visible(page.query.type_name) if page.conditions.visible else None
    frequency = page.judge.of([*clauses, *([limit] if limit is not None else [])])
    if frequency == "few" and _sorted_by_chart(page):
        page.keys[0] = replace(CHART, descending=page.keys[0].descending)
    page.conditions.at_hand = frequency == "few"
    page.conditions.walking = page.conditions.at_hand and is_tried_on_few(clauses)
    bounds = _bounds(page)
    gate = ""
    probe = worded if worded or bounds else _probed(clauses)
    if frequency != "few" and probe:
        few_rows = FEW if page.keys or worded else FEW * FEW_IN_ORDER
        gate += f" and (select count(*) > {few_rows} from p)"
        page.looks.append(("p", row_source(probe, few_rows + 1)))
        rest = page.where([each for each in clauses if each not in probe])
        own = f"r.type = {type_code(page.query.type_name)} and r.pk = any(array(select pk from p))"
        few = f"{own} and (select count(*) <= {few_rows} from p)"
        page.branches.append(looked_up(page, Sql(f"{rest.text} and {few}", rest.parameters)))
        if (
            page.beside == 1
            and page.conditions.visible is None
            and not page.keys
            and is_few_rows(probe, clauses)
        ):
            page.probed = Sql(f"(select count(*) > {few_rows} from p)")
            gate = ""  # what follows is only asked if they are more, and need not look again
    chain = next((each for each in clauses if isinstance(each, Chain) and by_row(each)), None)
    if frequency != "few" and chain is not None:
        gate = _referring(page, chain, gate)
        page.conditions.looked_at, page.conditions.looked_at_most = chain, FEW_TARGETS
        frequency = "many"
    has = next((each for each in clauses if isinstance(each, Has) and is_tried(each)), None)
    if frequency != "few" and has is not None:
        if not page.judge.is_more([innermost(has).criterion], FEW_HOLDERS):
            page.looks.append(("h", page.conditions.holders(has, FEW_HOLDERS + 1)))
            where = page.where(clauses)
            few_holders = f"{where.text}{gate} and (select count(*) <= {FEW_HOLDERS} from h)"
            page.branches.append(looked_up(page, Sql(few_holders, where.parameters)))
            gate += f" and (select count(*) > {FEW_HOLDERS} from h)"
        frequency = "many"
    stretch = _stretch(page, bounds, gate) if frequency == "many" else None
    more = Sql("")
    if stretch is not None:
        page.looks.append(("w", stretch.page))
        page.branches.append(
            Sql(f"select * from w where true{gate} and ({stretch.enough.text})", stretch.enough.parameters)
        )
        more = Sql(f" and not ({stretch.enough.text})", stretch.enough.parameters)
    if frequency == "few" or stretch is not None:
        where = page.where(clauses)
        found = Sql(where.text + gate + more.text, (*where.parameters, *more.parameters))
        page.branches.append(looked_up(page, found, by_keys=True))
    else:
        page.branches += _walked(page, bounds, gate)


def _referring(page: Page, chain: Chain, gate: str) -> str:
    """Make the branch of what refers to few targets of a chain, and return when the others are begun.

    What refers to them is looked at first: up to FEW, however unevenly they may be referred to.
    """
    most = max(min(FEW_REFERRED, FEW_TARGETS), min(page.judge.targets_of(chain, FEW), MOST_REFERRED))
    targets = page.conditions.targets(chain)
    page.looks.append(("t", Sql(f"{targets.text} limit {max(most, FEW_TARGETS) + 1}", targets.parameters)))
    rest = [each for each in page.query.clauses if each is not chain]
    referring = OfType("r.keys && array(select * from t)")
    where = page.conditions.rows("r", page.query.type_name, rest, referring)
    few = f"{gate} and (select count(*) <= {most} from t)"
    found = f"select r.* from {RESOURCE} r where {where.text}{few} limit {FEW + 1}"
    page.looks.append(("c", Sql(found, where.parameters)))
    enough = f"(select count(*) <= {FEW} from c)"
    page.branches.append(
        selected(page, "c r", Sql(f"true{few} and {enough}"), page.keys, page.keys, behind_position(page))
    )
    return f"{gate} and ((select count(*) > {most} from t) or not {enough})"


def is_settled(page: Page) -> bool:
    """Tell whether the best plan of a page is the same whatever values are asked for.

    It is where only keys are asked for, here or behind references: their shapes leave Postgres nothing to
    guess. Of ranges it is only where the page is a walk of the one index that they are ranges of, or where
    they are tried on few resources.
    """
    if page.conditions.visible is not None:
        return False
    clauses = page.query.clauses
    if ranged.PART in page.keys:
        return True
    charted = bool(page.keys) and page.keys[0].expression == CHART.expression
    by_keys = is_by_keys if charted else is_linked_by_keys
    few = page.conditions.at_hand and page.conditions.walking
    if not few and len(_bounds(page)) < len(clauses) and not all(map(by_keys, clauses)):
        return False
    return not page.keys or page.first is not None or charted


def _sorted_by_chart(page: Page) -> bool:
    """Tell whether the first key is the clinical date, which stands in the row itself."""
    found = chart.chart(page.query.type_name)
    return found is not None and bool(page.query.sort) and page.query.sort[0].parameter == found.date


def _probed(clauses: Sequence[Criterion]) -> list[Clause]:
    """Return the clauses whose number of rows is looked at first: those of the table that tells most."""
    found = [each for each in clauses if isinstance(each, Clause) and is_on_rows(each)]
    if not found:
        return []
    best = min(found, key=lambda clause: PROBED.index(TYPES[clause.parameter.kind].table or ""))
    if not is_bound(best):
        return [best]
    return [each for each in found if each.parameter == best.parameter]


def _bounds(page: Page) -> list[Clause]:
    """Return the clauses that are conditions on the rows walked for the first sort key.

    `date=ge2024&_sort=-date` then is one range of one index, begun at its end.
    """
    if page.first is None or not page.first.single:
        return []
    parameter = page.query.sort[0].parameter
    return [
        each
        for each in page.query.clauses
        if isinstance(each, Clause) and each.parameter == parameter and is_bound(each)
    ]


def _by_chart(page: Page, clause: Clause, patient: str) -> None:
    """Make the branches of one patient's resources, newest first.

    With further criteria the patient's key is among them too: the GIN index then finds the few that
    have all of them. Where it is known that many do, the first of the chart are looked at before. Without,
    only a walk of the chart is left, which ends with the page.
    """
    others = [each for each in page.query.clauses if each is not clause]
    page.conditions.walking = is_tried_on_few(others)
    in_chart, more = "r.chart = %s::uuid", Sql("")
    if others and len(page.keys) == 1 and page.judge.is_dense(others, DENSE):
        own = f"r.tenant = {TENANT} and r.type = {type_code(page.query.type_name)} and not r.deleted"
        behind = "" if (placed := behind_position(page)) is None else f" and ({placed.text})"
        heads = (
            f"from {RESOURCE} r where {own} and {in_chart}{behind} "
            f"order by {order_by(page.keys, page.descending_pk, page.backward)} limit {CHARTED}"
        )
        walked = Sql(heads, (patient, *(() if placed is None else placed.parameters)))
        matches = page.where(others)
        look = selected(page, f"(select r.* {heads}) r", matches, page.keys, page.keys, None)
        page.looks.append(("w", Sql(look.text, (*walked.parameters, *look.parameters))))
        ended = f"(select count(*) < {CHARTED} from (select {heads}) d)"
        enough = Sql(f"((select count(*) >= {page.limit} from w) or {ended})", walked.parameters)
        page.branches.append(Sql(f"select * from w where {enough.text}", enough.parameters))
        more = Sql(f" and not {enough.text}", enough.parameters)
    where = page.where(page.query.clauses if others else [])
    if not others or not (page.conditions.walking or all(map(is_by_keys, others))):
        # Else a plan for any values would look into both indexes.
        where = Sql(f"{where.text} and {in_chart}", (*where.parameters, patient))
    found = Sql(where.text + more.text, (*where.parameters, *more.parameters))
    page.branches.append(looked_up(page, found))


def _by_score(page: Page) -> Sql:
    """Return the matches, those whose words fit best first: all that have the words are weighed."""
    worded = words.asked(page.query.clauses)
    others = [each for each in page.query.clauses if each not in worded]
    source = score.weighed(worded)
    whole = bool(others) or page.conditions.visible is not None or len(page.keys) > 1
    keys = [Key("d.v", "real", page.keys[0].descending, False), *page.keys[1:]]
    asked = keys if whole else [replace(keys[0], expression="r.v")]
    behind = None
    if page.position is not None:
        behind = beyond(asked, page.position, page.position.keys, page.descending_pk)
    if whole:
        page.conditions.at_hand = True
        made = selected(
            page, f"({source.text}) d {resource_of_row(page)}", page.where(others), keys, keys, behind
        )
        return Sql(made.text, (*source.parameters, *made.parameters))
    # Nothing else is asked: the page is cut before a resource is looked at.
    best = Sql(
        f"select r.pk, r.v from ({source.text}) r where {'true' if behind is None else behind.text} "
        f"order by {order_by(asked, page.descending_pk, page.backward)} limit %s",
        (*source.parameters, *(() if behind is None else behind.parameters), page.limit),
    )
    made = selected(page, f"({best.text}) d {resource_of_row(page)}", Sql("true"), keys, keys, None)
    return Sql(made.text, (*best.parameters, *made.parameters))


def _walked(page: Page, bounds: Sequence[Clause], gate: str) -> list[Sql]:
    """Return the matches by a walk in order: of pk or _lastUpdated, or of the first key's index.

    There are two walks then, of the resources with a first key and of those without one; the second
    is not begun while the first fills the page. `bounds` are conditions on the rows that are walked,
    so that none is without one.
    """
    first, rest, position = page.first, page.keys[1:], page.position
    page.conditions.walking = first is not None or not page.keys
    matches = page.where([each for each in page.query.clauses if each not in bounds])
    where = Sql(matches.text + gate, matches.parameters)
    if first is None:
        return [looked_up(page, where)]
    keys = [first.key, *rest]
    within = position is not None and position.keys[0] is not None  # the position is in the first walk
    found = []
    if position is None or within or page.backward:
        behind = beyond(keys, position, position.keys, page.descending_pk) if position and within else None
        for source, condition in _rows_in_order(page, first, bounds):
            both = Sql(f"{condition.text} and {where.text}", (*condition.parameters, *where.parameters))
            walked = selected(
                page, f"{source.text} {resource_of_row(page)}", both, keys, keys, behind, "d.pk"
            )
            found.append(Sql(walked.text, (*source.parameters, *walked.parameters)))
    if not bounds and (position is None or not within or not page.backward):
        behind = None
        if position is not None and not within:
            behind = beyond(rest, position, position.keys[1:], page.descending_pk)
        nothing = Key(f"null::{first.key.sql_type}", first.key.sql_type, False, True)
        absent = Sql(f"{where.text} and {first.absent}", where.parameters)
        found.append(selected(page, f"{RESOURCE} r", absent, [nothing, *rest], rest, behind))
    if not bounds and page.backward:
        found.reverse()
    if len(found) < 2:
        return found or [looked_up(page, Sql(f"{where.text} and false", where.parameters))]
    return [_limited(page, joined([in_parentheses(branch) for branch in found], " union all "))]


def _limited(page: Page, both: Sql) -> Sql:
    return Sql(f"{both.text} limit %s", (*both.parameters, page.limit))


def _rows_in_order(page: Page, first: Walk, bounds: Sequence[Clause]) -> list[tuple[Sql, Sql]]:
    """Return the rows `d` that the first sort key is walked by: parts that follow on each other.

    Each is a table or selection and a condition.
    """
    short: list[tuple[Sql, Sql]] = []
    long: list[Sql] = []
    for condition, is_long in row_stretches(bounds):
        whole = Sql(f"{first.condition} and {condition.text}", condition.parameters)
        if is_long:
            select = f"select d.pk, {_value(first, is_long)} as low from {first.table} d where {whole.text}"
            long.append(Sql(select, whole.parameters))
        else:
            short.append((Sql(f"{first.table} d"), whole))
    if not long:
        return short
    united = joined(long, " union all ")
    before = (Sql(f"({united.text}) d", united.parameters), Sql("true"))
    turned = first.key.descending != page.backward
    return [*short, before] if turned else [before, *short]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A page as far as a number of resources have it, and whether that is the whole of it."""

    page: Sql
    enough: Sql


def _value(first: Walk, is_long: bool) -> str:
    """Return the value that rows are walked by.

    Spans of numbers are few and found by their other end: no index shall offer itself for their order.
    """
    return f"{first.key.expression} + 0" if is_long and first.table != "idx_date" else first.key.expression


def _stretch(page: Page, bounds: Sequence[Clause], gate: str) -> Stretch | None:
    """Return the page as far as the next STRETCH resources in order have it; None where no index walks them.

    With a second key all equals of the first are in it, or none.
    """
    own_column = bool(page.keys) and page.keys[0].expression in ("r.last_updated", "r.id")
    if page.first is None and (len(page.keys) > 1 or (page.keys and not own_column)):
        return None
    if page.position is not None and None in page.position.keys[:1]:
        return None
    turned = page.descending_pk != page.backward
    direction, sign = (" desc", "<") if turned else ("", ">")
    many = max(STRETCH // page.beside, 4 * page.limit)
    if any(isinstance(each, Has) and isinstance(each.criterion, Has) for each in page.query.clauses):
        many = max(many // 4, page.limit)  # each is a look at many
    page.conditions.by_row = True
    matches = page.where([each for each in page.query.clauses if each not in bounds])
    page.conditions.by_row = False
    where = Sql(matches.text + gate, matches.parameters)
    own = f"r.tenant = {TENANT} and r.type = {type_code(page.query.type_name)} and not r.deleted"
    if page.first is None:
        bound = Sql("")
        order = order_by(page.keys, page.descending_pk, page.backward)
        if page.position is not None:
            compared = Sql(f"r.pk {sign} %s", (page.position.pk,))
            if page.keys:
                compared = Sql(
                    f"{page.keys[0].expression} {sign}= %s::{page.keys[0].sql_type}", page.position.keys
                )
            bound = Sql(f" and {compared.text}", compared.parameters)
        heads = f"from {RESOURCE} r where {own}{bound.text} order by {order} limit {many}"
        source = Sql(f"(select r.* {heads}) r", bound.parameters)
        walked = Sql(f"select {heads}", bound.parameters)
        keys, pk = page.keys, "r.pk"
    else:
        first = page.first
        column = first.key.expression.removeprefix("d.")
        place = Sql("")
        if page.position is not None:
            place = Sql(f" and d.{column} {sign}= %s::{first.key.sql_type}", (page.position.keys[0],))
        cut = f", d.pk{direction} limit {many}"
        if len(page.keys) > 1:
            cut = f" fetch first {many} rows with ties"
        parts = []
        for condition, is_long in row_stretches(bounds):
            rows = Sql(
                f"{first.condition} and {condition.text}{place.text}",
                (*condition.parameters, *place.parameters),
            )
            value = _value(first, is_long)
            in_order = f"order by {value}{direction}{cut}"
            select = f"select d.pk, {value} as {column} from {first.table} d where {rows.text} {in_order}"
            parts.append(Sql(select, rows.parameters))
        walked = parts[0]
        if len(parts) > 1:
            united = joined([in_parentheses(part) for part in parts], " union all ")
            in_order = f"order by d.{column}{direction}{cut}"
            walked = Sql(f"select * from ({united.text}) d {in_order}", united.parameters)
        source = Sql(f"({walked.text}) d {resource_of_row(page)}", walked.parameters)
        pk = "d.pk"
        keys = [first.key, *page.keys[1:]]
    behind = None
    if page.position is not None:
        behind = beyond(keys, page.position, page.position.keys, page.descending_pk)
    made = selected(page, source.text, where, keys, keys, behind, pk)
    enough = Sql(f"(select count(*) >= {page.limit} from w)")
    if page.first is None or bounds:
        # Where the walk came to its end, there is no more to find; else there are those without a date.
        enough = Sql(f"{enough.text} or (select count(*) < {many} from ({walked.text}) d)", walked.parameters)
    return Stretch(Sql(made.text, (*source.parameters, *made.parameters)), enough)
