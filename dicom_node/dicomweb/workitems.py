"""The addresses of the worklist service, UPS-RS (PS3.18 chapter 11): requests → transactions → answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Response, request

from dicom_node.dicomweb import body, json_model, native_model
from dicom_node.dicomweb.answers import accept, one_line
from dicom_node.dicomweb.media import DICOM_JSON, accepted, choose
from dicom_node.dicomweb.native_model import DICOM_XML
from dicom_node.dicomweb.parts import media_type
from dicom_node.dimse.peers import checked_title
from dicom_node.workitems.matching import Key, key
from dicom_node.workitems.refusals import NotAllowed, NotBuilt, Unfit
from dicom_node.workitems.service import Worklist
from dicom_node.workitems.subscribers import FILTERED, GLOBAL
from fhir_server.authorization.grant import Grant
from fhir_server.outcome import UnsupportedMediaType

MAX_BODY_BYTES = 4 * 1024 * 1024
DEFAULT_LIMIT, MAX_LIMIT = 100, 5000
_SHAPING = ("limit", "offset", "includefield", "fuzzymatching", "accept", "charset")
_ITEM = "/workitems/<uid>"
NOT_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."

View = Callable[..., Response]


def routes(worklist: Worklist, address: str, caller: Callable[[], Grant]) -> dict[tuple[str, str], View]:
    """Return (method, address) → view; `address` is where DICOMweb is mounted."""
    service = _Service(worklist, address.rstrip("/"), caller)
    subscriber = f"{_ITEM}/subscribers/<ae_title>"
    views: dict[tuple[str, str], View] = {
        ("POST", "/workitems"): service.create,
        ("GET", "/workitems"): service.search,
        ("GET", _ITEM): service.retrieve,
        ("POST", _ITEM): service.update,
        ("PUT", f"{_ITEM}/state"): service.change_state,
        ("POST", f"{_ITEM}/cancelrequest"): service.cancel,
        ("POST", subscriber): service.subscribe,
        ("DELETE", subscriber): service.unsubscribe,
        ("POST", f"{subscriber}/suspend"): service.suspend,
        ("GET", "/subscribers/<ae_title>"): service.channel,
    }
    return {route: _with_warnings(view, service.address) for route, view in views.items()}


class _Service:
    def __init__(self, worklist: Worklist, address: str, caller: Callable[[], Grant]) -> None:
        self.address = address
        self._worklist = worklist
        self._caller = caller

    def create(self) -> Response:
        """Create Workitem (11.4)."""
        uid, warnings = self._worklist.create(self._caller(), _document(), _named_uid())
        location = f"{self.address}/workitems/{uid}"
        response = self._answer(201, warnings)
        response.headers["Location"] = response.headers["Content-Location"] = location
        return response

    def retrieve(self, uid: str) -> Response:
        """Retrieve Workitem (11.5)."""
        media = choose(accepted(accept()), (DICOM_JSON, "application/json", DICOM_XML))
        found = self._worklist.retrieve(self._caller(), uid)
        if media == DICOM_XML:
            return _uncached(Response(native_model.encode(found), mimetype=media))
        return _uncached(Response(json_model.encode([found]), mimetype=media))

    def update(self, uid: str) -> Response:
        """Update Workitem (11.6)."""
        transaction = request.args.get("transaction-uid", "").strip()
        if not transaction and len(request.args) == 1 and not next(iter(request.args.values())):
            transaction = next(iter(request.args))  # ?1.2.3, as earlier editions wrote it
        self._worklist.update(self._caller(), uid, _document(), transaction)
        return self._answer(200, [])

    def change_state(self, uid: str) -> Response:
        """Change Workitem State (11.7)."""
        return self._answer(200, self._worklist.change_state(self._caller(), uid, _document()))

    def cancel(self, uid: str) -> Response:
        """Request Cancellation (11.8)."""
        document = _document(may_be_empty=True)
        return self._answer(202, self._worklist.cancel(self._caller(), uid, document))

    def search(self) -> Response:
        """Search (11.9)."""
        media = choose(accepted(accept()), (DICOM_JSON, "application/json"))
        limit, offset = _whole("limit", DEFAULT_LIMIT), _whole("offset", 0)
        limit = min(limit, MAX_LIMIT)
        keys = _keys()
        found, left = self._worklist.search(self._caller(), keys, limit, offset)
        response = _uncached(Response(json_model.encode(found), mimetype=media))
        warnings = []
        if left:
            warnings.append(f"There are {left} additional results that can be requested")
        if request.args.get("fuzzymatching", "false").lower() == "true":
            warnings.append(NOT_FUZZY)
        return _told(response, warnings, self.address)

    def subscribe(self, uid: str, ae_title: str) -> Response:
        """Subscribe (11.10)."""
        lock = _boolean("deletionlock")
        keys = _keys("deletionlock") if uid == FILTERED else []
        if uid == FILTERED and not keys:
            raise Unfit(f"a filtered subscription names what it wants; {GLOBAL} takes every workitem")
        self._worklist.subscribe(self._caller(), uid, checked_title(ae_title), keys, lock=lock)
        return self._answer(
            201, ["Events are not sent: this server opens no WebSocket. Ask for the workitems again."]
        )

    def unsubscribe(self, uid: str, ae_title: str) -> Response:
        """Unsubscribe (11.11)."""
        self._worklist.unsubscribe(self._caller(), uid, checked_title(ae_title))
        return self._answer(200, [])

    def suspend(self, uid: str, ae_title: str) -> Response:
        """Suspend Global Subscription (11.12)."""
        if uid not in (GLOBAL, FILTERED):
            raise Unfit(f"only a global subscription is suspended: {GLOBAL} or {FILTERED}")
        self._worklist.suspend(self._caller(), checked_title(ae_title))
        return self._answer(200, [])

    def channel(self, ae_title: str) -> Response:
        """Open Notification Connection (8.10.4): not built."""
        raise NotBuilt(
            "this server opens no WebSocket, so it sends no events; search for what has changed:"
            f" {self.address}/workitems?ScheduledProcedureStepModificationDateTime=20260102030405-"
        )

    def _answer(self, status: int, warnings: list[str]) -> Response:
        return _told(Response(status=status), warnings, self.address)


def _with_warnings(view: View, address: str) -> View:
    """Let a refusal carry the standard's sentence as a Warning."""

    def warned(**values: str) -> Response:
        try:
            return view(**values)
        except NotAllowed as error:
            text = json.dumps(error.as_json(), ensure_ascii=False)
            response = Response(text, error.status, mimetype="application/fhir+json")
            return _told(response, [error.warning], address)

    return warned


