"""Metadata of a study, a series or an instance as DICOM JSON, or as XML (PS3.18 10.4.1.1.2, 8.7.3.1).

That of series is written once (metadata_parts.py) and sent as it lies there, compressed, with an
entity tag; a study is its series one after the other. One instance is read when it is asked for, and so
is XML, of which each instance is a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blake3 import blake3

from dicom_node.dicomweb import json_model, native_model
from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import DICOM_JSON, accepted, allows, choose
from dicom_node.dicomweb.metadata_parts import MetadataParts, SeriesPart, gzipped, lengths, plain
from dicom_node.dicomweb.multipart import Part, content_type, write
from dicom_node.dicomweb.native_model import DICOM_XML
from dicom_node.files.store import FileStore
from dicom_node.index.locate import Located, SeriesState, located, series_states
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import NotFound

JSON_TYPES = (DICOM_JSON, "application/json")


def of_instance(archive: Archive, accept: str | None, instance: Located) -> Body:
    """Return the metadata of one instance, an array of one."""
    media = _media(accept)
    if media == DICOM_XML:
        return _as_xml(archive, [instance])
    text = json_model.metadata(archive.file(instance), archive.address_of(instance))
    body = b"[" + json_model.encode(text) + b"]"
    etag = blake3(f"{instance.digest} {archive.address}".encode()).hexdigest(12)
    return Body(media, [body], len(body), {"Vary": "Accept"}, f'"{etag}"')


def of_series(archive: Archive, accept: str | None, encodings: str, study: str, series: str = "") -> Body:
    """Return the metadata of a series, or of all of a study. `encodings` is the header Accept-Encoding."""
    media = _media(accept)
    if media == DICOM_XML:
        return _as_xml(archive, archive.locate(study, series))
    archive.may("read")
    with archive.engine.connection(Mode.SINGLE) as connection:
        states = series_states(connection, study, series)
    if not states:
        named = f"series {series} of study {study}" if series else f"study {study}"
        raise NotFound(f"nothing is kept here of {named}")
    store = MetadataParts(archive.files, archive.address)
    found = [store.find(state) for state in states]
    headers = {"Vary": "Accept, Accept-Encoding"}
    for number, (state, part) in enumerate(zip(states, found, strict=True)):
        if part is None:
            try:
                found[number] = written(archive.engine, archive.files, store, state)
            except OSError:  # no room for it: told without being kept
                return Body(media, _told(archive, study, series), None, headers)
    parts = [part for part in found if part is not None]
    etag = blake3(" ".join(part.path.name for part in parts).encode()).hexdigest(12)
    packed_bytes, plain_bytes = lengths(parts)
    if _takes_gzip(encodings):
        headers["Content-Encoding"] = "gzip"
        return Body(media, gzipped(parts), packed_bytes, headers, f'"{etag}-gzip"')
    return Body(media, plain(parts), plain_bytes, headers, f'"{etag}"')


def _media(accept: str | None) -> str:
    """Return the media type of the answer; XML only comes as multipart (8.7.3.1). Raises NotAcceptable."""
    ranges = accepted(accept)
    for wanted in ranges:
        if wanted.multipart and wanted.media == DICOM_XML:
            return DICOM_XML
        if not wanted.multipart and any(allows(wanted.media, media) for media in JSON_TYPES):
            break
    return choose(ranges, (*JSON_TYPES, f'multipart/related; type="{DICOM_XML}"'))


def _as_xml(archive: Archive, found: Sequence[Located]) -> Body:
    boundary = str(blake3(" ".join(one.digest for one in found).encode()).hexdigest(16))
    files = [archive.file(one) for one in found]
    parts = (
        Part(DICOM_XML, [native_model.encode(json_model.metadata(file, archive.address_of(one)))])
        for one, file in zip(found, files, strict=True)
    )
    return Body(content_type(DICOM_XML, boundary), write(parts, boundary), None, {"Vary": "Accept"})


def written(engine: Engine, files: FileStore, store: MetadataParts, state: SeriesState) -> SeriesPart | None:
    """Write the part of a series as it is now and return it; None when nothing of it is left.

    Raises OSError when it cannot be kept.
    """
    with engine.connection(Mode.SNAPSHOT) as connection:  # the state and what it is made of, of one moment
        states = series_states(connection, state.study_uid, state.series_uid)
        found = located(connection, state.study_uid, state.series_uid)
    if not states:
        return None
    return store.write(states[0], texts(files, store.address, found))


def texts(files: FileStore, address: str, found: Sequence[Located]) -> Iterator[bytes]:
    """Yield the JSON text of each instance; `address` is that of DICOMweb."""
    for one in found:
        place = f"{address}/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_uid}"
        yield json_model.encode(json_model.metadata(files.path(one.digest), place))


def _told(archive: Archive, study: str, series: str) -> Iterator[bytes]:
    opening = b"["
    for text in texts(archive.files, archive.address, archive.locate(study, series)):
        yield opening + text
        opening = b","
    yield b"]"


def _takes_gzip(encodings: str) -> bool:
    """Whether an Accept-Encoding header takes gzip (RFC 9110 12.5.3).

    >>> _takes_gzip("deflate, gzip;q=0.5"), _takes_gzip("gzip;q=0, br"), _takes_gzip("")
    (True, False, False)
    """
    for one in encodings.lower().split(","):
        name, _, parameters = one.partition(";")
        if name.strip() in ("gzip", "x-gzip", "*"):
            quality = parameters.replace(" ", "").removeprefix("q=")
            return quality.strip("0.") != "" if parameters else True
    return False
