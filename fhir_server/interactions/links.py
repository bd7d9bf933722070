"""References inside a transaction, made to point at what its entries become (R4/http.html#trules)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fhir_server.interactions.context import Resource

_TEXTS = frozenset({"reference", "div"})


def conditional_references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (reference, path) of every conditional reference such as `Patient?identifier=urn:a|1`.

    >>> list(conditional_references({"subject": {"reference": "Patient?identifier=1"}}, "Observation"))
    [('Patient?identifier=1', 'Observation.subject.reference')]
    """
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "reference" and isinstance(member, str):
                if "?" in member and is_conditional(member):
                    yield member, f"{path}.reference"
            elif isinstance(member, dict | list):
                yield from conditional_references(member, f"{path}.{name}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from conditional_references(member, f"{path}[{number}]")


def has_conditional_reference(value: dict[str, Any]) -> bool:
    """Say whether there is one at all; most resources have none, and paths cost more than a look.

    >>> has_conditional_reference({"item": [{"reference": "Patient?identifier=1"}]})
    True
    """
    for name, member in value.items():
        kind = member.__class__
        if kind is str:
            if name == "reference" and "?" in member and is_conditional(member):
                return True
        elif kind is dict:
            if has_conditional_reference(member):
                return True
        elif kind is list and any(
            each.__class__ is dict and has_conditional_reference(each) for each in member
        ):
            return True
    return False


def is_conditional(reference: str) -> bool:
    """Say whether a reference is a search on one type.

    >>> is_conditional("Patient?identifier=1"), is_conditional("http://a.org/Patient?x=1")
    (True, False)
    """
    type_name, found, _ = reference.partition("?")
    return bool(found) and type_name.isalpha()


def rewrite(resource: Resource, targets: dict[str, str], replace: Callable[[str], str | None]) -> Resource:
    """Return the resource with its references pointing at what the entries became.

    `targets` maps each fullUrl of the Bundle to a relative address (Patient/7); `replace`
    gives the new text of any other reference, or None to leave it. What does not change is shared with
    the resource that was given, which itself stays as it is. Elements of type uri, url,
    oid and uuid, and links in the narrative, that hold a urn of the Bundle are replaced too.

    >>> rewrite({"subject": {"reference": "urn:uuid:1"}}, {"urn:uuid:1": "Patient/7"}, lambda text: None)
    {'subject': {'reference': 'Patient/7'}}
    """

    def of_object(value: dict[str, Any]) -> dict[str, Any]:
        changed = None
        for name, member in value.items():
            kind = member.__class__
            if kind is str:
                new = text(name, member) if name in _TEXTS or member[:4] == "urn:" else member
            elif kind is dict:
                new = of_object(member)
            elif kind is list:
                new = of_array(member)
            else:
                continue
            if new is not member:
                if changed is None:
                    changed = dict(value)
                changed[name] = new
        return value if changed is None else changed

    def of_array(value: list[Any]) -> list[Any]:
        changed = None
        for place, member in enumerate(value):
            kind = member.__class__
            if kind is dict:
                new: Any = of_object(member)
            elif kind is list:
                new = of_array(member)
            elif kind is str and member[:4] == "urn:":
                new = targets.get(member, member)
            else:
                continue
            if new is not member:
                if changed is None:
                    changed = list(value)
                changed[place] = new
        return value if changed is None else changed

    def text(name: str, member: str) -> str:
        if name == "reference":
            found = _target(member, targets) or replace(member)
            return member if found is None else found
        if name == "div":
            return _narrative(member, targets) if "urn:" in member else member
        return targets.get(member, member)

    return dict(of_object(resource))


def _target(reference: str, targets: dict[str, str]) -> str | None:
    """Return what a reference to a fullUrl becomes; its fragment and version stay with it."""
    if (found := targets.get(reference)) is not None:
        return found
    base, mark, rest = reference.partition("#")
    return f"{found}{mark}{rest}" if mark and (found := targets.get(base)) is not None else None


def _narrative(div: str, targets: dict[str, str]) -> str:
    for url, address in targets.items():
        if url.startswith("urn:") and url in div:
            div = div.replace(f'"{url}"', f'"{address}"')
    return div
