"""A batch of instances → their rows, and a row in the outbox for each study, in one transaction.

What nobody has is copied in one go (COPY); what is there already, under its hash or its UID, is looked
at one by one. Two rules keep senders from waiting for each other: no row is updated by every instance
(counts are counted when asked for), and rows of study and series that this process has seen committed
are not looked up again.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errors

from dicom_node import announce
from dicom_node.attributes import Attributes
from dicom_node.index import tombstones
from dicom_node.index.ledger import Ledger
from dicom_node.index.writer import Patient, Place, as_json, correct, issuer_of, patient_of, place, whole
from dicom_node.instance import Instance, first
from fhir_server.database import prepared
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import Unavailable

KNOWN_SERIES = 500
"""As many series at once are received by one process without looking them up again."""

FEW = 20
"""With so few instances, planning would cost more than looking: the plan is made once."""

SINGLY = 2
"""So few rows are added without COPY, which is a journey more."""

KNOWN_SAYINGS = 4
"""Different things that the instances of one series say of their study, and are remembered."""

TRIES = 5
_PASSING = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.UniqueViolation,
    errors.ForeignKeyViolation,
    prepared.Unknown,
)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A durable file and how it came."""

    digest: str
    size_bytes: int
    calling_ae: str
    received_at: datetime


class Arrival(NamedTuple):
    """An instance whose file is durable."""

    instance: Instance
    file: KeptFile


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an instance in the index: `version` counts from 1; new false: it was there.

    `removed` says that it stays out: it was deleted or rejected, and nobody has restored it.
    """

    new: bool
    version: int
    removed: bool = False


class NotIndexable(ValueError):
    """The database refuses what a data set says; trying again would not help."""


class _Saying(NamedTuple):
    """What an instance said of its study and series, and which rows that led to."""

    study: Attributes
    series: Attributes
    calling_ae: str
    patient: Patient
    place: Place


@dataclass(slots=True)
class _Series:
    """A series whose rows are committed: what its instances said of it so far."""

    sayings: list[_Saying] = field(default_factory=list)


class IndexWriter:
    """Writes instances into the index; one for a process, used by all its threads."""

    def __init__(self, engine: Engine, ledger: Ledger | None = None) -> None:
        self._engine = engine
        self._ledger = ledger
        self._known: OrderedDict[tuple[str, str], _Series] = OrderedDict()
        self._lock = Lock()

    def holds(self, digest: str) -> bool:
        """Whether a file of this hash has its row; false too when the database cannot be asked."""
        try:
            with self._engine.connection(Mode.SINGLE) as connection:
                cursor = connection.cursor()
                cursor.execute("SELECT 1 FROM dicom_instance WHERE hash = %s", (bytes.fromhex(digest),))
                return cursor.fetchone() is not None
        except (Unavailable, psycopg2.Error):
            return False

    def write(self, arrivals: Sequence[Arrival]) -> list[Written]:
        """Put instances into the index and commit; all of them or none.

        Raises Unavailable when the database is not there, or others were faster too often;
        NotIndexable when the values of one of them cannot be kept.
        """
        for _ in range(TRIES):
            try:
                with self._engine.connection() as connection:
                    return self._write(connection, arrivals)
            except _PASSING:
                with self._lock:  # a study that was deleted meanwhile is known no more
                    for each in arrivals:
                        self._known.pop((each.instance.study_uid, each.instance.series_uid), None)
            except (psycopg2.DataError, psycopg2.IntegrityError, UnicodeError) as error:
                raise NotIndexable("the attributes cannot be kept in the index") from error
            except psycopg2.Error as error:
                raise Unavailable("the index cannot be written right now; send the instance again") from error
        raise Unavailable(f"the index rows were contested {TRIES} times; send the instance again")

    def _write(self, connection: Any, arrivals: Sequence[Arrival]) -> list[Written]:
        cursor = connection.cursor()
        if gone := _put_aside(cursor, arrivals):
            others = [each for at, each in enumerate(arrivals) if at not in gone]
            left = iter(self._write(connection, others))
            out = Written(False, 0, removed=True)
            return [out if at in gone else next(left) for at in range(len(arrivals))]
        said = self._places(cursor, arrivals)
        plain, rest = _sorted_out(cursor, arrivals, said)
        written = [Written(True, 1)] * len(arrivals)
        _copy(cursor, [(arrivals[at], said[at].place) for at in plain])
        for at in rest:
            written[at] = _one(cursor, arrivals[at], said[at])
            if written[at].version > 1 and written[at].new and self._ledger is not None:
                instance, file = arrivals[at]
                issuer = said[at].patient.issuer
                self._ledger.replaced(cursor, instance, file.calling_ae, issuer, written[at].version)
        new = (at for at, each in enumerate(written) if each.new)
        announce.all_changed(cursor, {said[at].place.study_pk: arrivals[at].file.received_at for at in new})
        connection.commit()
        self._remember(arrivals, said)
        return written

    def _places(self, cursor: Any, arrivals: Sequence[Arrival]) -> list[_Saying]:
        """Return for each instance what it says and the rows that follow from it."""
        found: list[_Saying | None] = [self._known_saying(each) for each in arrivals]
        missing = [at for at, each in enumerate(found) if each is None]
        # always in the same order: two processes must not wait for each other's new studies in a circle
        missing.sort(key=lambda at: (arrivals[at].instance.study_uid, arrivals[at].instance.series_uid))
        last: tuple[tuple[str, str], _Saying] | None = None
        for at in missing:
            instance, file = arrivals[at]
            key = (instance.study_uid, instance.series_uid)
            if last is None or last[0] != key or not _says(last[1], instance, file.calling_ae):
                patient = patient_of(instance.study, issuer_of(instance.study, file.calling_ae))
                rows = place(cursor, instance, patient, file.received_at)
                last = key, _Saying(instance.study, instance.series, file.calling_ae, patient, rows)
            found[at] = last[1]
        return [each for each in found if each is not None]

    def _known_saying(self, arrival: Arrival) -> _Saying | None:
        instance, file = arrival
        with self._lock:
            known = self._known.get((instance.study_uid, instance.series_uid))
            if known is not None:
                for saying in known.sayings:
                    if _says(saying, instance, file.calling_ae):
                        return saying
        return None

    def _remember(self, arrivals: Sequence[Arrival], said: Sequence[_Saying]) -> None:
        with self._lock:
            for (instance, _), saying in zip(arrivals, said, strict=True):
                known = self._known.setdefault((instance.study_uid, instance.series_uid), _Series())
                if not any(each is saying for each in known.sayings):
                    known.sayings = [saying, *known.sayings[: KNOWN_SAYINGS - 1]]
            while len(self._known) > KNOWN_SERIES:
                self._known.popitem(last=False)


def _put_aside(cursor: Any, arrivals: Sequence[Arrival]) -> set[int]:
    """Note what was removed and comes again; return the positions of it."""
    uids = [(each.instance.study_uid, each.instance.series_uid, each.instance.sop_uid) for each in arrivals]
    covered = tombstones.covering(cursor, uids) if uids else {}
    for at, removal_pk in covered.items():
        instance, file = arrivals[at]
        patient = patient_of(instance.study, issuer_of(instance.study, file.calling_ae))
        tombstones.put_aside(cursor, removal_pk, instance, file, patient)
    return set(covered)


def _says(saying: _Saying, instance: Instance, calling_ae: str) -> bool:
    return (
        saying.calling_ae == calling_ae
        and saying.study == instance.study
        and saying.series == instance.series
    )


_PRESENT = """
SELECT hash, 0, '' FROM dicom_instance WHERE hash = ANY(%s)
UNION ALL
SELECT NULL, series_pk, sop_uid FROM dicom_instance
WHERE sop_uid = ANY(%s) AND series_pk = ANY(%s) AND current
"""


def _sorted_out(
    cursor: Any, arrivals: Sequence[Arrival], said: Sequence[_Saying]
) -> tuple[list[int], list[int]]:
    """Return the positions of what can simply be added, and of what is there in one way or the other."""
    digests = [bytes.fromhex(each.file.digest) for each in arrivals]
    series = list({each.place.series_pk for each in said})
    asked = (digests, [each.instance.sop_uid for each in arrivals], series)
    if len(arrivals) <= FEW:
        prepared.ask(cursor, _PRESENT, asked)
    else:
        cursor.execute(_PRESENT, asked)
    taken: set[Any] = set()
    for digest, series_pk, sop_uid in cursor.fetchall():
        taken.add((series_pk, sop_uid) if digest is None else bytes(digest))
    plain: list[int] = []
    rest: list[int] = []
    for at, each in enumerate(arrivals):
        uid = (said[at].place.series_pk, each.instance.sop_uid)
        (rest if digests[at] in taken or uid in taken else plain).append(at)
        taken.update((digests[at], uid))
    # in the order of their hashes, so that two processes with the same instances do not wait in a circle
    plain.sort(key=lambda at: digests[at])
    return plain, rest


_COLUMNS = (
    "series_pk, study_pk, patient_pk, received_at, size_bytes, number, version, frames, current, hash,"
    " sop_uid, sop_class, transfer_syntax, calling_ae, problem, attributes"
)


def _copy(cursor: Any, added: Sequence[tuple[Arrival, Place]]) -> None:
    """Add first versions; somebody who was faster with one of them makes it a UniqueViolation."""
    if len(added) <= SINGLY:
        for (instance, file), rows in added:
            _add(cursor, instance, file, rows)
        return
    lines = []
    for (instance, file), rows in added:
        number, frames = _numbers(instance)
        problem = r"\N" if instance.problem is None else _escaped(instance.problem)
        lines.append(
            f"{rows.series_pk}\t{rows.study_pk}\t{rows.patient_pk}\t{file.received_at.isoformat()}"
            f"\t{file.size_bytes}\t{_or_null(number)}\t1\t{frames}\tt\t\\\\x{file.digest}"
            f"\t{instance.sop_uid}\t{instance.sop_class}\t{_escaped(instance.transfer_syntax)}"
            f"\t{_escaped(file.calling_ae)}\t{problem}\t{_escaped(as_json(instance.instance))}\n"
        )
    cursor.copy_expert(f"COPY dicom_instance ({_COLUMNS}) FROM STDIN", io.BytesIO("".join(lines).encode()))


def _escaped(text: str) -> str:
    r"""Return a text as COPY reads it.

    >>> print(_escaped("a\tb\\c"))
    a\tb\\c
    """
    text = text.replace("\\", "\\\\")
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _or_null(value: int | None) -> str:
    return r"\N" if value is None else str(value)


def _one(cursor: Any, arrival: Arrival, saying: _Saying) -> Written:
    """Put an instance into the index whose hash or UID is there already."""
    (instance, file), rows = arrival, saying.place
    digest = bytes.fromhex(file.digest)
    cursor.execute("SELECT version FROM dicom_instance WHERE hash = %s", (digest,))
    if (row := cursor.fetchone()) is not None:
        return Written(False, row[0])
    cursor.execute(
        "SELECT pk, version FROM dicom_instance WHERE series_pk = %s AND sop_uid = %s AND current FOR UPDATE",
        (rows.series_pk, instance.sop_uid),
    )
    version = 1
    if (row := cursor.fetchone()) is not None:
        version = row[1] + 1
        cursor.execute("UPDATE dicom_instance SET current = false WHERE pk = %s", (row[0],))
    _add(cursor, instance, file, rows, version)
    if version > 1:
        correct(cursor, rows, saying.patient, instance)
    return Written(True, version)


def _add(cursor: Any, instance: Instance, file: KeptFile, rows: Place, version: int = 1) -> None:
    number, frames = _numbers(instance)
    prepared.ask(
        cursor,
        f"INSERT INTO dicom_instance ({_COLUMNS})"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true, %s, %s, %s, %s, %s, %s, %s)",
        (
            rows.series_pk,
            rows.study_pk,
            rows.patient_pk,
            file.received_at,
            file.size_bytes,
            number,
            version,
            frames,
            bytes.fromhex(file.digest),
            instance.sop_uid,
            instance.sop_class,
            instance.transfer_syntax,
            file.calling_ae,
            instance.problem,
            as_json(instance.instance),
        ),
    )


def _numbers(instance: Instance) -> tuple[int | None, int]:
    """Return Instance Number, and Number of Frames (1 where it says none)."""
    frames = first(instance.instance, "00280008")
    count = frames if isinstance(frames, int) and 0 < frames < 2**31 else 1
    return whole(first(instance.instance, "00200013")), count
