"""A scanner for demonstrations: sends images over an association, as C-STORE SCU (PS3.4 Annex B)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.dimse import command as commands
from dicom_node.dimse.command import CommandField, number
from dicom_node.dimse.requestor import Remote, associate
from dicom_node.upper_layer.negotiation import EXPLICIT_LITTLE, Proposed

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


class NotStored(Exception):
    """The node refused an image; the message says with which status."""


def send(images: Iterable[Dataset], remote: Remote, *, calling: str = "DEMO_CT") -> None:
    """Send CT images over one association.

    Raises NotStored, and what `associate` raises.
    """
    with associate(remote, calling, [Proposed(CT_IMAGE_STORAGE, (EXPLICIT_LITTLE,))]) as association:
        if not association.contexts:
            raise NotStored(f"{remote.title} does not take CT images")
        for image in images:
            command: commands.Command = {
                commands.COMMAND_FIELD: CommandField.C_STORE_RQ,
                commands.AFFECTED_SOP_CLASS_UID: CT_IMAGE_STORAGE,
                commands.AFFECTED_SOP_INSTANCE_UID: str(image.SOPInstanceUID),
                commands.PRIORITY: 0,
            }
            answer, _ = association.request(association.contexts[0], command, _encoded(image))
            status = number(answer, commands.STATUS, 0xFFFF)
            if status and status >> 12 != 0xB:
                raise NotStored(f"instance {image.SOPInstanceUID} was answered with status {status:04X}H")


def _encoded(image: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    return bytes(buffer.getvalue())
