"""What no instance says but the index can tell: modalities in a study, and how many there are of what.

PS3.4 C.3.4 (additional query attributes). Counted when it is asked for and for the rows of one page:
no row is touched by every instance that comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dicom_node.index import keys
from dicom_node.instance import Level
from fhir_server.database import prepared


@dataclass(frozen=True, slots=True)
class Facts:
    """What was asked for of one row; what was not is empty or 0."""

    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    series: int = 0
    instances: int = 0
    of_series: int = 0
    of_patient: tuple[int, int, int] = (0, 0, 0)


FEW: Final = 20
NOTHING: Final = Facts()
_MODALITIES: Final = frozenset({keys.MODALITIES_IN_STUDY})
_OF_STUDY: Final = frozenset({keys.SERIES_OF_STUDY, keys.INSTANCES_OF_STUDY})
_OF_PATIENT: Final = frozenset({keys.STUDIES_OF_PATIENT, keys.SERIES_OF_PATIENT, keys.INSTANCES_OF_PATIENT})
EVERYTHING: Final = {
    Level.STUDY: _MODALITIES | _OF_STUDY,
    Level.SERIES: frozenset({keys.INSTANCES_OF_SERIES}),
    Level.INSTANCE: frozenset[str](),
}
"""What an answer of DICOMweb always holds at each level."""

# one look into an index a series: a join would be planned by guesses of how many there are
_BY_SERIES = """
SELECT se.study_pk, se.modality,
    (SELECT count(*) FROM dicom_instance i WHERE i.series_pk = se.pk AND i.current) AS instances
FROM dicom_series se WHERE se.study_pk = ANY(%s::bigint[])
"""
_CLASSES = """
SELECT study_pk, array_agg(DISTINCT sop_class) FROM dicom_instance
WHERE current AND study_pk = ANY(%s::bigint[]) GROUP BY 1
"""
_SERIES = """
SELECT series_pk, count(*) FROM dicom_instance WHERE current AND series_pk = ANY(%s::bigint[]) GROUP BY 1
"""
_PATIENTS = """
SELECT s.pk, count(DISTINCT o.pk), count(DISTINCT i.series_pk), count(*)
FROM dicom_study s JOIN dicom_study o ON o.patient_id = s.patient_id AND o.issuer = s.issuer
    AND (s.patient_id <> '' OR o.name_alphabetic = s.name_alphabetic)
JOIN dicom_instance i ON i.study_pk = o.pk AND i.current
WHERE s.pk = ANY(%s::bigint[]) GROUP BY 1
"""


def told(
    cursor: Any, wanted: frozenset[str], studies: Sequence[int], series: Sequence[int]
) -> Callable[[int, int], Facts]:
    """Return what tells the facts of a row by the keys of its study and its series."""
    of_study: dict[int, Facts] = {}
    of_series: dict[int, int] = {}
    if wanted & (_MODALITIES | _OF_STUDY):
        _study_facts(cursor, of_study, studies)
    if keys.SOP_CLASSES_IN_STUDY in wanted:
        _execute(cursor, _CLASSES, studies)
        for pk, classes in cursor.fetchall():
            of_study[pk] = replace(of_study.get(pk, NOTHING), sop_classes=tuple(sorted(classes)))
    if wanted & _OF_PATIENT:
        _execute(cursor, _PATIENTS, studies)
        for pk, *counts in cursor.fetchall():
            of_study[pk] = replace(of_study.get(pk, NOTHING), of_patient=tuple(counts))
    if keys.INSTANCES_OF_SERIES in wanted:
        _execute(cursor, _SERIES, series)
        of_series = dict(cursor.fetchall())
    if not of_series:
        return lambda study, one: of_study.get(study, NOTHING)
    return lambda study, one: replace(of_study.get(study, NOTHING), of_series=of_series.get(one, 0))


def _execute(cursor: Any, sql: str, pks: Sequence[int]) -> None:
    """Ask for the facts of rows: prepared where there are few, whose plan is always the same."""
    wanted = "{" + ",".join(map(str, set(pks))) + "}"
    if len(pks) <= FEW:
        prepared.ask(cursor, sql, (wanted,))
    else:
        cursor.execute(sql, (wanted,))


def _study_facts(cursor: Any, found: dict[int, Facts], studies: Sequence[int]) -> None:
    _execute(cursor, _BY_SERIES, studies)
    by_study: dict[int, list[tuple[str, int]]] = {}
    for pk, modality, instances in cursor.fetchall():
        if instances:
            by_study.setdefault(pk, []).append((modality, instances))
    for pk, rows in by_study.items():
        modalities = tuple(sorted({modality for modality, _ in rows if modality}))
        found[pk] = Facts(modalities, series=len(rows), instances=sum(number for _, number in rows))
