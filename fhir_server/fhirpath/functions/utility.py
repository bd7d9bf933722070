"""Trace, the current moment, variables, and types (N1 §5.9, §6.3)."""

from __future__ import annotations

from decimal import Decimal

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.comparison import Fault, single
from fhir_server.fhirpath.functions.strings import text
from fhir_server.fhirpath.functions.table import eager, lazy
from fhir_server.fhirpath.scope import Compiled, Scope, each, whole
from fhir_server.fhirpath.temporal import Date, Temporal, Time
from fhir_server.fhirpath.values import Collection, type_of


def _trace(scope: Scope, items: Collection, name: Compiled, projection: Compiled | None = None) -> Collection:
    label = text(name(scope, scope.this), "trace()") or ""
    if projection is None:
        scope.traces.append((label, items))
    else:
        found: Collection = []
        for _, answer in each(scope, items, projection):
            found += answer
        scope.traces.append((label, found))
    return items


def _now(scope: Scope, items: Collection) -> Collection:
    return [temporal.of_instant(scope.now())]


def _today(scope: Scope, items: Collection) -> Collection:
    moment = scope.now()
    return [Date((moment.year, moment.month, moment.day))]


def _time_of_day(scope: Scope, items: Collection) -> Collection:
    return [Time(temporal.of_instant(scope.now()).parts[3:])]


def _define_variable(
    scope: Scope, items: Collection, name: Compiled, value: Compiled | None = None
) -> Collection:
    label = text(name(scope, scope.this), "defineVariable()")
    if label is None:
        raise Fault("defineVariable() wants a name")
    if label in scope.variables:
        raise Fault(f"%{label} is defined already")
    found = items if value is None else whole(scope, items, value)
    scope.variables = {**scope.variables, label: found}
    return items


def _type(scope: Scope, items: Collection) -> Collection:
    return [type_of(item) for item in items]


def _component(place: int) -> object:
    def component(scope: Scope, items: Collection) -> Collection:
        value = single(items, "a component of a date or time")
        if not isinstance(value, Temporal):
            return []
        if place == 6:
            second = value.parts[-1] if value.precision == "second" else None
            return [] if second is None else [int(second * 1000) % 1000]
        parts = value.parts
        where = place - value.start
        return [int(parts[where])] if 0 <= where < len(parts) else []

    return component


def _date_of(scope: Scope, items: Collection) -> Collection:
    value = single(items, "dateOf()")
    return [Date(value.parts[:3])] if isinstance(value, Temporal) and value.start == 0 else []


def _time_of(scope: Scope, items: Collection) -> Collection:
    value = single(items, "timeOf()")
    parts = value.parts[3:] if isinstance(value, Temporal) and value.start == 0 else ()
    return [Time(parts)] if parts else []


def _offset(scope: Scope, items: Collection) -> Collection:
    value = single(items, "timezoneOffsetOf()")
    if not isinstance(value, Temporal) or value.zone is None:
        return []
    return [Decimal(value.zone) / 60]


CHAPTER = (
    lazy("trace", _trace, 1, 2),
    eager("now", _now),
    eager("today", _today),
    eager("timeOfDay", _time_of_day),
    lazy("defineVariable", _define_variable, 1, 2),
    eager("type", _type),
    *(
        eager(f"{name}Of", _component(place))  # type: ignore[arg-type]
        for place, name in enumerate(("year", "month", "day", "hour", "minute", "second", "millisecond"))
    ),
    eager("dateOf", _date_of),
    eager("timeOf", _time_of),
    eager("timezoneOffsetOf", _offset),
)
