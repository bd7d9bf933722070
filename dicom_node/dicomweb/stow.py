"""STOW-RS: instances come over the web and go into the same ingest as those of C-STORE (PS3.18 10.5).

A body is a stream: each part goes to its file as it arrives, so a request of any size needs the memory of
one piece. While the disk makes a part durable the next ones are read; all are durable before the answer.
What was kept stays kept when a later part fails; the answer says of each part what became of it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from dicom_node import audit
from dicom_node.audit_log import AuditLog
from dicom_node.dicomweb import body, bulk_parts
from dicom_node.dicomweb.media import DICOM, DICOM_JSON, MULTIPART, OCTETS
from dicom_node.dicomweb.parts import Broken, Piece, Received, media_type, parts
from dicom_node.dicomweb.store_result import CANNOT_UNDERSTAND, NOT_WHOLE, OTHER_STUDY, StoreResult
from dicom_node.files.part10 import Meta, read_meta
from dicom_node.ingest import Ingest, Outcome
from dicom_node.instance import read_instance
from dicom_node.reception import MAX_HEAD_BYTES
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.outcome import TooLarge, Unavailable, UnsupportedMediaType

SENDER = "STOW-RS"
"""What stands as calling AE title with what came over the web; `patient_id_issuers` may name AE:STOW-RS."""

SETTING = "max_stow_bytes"
SETTLE_S = 10.0
IN_HAND = 8
"""As many parts of one request are made durable while the next one is read."""

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Storing:
    """What a store works with; `ingest` opens this process's way in when it is first needed."""

    ingest: Callable[[], Ingest]
    log: AuditLog
    address: str
    ae_title: str
    max_body_bytes: int
    pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(IN_HAND, "dicom-stow"))


@dataclass(frozen=True, slots=True)
class Request:
    """A store as it came: WSGI environment, who asks, and the study that its address names, if any."""

    environ: dict[str, object]
    grant: Grant
    study_uid: str = ""


def store(storing: Storing, request: Request) -> StoreResult:
    """Keep the instances of a request and return what became of each.

    Raises UnsupportedMediaType (415), TooLarge (413) and Broken (400) when nothing was kept; once
    something is, the result tells of it, and that the rest could not be read.
    """
    permit(request.grant, "create", "ImagingStudy")
    media, parameters = media_type(str(request.environ.get("CONTENT_TYPE") or ""))
    found = _parts(request, media, parameters, storing.max_body_bytes)
    work = _Store(storing, request)
    try:
        try:
            work.all(*found)
        finally:
            work.take(0)
    except (Broken, TooLarge, UnsupportedMediaType) as error:
        if not work.result.stored and not work.result.failed:
            raise
        work.result.fail(work.number + 1, NOT_WHOLE, str(error))
    work.settle()
    return work.result


def _parts(
    request: Request, media: str, parameters: dict[str, str], limit: int
) -> tuple[str, Iterator[Received]]:
    """Return what kind of parts a body has, and the parts."""
    if media == DICOM:
        pieces = body.pieces(request.environ, limit, SETTING)
        first = next(pieces, b"")
        if not first:
            raise Broken(f"the body is empty; it holds one instance as {DICOM}")
        content_type = {"content-type": str(request.environ.get("CONTENT_TYPE"))}
        return DICOM, iter([Received(1, content_type, itertools.chain([first], pieces))])
    if media != MULTIPART:
        raise UnsupportedMediaType(
            f"the body came {'as ' + media[:80] if media else 'without Content-Type'}; instances come as"
            f' {MULTIPART}; type="{DICOM}" or "{DICOM_JSON}", or one alone as {DICOM}'
        )
    boundary = parameters.get("boundary", "")
    if not boundary:
        raise Broken(f'{MULTIPART} needs a boundary: {MULTIPART}; type="{DICOM}"; boundary=…')
    root = parameters.get("type", "").lower()
    if root not in ("", DICOM, DICOM_JSON):
        raise UnsupportedMediaType(
            f"the parts are {root[:80]!r}; instances are stored as {DICOM}, or as {DICOM_JSON} with bulk data"
        )
    received = parts(body.pieces(request.environ, limit, SETTING), boundary)
    if root == DICOM:
        return DICOM, received
    first_part = next(received)
    kind = root or first_part.content_type[0] or DICOM
    return kind, itertools.chain([first_part], received)


