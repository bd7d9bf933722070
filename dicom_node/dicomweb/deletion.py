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
from dicom_node.dicomweb.archive import Archive
from dicom_node.lifecycle.removal import Kind, Order, Target, remove

_INSTANCE = "/studies/<study>/series/<series>/instances/<instance>"
RULES = ("/studies/<study>", "/studies/<study>/series/<series>", _INSTANCE)
_NO_REASON = "no reason was given"


def answering(archive: Archive, grace: timedelta) -> Callable[[], Response | None]:
    """Return what answers DELETE on what can be deleted, and leaves all else alone."""

    def delete() -> Response | None:
        rule = request.url_rule.rule if request.url_rule is not None else ""
        if request.method != "DELETE" or not rule.endswith(RULES):
            return None
        uids = request.view_args or {}
        now = datetime.now(UTC)
        remove(
            archive.engine,
            Order(
                Kind.DELETED,
                [Target(uids["study"], uids.get("series", ""), uids.get("instance", ""))],
                archive.caller(),
                request.args.get("reason", "").strip() or _NO_REASON,
                now,
                now + grace,
                party=audit.Party(address=request.remote_addr or "", requestor=True),
            ),
        )
        return Response(status=204)

    return delete
