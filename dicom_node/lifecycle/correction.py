"""Correcting whose study it is: every instance gets a new version with the right patient.

The order is a row that stands for ever (until another one supersedes it): instances that come later with
the old patient are corrected as well. An instance is corrected by storing it again under its UID with
the elements replaced and an item of the Original Attributes Sequence (PS3.3 C.12.1.1.9) that holds
what stood there, who changed it, when and why; the file that came stays as its older version. Killed in
between, the worker goes on with those that are left, and the study is not told to FHIR before all are
done.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from dicom_node import announce, audit
from dicom_node.attributes import Attributes, read
from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.files.content import Content, opened
from dicom_node.files.store import FileStore
from dicom_node.header import Bytes, Malformed, Syntax
from dicom_node.lifecycle.rewrite import (
    ORIGINAL_ATTRIBUTES,
    PIECE_BYTES,
    NotWritable,
    Values,
    coded,
    element,
    raw_item,
    rewritten,
    top,
)
from dicom_node.lifecycle.unicode import unicoded
from dicom_node.values import PN_GROUPS, decode
from dicom_node.verdict import Outcome, Verdict
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import FhirError, Invalid, NotFound

CORRECTABLE = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
]
MODIFYING_SYSTEM = "XINGLIN"
INSTANCES_AT_A_TIME = 500
# what else says who the patient is, and goes when the PatientID changes
_OF_THE_OTHER = (0x00081120, 0x00100024, 0x00101000, 0x00101001, 0x00101002)


class Store(Protocol):
    """The way in for instances (`ingest.Ingest.store`)."""

    def __call__(
        self,
        data_set: Iterable[bytes | memoryview],
        transfer_syntax: str,
        calling_ae: str,
        *,
        sop_class: str = "",
        sop_uid: str = "",
    ) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction as it stands: elements by their hexadecimal tag, an empty text clears one."""

    pk: int
    study_uid: str
    attributes: Mapping[str, str]
    actor: str
    reason: str
    ordered_at: datetime
    applied: bool


def order(
    engine: Engine, grant: Grant, study_uid: str, wanted: Mapping[str, str], reason: str, at: datetime
) -> int:
    """Order that a study gets these attributes, by keyword; return the key of the order.

    Raises Invalid for what cannot be corrected or no value of its VR, NotFound.
    """
    permit(grant, "update", "ImagingStudy")
    if not reason.strip():
        raise Invalid("a correction needs a reason; it is kept with the order, in the files and in the audit")
    attributes = {hex_of(tag_of(name) or 0): value for name, value in _checked(wanted).items()}
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT pk, accession FROM dicom_study WHERE study_uid = %s FOR UPDATE", (study_uid,))
        if (row := cursor.fetchone()) is None:
            raise NotFound(f"nothing is kept here of study {study_uid}")
        cursor.execute(
            "UPDATE dicom_correction SET superseded_at = %s WHERE study_uid = %s AND superseded_at IS NULL"
            " RETURNING attributes",
            (at, study_uid),
        )
        for (former,) in cursor.fetchall():  # what was corrected before and not now holds for late ones, too
            attributes = {**former, **attributes}
        cursor.execute(
            "INSERT INTO dicom_correction (ordered_at, study_uid, actor, reason, attributes)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING pk",
            (at, study_uid, grant.subject, " ".join(reason.split()), json.dumps(attributes)),
        )
        pk = int(cursor.fetchone()[0])
        cursor.execute("UPDATE dicom_told SET decided = '' WHERE study_uid = %s", (study_uid,))
        announce.changed(cursor, row[0], at)
        audit.note(
            cursor,
            audit.Event(
                audit.Kind.ACCESSED,
                at,
                source=audit.Party(user=grant.subject, requestor=True),
                studies=[audit.Studied(study_uid, accession=row[1])],
                action="U",
                reason=f"patient of the study corrected: {reason.strip()}",
            ),
        )
        connection.commit()
    return pk


def _checked(wanted: Mapping[str, str]) -> dict[str, str]:
    if not wanted:
        raise Invalid(f"nothing is to be corrected; these can be: {', '.join(CORRECTABLE)}")
    found: dict[str, str] = {}
    for name, value in wanted.items():
        if name not in CORRECTABLE:
            raise Invalid(f"{name} cannot be corrected; these can be: {', '.join(CORRECTABLE)}")
        value = value.strip()
        if any(sign < " " or sign == "\\" for sign in value):
            raise Invalid(f"the new {name} has a backslash or a control character")
        longest = {"PatientSex": 1, "PatientBirthDate": 8, "AccessionNumber": 16}.get(name, 64)
        if any(len(group) > longest for group in (value.split("=") if name == "PatientName" else [value])):
            raise Invalid(f"the new {name} is longer than the {longest} characters of its VR (PS3.5 6.2)")
        if value and name == "PatientBirthDate":
            try:
                datetime.strptime(value, "%Y%m%d")
            except ValueError:
                raise Invalid(f"the new {name} is {value!r}; a date is YYYYMMDD") from None
        if value and name == "PatientSex" and value not in ("M", "F", "O"):
            raise Invalid(f"the new {name} is {value!r}; it can be M, F or O")
        if not value and name == "PatientID":
            raise Invalid("the new PatientID is empty; a study belongs to somebody")
        found[name] = value
    return found


