"""DELETE of a study, a series or an instance at its address in DICOMweb.

The Studies service of PS3.18 has no such transaction (chapter 10, table 10.1-1); archives that have one
use the addresses of retrieval, and so do clients. 204 when it is out of every answer, 404 when nothing of
it is kept here, 409 while a legal hold stands. The query parameter `reason` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flask import Response, request

from dicom_node import audit
from dicom_node.lifecycle.removal import Kind, Order, Target, remove
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine

_NO_REASON = "no reason was given"
_SERIES = "/studies/<study>/series/<series>"


def routes(
    engine: Engine, grace: timedelta, caller: Callable[[], Grant]
) -> dict[tuple[str, str], Callable[..., Response]]:
    """Return (method, address) → view; `grace` is how long the files of what is deleted are kept."""

    def delete(study: str, series: str = "", instance: str = "") -> Response:
        now = datetime.now(UTC)
        reason = request.args.get("reason", "").strip() or _NO_REASON
        party = audit.Party(address=request.remote_addr or "", requestor=True)
        target = Target(study, series, instance)
        order = Order(Kind.DELETED, [target], caller(), reason, now, now + grace, party=party)
        remove(engine, order)
        return Response(status=204)

    return {
        ("DELETE", "/studies/<study>"): delete,
        ("DELETE", _SERIES): delete,
        ("DELETE", f"{_SERIES}/instances/<instance>"): delete,
    }
