"""A Grant: on whose behalf something is done, and what that allows.

The one thing of authorization that the rest of the house sees. Until the SMART authorization
server exists a grant is unlimited, or limited to reading what is about one patient.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """`subject` names the caller (a service, a client or a person) for records of what was done.

    With a `patient` (an id) it allows nothing but to read and to search what is about that patient:
    see `permit`.
    """

    subject: str
    patient: str | None = None

    @classmethod
    def system(cls, service: str) -> Grant:
        """Return the grant of a service of this installation.

        >>> Grant.system("dicom-bridge").subject
        'system/dicom-bridge'
        """
        return cls(f"system/{service}")

    @classmethod
    def about_patient(cls, service: str, patient_id: str) -> Grant:
        """Return the grant of a service of this installation that is limited to one patient.

        >>> Grant.about_patient("cds-hooks", "7").patient
        '7'
        """
        return cls(f"system/{service}", patient_id)

    @classmethod
    def anonymous(cls) -> Grant:
        """Return the grant of a caller on loopback while authorization is off."""
        return cls("anonymous")
