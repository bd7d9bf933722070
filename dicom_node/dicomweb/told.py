"""What web clients search for, told to the audit (PS3.15 A.5.3.10). What they are given: accesses.py."""

from __future__ import annotations

from collections.abc import Callable, Container
from urllib.parse import unquote_plus

from flask import Response, request

from dicom_node.audit import Event, Kind, Party
from dicom_node.audit_log import AuditLog
from fhir_server.authorization.grant import Grant

_LONGEST_QUERY = 4096


def teller(
    log: AuditLog, searches: Container[str], ae_title: str, caller: Callable[[], Grant]
) -> Callable[[Response], Response]:
    """Return what is called after each request; `searches` are the rules of addresses that search."""

    def tell(response: Response) -> Response:
        if request.method != "GET" or response.status_code != 200 or request.url_rule is None:
            return response
        rule = _below(request.url_rule.rule)
        if rule in searches:
            asked = f"{request.path}?{unquote_plus(request.query_string.decode('latin_1'))}"
            client = Party(address=request.remote_addr or "", user=caller().subject, requestor=True)
            event = Event(
                Kind.QUERY,
                log.now(),
                source=client,
                destination=Party(ae_title),
                sop_class=f"urn:xinglin:qido{rule}",
                query=asked[:_LONGEST_QUERY],
            )
            log.note(event)
        return response

    return tell


def _below(rule: str) -> str:
    """Return an address without the part that DICOMweb is mounted at.

    >>> _below("/dicom-web/studies/<study>/series")
    '/studies/<study>/series'
    """
    return f"/{rule.lstrip('/').partition('/')[2]}"
