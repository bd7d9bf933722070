"""The bindings that a profile adds (R4/terminologies.html#strength).

Required: one of the value set's codes. Extensible: a warning, as the set may have none that fits.
A maximum set may never be left. Preferred and example bindings ask for nothing. Where the terminology
does not know a value set that may not be left, one line says so, once for each value set.
"""

from __future__ import annotations

from typing import Any

from fhir_server.definitions import structures
from fhir_server.fhirpath.api import Element
from fhir_server.validation.explain import shown
from fhir_server.validation.profiles.run import Run, codings
from fhir_server.validation.profiles.tree import Definition

# Required by R4's vital signs of every component, also of a flow of oxygen in L/min, which it has not.
_TOO_STRICT = frozenset({"http://hl7.org/fhir/ValueSet/ucum-vitals-common"})
_CODED = frozenset({"code", "Coding", "CodeableConcept", "Quantity", "Age", "Duration", "Distance", "Count"})
_TEXTS = frozenset({"string", "uri", "url", "canonical", "id", "oid", "markdown"})
ADDITIONAL = frozenset(
    {
        "http://hl7.org/fhir/tools/StructureDefinition/additional-binding",
        "http://hl7.org/fhir/StructureDefinition/additional-binding",
    }
)
_ADDITIONAL = {"required": "required", "maximum": "maximum", "extensible": "extensible"}
MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"


class Bound:
    """The value set of one binding; `strength` is required, extensible or maximum."""

    def __init__(self, definition: Definition, strength: str, value_set: str) -> None:
        self.rule, self.strength, self.value_set = definition.rule, strength, value_set
        texts = _TEXTS.intersection(definition.codes)
        # of a choice of a text and a concept only the concept is bound
        self.types = _CODED | (texts if len(texts) == len(definition.codes) else frozenset())

    def __call__(self, item: Element, run: Run) -> None:
        """Report a code that is not in the value set."""
        if item.type not in self.types:
            return
        found = codings(item.value)
        if not found:
            self._without(item, run)
            return
        open_ = False
        for system, code in found:
            answer = run.member(self.value_set, system, code)
            if answer:
                return
            open_ = open_ or answer is None
        if open_:
            if self.strength != "extensible":
                self._unknown(item, run)
        else:
            self._outside(item, run)

    def _without(self, item: Element, run: Run) -> None:
        if self.strength != "required" or not isinstance(item.value, dict):
            return
        if item.type == "CodeableConcept" and "text" in item.value:
            what = f"got a text only, expected a code of {self.value_set} (the binding is required)"
            run.report("error", "code-invalid", what, item, self.rule)

    def _unknown(self, item: Element, run: Run) -> None:
        what = (
            f"the {self.strength} value set {self.value_set} cannot be asked here, so its codes were "
            "not checked; install the package that has it and its code systems"
        )
        run.report("information", "not-found", what, item, self.rule)

    def _outside(self, item: Element, run: Run) -> None:
        severity = "warning" if self.strength == "extensible" else "error"
        what = f"got {_named(item.value)}, expected a code of {self.value_set} ({self.strength} binding)"
        run.report(severity, "code-invalid", what, item, self.rule)


def bindings(definition: Definition, base: structures.Element | None) -> list[Bound]:
    """Return the checks of a definition's binding, without those that the base type makes."""
    binding = definition.element.get("binding") or {}
    found = []
    value_set, strength = binding.get("valueSet"), binding.get("strength")
    own = base.binding if base is not None else None
    if value_set and _bare(value_set) in _TOO_STRICT:
        strength = "extensible"
    if value_set and strength in ("required", "extensible"):
        same = own is not None and own.strength == strength and _bare(own.value_set) == _bare(value_set)
        if not same:
            found.append(Bound(definition, strength, value_set))
    for extension in binding.get("extension", ()):
        maximum = extension.get("valueCanonical") or extension.get("valueUri")
        if extension.get("url") != MAX_VALUE_SET or not maximum:
            continue
        if own is None or own.max_value_set is None or _bare(own.max_value_set) != _bare(maximum):
            found.append(Bound(definition, "maximum", maximum))
    return found + [
        Bound(definition, _ADDITIONAL[inner["purpose"]], inner["valueSet"])
        for inner in map(_additional, binding.get("extension", ()))
        if inner.get("purpose") in _ADDITIONAL and "valueSet" in inner and "usage" not in inner
    ]


def _additional(extension: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an additional binding (the extension that R5's binding.additional came from)."""
    if extension.get("url") not in ADDITIONAL:
        return {}
    return {
        inner.get("url", ""): next((value for key, value in inner.items() if key.startswith("value")), None)
        for inner in extension.get("extension", ())
    }


def _bare(canonical: str) -> str:
    return canonical.partition("|")[0]


def _named(value: Any) -> str:
    """Return the codes of a value as system#code."""
    found = [f"{system}#{code}" if system else code for system, code in codings(value)]
    return ", ".join(found) if found else shown(value)
