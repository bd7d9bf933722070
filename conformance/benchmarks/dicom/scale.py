"""What an image costs when the index is full already: beside an empty one, in alternating rounds.

    python -m conformance.benchmarks.dicom.scale --rounds 5

Two of our nodes; the index of one is filled with generated rows (20,000 studies of two series of 25
instances), vacuumed and analysed. Both get the same new images over one association.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from conformance.benchmarks.dicom.images import Images
from conformance.benchmarks.dicom.nodes import TMPFS, Node, start_ours
from conformance.benchmarks.dicom.receive import Sent, Way, images_of, send
from conformance.benchmarks.postgres import Database

STUDIES, SERIES, INSTANCES = 20_000, 2, 25
GOAL = 1.2
_WAY = Way("1 association", False, 1, True, 200, 0.0)

_ROOT = "1.2.826.0.1.3680043.10.1412"
_ELEMENT = "jsonb_build_object('vr', {vr}, 'Value', jsonb_build_array({value}))"
_FILL = (
    f"""
INSERT INTO dicom_study (received_at, study_date, study_time, birth_date, study_uid, patient_id, issuer,
    accession, name_alphabetic, name_other, attributes)
SELECT now(), date '2010-01-01' + mod(n, 5500), '10:00', date '1930-01-01' + mod(n, 30000), uid, 'G' || n / 2,
    'ae:GENERATED', 'A' || n, 'name' || mod(n, 400) || '^given' || mod(n, 90), '',
    jsonb_build_object('0020000D', {_ELEMENT.format(vr="'UI'", value="uid")},
        '00100020', {_ELEMENT.format(vr="'LO'", value="'G' || n / 2")})
FROM (SELECT n, '{_ROOT}.' || n AS uid FROM generate_series(1, %(studies)s) n) made
""",
    """
INSERT INTO dicom_study_patient (study_pk, birth_date, patient_id, issuer, name_alphabetic, attributes)
SELECT pk, birth_date, patient_id, issuer, name_alphabetic, attributes FROM dicom_study
""",
    f"""
INSERT INTO dicom_series (study_pk, number, series_uid, modality, attributes)
SELECT pk, n, uid, 'CT', jsonb_build_object('0020000E', {_ELEMENT.format(vr="'UI'", value="uid")})
FROM (SELECT pk, n, study_uid || '.' || n AS uid FROM dicom_study, generate_series(1, %(series)s) n) made
""",
    f"""
INSERT INTO dicom_instance (series_pk, study_pk, patient_pk, received_at, size_bytes, number, version, frames,
    current, hash, sop_uid, sop_class, transfer_syntax, calling_ae, attributes)
SELECT series_pk, study_pk, patient_pk, now(), 530000, n, 1, 1, true, sha256(uid::bytea), uid,
    '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'GENERATED',
    jsonb_build_object('00080018', {_ELEMENT.format(vr="'UI'", value="uid")},
        '00200013', {_ELEMENT.format(vr="'IS'", value="n")},
        '00280010', {_ELEMENT.format(vr="'US'", value="512")},
        '00280011', {_ELEMENT.format(vr="'US'", value="512")})
FROM (
    SELECT se.pk AS series_pk, se.study_pk, p.pk AS patient_pk, n, se.series_uid || '.' || n AS uid
    FROM dicom_series se JOIN dicom_study_patient p ON p.study_pk = se.study_pk,
        generate_series(1, %(instances)s) n
) made
""",
)


def fill(database: Database, studies: int) -> int:
    """Put generated rows into an empty index; return how many instances it has then."""
    sizes = {"studies": studies, "series": SERIES, "instances": INSTANCES}
    for statement in _FILL:  # without the checks of each row and without triggers
        database.rows(f"SET session_replication_role = replica; {statement}", sizes)
    database.tidy()
    return int(database.value("SELECT count(*) FROM dicom_instance"))


def measure(place: Path, *, rounds: int, studies: int) -> dict[str, list[Sent]]:
    """Return the rounds of the empty node and of the full one."""
    found: dict[str, list[Sent]] = {"empty": [], "full": []}
    pattern = Images()
    with ExitStack() as stack:
        nodes: dict[str, Node] = {name: stack.enter_context(_node(place, name)) for name in ("empty", "full")}
        assert nodes["full"].database is not None
        print(f"{fill(nodes['full'].database, studies)} instances in {studies} studies", flush=True)
        for turn in range(rounds + 1):
            with images_of(pattern, turn + 1, _WAY.images, 1) as folders:
                names = ["empty", "full"] if turn % 2 else ["full", "empty"]
                for name in names:
                    sent = send(nodes[name], _WAY, folders, _WAY.images)
                    if turn:
                        found[name].append(sent)
    return found


@contextmanager
def _node(place: Path, name: str) -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix=f"xinglin-{name}-", dir=place))
    folder.chmod(0o755)
    try:
        node = start_ours(folder)
        try:
            yield node
        finally:
            node.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run it; 1 when an image costs more than GOAL times what it costs on an empty index."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--folder", type=Path, default=TMPFS, help="where both nodes keep their data")
    given = parser.parse_args()
    found = measure(given.folder, rounds=given.rounds, studies=given.studies)
    for name, rounds in found.items():
        print(
            f"  {name:6} {median(each.per_second for each in rounds):7.1f} images/s"
            f"  {median(each.cpu_ms for each in rounds):6.2f} ms CPU an image,"
            f" {median(each.database_ms for each in rounds):.2f} of it the database"
            f"  load {median(each.load for each in rounds):.1f}"
        )
    pairs = list(zip(found["full"], found["empty"], strict=True))
    cpu = median(full.cpu_ms / empty.cpu_ms for full, empty in pairs)
    rate = median(empty.per_second / full.per_second for full, empty in pairs)
    print(f"  full against empty: {cpu:.2f} times the CPU, {rate:.2f} times the time (goal {GOAL:g} or less)")
    return 0 if cpu <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
