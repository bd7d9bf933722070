"""What tells an element of one slice from those of another (R4/profiling.html#discriminator).

A discriminator is a path in a restricted FHIRPath with a type: value (and pattern), exists, type or
profile. For each slice it becomes a Criterion: the definition is followed along the path, into the
profiles of types and of targets where it has no children of its own, to what it says at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from fhir_server.definitions import structures
from fhir_server.fhirpath import nodes
from fhir_server.fhirpath.api import Element
from fhir_server.fhirpath.conditions import referred_type
from fhir_server.fhirpath.parser import parse
from fhir_server.fhirpath.values import members
from fhir_server.validation.explain import shown
from fhir_server.validation.profiles.fixed import has_pattern, is_fixed, projected
from fhir_server.validation.profiles.run import ONCE, Run, codings, type_name
from fhir_server.validation.profiles.tree import Definition, Library, core_type
from terminology.logic import every, some

Test: TypeAlias = Callable[[Element, Run], bool | None]
"""None: it cannot be told here (a value set or a target that is not known)."""


class Criterion(NamedTuple):
    """A test of an element and what it asks for, for messages."""

    test: Test
    says: str


class Step(NamedTuple):
    """One step of a discriminator's path; `kind` is member, extension, resolve or ofType."""

    kind: str
    name: str = ""


class BadPath(ValueError):
    """The path is outside of the FHIRPath that a discriminator may use."""


def steps(path: str) -> tuple[Step, ...]:
    """Return the steps of a discriminator's path.

    >>> steps("$this"), [tuple(step) for step in steps("code.resolve().extension('u').value[x]")]
    ((), [('member', 'code'), ('resolve', ''), ('extension', 'u'), ('member', 'value')])

    Raises BadPath, or a FhirPathError where it is no FHIRPath at all.
    """
    return tuple(_steps(parse(path.replace("[x]", ""))))


def _steps(tree: nodes.Expression) -> Iterator[Step]:
    match tree:
        case nodes.ThisInvocation():
            return
        case nodes.MemberInvocation(name=name):
            yield Step("member", name)
        case nodes.InvocationExpression(subject=subject, invocation=invocation):
            yield from _steps(subject)
            yield from _steps(invocation)
        case nodes.FunctionInvocation(name="resolve", arguments=()):
            yield Step("resolve")
        case nodes.FunctionInvocation(name="extension", arguments=(nodes.StringLiteral(value=url),)):
            yield Step("extension", url)
        case nodes.FunctionInvocation(name="ofType", arguments=(nodes.MemberInvocation(name=name),)):
            yield Step("ofType", name)
        case _:
            raise BadPath("a discriminator uses elements, extension(url), resolve() and ofType(type) only")


def criterion(kind: str, path: tuple[Step, ...], slice_: Definition, library: Library) -> Criterion | None:
    """Return how a slice is known by a discriminator, None if it says nothing there.

    `kind` is the discriminator's type.
    """
    where = ".".join(_text(step) for step in path)
    return _build("value" if kind == "pattern" else kind, path, slice_, library, where or "it")


def _text(step: Step) -> str:
    if step.kind == "member":
        return step.name
    return f"{step.kind}({step.name!r})" if step.name else f"{step.kind}()"


def _build(
    kind: str, path: tuple[Step, ...], definition: Definition, library: Library, where: str
) -> Criterion | None:
    if not path:
        return _leaf(kind, definition, library, where)
    step, rest = path[0], path[1:]
    if kind == "exists" and not rest and step.kind in ("member", "extension"):
        return _exists(step, definition, library, where)
    found = []
    if kind == "value" and all(inner.kind == "member" for inner in path):
        from_above = _projected(definition, path, where)
        if from_above is not None:
            found.append(from_above)
    if step.kind == "ofType":
        inner = _of_type(kind, step, rest, definition, library, where)
    elif step.kind == "resolve":
        inner = _resolved(kind, rest, definition, library, where)
    else:
        inner = _member(kind, step, rest, definition, library, where)
    if inner is not None:
        found.append(inner)
    return _all(found)


def _all(found: list[Criterion]) -> Criterion | None:
    if len(found) < 2:
        return found[0] if found else None

    def test(item: Element, run: Run) -> bool | None:
        return every(one.test(item, run) for one in found)

    return Criterion(test, found[0].says)


def _any(found: list[Criterion]) -> Criterion | None:
    if len(found) < 2:
        return found[0] if found else None

    def test(item: Element, run: Run) -> bool | None:
        return some(one.test(item, run) for one in found)

    return Criterion(test, " or ".join(dict.fromkeys(one.says for one in found)))


# along the path


