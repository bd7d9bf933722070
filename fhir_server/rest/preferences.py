"""What the client prefers: the Prefer header (RFC 7240, R4/http.html#ops, R4/search.html#errors)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

RETURNS = ("minimal", "representation", "OperationOutcome")


@dataclass(frozen=True, slots=True)
class Preferences:
    """How to answer. `returns` is one of RETURNS, None when the client says nothing of it."""

    returns: str | None = None
    lenient: bool = False
    respond_async: bool = False


NONE = Preferences()


@lru_cache(maxsize=128)
def preferences(header: str | None) -> Preferences:
    """Return what a Prefer header asks for; what we do not know is ignored (RFC 7240 section 2).

    >>> preferences("handling=lenient; return=minimal")
    Preferences(returns='minimal', lenient=True, respond_async=False)
    >>> preferences('return="OperationOutcome", respond-async').returns
    'OperationOutcome'
    >>> preferences("return=something")
    Preferences(returns=None, lenient=False, respond_async=False)

    The first of two that contradict each other counts.
    """
    if not header:
        return NONE
    found: dict[str, str] = {}
    for part in header.replace(";", ",").split(","):
        name, _, value = part.partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    returns = next((known for known in RETURNS if known.lower() == found.get("return")), None)
    return Preferences(returns, found.get("handling") == "lenient", "respond-async" in found)


def without_async(header: str | None) -> str:
    """Return a Prefer header without the wish to be answered later.

    >>> without_async("respond-async, return=minimal; wait=10")
    'return=minimal, wait=10'
    """
    parts = [part.strip() for part in (header or "").replace(";", ",").split(",")]
    return ", ".join(part for part in parts if part and part.partition("=")[0].lower() != "respond-async")
