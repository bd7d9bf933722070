"""References inside a transaction, made to point at what its entries become (R4/http.html#trules)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fhir_server.interactions.context import Resource

_TEXTS = frozenset({"reference", "div", "url"})
_ATTACHMENT = frozenset({"contentType", "title", "size", "hash", "creation", "language"})
"""What tells the url of an Attachment from that of an extension or of a definition, which stay."""

_AT_A_BASE = re.compile(r"(https?://.+/)[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}\Z")
VERSIONED = "/_history"
"""Behind a fullUrl among the targets: what a reference to some version of it becomes."""


def base_of(full_url: str | None) -> str | None:
    """Return where the relative references of an entry begin, None where they lead nowhere in the Bundle.

    >>> base_of("http://a.org/fhir/Patient/7"), base_of("urn:uuid:1")
    ('http://a.org/fhir/', None)
    """
    found = _AT_A_BASE.match(full_url) if full_url is not None and full_url[:4] == "http" else None
    return None if found is None else found[1]


def references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (reference, path) of every literal reference.

    >>> list(references({"subject": {"reference": "Patient/7"}}, "Observation"))
    [('Patient/7', 'Observation.subject.reference')]
    """
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "reference" and isinstance(member, str):
                yield member, f"{path}.reference"
            elif isinstance(member, dict | list):
                yield from references(member, f"{path}.{name}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from references(member, f"{path}[{number}]")


def conditional_references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (reference, path) of every conditional reference such as `Patient?identifier=urn:a|1`.

    >>> list(conditional_references({"subject": {"reference": "Patient?identifier=1"}}, "Observation"))
    [('Patient?identifier=1', 'Observation.subject.reference')]
    """
    return (found for found in references(value, path) if "?" in found[0] and is_conditional(found[0]))


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


def rewrite(
    resource: Resource,
    targets: dict[str, str],
    replace: Callable[[str], str | None],
    base: str | None = None,
) -> Resource:
    """Return the resource with its references pointing at what the entries became.

    `targets` maps each fullUrl of the Bundle to a relative address (Patient/7); `replace`
    gives the new text of any other reference, or None to leave it. What does not change is shared with
    the resource that was given, which itself stays as it is. Elements of type uri, url,
    oid and uuid that hold a urn of the Bundle are replaced too, the url of an Attachment and links in the
    narrative whatever they hold. A relative one is looked for at `base`, where the entry says one
    (R4/bundle.html#references). Other elements that equal a fullUrl of http may be canonicals, which stay.

    >>> rewrite({"subject": {"reference": "urn:uuid:1"}}, {"urn:uuid:1": "Patient/7"}, lambda text: None)
    {'subject': {'reference': 'Patient/7'}}
    """

    def of_object(value: dict[str, Any]) -> dict[str, Any]:
        changed = None
        for name, member in value.items():
            kind = member.__class__
            if kind is str:
                new: Any = member
                if name in _TEXTS or member[:4] == "urn:":
                    new = text(name, member, value)
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

    def text(name: str, member: str, around: dict[str, Any]) -> str:
        if name == "reference" or (name == "url" and not _ATTACHMENT.isdisjoint(around)):
            found = _target(member, targets)
            if found is None and base is not None and ":" not in member and member[:1] != "#":
                found = _target(base + member, targets)
            if found is None and name == "reference":
                found = replace(member)
            return member if found is None else found
        if name == "div":
            return _narrative(member, targets, base) if "href" in member or "src" in member else member
        return targets.get(member, member) if member[:4] == "urn:" else member

    return dict(of_object(resource))


def _target(reference: str, targets: dict[str, str]) -> str | None:
    """Return what a reference to a fullUrl becomes; its fragment stays with it.

    A reference to a version becomes one to the version that the entry makes (R4/http.html#trules).
    """
    if (found := targets.get(reference)) is not None:
        return found
    if VERSIONED in reference:
        return targets.get(reference.partition(VERSIONED + "/")[0] + VERSIONED)
    base, mark, rest = reference.partition("#")
    return f"{found}{mark}{rest}" if mark and (found := targets.get(base)) is not None else None


_LINK = re.compile(r"""(\s(?:href|src)\s*=\s*)(["'])([^"'<>]*)\2""")


def _narrative(div: str, targets: dict[str, str], base: str | None) -> str:
    def link(found: re.Match[str]) -> str:
        attribute, quote, url = found.groups()
        address = _target(url, targets)
        if address is None and base is not None and ":" not in url and url[:1] != "#":
            address = _target(base + url, targets)
        return found[0] if address is None else f"{attribute}{quote}{address}{quote}"

    return _LINK.sub(link, div)
