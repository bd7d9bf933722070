"""Every extension of a resource against its definition (R4/extensibility.html, R4/defining-extensions.html).

Whether a profile is claimed or not: a known extension stands where its context allows, as often as it
may, has the value and the inner extensions of its definition, and is a modifier or none. An unknown
one is no error, as anybody may make extensions; but their urls are absolute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from fhir_server.definitions import structures
from fhir_server.fhirpath import api, types
from fhir_server.fhirpath.api import Element, FhirPathError
from fhir_server.fhirpath.values import members
from fhir_server.validation.explain import shown
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import CORE, Profile

Way: TypeAlias = "tuple[Way | None, str, int | None]"
"""From the outermost resource to an element, innermost step first: (way before, JSON key, index)."""

# Published by HL7 outside of R4 and of guides: the extension pack, other versions' elements, tools.
_OF_HL7 = re.compile(r"http://hl7\.org/fhir/(?:StructureDefinition|tools|\d\.\d)/")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_ANY = frozenset({"Element", "Any", "*"})
# Where R4's and US Core's own definitions use these extensions, against the contexts that they declare.
_ALSO = {
    f"{CORE}structuredefinition-fhir-type": "ElementDefinition.type",
    f"{CORE}regex": "ElementDefinition.type",
    f"{CORE}structuredefinition-normative-version": "Element",
    f"{CORE}valueset-concept-comments": "CodeSystem.concept",
    f"{CORE}capabilitystatement-expectation": "Element",
}


def holders(resource: dict[str, Any]) -> list[Way | None]:
    """Return the ways to all elements that have extensions; quick, as most resources have none.

    >>> holders({"resourceType": "Patient", "_birthDate": {"extension": [{"url": "http://x"}]}})
    [(None, '_birthDate', None)]
    """
    if not _any_there(resource):
        return []
    found: list[Way | None] = []
    todo: list[tuple[dict[str, Any], Way | None]] = [(resource, None)]
    while todo:
        node, way = todo.pop()
        if "extension" in node or "modifierExtension" in node:
            found.append(way)
        for key, member in node.items():
            if member.__class__ is dict:
                todo.append((member, (way, key, None)))
            elif member.__class__ is list:
                for index, item in enumerate(member):
                    if item.__class__ is dict:
                        todo.append((item, (way, key, index)))
    found.reverse()
    return found


def _any_there(resource: dict[str, Any]) -> bool:
    nodes = [resource]
    add = nodes.append
    for node in nodes:  # which grows meanwhile
        if "extension" in node or "modifierExtension" in node:
            return True
        for member in node.values():
            kind = member.__class__
            if kind is dict:
                add(member)
            elif kind is list:
                for item in member:
                    if item.__class__ is dict:
                        add(item)
    return False


def visit(root: Element, ways: Sequence[Way | None], run: Run) -> None:
    """Report what is wrong with the extensions of the elements at the ends of `ways`."""
    made: dict[int, Element] = {}
    for way in ways:
        holder = _element(root, way, made)
        if holder is None:
            continue
        counts: dict[str, int] = {}
        for name in ("extension", "modifierExtension"):
            for item in members(holder, name):
                url = item.value.get("url")
                if isinstance(url, str):
                    counts[url] = counts.get(url, 0) + 1
                    _extension(item, url, holder, counts[url], run)


def _element(root: Element, way: Way | None, made: dict[int, Element]) -> Element | None:
    if way is None:
        return root
    if id(way) in made:
        return made[id(way)]
    before, key, index = way
    holder = _element(root, before, made)
    if holder is None:
        return None
    found = _child(holder, key, index)
    if found is not None:
        made[id(way)] = found
    return found


def _child(holder: Element, key: str, index: int | None) -> Element | None:
    """Return the element at a JSON key (`_birthDate` too) of another."""
    bare = key.removeprefix("_")
    kind = types.find(holder.type)
    source = holder.value if isinstance(holder.value, dict) else holder.extra
    if kind is None or bare not in kind.keys or not source:
        return None
    member, type_name = kind.keys[bare]
    value, extra = source.get(bare), source.get(f"_{bare}")
    if index is not None:
        value = value[index] if isinstance(value, list) and index < len(value) else None
        extra = extra[index] if isinstance(extra, list) and index < len(extra) else None
    if types.is_resource_base(type_name) and isinstance(value, dict):
        type_name = value.get("resourceType", type_name)
    return Element(value, type_name, extra, holder, member.name, index if member.many else None)


def _extension(item: Element, url: str, holder: Element, count: int, run: Run) -> None:
    if _ABSOLUTE.match(url) is None:
        if holder.type != "Extension":
            what = f"got {shown(url)}, expected an absolute url; only within an extension others may be"
            run.report("error", "extension", what, item, f"{CORE}Extension#ext-url", "url")
        else:
            _inner(item, url, holder, run)
        return
    is_modifier = item.name == "modifierExtension"
    profile = run.library.find(url)
    if profile is None:
        _unknown(item, url, is_modifier, run)
        return
    rule = f"{profile.url}#{profile.root.id}"
    if profile.type != "Extension":
        what = f"{url} is the url of a {profile.type}'s profile and of no extension"
        run.report("error", "extension", what, item, rule, "url")
        return
    if is_modifier is not bool(profile.root.element.get("isModifier", False)):
        right = "extension" if is_modifier else "modifierExtension"
        what = f"{url} is {'no' if is_modifier else 'a'} modifier extension; it belongs into {right}"
        run.report("error", "extension", what, item, rule)
    most = profile.root.most
    if most is not None and count == most + 1:
        what = f"found {url} more than {most} times, and it may be there {_times(most)} at most"
        run.report("error", "extension", what, item, rule)
    _context(item, holder, profile, rule, run)
    run.visit(item, profile)


def _times(most: int) -> str:
    return "once" if most == 1 else f"{most} times"


def _unknown(item: Element, url: str, is_modifier: bool, run: Run) -> None:
    if "unknown extensions" in run.strict and not _OF_HL7.match(url):
        what = f"the extension {url} is not known here, and none but known ones are allowed"
        run.report("error", "extension", what, item, f"{url}#Extension")
    elif is_modifier:
        what = (
            f"the modifier extension {url} is not known here; it may change what its element means, so "
            "whoever does not know it must not use the element"
        )
        run.report("warning", "not-found", what, item, f"{url}#Extension")
    else:
        what = f"the extension {url} is not known here, so it was not checked"
        run.report("information", "not-found", what, item, f"{url}#Extension")


def _inner(item: Element, url: str, holder: Element, run: Run) -> None:
    """Report an inner extension that the definition of the outer one does not have."""
    outer = holder.value.get("url")
    profile = run.library.find(outer) if isinstance(outer, str) and ":" in outer else None
    child = profile.root.children.get("extension") if profile is not None else None
    if profile is None or child is None or not child.slices:
        return
    known = [_url(one) for one in child.slices]
    if None not in known and url not in known:
        what = f"{outer} has no inner extension {url!r}; expected {', '.join(str(one) for one in known)}"
        run.report("error", "extension", what, item, f"{profile.url}#{child.id}")


def _url(definition: Any) -> str | None:
    child = definition.children.get("url")
    fixed = child.stated("fixed") if child is not None else None
    return None if fixed is None else str(fixed[1])


# where it may stand


def _context(item: Element, holder: Element, profile: Profile, rule: str, run: Run) -> None:
    contexts = [one for one in profile.definition.get("context", ()) if isinstance(one, dict)]
    if profile.url in _ALSO:
        contexts.append({"type": "element", "expression": _ALSO[profile.url]})
    if contexts and not any(_allows(one, item, holder, run) for one in contexts):
        may = ", ".join(f"{one.get('expression')}" for one in contexts)
        what = f"{profile.url} may not stand here ({_place(holder)}); its context is {may}"
        run.report("error", "extension", what, item, rule)
    for text in profile.definition.get("contextInvariant", ()):
        try:
            kept = api.compile(text, lenient=True).holds(holder, environment={"extension": [item]}, world=run)
        except FhirPathError:
            continue
        if not kept:
            what = f"{profile.url} may stand here only where {text}"
            run.report("error", "extension", what, item, rule)


def _allows(context: dict[str, Any], item: Element, holder: Element, run: Run) -> bool:
    kind, expression = context.get("type"), context.get("expression", "")
    if kind == "extension":
        return expression in _extension_names(holder)
    if kind == "fhirpath":
        return _selects(expression, holder, run)
    if expression in _ANY:
        return True
    wanted = expression.rpartition("#")[2].replace("[x]", "")
    return any(name == wanted for name in _names(holder)) or _is_canonical(wanted, holder)


def _names(holder: Element) -> Iterator[str]:
    """Yield all that a context may call an element: its types, and its paths."""
    yield from types.ancestors(holder.type)
    if isinstance(holder.value, dict) and "resourceType" in holder.value:
        return
    tail = ""
    place: Element | None = holder
    while place is not None and place.parent is not None:
        parent = place.parent
        step = f".{place.name}{tail}"
        for name in types.ancestors(parent.type):
            yield f"{name}{step}"
        if not tail and place.type and not place.type.startswith(parent.type):
            yield f"{parent.type}.{place.name}{place.type[:1].upper()}{place.type[1:]}"
        tail = step
        if isinstance(parent.value, dict) and "resourceType" in parent.value:
            return
        place = parent


def _is_canonical(wanted: str, holder: Element) -> bool:
    if wanted not in ("CanonicalResource", "MetadataResource") or not structures.is_resource_type(
        holder.type
    ):
        return False
    return "url" in structures.fields(holder.type)


def _extension_names(holder: Element) -> Iterator[str]:
    """Yield the url of the extension that holds another, and url#inner of an inner one."""
    tail = ""
    place: Element | None = holder
    while place is not None and place.type == "Extension":
        url = place.value.get("url", "")
        yield f"{url}{tail}"
        tail = f"#{url}" if not tail else f".{url}{tail}"
        place = place.parent


def _selects(expression: str, holder: Element, run: Run) -> bool:
    """Return whether a FHIRPath, evaluated on the resource, selects an element."""
    resource = holder
    while resource.parent is not None and not (
        isinstance(resource.value, dict) and "resourceType" in resource.value
    ):
        resource = resource.parent
    try:
        found = api.compile(expression, lenient=True).evaluate(resource, world=run)
    except FhirPathError:
        return True  # not to be judged
    path = holder.path
    return any(isinstance(one, Element) and one.path == path for one in found) or found == [True]


def _place(holder: Element) -> str:
    parent = holder.parent
    if parent is None or structures.is_resource_type(holder.type):
        return holder.type
    return f"{parent.type}.{holder.name}"
