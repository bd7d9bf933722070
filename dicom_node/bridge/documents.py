"""What else a study says to FHIR: reports, measurements, documents and key objects, each written once.

Remembered by the hash of its file and by what it was told on (subject, ImagingStudy): the same again
is not read again. A new version under its UID updates the same resources, and Observations that the new
one has no more are entered in error; so is everything of an object that was deleted or rejected.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from dicom_node import header
from dicom_node.attributes import Attributes, read
from dicom_node.bridge.codes import without_gaps
from dicom_node.bridge.diagnostic_report import (
    REPORTS,
    diagnostic_report,
    observation_status,
    status,
)
from dicom_node.bridge.document_reference import KEY_OBJECTS, MEDIA_TYPES, Attached, document, key_objects
from dicom_node.bridge.fitting import fitting
from dicom_node.bridge.observations import observations
from dicom_node.bridge.patient import token
from dicom_node.bridge.source import Source
from dicom_node.files.content import Content, opened
from dicom_node.files.store import FileStore
from dicom_node.header import Malformed
from dicom_node.index.studies import InstanceRow, Study
from dicom_node.instance import first
from dicom_node.structured_report import content as content_tree
from dicom_node.structured_report.measurements import found as measured
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import conditional_update, update

FORM: Final = 1
"""The form of what we write; a higher one makes every object be told again."""

MOST_SR_BYTES: Final = 64 * 1024 * 1024
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_PIECE = 1024 * 1024

Resource = dict[str, Any]
Key = tuple[str, str, str]

log = logging.getLogger("dicom_node")


@dataclass(frozen=True, slots=True)
class Around:
    """What a study's ImagingStudy says that its documents say, too."""

    subject: str
    imaging: str
    based_on: tuple[str, ...] = ()
    started: str | None = None

    @property
    def basis(self) -> str:
        """Return this as a text that is compared."""
        return "|".join((str(FORM), self.subject, self.imaging, *self.based_on, self.started or ""))


class Documents:
    """Tells FHIR of the objects of a study that are more than images."""

    def __init__(self, entry: Entry, grant: Grant, files: FileStore, address: str, zone: ZoneInfo) -> None:
        self._entry = entry
        self._grant = grant
        self._files = files
        self._address = address.rstrip("/")
        self._zone = zone

    def tell(self, study: Study, around: Around) -> None:
        """Write what the objects of a study say, and withdraw what is gone. Raises FhirError."""
        known = self._known(study.study_uid)
        for series_uid, instance in _objects(study):
            key = (study.study_uid, series_uid, instance.sop_uid)
            digest, basis, former = known.pop(key, ("", "", []))
            if (digest, basis) != (instance.digest, around.basis):
                self._write(key, instance, around, former)
        for key, (_, _, former) in known.items():
            self._withdraw(key, former)

    def withdraw(self, study_uid: str) -> None:
        """Enter everything of a study that is gone in error."""
        for key, (_, _, former) in self._known(study_uid).items():
            self._withdraw(key, former)

    def _known(self, study_uid: str) -> dict[Key, tuple[str, str, list[str]]]:
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT series_uid, sop_uid, encode(hash, 'hex'), basis, resources FROM dicom_told_document"
                " WHERE study_uid = %s ORDER BY series_uid, sop_uid",
                (study_uid,),
            )
            return {(study_uid, row[0], row[1]): (row[2], row[3], row[4]) for row in cursor.fetchall()}

    def _write(self, key: Key, instance: InstanceRow, around: Around, former: Sequence[str]) -> None:
        try:
            with opened(self._files.path(instance.digest)) as content:
                source = self._source(key, instance, _attributes(content, instance), around)
                attached = _attached(content, source) if instance.sop_class in MEDIA_TYPES else None
        except (OSError, Malformed) as error:
            log.warning("an object cannot be read for FHIR: %s", type(error).__name__)
            return

        def work(context: Context) -> None:
            written = _resources(context, source, attached)
            for address in former:
                if address not in written:
                    _enter_in_error(context, address)
            context.unit.execute(
                "INSERT INTO dicom_told_document (study_uid, series_uid, sop_uid, hash, basis, resources)"
                " VALUES (%s, %s, %s, decode(%s, 'hex'), %s, %s) ON CONFLICT (study_uid, series_uid, sop_uid)"
                " DO UPDATE SET hash = excluded.hash, basis = excluded.basis, resources = excluded.resources",
                (*key, instance.digest, around.basis, written),
            )

        self._entry.write(self._grant, work)

    def _withdraw(self, key: Key, former: Sequence[str]) -> None:
        def work(context: Context) -> None:
            context.unit.execute(
                "DELETE FROM dicom_told_document WHERE study_uid = %s AND series_uid = %s AND sop_uid = %s",
                key,
            )
            others = context.unit.execute(  # the same UID in another study speaks for the same resources
                "SELECT unnest(resources) FROM dicom_told_document WHERE sop_uid = %s", (key[2],)
            )
            for address in former:
                if (address,) not in others:
                    _enter_in_error(context, address)

        self._entry.write(self._grant, work)

    def _source(self, key: Key, instance: InstanceRow, found: Attributes, around: Around) -> Source:
        study_uid, series_uid, sop_uid = key
        address = f"{self._address}/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"
        return Source(
            study_uid,
            series_uid,
            sop_uid,
            instance.sop_class,
            found,
            address,
            around.subject,
            around.imaging,
            self._zone,
            around.based_on,
            around.started,
        )