def correction(connection: Any, study_uid: str) -> Correction | None:
    """Return the correction that holds for a study, or None."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT pk, study_uid, attributes, actor, reason, ordered_at, applied_at IS NOT NULL"
        " FROM dicom_correction WHERE study_uid = %s AND superseded_at IS NULL",
        (study_uid,),
    )
    row = cursor.fetchone()
    return None if row is None else Correction(*row)


_PENDING = """
SELECT encode(i.hash, 'hex'), i.transfer_syntax, i.calling_ae, i.sop_class, i.sop_uid
FROM dicom_study st JOIN dicom_instance i ON i.study_pk = st.pk AND i.current
WHERE st.study_uid = %s AND NOT EXISTS (
    SELECT FROM dicom_corrected c WHERE c.hash = i.hash AND c.correction_pk = %s)
ORDER BY i.pk LIMIT %s
"""


def reopen(cursor: Any, study_uid: str) -> bool:
    """Whether instances of a study wait for its correction; the worker is told to look at them.

    On the caller's transaction, which he commits.
    """
    cursor.execute(
        "SELECT pk FROM dicom_correction WHERE study_uid = %s AND superseded_at IS NULL", (study_uid,)
    )
    if (row := cursor.fetchone()) is None:
        return False
    cursor.execute(_PENDING, (study_uid, row[0], 1))
    if cursor.fetchone() is None:
        return False
    cursor.execute("UPDATE dicom_correction SET applied_at = NULL WHERE pk = %s", (row[0],))
    return True


def apply(engine: Engine, files: FileStore, store: Store, study_uid: str, at: datetime) -> int:
    """Correct the instances of a study that are not yet; return how many were (0: all are).

    Raises FhirError when one cannot be: its file is missing, or breaks off before its patient.
    """
    with engine.connection() as connection:
        found = correction(connection, study_uid)
        if found is None:
            return 0
        cursor = connection.cursor()
        cursor.execute(_PENDING, (study_uid, found.pk, INSTANCES_AT_A_TIME))
        pending = cursor.fetchall()
    for digest, transfer_syntax, calling_ae, sop_class, sop_uid in pending:
        _correct(engine, files, store, found, (digest, transfer_syntax, calling_ae, sop_class, sop_uid))
    if not pending:
        _finish(engine, found, at)
    return len(pending)


def _correct(
    engine: Engine, files: FileStore, store: Store, found: Correction, row: tuple[str, str, str, str, str]
) -> None:
    """Store an instance as it should be; one that is so already is ticked off."""
    digest, transfer_syntax, calling_ae, sop_class, sop_uid = row
    try:
        with opened(files.path(digest)) as content:
            pieces = corrected(content, found)
            if pieces is not None:
                if content.syntax.deflated:
                    pieces = _deflated(pieces)
                outcome = store(pieces, transfer_syntax, calling_ae, sop_class=sop_class, sop_uid=sop_uid)
                if outcome.verdict not in _KEPT:
                    raise FhirError(f"instance {sop_uid} could not be corrected: {outcome.verdict.value}")
                return  # the next look finds the new version, and that it is right
    except (NotWritable, Malformed, FileNotFoundError) as error:
        reason = "its file is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise FhirError(f"instance {sop_uid} could not be corrected: {reason}") from error
    with engine.connection() as connection:
        connection.cursor().execute(
            "INSERT INTO dicom_corrected (correction_pk, hash) VALUES (%s, decode(%s, 'hex'))"
            " ON CONFLICT DO NOTHING",
            (found.pk, digest),
        )
        connection.commit()


_KEPT = (Verdict.STORED, Verdict.NEW_VERSION, Verdict.DUPLICATE, Verdict.STORED_DOUBTFUL, Verdict.REMOVED)


def corrected(content: Content, found: Correction) -> Iterator[bytes] | None:
    """Return the data set with the correction in it, None when it says so already.

    Raises NotWritable, Malformed.
    """
    changes: dict[int, str | list[Values] | None] = {
        int(name, 16): value for name, value in found.attributes.items()
    }
    stated = read(
        content.data, content.syntax, wanted={*changes, ORIGINAL_ATTRIBUTES}, last=ORIGINAL_ATTRIBUTES
    )
    if _says(stated.attributes, found):
        return None
    if 0x00100020 in changes and _value(stated.attributes, 0x00100020) != changes[0x00100020]:
        changes |= {tag: None for tag in _OF_THE_OTHER if tag not in changes}
    data, syntax, rest_at = content.data, content.syntax, None
    try:
        encoded = _original(data, syntax, changes, found)
        return rewritten(data, syntax, changes, encoded)
    except NotWritable:
        head, rest_at = unicoded(data, syntax)
    syntax = Syntax(syntax.implicit, syntax.little)
    pieces = rewritten(head, syntax, changes, _original(head, syntax, changes, found))
    return itertools.chain(pieces, _rest(data, rest_at))


def _says(stated: Attributes, found: Correction) -> bool:
    for item in stated.get(hex_of(ORIGINAL_ATTRIBUTES), {}).get("Value", []):
        if (_value(item, 0x04000563), _value(item, 0x04000562)) == (MODIFYING_SYSTEM, _moment(found)):
            return True
    return all(_value(stated, int(name, 16)) == value for name, value in found.attributes.items())


def _value(found: Attributes, tag: int) -> str:
    """Return the value of an element as it is written, "" for none."""
    values = found.get(hex_of(tag), {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        groups = [str(value.get(group, "")) for group in PN_GROUPS]
        return "=".join(groups).rstrip("=")
    return str(value or "")


def _original(data: Bytes, syntax: Syntax, changes: Values, found: Correction) -> dict[int, bytes]:
    """Return the Original Attributes Sequence with what stood there before, encoded."""
    before: dict[int, bytes] = {}
    former = b""
    for one in top(data, syntax, ORIGINAL_ATTRIBUTES):
        if one.tag in changes:
            before[one.tag] = bytes(data[one.begin : one.end])
        elif one.tag == ORIGINAL_ATTRIBUTES:
            undefined = bytes(data[one.start - 4 : one.start]) == b"\xff\xff\xff\xff"
            former = bytes(data[one.start : one.end - 8 if undefined else one.end])
    for tag, value in changes.items():
        if value is not None and tag not in before:  # it was not there: an empty one says so
            before[tag] = element(tag, "", syntax, "")
    item = {
        0x04000550: coded(0x04000550, "SQ", raw_item(before, syntax), syntax),
        0x04000562: element(0x04000562, _moment(found), syntax, ""),
        0x04000563: element(0x04000563, MODIFYING_SYSTEM, syntax, ""),
        0x04000564: element(0x04000564, "", syntax, ""),
        0x04000565: element(0x04000565, "CORRECT", syntax, ""),
    }
    return {ORIGINAL_ATTRIBUTES: coded(ORIGINAL_ATTRIBUTES, "SQ", former + raw_item(item, syntax), syntax)}


def _moment(found: Correction) -> str:
    return found.ordered_at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")


def _rest(data: Bytes, start: int) -> Iterator[bytes]:
    for at in range(start, len(data), PIECE_BYTES):
        yield bytes(data[at : at + PIECE_BYTES])


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        made = stream.compress(piece)
        size += len(made)
        yield made
    made = stream.flush()
    yield made + b"\0" * ((size + len(made)) % 2)  # PS3.5 A.5


def _finish(engine: Engine, found: Correction, at: datetime) -> bool:
    """Note that all instances are corrected; false when another one has come meanwhile."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT pk, attributes FROM dicom_study WHERE study_uid = %s FOR UPDATE", (found.study_uid,)
        )
        row = cursor.fetchone()
        cursor.execute(_PENDING, (found.study_uid, found.pk, 1))
        if cursor.fetchone() is not None:
            return False
        if row is not None:
            _settle(cursor, row[0], row[1], found)
        cursor.execute(
            "UPDATE dicom_correction SET applied_at = %s WHERE pk = %s AND applied_at IS NULL", (at, found.pk)
        )
        connection.commit()
    return True