def children_of(definition: Definition, name: str, library: Library) -> list[Definition]:
    """Return the definitions of a member: its own, or else those of the profiles of its types."""
    content = definition.content()
    child = content.children.get(name)
    if child is not None:
        return [child]
    found = []
    for entry in definition.types:
        for canonical in entry.get("profile", ()):
            profile = library.find(canonical)
            if profile is not None and profile.root is not definition:
                found += children_of(profile.root, name, library)
    return found


def _member(
    kind: str, step: Step, rest: tuple[Step, ...], definition: Definition, library: Library, where: str
) -> Criterion | None:
    if step.kind == "member":
        name, url = step.name, None
        stem = _choice(definition, name, library)
        if stem is not None:
            rest, name = (Step("ofType", name[len(stem) :]), *rest), stem
    else:
        name, url = "extension", step.name
    if name == "url" and not rest and kind == "value" and "Extension" in definition.codes:
        return _extension_url(definition, library, where)
    alternatives = []
    for child in children_of(definition, name, library):
        if url is None:
            whole = _build(kind, rest, child, library, where)
            if whole is not None:
                alternatives.append(whole)
                continue
        for one in child.slices:
            if url is None or url in _urls(one, library):
                found = _build(kind, rest, one, library, where)
                if found is not None:
                    alternatives.append(found)
    inner = _any(alternatives)
    if inner is None:
        return None
    test = inner.test

    def below(item: Element, run: Run) -> bool | None:
        found = members(item, name)
        if url is not None:
            found = [one for one in found if one.value.get("url") == url]
        return some(test(one, run) for one in found)

    return Criterion(below, inner.says)


def _choice(definition: Definition, name: str, library: Library) -> str | None:
    """Return the stem of a choice that is named with its type, as older definitions do."""
    if children_of(definition, name, library):
        return None
    for stem, child in definition.content().children.items():
        tail = name[len(stem) :]
        if name.startswith(stem) and tail[:1].isupper() and child.element["path"].endswith("[x]"):
            return stem
    return None


def _extension_url(definition: Definition, library: Library, where: str) -> Criterion | None:
    urls = _urls(definition, library)
    if not urls:
        return None
    says = f"{where} is {' or '.join(sorted(urls))}"
    return Criterion(lambda item, run: item.value.get("url") in urls, says)


def _urls(definition: Definition, library: Library) -> frozenset[str]:
    """Return the urls that an extension's definition allows."""
    child = definition.content().children.get("url")
    fixed = child.stated("fixed") if child is not None else None
    if fixed is not None:
        return frozenset((fixed[1],))
    found = set()
    for entry in definition.types:
        for canonical in entry.get("profile", ()):
            profile = library.find(canonical)
            inner = profile.root.children.get("url") if profile is not None else None
            fixed = inner.stated("fixed") if inner is not None else None
            found.add(fixed[1] if fixed is not None else canonical.partition("|")[0])
    return frozenset(found)


def _projected(definition: Definition, path: tuple[Step, ...], where: str) -> Criterion | None:
    """Return a criterion from what a fixed value or pattern above the end of the path says there."""
    stated = definition.stated("fixed") or definition.stated("pattern")
    if stated is None:
        return None
    names = tuple(step.name for step in path)
    wanted = projected(stated[1], names)
    if not wanted:
        return None

    def test(item: Element, run: Run) -> bool:
        found = projected(item.value, names)
        return all(any(has_pattern(one, other) for one in found) for other in wanted)

    return Criterion(test, f"{where} is {' and '.join(map(shown, wanted))}")


def _of_type(
    kind: str, step: Step, rest: tuple[Step, ...], definition: Definition, library: Library, where: str
) -> Criterion | None:
    wanted = step.name[:1].lower() + step.name[1:]
    names = {step.name, wanted} if wanted in structures.type_names() else {step.name}
    chosen = [one for one in definition.slices if names.intersection(one.codes)] or [definition]
    inner = _any([one for one in (_build(kind, rest, each, library, where) for each in chosen) if one])
    if inner is None:
        return None
    test = inner.test
    return Criterion(lambda item, run: item.type in names and test(item, run), inner.says)


def _resolved(
    kind: str, rest: tuple[Step, ...], definition: Definition, library: Library, where: str
) -> Criterion | None:
    targets = [
        canonical
        for entry in definition.types
        if entry["code"] in ("Reference", "canonical")
        for canonical in entry.get("targetProfile", ())
    ]
    if not rest and kind == "type":
        return _target_type(targets, library, where)
    if not rest and kind == "profile":
        return _target_profile(targets, where)
    profiles = [profile for profile in map(library.find, targets) if profile is not None]
    found = [_build(kind, rest, profile.root, library, where) for profile in profiles]
    inner = _any([one for one in found if one is not None])
    if inner is None:
        return None
    test = inner.test

    def across(item: Element, run: Run) -> bool | None:
        target = run.target(item, item)
        return None if target is None else test(target, run)

    return Criterion(across, inner.says)