def _told(response: Response, warnings: list[str], address: str) -> Response:
    for warning in warnings:
        response.headers.add("Warning", f'299 {address} "{one_line(warning)}"')
    return response


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-cache"
    return response


def _document(*, may_be_empty: bool = False) -> Any:
    """Return the body as JSON. Raises UnsupportedMediaType, Unfit."""
    media, _ = media_type(request.headers.get("Content-Type"))
    raw = b"".join(body.pieces(request.environ, MAX_BODY_BYTES, "4 MiB for a workitem"))
    if not raw and may_be_empty:
        return None
    if media not in (DICOM_JSON, "application/json"):
        raise UnsupportedMediaType(
            f"the body came {'as ' + media[:80] if media else 'without Content-Type'}; send a workitem as"
            f" {DICOM_JSON}"
        )
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"the body says that it is {media} and is no JSON") from error


def _named_uid() -> str:
    """Return the UID that the address of a create names: ?workitem=1.2.3, or ?1.2.3 as it once was."""
    if named := request.args.get("workitem", "").strip():
        return named
    if len(request.args) > 1 or any(request.args.values()):
        raise Unfit("a new workitem's UID is named as ?workitem=1.2.3, or left out")
    return next(iter(request.args), "").strip()


def _keys(*others: str) -> list[Key]:
    found: list[Key] = []
    for name, value in request.args.items(multi=True):
        if name.lower() == "filter":  # PS3.18 11.10.1.2: filter=name=value,name=value
            pairs = (pair.partition("=") for pair in value.split(",") if pair)
            found.extend(key(one.strip(), matched) for one, _, matched in pairs)
        elif name.lower() not in (*_SHAPING, *others):
            found.append(key(name, value))
    return found


def _whole(name: str, default: int) -> int:
    value = request.args.get(name)
    if value is None:
        return default
    if not value.isdecimal() or len(value) > 9:
        raise Unfit(f"{name} is {value[:40]!r}; it is a whole number, 0 or more")
    return int(value)


def _boolean(name: str) -> bool:
    value = request.args.get(name, "false").lower()
    if value not in ("true", "false"):
        raise Unfit(f"{name} is {value[:40]!r}; it is true or false")
    return value == "true"
