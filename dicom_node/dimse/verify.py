"""C-ECHO SCU: does another application entity answer, and how fast? (PS3.4 Annex A)"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import Final

from dicom_node.dimse import command
from dicom_node.dimse.command import Command, CommandField
from dicom_node.dimse.echo import VERIFICATION
from dicom_node.dimse.requestor import Remote, associate
from dicom_node.upper_layer.errors import UpperLayerError
from dicom_node.upper_layer.negotiation import Proposed

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Echoed:
    """What came of a C-ECHO: `words` say what was wrong; `ms` is the whole of it, with its association."""

    answered: bool
    ms: float
    words: str = ""


def verify(
    remote: Remote, calling_ae: str, tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
) -> Echoed:
    """Associate, C-ECHO, release; never raises for what peer and network do."""
    begun = time.monotonic()
    words = ""
    try:
        with associate(
            remote, calling_ae, [Proposed(VERIFICATION)], timeout_s=timeout_s, response_s=timeout_s, tls=tls
        ) as association:
            if not association.contexts:
                words = f"{remote.title} lets us in, but does not take part in verification"
            else:
                asked: Command = {
                    command.COMMAND_FIELD: int(CommandField.C_ECHO_RQ),
                    command.AFFECTED_SOP_CLASS_UID: VERIFICATION,
                }
                answer, _ = association.request(association.contexts[0], asked)
                if status := command.number(answer, command.STATUS):
                    words = f"{remote.title} answered {status:04X}"
    except (UpperLayerError, OSError) as error:
        words = str(error)
    return Echoed(not words, (time.monotonic() - begun) * 1000, words)
