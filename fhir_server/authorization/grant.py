"""A Grant: on whose behalf something is done, and what that allows.

The one thing of authorization that the rest of the house sees. Until the SMART authorization
server exists every grant is unlimited; the question is asked in the right places already.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """`subject` names the caller (a service, a client or a person) for records of what was done."""

    subject: str

    @classmethod
    def system(cls, service: str) -> Grant:
        """Return the grant of a service of this installation.

        >>> Grant.system("dicom-bridge").subject
        'system/dicom-bridge'
        """
        return cls(f"system/{service}")

    @classmethod
    def anonymous(cls) -> Grant:
        """Return the grant of a caller on loopback while authorization is off."""
        return cls("anonymous")
