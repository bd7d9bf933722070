"""Match keys → SQL → rows: what C-FIND and QIDO-RS ask of the index.

PS3.4 C.2.2.2: single value, list of UIDs, universal, wildcard, range and sequence matching. Values
go into statements only as parameters; orders are total, so pages do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.dictionary import vr_of
from dicom_node.index import keys
from dicom_node.index.keys import COLUMNS, Column
from dicom_node.index.matching import fold, like, read_date, read_time
from dicom_node.instance import Level
from fhir_server.outcome import Invalid


@dataclass(frozen=True, slots=True)
class Match:
    """One key and the value it has to match; `path` has two tags for an attribute in a sequence.

    `value` is as a peer writes it: "AB*", "20260101-20260131", several UIDs between backslashes.
    An empty value matches everything (universal matching).
    """

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one level. Keys may stand at this level or above it."""

    level: Level
    matches: Sequence[Match] = ()
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One row of an answer: the attributes of its level and, below it, those above."""

    study: Attributes
    series: Attributes = field(default_factory=dict)
    instance: Attributes = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    transfer_syntax: str = ""

    def at(self, level: Level) -> Attributes:
        """Return the attributes of one level."""
        return (self.study, self.series, self.instance)[level]


_FROM = {
    Level.STUDY: "dicom_study st",
    Level.SERIES: "dicom_series se JOIN dicom_study st ON st.pk = se.study_pk",
    Level.INSTANCE: "dicom_instance i JOIN dicom_series se ON se.pk = i.series_pk"
    " JOIN dicom_study st ON st.pk = se.study_pk",
}
_ORDER = {
    Level.STUDY: "st.study_date DESC NULLS LAST, st.study_time DESC NULLS LAST, st.pk DESC",
    Level.SERIES: "st.study_date DESC NULLS LAST, st.pk DESC, se.number NULLS LAST, se.pk",
    Level.INSTANCE: "st.study_date DESC NULLS LAST, st.pk DESC, se.number NULLS LAST, se.pk,"
    " i.number NULLS LAST, i.sop_uid, i.pk",
}
_SELECT = {
    Level.STUDY: "st.pk, st.attributes",
    Level.SERIES: "se.pk, st.attributes, se.attributes",
    Level.INSTANCE: "i.pk, st.attributes, se.attributes, i.attributes,"
    " i.transfer_syntax, i.sop_class, i.sop_uid",
}
_STUDY_FACTS = """
SELECT se.study_pk, array_agg(DISTINCT se.modality), count(DISTINCT se.pk), count(*),
    array_agg(DISTINCT i.sop_class)
