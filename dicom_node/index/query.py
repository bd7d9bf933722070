"""Match keys → SQL → rows: what C-FIND and QIDO-RS ask of the index.

PS3.4 C.2.2.2 (in `conditions`); orders are total, so pages do not overlap. A page can begin behind the
row that ended the last one (`Found.key`), which costs the same however far that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.index import facts, keys
from dicom_node.index.conditions import Manner, Match, conditions
from dicom_node.index.facts import EVERYTHING, NOTHING, Facts
from dicom_node.index.moments import CLOCK, DAY
from dicom_node.instance import Level
from fhir_server.database import prepared

__all__ = ["Found", "Manner", "Match", "Question", "count", "find", "stream", "supported"]

Key = tuple[Any, ...]

FIRST_BATCH, LARGEST_BATCH = 100, 2_000
_LAST_NUMBER = 2**62  # what has no number comes behind all that have


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one level. Keys may stand at this level or above it.

    `after` is the key of the row behind which the page begins; `computed` names what is to be counted
    (None: all that an answer of DICOMweb holds); `above` says whether the attributes of the levels
    above are wanted. `raw` names attributes that are wanted alone, as the JSON text of their values,
    `elements` those that are wanted as JSON text with their VR, behind three UIDs and the transfer syntax.
    """

    level: Level
    matches: Sequence[Match] = ()
    limit: int = 100
    offset: int = 0
    manner: Manner = Manner()
    after: Key | None = None
    computed: frozenset[str] | None = None
    above: bool = True
    raw: tuple[str, ...] | None = None
    elements: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One row of an answer: the attributes of its level and, below it, those above.

    `key` is its place in the order, for the page behind it; `raw` is what `raw` or `elements` asked for.
    """

    study: Attributes
    series: Attributes = field(default_factory=dict)
    instance: Attributes = field(default_factory=dict)
    facts: Facts = NOTHING
    transfer_syntax: str = ""
    key: Key = ()
    raw: tuple[str | None, ...] = ()

    def at(self, level: Level) -> Attributes:
        """Return the attributes of one level."""
        return (self.study, self.series, self.instance)[level]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the modalities of its study."""
        return self.facts.modalities

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """Return the SOP classes of its study."""
        return self.facts.sop_classes

    @property
    def counts(self) -> tuple[int, ...]:
        """Return what was counted: series and instances of a study, or the instances of a series."""
        told = self.facts
        return (told.series, told.instances) if told.series else (told.of_series,)


_FROM = {
    Level.STUDY: "dicom_study st",
    Level.SERIES: "dicom_series se JOIN dicom_study st ON st.pk = se.study_pk",
    Level.INSTANCE: "dicom_instance i JOIN dicom_series se ON se.pk = i.series_pk"
    " JOIN dicom_study st ON st.pk = se.study_pk",
}
_PKS = {
    Level.STUDY: "st.pk, NULL::bigint, st.pk, st.attributes, '', '', ''",
    Level.SERIES: "st.pk, se.pk, se.pk, se.attributes, '', '', ''",
    Level.INSTANCE: "st.pk, se.pk, i.pk, i.attributes, i.transfer_syntax, i.sop_class, i.sop_uid",
}
_COLUMNS = 7
_STUDY_ORDER = (DAY, CLOCK, "st.pk")  # all of them downwards: the newest first, without a date last
_SERIES_ORDER = (f"coalesce(se.number, {_LAST_NUMBER})", "se.pk")
_INSTANCE_ORDER = (*_SERIES_ORDER, f"coalesce(i.number, {_LAST_NUMBER})", "i.sop_uid", "i.pk")


def find(connection: Any, question: Question) -> list[Found]:
    """Return a page of what matches, in a stable order. Raises Invalid for a value that is none.

    Studies come newest first; series and instances in reading order within one study or series that a
    key names, else in the order in which they came.
    """
    order = _order(question)
    downwards = question.level is Level.STUDY
    where, values = _where(question)
    if question.after is not None:
        where += f" AND ({', '.join(order)}) {'<' if downwards else '>'} %s"
        values.append(tuple(question.after))
    direction = " DESC" if downwards else ""
    cursor = connection.cursor()
    columns, texts = _columns(question)
    statement = (
        f"SELECT {columns}, {', '.join(order)} FROM {_FROM[question.level]} WHERE {where}"
        f" ORDER BY {', '.join(sql + direction for sql in order)} limit %s OFFSET {question.offset:d}"
    )
    values.append(question.limit)
    if _by_key(question):  # its plan does not depend on the values
        prepared.ask(cursor, statement, values)
    else:
        cursor.execute(statement, values)
    rows = cursor.fetchall()
    if not rows:
        return []
    wanted = EVERYTHING[question.level] if question.computed is None else question.computed
    told = facts.told(cursor, wanted, [row[0] for row in rows], [row[1] for row in rows])
    level = question.level
    if texts:
        end = 2 + texts
        return [Found({}, facts=told(row[0], row[1]), key=row[end:], raw=row[2:end]) for row in rows]
    studies, series = {}, {}
    if level > Level.STUDY and question.above:
        studies = _attributes(cursor, "dicom_study", {row[0] for row in rows})
    if level is Level.INSTANCE and question.above:
        series = _attributes(cursor, "dicom_series", {row[1] for row in rows})
    found = []
    for row in rows:
        study_pk, series_pk, _, own, transfer_syntax, sop_class, sop_uid = row[:_COLUMNS]
        found.append(
            Found(
                own if level is Level.STUDY else studies.get(study_pk, {}),
                own if level is Level.SERIES else series.get(series_pk, {}),
                _identified(own, sop_class, sop_uid) if level is Level.INSTANCE else {},
                told(study_pk, series_pk),
                transfer_syntax,
                row[_COLUMNS:],
            )
        )
    return found


