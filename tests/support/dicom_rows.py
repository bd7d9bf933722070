"""Rows of a large archive in the index, made by the database itself: nothing is stored behind them.

Half as many patients as studies, over fifteen years, in four modalities; two series a study.
"""

from __future__ import annotations

from typing import Any

FAMILY = (
    "abbott", "abramson", "adler", "andersen", "bauer", "becker", "bernard", "castillo", "christensen",
    "dietrich", "dubois", "eriksson", "fischer", "fontana", "garcia", "gruber", "hansen", "herrmann",
    "ivanova", "johansson", "kowalski", "larsson", "lindqvist", "marchetti", "meyer", "mueller", "nguyen",
    "nielsen", "novak", "oliveira", "petersen", "ramirez", "rossi", "schmidt", "schneider", "svensson",
    "takahashi", "vandenberg", "weber", "yamada",
)  # fmt: skip
GIVEN = ("anna", "hannah", "johanna", "marianna", "susanna", "peter", "hans", "jean", "luca", "olga", "tom")
UID = "1.2.826.0.1.3680043.10.1411.7"

_STUDIES = """
INSERT INTO dicom_study (received_at, study_date, study_time, birth_date, study_uid, patient_id, issuer,
    accession, name_alphabetic, name_other, attributes)
SELECT timestamptz '2026-01-01', day, clock, born, uid, patient, 'local:BENCH', accession, name, '',
    jsonb_build_object(
        '00080020', jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(to_char(day, 'YYYYMMDD'))),
        '00080030', jsonb_build_object('vr', 'TM', 'Value', jsonb_build_array(to_char(clock, 'HH24MISS'))),
        '00080050', jsonb_build_object('vr', 'SH', 'Value', jsonb_build_array(accession)),
        '00081030', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array('Thorax in two planes')),
        '00100010', jsonb_build_object('vr', 'PN', 'Value',
            jsonb_build_array(jsonb_build_object('Alphabetic', initcap(name)))),
        '00100020', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(patient)),
        '00100030', jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(to_char(born, 'YYYYMMDD'))),
        '00100040', jsonb_build_object('vr', 'CS', 'Value', jsonb_build_array('F')),
        '0020000D', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(uid)),
        '00200010', jsonb_build_object('vr', 'SH', 'Value', jsonb_build_array(n::text)))
FROM (
    SELECT n, date '2011-01-01' + (n::bigint * 7919 %% 5475)::int AS day,
        time '07:00' + (n * 37 %% 43200) * interval '1 second' AS clock,
        date '1930-01-01' + (n / 2 * 6151 %% 29000) AS born,
        %(uid)s || '.' || n AS uid, 'P' || lpad((n / 2)::text, 7, '0') AS patient,
        'A' || lpad(n::text, 8, '0') AS accession,
        (%(family)s::text[])[1 + n / 2 * 31 %% cardinality(%(family)s::text[])] || '^'
            || (%(given)s::text[])[1 + n / 2 * 17 %% cardinality(%(given)s::text[])] AS name
    FROM generate_series(1, %(studies)s) AS n
) made
"""
_PATIENTS = """
INSERT INTO dicom_study_patient (study_pk, birth_date, patient_id, issuer, name_alphabetic, attributes)
SELECT pk, birth_date, patient_id, issuer, name_alphabetic, '{}' FROM dicom_study
"""
_SERIES = """
INSERT INTO dicom_series (study_pk, number, series_uid, modality, attributes)
SELECT st.pk, s, st.study_uid || '.' || s, modality, jsonb_build_object(
        '00080060', jsonb_build_object('vr', 'CS', 'Value', jsonb_build_array(modality)),
        '0020000E', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(st.study_uid || '.' || s)),
        '00200011', jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array(s)))
FROM dicom_study st, generate_series(1, 2) AS s,
    LATERAL (SELECT (ARRAY['CT', 'MR', 'US', 'CR'])[1 + st.pk %% 4] AS modality) m
"""
_INSTANCES = """
INSERT INTO dicom_instance (series_pk, study_pk, patient_pk, received_at, size_bytes, number, version, frames,
    current, hash, sop_uid, sop_class, transfer_syntax, calling_ae, attributes)
SELECT se.pk, se.study_pk, p.pk, timestamptz '2026-01-01', 530562, i, 1, 1, true,
    sha256((se.series_uid || '.' || i)::bytea), se.series_uid || '.' || i, '1.2.840.10008.5.1.4.1.1.2',
    '1.2.840.10008.1.2.1', 'BENCH', jsonb_build_object(
        '00080018', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(se.series_uid || '.' || i)),
        '00200013', jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array(i)),
        '00280010', jsonb_build_object('vr', 'US', 'Value', jsonb_build_array(512)),
        '00280011', jsonb_build_object('vr', 'US', 'Value', jsonb_build_array(512)))
FROM dicom_series se JOIN dicom_study_patient p ON p.study_pk = se.study_pk,
    generate_series(1, %(instances)s) AS i
"""


def fill(connection: Any, studies: int, instances: int) -> None:
    """Fill an empty index with so many studies and about so many instances, and VACUUM it."""
    cursor = connection.cursor()
    values = {
        "studies": studies,
        "instances": max(1, instances // studies // 2),
        "uid": UID,
        "family": list(FAMILY),
        "given": list(GIVEN),
    }
    for statement in (_STUDIES, _PATIENTS, _SERIES, _INSTANCES):
        cursor.execute(statement, values)
    connection.commit()
    connection.autocommit = True
    for table in ("dicom_study", "dicom_study_patient", "dicom_series", "dicom_instance"):
        cursor.execute(f"VACUUM (ANALYZE) {table}")
