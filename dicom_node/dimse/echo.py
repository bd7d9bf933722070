"""C-ECHO SCP: is anybody there? (PS3.4 Annex A)"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dicom_node.dimse.command import CommandField
from dicom_node.dimse.service import Request, Response, Service

VERIFICATION: Final = "1.2.840.10008.1.1"


def echo(request: Request) -> Iterable[Response]:
    """Answer a C-ECHO-RQ."""
    return [Response(0x0000)]


def service() -> Service:
    """Return the line of the table of services."""
    return Service("echo", (VERIFICATION,), {CommandField.C_ECHO_RQ: echo})
