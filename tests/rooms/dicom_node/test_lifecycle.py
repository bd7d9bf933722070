"""lifecycle: removed, brought back, held, expired; nothing is lost and nothing comes back unasked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.ingest import Verdict
from dicom_node.lifecycle import hold, removal, restore, retention
from dicom_node.lifecycle.drain import Lifecycle, Settings
from dicom_node.lifecycle.rejection import rules
from dicom_node.lifecycle.removal import Kind, Order, Removal, Target
from fhir_server.authorization.grant import Grant
from fhir_server.outcome import Conflict, Invalid, NotFound
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import Node

GRANT = Grant("radiology/desk")
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY = f"{ROOT_UID}.1"
GRACE = timedelta(days=7)


@pytest.fixture
def remove(node: Node) -> Callable[..., Removal]:
    def made(*targets: Target, **changes: object) -> Removal:
        at = node.clock()
        fields = {"kind": Kind.DELETED, "reason": "wrong study", "purge_at": at + GRACE} | changes
        return removal.remove(node.engine, Order(targets=targets, grant=GRANT, at=at, **fields))  # type: ignore[arg-type]

    return made


@pytest.fixture
def lifecycle(node: Node) -> Lifecycle:
    settings = Settings(GRACE, rules([], ["*"], GRACE))
    return Lifecycle(node.engine, node.files, settings, node.clock, lambda: node.ingest)


def files_of(node: Node) -> set[str]:
    return {path.stem for path in node.files.kept.rglob("*.dcm")}


def current(node: Node) -> list[str]:
    return [uid for (uid,) in node.rows("SELECT sop_uid FROM dicom_instance WHERE current ORDER BY sop_uid")]


def test_a_study_goes_whole_and_its_files_wait(node: Node, remove: Callable[..., Removal]) -> None:
    node.add(ct(number=1), ct(number=2), ct(series=2), ct(2))
    done = remove(Target(STUDY))
    assert (done.applied, done.instances, done.purged, done.studies) == (True, 3, 0, (STUDY,))
    assert current(node) == [f"{ROOT_UID}.2.1.1"]
    assert node.rows("SELECT study_uid FROM dicom_study") == [(f"{ROOT_UID}.2",)]
    assert node.rows("SELECT count(*) FROM dicom_series") == [(1,)]
    assert len(files_of(node)) == 4
    assert node.rows("SELECT DISTINCT study_uid FROM dicom_outbox WHERE study_uid IS NOT NULL") == [(STUDY,)]
    (event,) = node.rows("SELECT event->>'kind', event->>'reason' FROM dicom_audit")
    assert event == ("110105", "deleted: wrong study")


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (Target(STUDY, f"{STUDY}.2"), [f"{STUDY}.1.1", f"{STUDY}.1.2"]),
        (Target(STUDY, f"{STUDY}.1", f"{STUDY}.1.1"), [f"{STUDY}.1.2", f"{STUDY}.2.1"]),
    ],
)
def test_a_series_or_an_instance_goes_and_the_rest_stays(
    node: Node, remove: Callable[..., Removal], target: Target, left: list[str]
) -> None:
    node.add(ct(number=1), ct(number=2), ct(series=2))
    remove(target)
    assert current(node) == left


def test_all_versions_of_an_instance_go(node: Node, remove: Callable[..., Removal]) -> None:
    node.add(ct(), ct(StudyDescription="Other"))
    assert remove(Target(STUDY)).instances == 2
    assert not current(node)


def test_what_was_removed_does_not_come_back_by_being_sent_again(
    node: Node, remove: Callable[..., Removal]
) -> None:
    node.add(ct(number=1))
    remove(Target(STUDY))
    for dataset in (ct(number=1), ct(number=1, StudyDescription="Other"), ct(number=5), ct(series=9)):
        assert node.ingest.store([encoded(dataset)], EXPLICIT, "CT1").verdict is Verdict.REMOVED
    assert not current(node)
    assert node.rows("SELECT count(*) FROM dicom_removed") == [(4,)]
    node.add(ct(2))  # another study is nobody's business


def test_a_restore_brings_everything_back_also_what_came_meanwhile(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle
) -> None:
    node.add(ct(number=1), ct(number=1, StudyDescription="Newer"), ct(number=2))
    done = remove(Target(STUDY))
    node.ingest.store([encoded(ct(number=3))], EXPLICIT, "CT1")
    restore.lift(node.engine, GRANT, done.pk, node.clock())
    assert lifecycle.restore(done.pk) == 4
    assert current(node) == [f"{STUDY}.1.1", f"{STUDY}.1.2", f"{STUDY}.1.3"]
    assert node.rows("SELECT max(version) FROM dicom_instance") == [(2,)]
    assert node.kept(f"{STUDY}.1.1")[-1] == encoded(ct(number=1, StudyDescription="Newer"))
    assert not node.rows("SELECT FROM dicom_removed")
    assert not node.rows("SELECT FROM dicom_tombstone")
    with pytest.raises(Conflict, match="lifted before"):
        restore.lift(node.engine, GRANT, done.pk, node.clock())
    node.clock.advance(days=30)
    lifecycle.drain()
    assert len(files_of(node)) == 4


def test_two_removals_of_one_instance_have_both_to_be_lifted(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle
) -> None:
    node.add(ct(number=1), ct(number=2))
    first = remove(Target(STUDY, f"{STUDY}.1", f"{STUDY}.1.1"))
    second = remove(Target(STUDY))
    restore.lift(node.engine, GRANT, first.pk, node.clock())
    lifecycle.drain()
    assert not current(node)
    restore.lift(node.engine, GRANT, second.pk, node.clock())
    lifecycle.drain()
    assert len(current(node)) == 2


def test_refusals_of_a_removal_are_named(node: Node, remove: Callable[..., Removal]) -> None:
    node.add(ct())
    with pytest.raises(Invalid, match="reason"):
        remove(Target(STUDY), reason="  ")
    with pytest.raises(NotFound, match=r"study 9\.9"):
        remove(Target("9.9"))
    with pytest.raises(NotFound, match=r"instance 1\.2\.3"):
        remove(Target(STUDY), Target(STUDY, f"{STUDY}.1", "1.2.3"))
    assert current(node) == [f"{STUDY}.1.1"]
    assert not node.rows("SELECT FROM dicom_removal")


def test_files_are_destroyed_when_their_time_has_come(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle
) -> None:
    node.add(ct(), ct(2))
    done = remove(Target(STUDY))
    node.clock.advance(days=6)
    lifecycle.drain()
    assert len(files_of(node)) == 2
    node.clock.advance(days=1)
    assert lifecycle.drain() == 1
    assert files_of(node) == {
        digest for (digest,) in node.rows("SELECT encode(hash, 'hex') FROM dicom_instance")
    }
    assert not list(node.files.removed.iterdir())
    with node.engine.connection() as connection:
        assert removal.removal(connection, done.pk).purged == 1
    restore.lift(node.engine, GRANT, done.pk, node.clock())
    node.add(ct())  # nothing is left to bring back, but it may come again
    assert len(current(node)) == 2


def test_a_file_that_the_index_has_again_is_not_destroyed(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle
) -> None:
    node.add(ct())
    done = remove(Target(STUDY))
    restore.lift(node.engine, GRANT, done.pk, node.clock())
    node.add(ct())  # the same bytes, before the worker brings them back
    with node.engine.connection() as connection:  # as if the restore had been forgotten
        connection.cursor().execute("UPDATE dicom_removal SET lifted_at = NULL")
        connection.commit()
    node.clock.advance(days=30)
    lifecycle.drain()
    assert len(files_of(node)) == 1
    assert not node.rows("SELECT FROM dicom_removed")


def test_a_file_that_somebody_is_receiving_again_is_not_destroyed(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle, tmp_path: Path
) -> None:
    node.add(ct())
    remove(Target(STUDY))
    (digest,) = files_of(node)
    entry = node.ingest.folder / f"{digest}~1~{node.clock().isoformat()}~CT1"
    entry.touch()  # another association has the same bytes in its hands
    node.clock.advance(days=30)
    lifecycle.drain()
    assert files_of(node) == {digest}
    entry.unlink()
    lifecycle.drain()
    assert not files_of(node)


def test_what_a_killed_purge_left_is_finished(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle
) -> None:
    node.add(ct(), ct(2))
    remove(Target(STUDY))
    for (digest,) in node.rows("SELECT encode(hash, 'hex') FROM dicom_removed"):
        assert node.files.set_aside(digest)
    for (digest,) in node.rows("SELECT encode(hash, 'hex') FROM dicom_instance"):
        assert node.files.set_aside(digest)  # the worst case: one that is needed
    node.clock.advance(days=30)
    lifecycle.drain()
    assert len(files_of(node)) == 1
    assert not list(node.files.removed.iterdir())
    assert node.kept(f"{ROOT_UID}.2.1.1") == [encoded(ct(2))]


def test_a_file_purged_while_it_is_received_again_is_kept_by_the_receiver(
    node: Node, remove: Callable[..., Removal], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.add(ct())
    done = remove(Target(STUDY))
    restore.lift(node.engine, GRANT, done.pk, node.clock())
    holds = node.files.holds

    def then_purged(digest: str, size_bytes: int) -> bool:
        found = holds(digest, size_bytes)
        node.files.set_aside(digest)
        node.files.destroy(digest)
        return found

    monkeypatch.setattr(node.files, "holds", then_purged)
    outcome = node.ingest.store([encoded(ct())], EXPLICIT, "CT1")
    assert outcome.verdict is Verdict.STORED
    assert node.kept(f"{STUDY}.1.1") == [encoded(ct())]


def test_a_hold_blocks_deletion_retention_and_purging(
    node: Node, remove: Callable[..., Removal], lifecycle: Lifecycle
) -> None:
    node.add(ct(), ct(2), ct(3))
    remove(Target(f"{ROOT_UID}.3"))
    on_study = hold.place(node.engine, GRANT, "court order", node.clock(), study_uid=STUDY)
    on_patient = hold.place(node.engine, GRANT, "inquiry", node.clock(), patient_id="P2")
    third = hold.place(node.engine, GRANT, "inquiry", node.clock(), patient_id="P3", issuer="ae:CT1")
    for study in (1, 2):
        with pytest.raises(Conflict, match="legal hold"):
            remove(Target(f"{ROOT_UID}.{study}"))
    retention.put(node.engine, GRANT, retention.Rule(1), node.clock())
    node.clock.advance(days=20_000)
    lifecycle.drain()
    assert len(current(node)) == 2
    assert len(files_of(node)) == 3
    for pk in (on_study, on_patient, third):
        hold.release(node.engine, GRANT, pk, node.clock())
    with pytest.raises(NotFound):
        hold.release(node.engine, GRANT, third, node.clock())
    node.clock.advance(minutes=10)
    lifecycle.drain()
    assert not current(node)


def test_retention_keeps_as_long_as_the_longest_rule_says(node: Node, lifecycle: Lifecycle) -> None:
    clinic = ct(4, InstitutionName="Clinic")
    node.add(
        ct(1), ct(2, Modality="MR"), ct(3, PatientBirthDate="20200101"), clinic, ct(5, PatientBirthDate="")
    )
    node.clock.advance(days=400)
    lifecycle.drain()
    assert len(current(node)) == 5  # no rule: for ever
    retention.put(node.engine, GRANT, retention.Rule(365, until_age=18), node.clock())
    retention.put(node.engine, GRANT, retention.Rule(800, modality="mr"), node.clock())
    retention.put(node.engine, GRANT, retention.Rule(900, institution="Clinic"), node.clock())
    node.clock.advance(days=1)
    lifecycle.drain()
    assert current(node) == [f"{ROOT_UID}.{study}.1.1" for study in (2, 3, 4, 5)]
    node.clock.advance(days=450)
    lifecycle.drain()
    assert current(node) == [f"{ROOT_UID}.{study}.1.1" for study in (3, 4, 5)]
    node.clock.advance(days=100)
    lifecycle.drain()
    assert current(node) == [f"{ROOT_UID}.{study}.1.1" for study in (3, 5)]
    assert {kind for (kind,) in node.rows("SELECT kind FROM dicom_removal")} == {"expired"}


def test_an_old_study_that_came_today_is_not_gone_tomorrow(node: Node, lifecycle: Lifecycle) -> None:
    retention.put(node.engine, GRANT, retention.Rule(100), node.clock())
    node.add(ct(StudyDate="19990101"))
    node.clock.advance(days=29)
    lifecycle.drain()
    assert current(node)
    node.clock.advance(days=2)
    lifecycle.drain()
    assert not current(node)


def test_a_killed_removal_is_either_not_begun_or_carried_out_by_the_worker(
    node: Node, lifecycle: Lifecycle
) -> None:
    node.add(ct(number=1), ct(number=2))
    order = Order(Kind.DELETED, [Target(STUDY)], GRANT, "wrong", node.clock(), None)
    removal.announce_order(node.engine, order)  # and then the process dies
    assert len(current(node)) == 2
    assert lifecycle.drain() == 1
    assert not current(node)


def test_a_removal_races_arriving_instances_and_nothing_of_it_stays(
    node: Node, remove: Callable[..., Removal]
) -> None:
    node.add(ct(number=1))
    stop = threading.Event()
    problems: list[object] = []

    def send(first: int) -> None:
        number = first
        while not stop.is_set():
            number += 4
            outcome = node.ingest.store([encoded(ct(number=number, pixels=8))], EXPLICIT, "CT1")
            if outcome.verdict not in (Verdict.STORED, Verdict.REMOVED):
                problems.append(outcome)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(2, 6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(current(node)) > 20)
    remove(Target(STUDY))
    wait_for(lambda: node.rows("SELECT count(*) FROM dicom_removed WHERE version = 0")[0][0] > 5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert not node.rows("SELECT FROM dicom_study")
    assert not current(node)
    kept = {digest for (digest,) in node.rows("SELECT encode(hash, 'hex') FROM dicom_removed")}
    assert kept == files_of(node)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_study_of_two_patients_gets_the_name_of_the_one_who_stays(
    node: Node, remove: Callable[..., Removal]
) -> None:
    node.add(ct(number=1), ct(number=2, PatientID="P9", PatientName="Other^Name"))
    remove(Target(STUDY, f"{STUDY}.1", f"{STUDY}.1.1"))
    assert node.rows(
        "SELECT patient_id, name_alphabetic, attributes #>> '{00100020,Value,0}' FROM dicom_study"
    ) == [("P9", "other^name", "P9")]
