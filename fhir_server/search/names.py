"""What is said about a name that nobody knows: the nearest one, and all there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from fhir_server.outcome import FhirError, NotSupported


class Unknown(FhirError):
    """400: a name that nothing is known of; lenient handling leaves it out."""

    status, code = 400, "invalid"


class NotIndexed(NotSupported):
    """400: a parameter that is known and whose index is being made; lenient handling leaves it out."""

    code = "transient"


def unknown(said: str, name: str, known: Sequence[str]) -> Unknown:
    """Return the refusal of a name.

    >>> str(unknown("Patient has no search parameter 'gneder'", "gneder", ["gender", "name"]))
    "Patient has no search parameter 'gneder'; did you mean gender? Known are gender, name"
    """
    near = difflib.get_close_matches(name[:100], known, 1, 0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    listed = ", ".join(known) if len(known) <= 80 else ", ".join([*known[:20], f"… {len(known) - 20} more"])
    return Unknown(f"{said}; {hint}Known are {listed}" if known else f"{said}; it has none")