def _settle(cursor: Any, study_pk: int, attributes: Attributes, found: Correction) -> None:
    """Let the rows of study and patient say what all of its instances say now."""
    gone = [name for name, value in found.attributes.items() if not value]
    if "00100020" in found.attributes:
        gone += [hex_of(tag) for tag in _OF_THE_OTHER]
    new = {name: _element(name, value) for name, value in found.attributes.items() if value}
    kept = {name: value for name, value in attributes.items() if name not in gone} | new
    cursor.execute("UPDATE dicom_study SET attributes = %s WHERE pk = %s", (json.dumps(kept), study_pk))
    if "00080050" in gone:
        cursor.execute("UPDATE dicom_study SET accession = '' WHERE pk = %s", (study_pk,))
    if "00100030" in gone:
        cursor.execute("UPDATE dicom_study SET birth_date = NULL WHERE pk = %s", (study_pk,))
    if "00100010" in gone:
        cursor.execute(
            "UPDATE dicom_study SET name_alphabetic = '', name_other = '' WHERE pk = %s", (study_pk,)
        )
    cursor.execute(
        "UPDATE dicom_study_patient p SET attributes = p.attributes - %s::text[] || %s::jsonb"
        " WHERE study_pk = %s AND EXISTS"
        " (SELECT FROM dicom_instance i WHERE i.study_pk = p.study_pk AND i.patient_pk = p.pk AND i.current)",
        (gone, json.dumps({name: one for name, one in new.items() if name.startswith("0010")}), study_pk),
    )


def _element(name: str, value: str) -> dict[str, Any]:
    vr = vr_of(int(name, 16))
    return {"vr": vr, "Value": decode(vr, value.encode(), ("UTF8",))}