def stream(
    connect: Callable[[], AbstractContextManager[Any]],
    question: Question,
    page: Callable[[Any, Question], list[Found]] = find,
) -> Iterator[list[Found]]:
    """Yield all that matches in batches, at most `question.limit`, with bounded memory.

    Between two batches no connection is held and no transaction is open: a peer that reads slowly
    keeps nobody else waiting. What is stored meanwhile may come or not; nothing comes twice. `page` is
    what gives one: `find`, or `patients.find`.
    """
    left, size = question.limit, FIRST_BATCH
    while left > 0:
        with connect() as connection:
            batch = page(connection, replace(question, limit=min(size, left)))
        if batch:
            yield batch
        if len(batch) < min(size, left):
            return
        left -= len(batch)
        question = replace(question, after=batch[-1].key, offset=0)
        size = min(size * 4, LARGEST_BATCH)


def count(connection: Any, question: Question, most: int | None = None) -> int:
    """Return how many rows match, whatever the page; counting stops behind `most`."""
    where, values = _where(question)
    rows = f"SELECT FROM {_FROM[question.level]} WHERE {where}"
    if most is not None:
        rows += " LIMIT %s"
        values.append(most + 1)
    cursor = connection.cursor()
    cursor.execute(f"SELECT count(*) FROM ({rows}) matching", values)
    return int(cursor.fetchone()[0])


def supported(level: Level, match: Match) -> bool:
    """Whether a key can be matched at this level (otherwise the caller says that it was not)."""
    kept_at = keys.level_of(match.path[0])
    return kept_at is not None and kept_at <= level


def _by_key(question: Question) -> bool:
    """Whether every key is one that an index finds by a single value."""
    asked = [match for match in question.matches if not match.universal]
    return bool(asked) and all(
        match.path in _KEYS and not any(sign in match.value for sign in "*?\\") for match in asked
    )


_KEYS = {(name,) for name in (keys.STUDY_UID, keys.SERIES_UID, keys.SOP_UID, keys.PATIENT_ID, keys.ACCESSION)}


def _order(question: Question) -> tuple[str, ...]:
    if question.level is Level.STUDY:
        return _STUDY_ORDER
    uids = (keys.STUDY_UID, keys.SERIES_UID)
    within_one = any(
        len(match.path) == 1 and match.path[0] in uids and match.value.strip() and "\\" not in match.value
        for match in question.matches
    )
    if question.level is Level.SERIES:
        return _SERIES_ORDER if within_one else ("se.pk",)
    return _INSTANCE_ORDER if within_one else ("i.pk",)


def _columns(question: Question) -> tuple[str, int]:
    """Return what is selected, and how many of it are texts that go on as they are."""
    if question.raw is not None:
        return _raw_columns(question), len(question.raw)
    if question.elements is not None:
        return _element_columns(question, question.elements), len(_NAMED[question.level]) + len(
            question.elements
        )
    return _PKS[question.level], 0


_NAMED = {
    Level.STUDY: ("st.study_uid", "''", "''", "''"),
    Level.SERIES: ("st.study_uid", "se.series_uid", "''", "''"),
    Level.INSTANCE: ("st.study_uid", "se.series_uid", "i.sop_uid", "i.transfer_syntax"),
}


def _element_columns(question: Question, names: Sequence[str]) -> str:
    columns = ["st.pk", "NULL::bigint" if question.level is Level.STUDY else "se.pk", *_NAMED[question.level]]
    for name in names:
        if question.level is Level.INSTANCE and name in _IDENTIFYING:
            columns.append(f"""'{{"vr":"UI","Value":["' || {_IDENTIFYING[name]} || '"]}}'""")
        else:
            columns.append(f"{keys.ALIAS[_kept_at(name)]}.attributes ->> '{name}'")
    return ", ".join(columns)


def _raw_columns(question: Question) -> str:
    columns = ["st.pk", "NULL::bigint" if question.level is Level.STUDY else "se.pk"]
    for name in question.raw or ():
        if question.level is Level.INSTANCE and name in _IDENTIFYING:
            columns.append(f"'[\"' || {_IDENTIFYING[name]} || '\"]'")
        else:
            columns.append(f"{keys.ALIAS[_kept_at(name)]}.attributes -> '{name}' ->> 'Value'")
    return ", ".join(columns)


_IDENTIFYING = {"00080016": "i.sop_class", keys.SOP_UID: "i.sop_uid"}


def _kept_at(name: str) -> Level:
    level = keys.level_of(name)
    if level is None:
        raise ValueError(f"{name} is not kept in the index")
    return level


def _attributes(cursor: Any, table: str, pks: set[int]) -> dict[int, Attributes]:
    cursor.execute(f"SELECT pk, attributes FROM {table} WHERE pk = ANY(%s)", (list(pks),))
    return dict(cursor.fetchall())


def _identified(instance: Attributes, sop_class: str, sop_uid: str) -> Attributes:
    """Return the attributes with the UIDs of the index, for data sets that do not give them."""
    return {
        **instance,
        "00080016": {"vr": "UI", "Value": [sop_class]},
        keys.SOP_UID: {"vr": "UI", "Value": [sop_uid]},
    }


def _where(question: Question) -> tuple[str, list[Any]]:
    found = conditions(question.matches, question.manner)
    all_of = ["i.current"] if question.level is Level.INSTANCE else []
    values: list[Any] = []
    for condition, parameters in found:
        all_of.append(f"({condition})")
        values += parameters
    return " AND ".join(all_of) or "true", values