class _Store:
    """One request under way."""

    def __init__(self, storing: Storing, request: Request) -> None:
        self.result = StoreResult(storing.address)
        self.number = 0
        self._storing = storing
        self._request = request
        self._in_hand: deque[tuple[int, Meta, Callable[[], Outcome]]] = deque()
        self._waits = False  # whether the last one in hand has nobody yet who makes it durable
        self._ingest = storing.ingest()
        if reason := self._ingest.congested():
            raise Unavailable(f"nothing can be stored right now: {reason}; send it again later")
        address = str(request.environ.get("REMOTE_ADDR") or "")
        self._sides = (
            audit.Party(SENDER, address, request.grant.subject, requestor=True),
            audit.Party(storing.ae_title),
        )

    def all(self, kind: str, received: Iterator[Received]) -> None:
        """Keep each part of a body."""
        if kind == DICOM_JSON:
            with bulk_parts.collected(received, self._ingest.folder) as data_sets:
                for number, made in enumerate(data_sets, 1):
                    self.number = number
                    if made.problem:
                        self._fail(number, CANNOT_UNDERSTAND, made.problem, made.sop_class, made.sop_uid)
                    else:
                        meta = Meta(made.transfer_syntax, made.sop_class, made.sop_uid, 0)
                        self._one(number, meta, iter(made.pieces))
            return
        for part in received:
            media, _ = part.content_type
            if media not in ("", DICOM, OCTETS):
                said = f"it is {media[:80]!r}, not {DICOM}"
                self._fail(part.number, CANNOT_UNDERSTAND, said)
            else:
                meta, pieces = _file(part.pieces)
                self._one(part.number, meta, pieces)
            self.number = part.number

    def _one(self, number: int, meta: Meta, pieces: Iterator[Piece]) -> None:
        """Keep one instance, unless it is of another study than the address names.

        The one before is made durable meanwhile; the last one, behind which nothing comes, by this thread.
        """
        if self._waits and self._in_hand:
            before, meta_before, finish = self._in_hand.pop()
            self._in_hand.append((before, meta_before, self._storing.pool.submit(finish).result))
        self._waits = False
        if self._request.study_uid:
            pieces, sop_uid, problem = _of_study(pieces, meta, self._request.study_uid)
            if problem:
                for _ in pieces:  # a part that breaks off is not judged
                    pass
                self._fail(number, OTHER_STUDY, problem, meta.sop_class, sop_uid or meta.sop_uid)
                return
        if any(meta.sop_uid == each.sop_uid for _, each, _ in self._in_hand):
            self.take(0)  # of two versions the one that came later is the newer
        reception = self._ingest.begin(meta.transfer_syntax, SENDER, meta.sop_class, meta.sop_uid)
        try:
            for piece in pieces:
                reception.write(piece)
        except BaseException:
            reception.abandon()
            raise
        self._in_hand.append((number, meta, reception.finish))
        self._waits = True
        self.take(IN_HAND)

    def take(self, most: int) -> None:
        """Add the outcomes of parts in their order until no more than `most` are being made durable."""
        while len(self._in_hand) > most:
            number, meta, finish = self._in_hand.popleft()
            outcome = finish()
            self.result.add(number, outcome, (meta.sop_class, meta.sop_uid))
            self._storing.log.received(*self._sides, outcome)

    def _fail(self, number: int, reason: int, said: str, sop_class: str = "", sop_uid: str = "") -> None:
        self.result.fail(number, reason, said, sop_class, sop_uid)
        self._storing.log.refused(*self._sides, said)

    def settle(self) -> None:
        """Wait until what was kept can be found; without a database it is durable, and found later."""
        if self.result.stored and not self._ingest.reach(SETTLE_S):
            self.result.warnings.insert(
                0, "the index cannot be written right now; what is stored is found later"
            )


def _file(pieces: Iterator[Piece]) -> tuple[Meta, Iterator[Piece]]:
    """Return the file meta information of a part, and its data set as pieces."""
    head = b""
    wanted = _HEAD_BYTES
    while True:
        piece = next(pieces, b"")
        head += piece
        if not piece or len(head) >= wanted:
            meta = read_meta(head)
            # a meta that reaches the end of what is here, but for a few bytes, may go on behind it
            if not piece or meta.data_set_at < len(head) - 64 or len(head) >= MAX_HEAD_BYTES:
                return meta, itertools.chain([head[meta.data_set_at :]], pieces)
            wanted = len(head) * 4


def _of_study(pieces: Iterator[Piece], meta: Meta, study_uid: str) -> tuple[Iterator[Piece], str, str]:
    """Return the pieces again, the SOP Instance UID, and what is wrong with the study, if anything."""
    head: list[Piece] = []
    size = looked = 0
    while True:
        piece = next(pieces, b"")
        head.append(piece)
        size += len(piece)
        if piece and size < max(_HEAD_BYTES, looked * 4):
            continue
        looked = size
        instance, complete = read_instance(b"".join(head), meta.transfer_syntax, whole=not piece)
        if instance.study_uid or complete or not piece or size >= MAX_HEAD_BYTES:
            break
    again = itertools.chain(head, pieces)
    if instance.study_uid == study_uid:
        return again, instance.sop_uid, ""
    stated = f"it is of study {instance.study_uid}" if instance.study_uid else "it names no study"
    return again, instance.sop_uid, f"{stated}, the address says {study_uid}"
