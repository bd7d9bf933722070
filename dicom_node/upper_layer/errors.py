"""What can go wrong with an association, in words."""

from __future__ import annotations


class UpperLayerError(Exception):
    """The base of what is raised here; its text may be shown, it holds no patient data."""


class Rejected(UpperLayerError):
    """The other side did not want the association; `transient` says that a later try may do (PS3.8 9.3.4)."""

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


class AssociationLost(UpperLayerError):
    """The association is over before its time: aborted, the connection gone, or silent for too long."""


class ProtocolError(UpperLayerError):
    """What came is not what the standard has; `reason` is that of the A-ABORT (PS3.8 table 9-26)."""

    def __init__(self, message: str, reason: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