def _objects(study: Study) -> Iterator[tuple[str, InstanceRow]]:
    for series in study.series:
        for instance in series.instances:
            kind = instance.sop_class
            if kind in REPORTS or kind in MEDIA_TYPES or kind == KEY_OBJECTS:
                yield series.series_uid, instance


def _resources(context: Context, source: Source, attached: Attached | None) -> list[str]:
    """Write what one object becomes; return the addresses, the main one first."""
    criteria = f"identifier={token(source.identifier['system'], source.identifier['value'])}"
    if source.sop_class == KEY_OBJECTS:
        return [_put(context, "DocumentReference", criteria, key_objects(source))]
    if attached is not None:
        return [_put(context, "DocumentReference", criteria, document(source, attached))]
    tree = content_tree.read(source.attributes)
    report = status(source.attributes)
    addresses: dict[str, str] = {}
    inner: set[str] = set()
    for made in observations(source, measured(tree), observation_status(report)):
        own = made.resource["identifier"][0]
        resource = without_gaps(
            {
                **made.resource,
                "hasMember": [{"reference": addresses[path]} for path in made.members if path in addresses],
            }
        )
        inner.update(path for path in made.members if path in addresses)
        addresses[made.path] = _put(
            context, "Observation", f"identifier={token(own['system'], own['value'])}", resource
        )
    results = [address for path, address in addresses.items() if path not in inner]
    main = _put(context, "DiagnosticReport", criteria, diagnostic_report(source, tree, results))
    return [main, *addresses.values()]


def _put(context: Context, type_name: str, criteria: str, resource: Resource) -> str:
    written = fitting(resource, lambda fitted: conditional_update(context, type_name, criteria, fitted))
    assert written.version is not None
    return written.version.address.partition("/_history")[0]


def _enter_in_error(context: Context, address: str) -> None:
    """Say of a resource that it was withdrawn, unless somebody has deleted it."""
    type_name, _, id_ = address.partition("/")
    for found in resources(context, type_name, [("_id", id_)]):
        if found.get("status") != "entered-in-error":
            update(context, type_name, id_, {**found, "status": "entered-in-error"})


def _attributes(content: Content, instance: InstanceRow) -> Attributes:
    if instance.sop_class not in MEDIA_TYPES and len(content.data) > MOST_SR_BYTES:
        raise Malformed(f"a structured report of {len(content.data)} bytes", 0)
    last = _ENCAPSULATED_DOCUMENT + 0x10 if instance.sop_class in MEDIA_TYPES else 0xFFFFFFFF
    return read(content.data, content.syntax, last=last).attributes


def _attached(content: Content, source: Source) -> Attached:
    """Return size and SHA-1 of an encapsulated document, the padding byte left out (PS3.3 C.24.2)."""
    for event in header.walk(content.data, content.syntax, into=()):
        if event.depth or event.tag != _ENCAPSULATED_DOCUMENT:
            continue
        stated = first(source.attributes, "00420015")
        size = stated if isinstance(stated, int) and 0 <= event.length - stated <= 1 else event.length
        digest = hashlib.sha1(
            usedforsecurity=False
        )  # what R4's Attachment.hash is (R4/datatypes.html#Attachment)
        for at in range(event.start, event.start + size, _PIECE):
            digest.update(bytes(content.data[at : min(at + _PIECE, event.start + size)]))
        url = f"{source.address}/bulkdata/00420011"
        return Attached(url, size, base64.b64encode(digest.digest()).decode())
    raise Malformed("an encapsulated document without its document", 0)
