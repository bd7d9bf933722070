"""_include and _revinclude: the statements that follow a page (R4/search.html#revinclude).

What a resource refers to stands in its keys, with the twelve bytes that the target's rid ends in; so
both directions are found in the index, and no resource of the page has to be parsed for it.

A page is `found`: the pks and addresses of its resources by type. One statement a round serves each
kind of include; `:iterate` goes another round over what the last one brought, until nothing is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import RESOURCE
from fhir_server.search import elements, keys
from fhir_server.search.ast import Include, Parameter
from fhir_server.search.compile import COLUMNS, Statement
from fhir_server.search.conditions import (
    TENANT,
    Conditions,
    Sql,
    Visible,
)
from fhir_server.search.linked import only_canonical
from fhir_server.search.registry import Registry, standard
from fhir_server.search.sql import OfType


@dataclass(frozen=True, slots=True)
class Found:
    """A resource of the page or of an earlier round."""

    pk: int
    type_name: str
    id: str


def statements(
    includes: Sequence[Include],
    found: Sequence[Found],
    known: Iterable[int],
    limit: int,
    *,
    visible: Visible | None = None,
    registry: Registry | None = None,
) -> list[Statement]:
    """Return what brings the resources that `found` refers to or that refer to it.

    Rows are compile.COLUMNS, at most `limit` from each statement; resources whose pk is among `known`
    are left out. Two statements may bring the same resource. For a further round give the includes
    with `iterate` and what was new in the last one.
    """
    registry = registry or standard()
    skipped = sorted(set(known) | {each.pk for each in found})
    types: dict[str, list[Found]] = {}
    for each in found:
        types.setdefault(each.type_name, []).append(each)
    made = [
        *_forward([each for each in includes if not each.reverse], types, visible),
        *_backward([each for each in includes if each.reverse], types, visible),
        *_canonical(includes, types, visible, registry),
    ]
    return [_statement(condition, skipped, limit, settled=visible is None) for condition in made]


def _statement(condition: Sql, skipped: list[int], limit: int, *, settled: bool) -> Statement:
    sql = (
        f"select {COLUMNS} from {RESOURCE} r where {condition.text} "
        f"and r.pk <> all(%s::bigint[]) order by r.pk limit %s"
    )
    return Statement(sql, [*condition.parameters, skipped, limit], settled=settled)


def _forward(
    includes: Sequence[Include], types: Mapping[str, list[Found]], visible: Visible | None
) -> list[Sql]:
    """One condition for each wanted target type: the rids that the keys of the page spell."""
    by_target: dict[str | None, list[Parameter]] = {}
    for include in includes:
        if include.parameter.type_name in types and not only_canonical(include.parameter):
            by_target.setdefault(include.target, []).append(include.parameter)
    return [
        _seen(target, parameters, _spelled(parameters, types, "00000000"), visible)
        for target, parameters in by_target.items()
    ]


def _seen(target: str | None, parameters: Sequence[Parameter], rids: Sql, visible: Visible | None) -> Sql:
    """Return the condition on the targets, with what the caller may see of each type."""
    wanted = f"r.tenant = {TENANT} and not r.deleted and r.rid = any(array({rids.text}))"
    conditions = Conditions(visible)
    if target is not None:
        own = conditions.rows("r", target, [])
        return Sql(f"{own.text} and r.rid = any(array({rids.text}))", (*own.parameters, *rids.parameters))
    if visible is None:
        return Sql(wanted, rids.parameters)
    names = sorted({name for parameter in parameters for name in parameter.targets})
    free = [name for name in names if visible(name) is None]
    parts = [Sql(f"r.type in ({', '.join(str(type_code(name)) for name in free)})")] if free else []
    parts += [conditions.rows("r", name, []) for name in names if name not in free]
    either = " or ".join(f"({part.text})" for part in parts)
    own_parameters = tuple(value for part in parts for value in part.parameters)
    return Sql(f"{wanted} and ({either})", (*rids.parameters, *own_parameters))


def _spelled(parameters: Sequence[Parameter], types: Mapping[str, list[Found]], head: str) -> Sql:
    """Select the keys of these parameters of the page's resources, under another first four bytes."""
    selects: list[str] = []
    values: list[Any] = []
    by_type: dict[str, list[str]] = {}
    for parameter in parameters:
        for code in parameter.sources or (parameter.code,):
            first = keys.prefix(parameter.type_name, code)
            by_type.setdefault(parameter.type_name, []).append(
                f"k between '{first}{'0' * 24}' and '{first}{'f' * 24}'"
            )
    for type_name, ranges in by_type.items():
        selects.append(
            f"select ('{head}' || substr(k::text, 9))::uuid from {RESOURCE} p cross join unnest(p.keys) k "
            f"where p.tenant = {TENANT} and p.type = {type_code(type_name)} and p.pk = any(%s::bigint[]) "
            f"and ({' or '.join(dict.fromkeys(ranges))})"
        )
        values.append([each.pk for each in types[type_name]])
    return Sql(" union all ".join(selects), tuple(values))


def _backward(
    includes: Sequence[Include], types: Mapping[str, list[Found]], visible: Visible | None
) -> list[Sql]:
    """One condition for each holding type: it has a reference key of one of the page's resources."""
    wanted: dict[str, list[str]] = {}
    for include in includes:
        parameter = include.parameter
        for type_name in (include.target,) if include.target else parameter.targets:
            for each in types.get(type_name, ()):
                for code in parameter.sources or (parameter.code,):
                    text = f"{type_name}/{each.id}"
                    wanted.setdefault(parameter.type_name, []).append(
                        keys.key(parameter.type_name, code, text)
                    )
    found = []
    for holder, any_of in wanted.items():
        referring = OfType("r.keys && %s::uuid[]", (list(dict.fromkeys(any_of)),))
        found.append(Conditions(visible).rows("r", holder, [], referring))
    return found


def _canonical(
    includes: Sequence[Include],
    types: Mapping[str, list[Found]],
    visible: Visible | None,
    registry: Registry,
) -> list[Sql]:
    """One condition for each canonical reference and target type, by the bytes of the url."""
    found = []
    for include in includes:
        parameter = include.parameter
        if not elements.facts(parameter).types & {"canonical", "uri"}:
            continue
        for target in (include.target,) if include.target else parameter.targets:
            url = registry.get(target, "url")
            sides = (url, parameter) if include.reverse else (parameter, url)
            if url is None or sides[0] is None or sides[1] is None or sides[0].type_name not in types:
                continue
            for code in sides[1].sources or (sides[1].code,):
                spelled = _spelled([sides[0]], types, keys.prefix(sides[1].type_name, code))
                named = OfType(f"r.keys && array({spelled.text})", spelled.parameters)
                found.append(Conditions(visible).rows("r", sides[1].type_name, [], named))
    return found
