"""A Questionnaire against the one that it is derived from (derivedFrom with questionnaire-derivationType).

compliesWith: a response to this one is also right for the base, so it has no items of its own, keeps
their types and demands what the base demands. extends: all items of the base are there; others may
be beside them. inspiredBy, or no type at all, promises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.explain import did_you_mean, shown
from fhir_server.validation.questionnaires.answers import said
from fhir_server.validation.questionnaires.form import CORE, Form, Item, extensions, typed_value

DERIVATION = f"{CORE}questionnaire-derivationType"
MAX_HINTS = 10


def kind(beside: dict[str, Any]) -> str | None:
    """Return the type of a derivation, told beside the canonical.

    >>> kind({"extension": [{"url": DERIVATION, "valueCoding": {"code": "extends"}}]})
    'extends'
    """
    for extension in extensions(beside).get(DERIVATION, ()):
        found = typed_value(extension)
        if found is None:
            continue
        codings = [found[1]] if found[0] == "Coding" else found[1].get("coding", ())
        for coding in codings:
            if coding.get("code") in ("compliesWith", "extends"):
                code: str = coding["code"]
                return code
    return None


def check(form: Form, base: Form, kind: str) -> Iterator[Issue]:
    """Yield where a form does not keep what its kind of derivation promises."""
    hints = MAX_HINTS
    for item in form.all:
        origin = base.by_link_id.get(item.link_id)
        if origin is None:
            if kind == "compliesWith":
                hints -= 1
                hint = did_you_mean(item.link_id, base.by_link_id) if hints >= 0 else ""
                what = (
                    f"the Questionnaire {shown(base.url)} that this one complies with has no such item{hint}"
                )
                yield Issue(
                    "error", "business-rule", said(item, what), f"{item.path}.linkId", "questionnaire-derived"
                )
            continue
        yield from _same(item, origin, base)
    for item in base.all:
        if item.link_id not in form.by_link_id and (kind == "extends" or item.required):
            what = f"{item.link_id!r} of the Questionnaire {shown(base.url)} is missing"
            yield Issue("error", "business-rule", what, "Questionnaire", "questionnaire-derived")


def _same(item: Item, origin: Item, base: Form) -> Iterator[Issue]:
    if item.kind != origin.kind:
        what = f"got the type {item.kind}, in {shown(base.url)} it is {origin.kind}"
        yield Issue("error", "business-rule", said(item, what), f"{item.path}.type", "questionnaire-derived")
    if origin.required and not item.required:
        what = f"it is required in {shown(base.url)} and may not be optional here"
        yield Issue(
            "error", "business-rule", said(item, what), f"{item.path}.required", "questionnaire-derived"
        )
    if item.repeats and not origin.repeats:
        what = f"it does not repeat in {shown(base.url)} and may not repeat here"
        yield Issue(
            "error", "business-rule", said(item, what), f"{item.path}.repeats", "questionnaire-derived"
        )
