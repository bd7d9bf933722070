"""What the server can do, asked for by an entry of a Bundle: GET metadata (R4/http.html#capabilities)."""

from __future__ import annotations

from fhir_server.interactions.capabilities import MODES, Capabilities
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.entries import Stated
from fhir_server.interactions.parts import reduced
from fhir_server.interactions.read import is_among
from fhir_server.interactions.requests import Request
from fhir_server.outcome import Invalid


def of_entries(capabilities: Capabilities) -> Stated:
    """Return what answers entries that ask for the statement: 304 where ifNoneMatch has its tag."""

    def answer(context: Context, request: Request) -> Result:
        asked = dict(request.pairs)
        mode = asked.get("mode") or "full"
        if mode not in MODES:
            raise Invalid(f"mode={mode} is not known; {', '.join(MODES)} are")
        if unknown := [name for name in asked if name not in ("mode", "_summary", "_elements")]:
            raise Invalid(f"metadata has no parameter {unknown[0]!r}; known are mode, _summary and _elements")
        made = capabilities.published(context, mode)
        if request.if_none_match is not None and is_among(made.tag, request.if_none_match):
            return Result(304)
        return Result(200, text=reduced(made.text, asked.get("_summary"), asked.get("_elements")).decode())

    return answer
