"""Patients as a level of its own: one row for each that studies name (PS3.4 C.6.1.1.2).

A patient is a PatientID with its issuer; where there is no PatientID, a name with a birth date. The newest
study says what is known of him.
"""

from __future__ import annotations

from typing import Any

from dicom_node.index import facts
from dicom_node.index.conditions import conditions
from dicom_node.index.query import Found, Question

_WHO = (
    "st.patient_id, st.issuer, CASE WHEN st.patient_id = '' THEN st.name_alphabetic ELSE '' END,"
    " CASE WHEN st.patient_id = '' THEN coalesce(st.birth_date::text, '') ELSE '' END"
)
_COLUMNS = 2


def find(connection: Any, question: Question) -> list[Found]:
    """Return a page of patients by PatientID; `key` of each is for `Question.after`."""
    all_of = ["true"]
    values: list[Any] = []
    for condition, parameters in conditions(question.matches, question.manner):
        all_of.append(f"({condition})")
        values += parameters
    if question.after is not None:
        all_of.append(f"({_WHO}) > %s")
        values.append(tuple(question.after))
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT DISTINCT ON ({_WHO}) st.pk, st.attributes, {_WHO} FROM dicom_study st"
        f" WHERE {' AND '.join(all_of)}"
        f" ORDER BY {_WHO}, st.study_date DESC NULLS LAST, st.pk DESC LIMIT %s OFFSET %s",
        (*values, question.limit, question.offset),
    )
    rows = cursor.fetchall()
    pks = [row[0] for row in rows]
    told = facts.told(cursor, question.computed or frozenset(), pks, ())
    return [Found(row[1], facts=told(row[0], 0), key=row[_COLUMNS:]) for row in rows]
