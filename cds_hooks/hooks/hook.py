"""A hook: its name and the context that a call has to carry (CDS Hooks 2.0, "Hooks")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fhir_server.outcome import Invalid

Context = Mapping[str, Any]

USER_TYPES = ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson")


def _nothing(_context: Context) -> None:
    """Check nothing more than the fields."""


@dataclass(frozen=True, slots=True)
class Hook:
    """`required` and `optional` are text fields and may be prefetch tokens; `bundles` hold resources."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()
    also: Callable[[Context], None] = _nothing

    @property
    def tokens(self) -> frozenset[str]:
        """The context fields that a prefetch template may name: texts at the root."""
        return frozenset(self.required + self.optional)

    def check(self, context: Context) -> None:
        """Raise Invalid (400) naming the field when the context is not that of the hook."""
        for name in self.required:
            if not isinstance(context.get(name), str) or not context[name].strip():
                raise Invalid(
                    f"context.{name} is {_shown(context.get(name))}; {self.name} needs a text there",
                    expression=f"context.{name}",
                    code="required" if context.get(name) is None else "value",
                )
        for name in self.optional:
            if context.get(name) is not None and not isinstance(context[name], str):
                raise Invalid(f"context.{name} has to be a text", expression=f"context.{name}")
        if "userId" in self.tokens and isinstance(context.get("userId"), str):
            kind, slash, identifier = context["userId"].partition("/")
            if kind not in USER_TYPES or not slash or not identifier:
                raise Invalid(
                    f"context.userId has to be a reference to one of {', '.join(USER_TYPES)}, as"
                    " Practitioner/7",
                    expression="context.userId",
                )
        if "/" in str(context.get("patientId", "")):
            raise Invalid(
                "context.patientId is the id alone, without Patient/", expression="context.patientId"
            )
        for name in self.bundles:
            check_bundle(context.get(name), f"context.{name}")
        self.also(context)


def check_bundle(value: Any, expression: str) -> None:
    """Raise Invalid (400) unless `value` is a Bundle of resources."""
    if not isinstance(value, dict) or value.get("resourceType") != "Bundle":
        raise Invalid(f"{expression} has to be a Bundle", expression=expression)
    entries = value.get("entry", [])
    if not isinstance(entries, list):
        raise Invalid(f"{expression}.entry has to be a list", expression=f"{expression}.entry")
    for number, entry in enumerate(entries):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            place = f"{expression}.entry[{number}].resource"
            raise Invalid(f"{place} has to be a resource with a resourceType", expression=place)


def resources(bundle: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the resources of a checked Bundle."""
    return [entry["resource"] for entry in bundle.get("entry", ())]


def _shown(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}" if not value else "not usable"
