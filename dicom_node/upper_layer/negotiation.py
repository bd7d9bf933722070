"""What two sides agree on when an association begins (PS3.8 7.1 and 9.3, PS3.7 Annex D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True)
class Context:
    """One accepted presentation context; the roles are those of the requestor of the association."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool = True
    as_scp: bool = False


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context that we propose; the transfer syntax we like best comes first."""

    abstract_syntax: str
    transfer_syntaxes: Sequence[str] = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