FROM dicom_instance i JOIN dicom_series se ON se.pk = i.series_pk
WHERE i.current AND i.study_pk = ANY(%s) GROUP BY se.study_pk
"""
_SERIES_FACTS = (
    "SELECT series_pk, count(*) FROM dicom_instance WHERE current AND series_pk = ANY(%s) GROUP BY 1"
)


def find(connection: Any, question: Question) -> list[Found]:
    """Return a page of what matches, in a stable order. Raises Invalid for a value that is none."""
    where, values = _where(question)
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT {_SELECT[question.level]} FROM {_FROM[question.level]} WHERE {where}"
        f" ORDER BY {_ORDER[question.level]} LIMIT %s OFFSET %s",
        (*values, question.limit, question.offset),
    )
    rows = cursor.fetchall()
    if question.level is Level.INSTANCE:
        return [
            Found(study, series, _identified(instance, sop_class, uid), transfer_syntax=syntax)
            for _, study, series, instance, syntax, sop_class, uid in rows
        ]
    pks = [row[0] for row in rows]
    if question.level is Level.SERIES:
        cursor.execute(_SERIES_FACTS, (pks,))
        counts = dict(cursor.fetchall())
        return [Found(study, series, counts=(counts.get(pk, 0),)) for pk, study, series in rows]
    cursor.execute(_STUDY_FACTS, (pks,))
    facts = {
        pk: (modalities, series, count, classes)
        for pk, modalities, series, count, classes in cursor.fetchall()
    }
    found = []
    for pk, study in rows:
        modalities, series, count, classes = facts.get(pk, ((), 0, 0, ()))
        found.append(
            Found(
                study,
                modalities=tuple(filter(None, modalities)),
                sop_classes=tuple(classes),
                counts=(series, count),
            )
        )
    return found


def count(connection: Any, question: Question) -> int:
    """Return how many rows match, whatever the page."""
    where, values = _where(question)
    cursor = connection.cursor()
    cursor.execute(f"SELECT count(*) FROM {_FROM[question.level]} WHERE {where}", values)
    return int(cursor.fetchone()[0])


def supported(level: Level, match: Match) -> bool:
    """Whether a key can be matched at this level (otherwise the caller says that it was not)."""
    kept_at = keys.level_of(match.path[0])
    return kept_at is not None and kept_at <= level


def _identified(instance: Attributes, sop_class: str, sop_uid: str) -> Attributes:
    """Return the attributes with the UIDs of the index, for data sets that do not give them."""
    return {
        **instance,
        "00080016": {"vr": "UI", "Value": [sop_class]},
        "00080018": {"vr": "UI", "Value": [sop_uid]},
    }


def _where(question: Question) -> tuple[str, list[Any]]:
    conditions = ["i.current"] if question.level is Level.INSTANCE else []
    values: list[Any] = []
    for match in question.matches:
        if not match.value.strip() or match.value.strip() == "*":  # universal matching
            continue
        condition, parameters = _condition(match)
        conditions.append(condition)
        values.extend(parameters)
    return " AND ".join(conditions) or "true", values


def _condition(match: Match) -> tuple[str, list[Any]]:
    name = match.path[0]
    if name == keys.MODALITIES_IN_STUDY:
        condition, values = _compare(Column("m.modality", "text"), match.value, name)
        return f"EXISTS (SELECT FROM dicom_series m WHERE m.study_pk = st.pk AND {condition})", values
    if name == keys.SOP_CLASSES_IN_STUDY:
        condition, values = _compare(Column("c.sop_class", "uid"), match.value, name)
        return (
            f"EXISTS (SELECT FROM dicom_instance c WHERE c.study_pk = st.pk AND c.current AND {condition})",
            values,
        )
    if len(match.path) == 1 and name in COLUMNS:
        return _compare(COLUMNS[name], match.value, name)
    level = keys.level_of(name)
    if level is None:
        raise Invalid(f"{name} cannot be matched; it is not kept in the index")
    document = f"{keys.ALIAS[level]}.attributes"
    if len(match.path) == 2:  # sequence matching: one item that matches is enough (PS3.4 C.2.2.2.6)
        inner = match.path[1]
        condition, values = _any_value("item", inner, match.value)
        return (
            f"EXISTS (SELECT FROM jsonb_array_elements({document} #> %s) item WHERE {condition})",
            [[name, "Value"], *values],
        )
    return _any_value(document, name, match.value)


def _any_value(document: str, name: str, value: str) -> tuple[str, list[Any]]:
    """Compare an attribute within JSON: one of its values has to match."""
    kind = keys.kind_of(name)
    if kind == "name":
        column = Column("lower(v ->> 'Alphabetic')", "name")
    elif kind == "number":
        column = Column("CASE WHEN jsonb_typeof(v) = 'number' THEN (v #>> '{}')::numeric END", "number")
    elif kind in ("date", "time"):
        column = Column("(v #>> '{}')", "literal")
    else:
        column = Column("(v #>> '{}')", kind)
    condition, values = _compare(column, value, name)
    return (
        f"EXISTS (SELECT FROM jsonb_array_elements({document} #> %s) v WHERE {condition})",
        [[name, "Value"], *values],
    )


def _compare(column: Column, value: str, name: str) -> tuple[str, list[Any]]:
    match column.kind:
        case "uid":
            return f"{column.sql} = ANY(%s)", [_parts(value)]
        case "number":
            numbers = [_number(part, name) for part in _parts(value)]
            return f"{column.sql} = ANY(%s)", [numbers]
        case "date":
            return _range(column.sql, value, name, read_date, read_date)
        case "time":
            return _range(column.sql, value, name, read_time, lambda text: read_time(text, latest=True))
        case "literal":  # dates and times in JSON: their digits sort as they are
            low, high = _ends(value)
            return f"({column.sql} >= %s AND {column.sql} <= %s)", [low or "", (high or "9") + "~"]
        case "name":
            return _name(column, value)
        case _:
            return _text(column.sql, value)


def _text(sql: str, value: str) -> tuple[str, list[Any]]:
    conditions, values = [], []
    for part in _parts(value):
        wild = "*" in part or "?" in part
        conditions.append(f"{sql} LIKE %s" if wild else f"{sql} = %s")
        values.append(like(part) if wild else part)
    return f"({' OR '.join(conditions)})", values


def _name(column: Column, value: str) -> tuple[str, list[Any]]:
    """Match a person name without case and accents, in any of its groups (PS3.4 C.2.2.2.1).

    A name without all its components matches as it stands: "Doe^John" finds Doe^John^^Dr only
    with a wild card.
    """
    if column.sql != COLUMNS["00100010"].sql:
        return f"{column.sql} LIKE %s", [like(value.lower())]
    groups = (fold(group).rstrip("^ ") for group in value.split("="))
    pattern = like(next(filter(None, groups), ""))
    # the other groups are stored as "=ideographic=phonetic", each behind its sign
    other = "(st.name_other LIKE %s OR st.name_other LIKE %s)"
    first, second = f"={pattern}=%", f"%={pattern}"
    return f"({column.sql} LIKE %s OR {other})", [pattern, first, second]


def _range(sql: str, value: str, name: str, low_of: Any, high_of: Any) -> tuple[str, list[Any]]:
    low_text, high_text = _ends(value)
    low, high = low_of(low_text), high_of(high_text)
    if (low_text and low is None) or (high_text and high is None):
        raise Invalid(
            f"{value!r} is no {vr_of(int(name, 16))} value or range for {name}; write for example"
            " 20260101 or 20260101-20260131 (DA), 0900-1200 (TM)"
        )
    if low is not None and high is not None:
        return f"{sql} BETWEEN %s AND %s", [low, high]
    return (f"{sql} >= %s", [low]) if low is not None else (f"{sql} <= %s", [high])


def _ends(value: str) -> tuple[str, str]:
    """Return the ends of a range; of a single value, both are that value.

    >>> _ends("20260101-"), _ends("20260101")
    (('20260101', ''), ('20260101', '20260101'))
    """
    low, dash, high = value.strip().partition("-")
    return (low.strip(), high.strip()) if dash else (low, low)


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split("\\") if part.strip()]


def _number(part: str, name: str) -> Decimal:
    try:
        return Decimal(part)
    except InvalidOperation:
        raise Invalid(f"{part!r} is no number for {name}; numbers match only as single values") from None
