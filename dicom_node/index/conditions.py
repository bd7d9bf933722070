"""Match keys → conditions in SQL, one file for every kind of matching.

PS3.4 C.2.2.2: single value, list of UIDs, universal, wild card, range and sequence matching. Values go
into statements only as parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from dicom_node.index import keys, moments, names
from dicom_node.index.keys import COLUMNS, Column
from dicom_node.index.matching import like, parts
from dicom_node.index.moments import Zones, between, clock_range, day_range
from dicom_node.instance import Level
from fhir_server.outcome import Invalid

Condition = tuple[str, list[Any]]

MOST_VALUES = 10_000
_TIME_VALUE = r"^\d{2}(:?\d{2}(:?\d{2}(\.\d{1,6})?)?)?$"


@dataclass(frozen=True, slots=True)
class Match:
    """One key and the value it has to match; `path` has several tags for an attribute in a sequence.

    `value` is as a peer writes it: "AB*", "20260101-20260131", several UIDs between backslashes.
    An empty value matches everything (universal matching).
    """

    path: tuple[str, ...]
    value: str

    @property
    def universal(self) -> bool:
        """Whether it matches everything."""
        return not self.value.strip("* ")


@dataclass(frozen=True, slots=True)
class Manner:
    """How values are compared: `combined` dates and times, `fuzzy` names, in which zones."""

    combined: bool = True
    fuzzy: bool = False
    zones: Zones = Zones()


def conditions(matches: Sequence[Match], manner: Manner) -> list[Condition]:
    """Return a condition for each key; keys of one sequence have to match in the same item."""
    asked = [match for match in matches if not match.universal]
    found: list[Condition] = []
    plain = {match.path[0]: match.value for match in asked if len(match.path) == 1}
    done: set[str] = set()
    for day, clock in moments.TIME_OF.items():
        together = manner.combined and plain.get(clock, "")
        if day in plain and (together or manner.zones.asked is not None):
            value = plain.get(clock, "") if together else ""
            found.append(_moment(day, plain[day], value, manner))
            done |= {day, clock} if together else {day}
    sequences: dict[str, list[Match]] = {}
    for match in asked:
        if match.path[0] in done:
            continue
        if len(match.path) > 1:
            sequences.setdefault(match.path[0], []).append(match)
        else:
            found.append(_condition(match, manner))
    for name, inner in sequences.items():
        document = f"{keys.ALIAS[_level(name)]}.attributes"
        found.append(_item(document, name, [(match.path[1:], match.value) for match in inner], manner, 1))
    return found


def _moment(day: str, day_value: str, clock_value: str, manner: Manner) -> Condition:
    if day == moments.STUDY_DATE:
        return moments.study(day_value, clock_value, manner.zones)
    document = f"{keys.ALIAS[_level(day)]}.attributes"
    return moments.in_document(document, day, day_value, clock_value, manner.zones)


def _level(name: str) -> Level:
    level = keys.level_of(name)
    if level is None:
        raise Invalid(f"{name} cannot be matched; it is not kept in the index")
    return level


def _condition(match: Match, manner: Manner) -> Condition:
    name, value = match.path[0], match.value
    if name == keys.MODALITIES_IN_STUDY:
        condition, values = _text("m.modality", value)
        return (
            f"EXISTS (SELECT FROM dicom_series m WHERE m.study_pk = st.pk AND {condition}"
            " AND EXISTS (SELECT FROM dicom_instance c WHERE c.series_pk = m.pk AND c.current))",
            values,
        )
    if name == keys.SOP_CLASSES_IN_STUDY:
        return (
            "EXISTS (SELECT FROM dicom_instance c WHERE c.study_pk = st.pk AND c.current"
            " AND c.sop_class = ANY(%s))",
            [_listed(value)],
        )
    if name in COLUMNS:
        return _column(COLUMNS[name], name, value, manner)
    return _any_value(f"{keys.ALIAS[_level(name)]}.attributes", name, value, manner)


def _column(column: Column, name: str, value: str, manner: Manner) -> Condition:
    match column.kind:
        case "uid":
            uids = _listed(value)
            return (f"{column.sql} = %s", uids) if len(uids) == 1 else (f"{column.sql} = ANY(%s)", [uids])
        case "number":
            return f"{column.sql} = ANY(%s)", [[_number(part, name) for part in parts(value)]]
        case "date":
            if name == moments.STUDY_DATE:
                return moments.study(value, "", Zones())
            return between(column.sql, *day_range(value, name))
        case "time":
            return between(column.sql, *clock_range(value, name))
        case "name":
            return names.fuzzy(value) if manner.fuzzy else names.literal(value)
        case _:
            condition, values = _text(column.sql, value)
            if name == keys.ACCESSION:  # the index has no empty ones
                condition = f"({condition} AND {column.sql} <> '')"
            return condition, values


def _item(
    document: str, name: str, inner: Sequence[tuple[tuple[str, ...], str]], manner: Manner, depth: int
) -> Condition:
    """Sequence matching: one item that matches all keys is enough (PS3.4 C.2.2.2.6)."""
    item = f"item{depth}.v"
    found: list[Condition] = []
    deeper: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for path, value in inner:
        if len(path) > 1:
            deeper.setdefault(path[0], []).append((path[1:], value))
        else:
            found.append(_any_value(item, path[0], value, manner))
    found += [_item(item, one, below, manner, depth + 1) for one, below in deeper.items()]
    condition = " AND ".join(sql for sql, _ in found)
    values = [value for _, more in found for value in more]
    return (
        f"EXISTS (SELECT FROM {_elements(document)} item{depth} (v) WHERE {condition})",
        [[name, "Value"], *values],
    )


def _elements(document: str) -> str:
    return f"jsonb_array_elements({document} #> %s)"


def _any_value(document: str, name: str, value: str, manner: Manner) -> Condition:
    """Compare an attribute within JSON: one of its values has to match."""
    condition, values = _json_value(name, value, manner)
    return f"EXISTS (SELECT FROM {_elements(document)} e (v) WHERE {condition})", [[name, "Value"], *values]


def _json_value(name: str, value: str, manner: Manner) -> Condition:
    text = "(e.v #>> '{}')"
    match keys.kind_of(name):
        case "name":
            return names.fuzzy_in("e.v", value) if manner.fuzzy else names.literal_in("e.v", value)
        case "number":
            numbers = [_number(part, name) for part in parts(value)]
            number = "CASE WHEN jsonb_typeof(e.v) = 'number' THEN (e.v #>> '{}')::numeric END"
            return f"{number} = ANY(%s)", [numbers]
        case "uid":
            return f"{text} = ANY(%s)", [_listed(value)]
        case "date":
            digits = (
                f"CASE WHEN {text} ~ '^\\d{{4}}[.]?\\d{{2}}[.]?\\d{{2}}$' THEN replace({text}, '.', '') END"
            )
            low, high = day_range(value, name)
            return between(digits, _digits(low), _digits(high))
        case "time":
            bare = f"rpad(replace(replace({text}, ':', ''), '.', ''), 12, '0')"
            digits = f"CASE WHEN {text} ~ %s THEN {bare} END"
            low, high = clock_range(value, name)
            condition, values = between(
                digits.replace("%s", f"'{_TIME_VALUE}'"),
                low and f"{low:%H%M%S%f}",
                high and f"{high:%H%M%S%f}",
            )
            return condition, values
        case "moment":
            return moments.in_text(text, value, name, manner.zones)
        case _:
            return _text(text, value)


def _digits(day: Any) -> str | None:
    return None if day is None else f"{day.year:04d}{day:%m%d}"


def _text(sql: str, value: str) -> Condition:
    either, values = [], []
    for part in _listed(value):
        wild = "*" in part or "?" in part
        either.append(f"{sql} LIKE %s" if wild else f"{sql} = %s")
        values.append(like(part) if wild else part)
    return f"({' OR '.join(either) or 'false'})", values


def _listed(value: str) -> list[str]:
    found = parts(value)
    if len(found) > MOST_VALUES:
        raise Invalid(f"a list of {len(found)} values; at most {MOST_VALUES} are looked for at once")
    return found


def _number(part: str, name: str) -> Decimal:
    try:
        number = Decimal(part)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise Invalid(f"{part!r} is no number for {name}; numbers match only as single values")
    return number
