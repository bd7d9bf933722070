"""FUNCTIONS: name → function; one file per chapter of the specification (N1 §5, R4/fhirpath.html)."""

from __future__ import annotations

from fhir_server.fhirpath.functions import (
    boundaries,
    conversion,
    existence,
    fhir,
    filtering,
    math,
    strings,
    utility,
)
from fhir_server.fhirpath.functions.table import Function

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for chapter in (existence, filtering, strings, math, conversion, utility, boundaries, fhir)
    for function in chapter.CHAPTER
}