def _target_type(targets: list[str], library: Library, where: str) -> Criterion | None:
    names = set()
    for canonical in targets:
        name = core_type(canonical)
        profile = library.find(canonical) if name is None else None
        if profile is not None:
            name = profile.type
        if name is not None:
            names.add(name)
    if not names:
        return None

    def test(item: Element, run: Run) -> bool | None:
        if item.type not in ("Reference", "canonical") or item.value is None:
            return False
        target = run.target(item, item)
        kind = target.type if target is not None else referred_type(item.value)
        if kind is None:
            return None
        return any(structures.is_resource_type(kind) and structures.is_subtype(kind, name) for name in names)

    return Criterion(test, f"{where} is a {' or '.join(sorted(names))}")


def _target_profile(targets: list[str], where: str) -> Criterion | None:
    if not targets:
        return None

    def test(item: Element, run: Run) -> bool | None:
        target = run.target(item, item)
        return None if target is None else meets_one(target, targets, run)

    return Criterion(test, f"{where} meets {' or '.join(targets)}")


def meets_one(item: Element, profiles: Iterable[str], run: Run) -> bool | None:
    """Return whether an element meets one of some profiles; None if that cannot be told."""

    def answers() -> Iterator[bool | None]:
        for canonical in profiles:
            found = run.issues_against(item, canonical)
            if found is None:
                yield None
            elif any(issue.severity == "error" for issue in found):
                yield False
            else:
                yield None if any(issue.code in ONCE for issue in found) else True

    return some(answers())


# at its end


def _leaf(kind: str, definition: Definition, library: Library, where: str) -> Criterion | None:
    if kind == "type":
        return _type(definition, where)
    if kind == "profile":
        return _profile(definition, where)
    if kind == "exists":
        return None
    return _value(definition, library, where)


def _value(definition: Definition, library: Library, where: str) -> Criterion | None:
    stated = definition.stated("fixed")
    if stated is not None:
        fixed = stated[1]
        return Criterion(lambda item, run: is_fixed(item.value, fixed), f"{where} is {shown(fixed)}")
    stated = definition.stated("pattern")
    if stated is not None:
        pattern = stated[1]
        return Criterion(lambda item, run: has_pattern(item.value, pattern), f"{where} has {shown(pattern)}")
    binding = definition.element.get("binding", {})
    if binding.get("strength") == "required" and binding.get("valueSet"):
        return _bound(binding["valueSet"], where)
    return _from_below(definition, library, where)


def _bound(value_set: str, where: str) -> Criterion:
    def test(item: Element, run: Run) -> bool | None:
        return some(run.member(value_set, system, code) for system, code in codings(item.value))

    return Criterion(test, f"{where} is of {value_set}")


def _from_below(definition: Definition, library: Library, where: str) -> Criterion | None:
    """Return what the children of an element fix together, where the element itself says nothing."""
    found = []
    for name, child in definition.content().children.items():
        inner = _any(
            [
                one
                for one in (_value(each, library, f"{where}.{name}") for each in (child, *child.slices))
                if one
            ]
        )
        if inner is not None and (child.least > 0 or any(one.least > 0 for one in child.slices)):
            found.append(_below(name, inner))
    return _all(found)


def _below(name: str, inner: Criterion) -> Criterion:
    test = inner.test
    return Criterion(lambda item, run: some(test(one, run) for one in members(item, name)), inner.says)


def _type(definition: Definition, where: str) -> Criterion | None:
    codes = definition.codes
    if not codes:
        return None

    def test(item: Element, run: Run) -> bool:
        name = type_name(item)
        return name in codes or any(structures.is_subtype(name, code) for code in codes)

    return Criterion(test, f"{where} is a {' or '.join(codes)}")


def _profile(definition: Definition, where: str) -> Criterion | None:
    profiles = [canonical for entry in definition.types for canonical in entry.get("profile", ())]
    if not profiles:
        return None
    return Criterion(
        lambda item, run: meets_one(item, profiles, run), f"{where} meets {' or '.join(profiles)}"
    )


def _exists(step: Step, definition: Definition, library: Library, where: str) -> Criterion | None:
    url = step.name if step.kind == "extension" else None
    name = step.name if url is None else "extension"
    for child in children_of(definition, name, library):
        for one in (child,) if url is None else child.slices:
            if url is not None and url not in _urls(one, library):
                continue
            if one.least > 0:
                return Criterion(lambda item, run: _there(item, name, url), f"{where} exists")
            if one.most == 0:
                return Criterion(lambda item, run: not _there(item, name, url), f"{where} does not exist")
    return None


def _there(item: Element, name: str, url: str | None) -> bool:
    return any(url is None or one.value.get("url") == url for one in members(item, name))
