"""How many resources match: counted where that is quick, else estimated, and the answer says which.

R4/search.html#total. `_total=none`, which is the default, is never counted. `accurate` and
`_summary=count` are counted for as long as the setting `total_budget_ms` allows; then the number is
what Postgres' planner expects from its statistics, as it is at once for `estimate`. An estimate comes
with an issue in the Bundle's OperationOutcome, so that nobody takes it for a count. What a first page
holds to its end needs neither: it has been counted already.
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg2 import errors

from fhir_server.interactions.context import Context
from fhir_server.outcome import Issue
from fhir_server.search.ast import Query
from fhir_server.search.compile import Statement, compile_count, compile_estimate
from fhir_server.search.contained import count_contained, estimate_contained


class Total(NamedTuple):
    """A number of matches, and what is to be said of it."""

    number: int
    issues: tuple[Issue, ...] = ()


def total(context: Context, query: Query, at_least: int = 0) -> Total:
    """Return how many resources match; an estimate is no less than `at_least`, which are known."""
    if query.total == "estimate":
        return _estimated(context, query, at_least, "it was asked for")
    budget_ms = context.settings.total_budget_ms
    statement = compile_count(query) if query.contained == "false" else count_contained(query)
    number = _counted(context, statement, budget_ms)
    if number is not None:
        return Total(number)
    return _estimated(
        context, query, at_least, f"counting took longer than {budget_ms} ms (setting total_budget_ms)"
    )


def _counted(context: Context, statement: Statement, budget_ms: int) -> int | None:
    """Return what a statement counts, None where it needs longer."""
    unit = context.unit
    unit.snapshot()
    unit.execute(f"SAVEPOINT total; SET LOCAL statement_timeout = {budget_ms}")
    try:
        number: int = unit.execute(statement.sql, statement.parameters)[0][0]
    except errors.QueryCanceled:
        return None
    else:
        return number
    finally:
        # Gives the time limit of other statements back, too.
        unit.execute("ROLLBACK TO SAVEPOINT total; RELEASE SAVEPOINT total")


def _estimated(context: Context, query: Query, at_least: int, reason: str) -> Total:
    statement = compile_estimate(query) if query.contained == "false" else estimate_contained(query)
    plan = context.unit.execute(statement.sql, statement.parameters)[0][0][0]["Plan"]
    told = Issue("information", "informational", f"Bundle.total is an estimate by statistics: {reason}")
    return Total(max(int(plan["Plan Rows"]), at_least), (told,))
