"""References inside a transaction, made to point at what its entries become (R4/http.html#trules)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fhir_server.interactions.context import Resource


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
    gives the new text of any other reference, or None to leave it. Elements of type uri, url,
    oid and uuid, and links in the narrative, that hold a urn of the Bundle are replaced too.

    >>> rewrite({"subject": {"reference": "urn:uuid:1"}}, {"urn:uuid:1": "Patient/7"}, lambda text: None)
    {'subject': {'reference': 'Patient/7'}}
    """

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: member_of(name, member) for name, member in value.items()}
        if isinstance(value, list):
            return [walk(member) for member in value]
        if isinstance(value, str) and value.startswith("urn:"):
            return targets.get(value, value)
        return value

    def member_of(name: str, member: Any) -> Any:
        if not isinstance(member, str):
            return walk(member) if isinstance(member, dict | list) else member
        if name == "reference":
            found = _target(member, targets) or replace(member)
            return member if found is None else found
        if name == "div" and "urn:" in member:
            return _narrative(member, targets)
        return targets.get(member, member) if member.startswith("urn:") else member

    rewritten: Resource = walk(resource)
    return rewritten


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
