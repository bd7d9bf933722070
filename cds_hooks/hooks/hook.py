"""A hook: its name and the context that a call has to carry (CDS Hooks 2.0, "Hooks").

A context is read strictly, because a rule decides on what stands in it. What is let pass is let pass on
purpose: fields that the hook library does not name (a newer library, an EHR's own) are kept; an optional
field that is null counts as absent, although JSON elements should not be null; any of the four kinds of
user may call any hook, as the library says only whom it expects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.outcome import Invalid

Context = Mapping[str, Any]
Resource = dict[str, Any]

USER_TYPES = ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson")
ID = re.compile(r"[A-Za-z0-9\-.]{1,128}")
"""An id (R4/datatypes.html#id), but up to 128 characters: EHRs are known to give longer ones than 64.

Nothing else: what may hold a comma or a slash could become several ids, or another address, in a search."""
_TYPE = re.compile(r"[A-Z][A-Za-z]{0,63}")


def _nothing(_context: Context) -> None:
    """Check nothing more than the fields."""


def _none(_context: Context) -> list[Resource]:
    """Carry no resources beside those of the Bundles."""
    return []


@dataclass(frozen=True, slots=True)
class Hook:
    """`required` and `optional` are text fields and may be prefetch tokens; `bundles` hold resources.

    `userId` is `Practitioner/7`, fields that end in Id else are an id alone, `performer` is a reference.
    `of` are the types that its Bundles may hold (none: all). `also` checks what is left, `beside` returns
    the resources of the context that stand in no Bundle.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    also: Callable[[Context], None] = _nothing
    beside: Callable[[Context], list[Resource]] = _none

    @property
    def tokens(self) -> frozenset[str]:
        """The context fields that a prefetch template may name: texts at the root."""
        return frozenset(self.required + self.optional)

    def check(self, context: Context) -> None:
        """Raise Invalid (400) naming the field when the context is not that of the hook."""
        for name in self.required:
            _check_text(context.get(name), name, self.name)
        for name in self.optional:
            if context.get(name) is not None:
                _check_text(context[name], name, self.name)
        for name in self.bundles:
            check_bundle(context.get(name), f"context.{name}", self.of)
        self.also(context)

    def carried(self, context: Context) -> list[Resource]:
        """Return the resources that a checked context brings along; they are not on the FHIR server yet."""
        return [found for name in self.bundles for found in resources(context[name])] + self.beside(context)


def _check_text(value: Any, name: str, hook: str) -> None:
    place = f"context.{name}"
    if not isinstance(value, str) or not value.strip():
        shown = "missing" if value is None else "empty" if value in ("", [], {}) else "no usable text"
        raise Invalid(
            f"{place} is {shown}; {hook} needs a text there",
            expression=place,
            code="required" if value is None else "value",
        )
    if name == "userId":
        check_reference(value, place, USER_TYPES)
    elif name.endswith("Id"):
        if not ID.fullmatch(value):
            kind = name.removesuffix("Id").capitalize()
            raise Invalid(
                f"{place} is the id alone, without {kind}/: letters, digits, - and ., at most 128",
                expression=place,
                code="value",
            )
    else:
        check_reference(value, place)


def check_reference(value: Any, place: str, types: Sequence[str] = ()) -> None:
    """Raise Invalid (400) unless `value` is `Type/id`, of one of the types where some are given."""
    kind, _, identifier = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not _TYPE.fullmatch(kind) or not ID.fullmatch(identifier) or (types and kind not in types):
        what = f"a reference to one of {', '.join(types)}" if types else "a reference"
        raise Invalid(
            f"{place} has to be {what}, as {types[0] if types else 'Organization'}/7", expression=place
        )


def check_resource(value: Any, place: str, types: Sequence[str] = ()) -> None:
    """Raise Invalid (400) unless `value` is a resource, of one of the types where some are given."""
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise Invalid(f"{place} has to be a resource with a resourceType", expression=place)
    if types and value["resourceType"] not in types:
        raise Invalid(f"{place} has to be {' or '.join(types)}", expression=place)


def check_bundle(value: Any, expression: str, types: Sequence[str] = ()) -> None:
    """Raise Invalid (400) unless `value` is a Bundle of resources, of some types where they are given."""
    if not isinstance(value, dict) or value.get("resourceType") != "Bundle":
        code = "required" if value is None else "value"
        raise Invalid(f"{expression} has to be a Bundle", expression=expression, code=code)
    entries = value.get("entry", [])
    if not isinstance(entries, list):
        raise Invalid(f"{expression}.entry has to be a list", expression=f"{expression}.entry")
    for number, entry in enumerate(entries):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        check_resource(resource, f"{expression}.entry[{number}].resource", types)


def resources(bundle: Mapping[str, Any]) -> list[Resource]:
    """Return the resources of a checked Bundle."""
    return [entry["resource"] for entry in bundle.get("entry", ())]
