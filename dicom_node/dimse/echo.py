"""C-ECHO SCP: is anybody there? (PS3.4 Annex A)"""

from __future__ import annotations

from typing import Any

from dicom_node.dimse.status import SUCCESS

VERIFICATION = "1.2.840.10008.1.1"


def echo(event: Any) -> int:
    """Answer a C-ECHO-RQ."""
    return SUCCESS
