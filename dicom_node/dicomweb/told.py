"""What web clients ask for and are given, told to the audit (PS3.15 A.5.3.7 and A.5.3.10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from urllib.parse import unquote_plus

from flask import Response, g, has_request_context, request

from dicom_node.audit import Event, Kind, Party
from dicom_node.audit_log import AuditLog
from dicom_node.index.locate import Located
from fhir_server.authorization.grant import Grant

_LONGEST_QUERY = 4096


def found(located: list[Located]) -> None:
    """Remember what the request is about, unless its answer is on the way already: then it is known."""
    if has_request_context():
        g.dicom_located = located


def teller(
    log: AuditLog, searches: Container[str], ae_title: str, caller: Callable[[], Grant]
) -> Callable[[Response], Response]:
    """Return what is called after each request; `searches` are the rules of addresses that search."""

    def tell(response: Response) -> Response:
        if request.method != "GET" or response.status_code not in (200, 206) or request.url_rule is None:
            return response
        client = Party(address=request.remote_addr or "", user=caller().subject, requestor=True)
        rule = request.url_rule.rule
        located: list[Located] = g.pop("dicom_located", [])
        if _below(rule) in searches:
            asked = f"{request.path}?{unquote_plus(request.query_string.decode('latin_1'))}"
            log.note(
                Event(
                    Kind.QUERY, log.now(), source=client, destination=Party(ae_title),
                    query=asked[:_LONGEST_QUERY], sop_class=f"urn:xinglin:qido{_below(rule)}",
                )
            )  # fmt: skip
        elif located:
            counts = Counter((one.study_uid, one.sop_class) for one in located)
            for (study_uid, sop_class), count in counts.items():
                log.sent(Party(ae_title), client, study_uid, {sop_class: count})
        elif study := (request.view_args or {}).get("study"):
            log.sent(Party(ae_title), client, str(study), {})
        return response

    return tell


def _below(rule: str) -> str:
    """Return an address without the part that DICOMweb is mounted at.

    >>> _below("/dicom-web/studies/<study>/series")
    '/studies/<study>/series'
    """
    return f"/{rule.lstrip('/').partition('/')[2]}"
