"""`_explain`: how a search is answered, for administrators (docs/search.md).

`_explain=true` gives the plan in words, the SQL and Postgres' EXPLAIN of it, as a Parameters resource;
`_explain=analyze` runs the statement for it and tells times and buffers. The search itself is not
answered. Values stand in the answer as they stood in the question, and nowhere else: nothing of it is
logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_server.authorization.permit import permit
from fhir_server.interactions.context import Context, Result
from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from fhir_server.search import described
from fhir_server.search.ast import Query
from fhir_server.search.compile import Statement, compile, compile_count
from fhir_server.search.contained import compile_contained, count_contained
from fhir_server.search.order import Position

NAME = "_explain"
OPTIONS = {"true": "", "analyze": "(ANALYZE, BUFFERS) "}


def asked(pairs: Sequence[tuple[str, str]]) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the options of EXPLAIN, None where it is not asked for, and the pairs of the search itself.

    >>> asked([("gender", "male"), ("_explain", "true")])
    ('', [('gender', 'male')])
    >>> asked([("gender", "male"), ("_explain", "false")])
    (None, [('gender', 'male')])

    Raises Invalid (400).
    """
    options = None
    for name, text in pairs:
        if name == NAME:
            if text not in ("false", *OPTIONS):
                raise Invalid(f"{NAME} is true, analyze or false; got {text!r}")
            options = OPTIONS.get(text)
    return options, [pair for pair in pairs if pair[0] != NAME]


def explanation(
    context: Context, query: Query, limit: int, position: Position | None, options: str
) -> Result:
    """Return what would be done to answer one page of a search, as a Parameters resource.

    Raises Forbidden (403) unless the grant allows it.
    """
    permit(context.grant, "explain", query.type_name or None)
    parameters: list[dict[str, Any]] = [
        {"name": "criterion", "valueString": words} for words in described.criteria(query)
    ]
    counted = query.summary == "count" or query.count == 0
    if not counted:
        if query.contained == "false":
            page = compile(query, limit + 1, position, frequencies=context.frequencies())
        else:
            page = compile_contained(query, limit + 1, position)
        asked = page.sql if page.first is None else f"{page.first.sql} {page.sql}"
        parameters += [{"name": "plan", "valueString": words} for words in described.shapes(query, asked)]
        if page.first is not None:
            parameters.append(_statement(context, "first", page.first, options))
        parameters.append(_statement(context, "page", page, options))
    if counted or query.total != "none":
        count = compile_count(query) if query.contained == "false" else count_contained(query)
        parameters.append(_statement(context, "count", count, options))
    text = json_format.encode({"resourceType": "Parameters", "parameter": parameters}).decode()
    return Result(200, text=text)


def _statement(context: Context, name: str, statement: Statement, options: str) -> dict[str, Any]:
    rows = context.unit.execute(f"EXPLAIN {options}{statement.sql}", statement.parameters)
    parts = [{"name": "sql", "valueString": statement.sql}]
    parts += [
        {"name": "parameter", "valueString": str(value)} for value in statement.parameters if str(value)
    ]
    parts.append({"name": "explain", "valueString": "\n".join(line for (line,) in rows)})
    return {"name": name, "part": parts}
