"""Profiles → trees of checks that ask only what the base type does not ask already.

An element of a snapshot that says no more than its base type has no node, so that the work is in
proportion to the resource and to what the profile adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from fhir_server.definitions import structures
from fhir_server.fhirpath.api import Element, FhirPathError
from fhir_server.fhirpath.values import members
from fhir_server.validation.explain import shown
from fhir_server.validation.profiles import bounds, coded, constraints, references, types
from fhir_server.validation.profiles.discriminators import BadPath, Step, criterion, steps
from fhir_server.validation.profiles.fixed import differences, has_pattern, is_fixed
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.slicing import DEFAULT, Slice, Slicing
from fhir_server.validation.profiles.tree import Definition, Library, Profile, Visitor

Check: TypeAlias = Callable[[Element, Run], None]

_BY_URL = {"discriminator": [{"type": "value", "path": "url"}], "rules": "open"}
_BY_TYPE = {"discriminator": [{"type": "type", "path": "$this"}], "rules": "open"}


class Node:
    """What is asked of an element: of its type, of its value, of its members."""

    __slots__ = ("allowed", "checks", "members")

    def __init__(self) -> None:
        self.allowed: types.Allowed | None = None
        self.checks: list[Check] = []
        self.members: list[Member] = []

    def visit(self, item: Element, run: Run) -> None:
        """Report what an element breaks."""
        if self.allowed is not None and not self.allowed(item, run):
            return
        for check in self.checks:
            check(item, run)
        for member in self.members:
            member.visit(item, run)

    @property
    def asks(self) -> bool:
        """Whether there is anything to be asked."""
        return bool(self.allowed or self.checks or self.members)


class Member:
    """What is asked of the elements of one name: how often, in which slices, and of each."""

    __slots__ = ("definition", "least", "most", "name", "node", "slicing")

    def __init__(
        self,
        definition: Definition,
        least: int,
        most: int | None,
        node: Visitor | None,
        slicing: Slicing | None,
    ) -> None:
        self.definition, self.name = definition, definition.name
        self.least, self.most, self.node, self.slicing = least, most, node, slicing

    def visit(self, parent: Element, run: Run) -> None:
        """Report what is wrong with the elements of this name below `parent`."""
        found = members(parent, self.name)
        count = len(found)
        if count < self.least:
            what = f"found {count or 'none'}, at least {self.least} must be: {self._prose()}"
            run.report("error", "required", what, parent, self.definition.rule, self.name)
        elif self.most is not None and count > self.most:
            may = f"at most {self.most} may be" if self.most else "none may be"
            what = f"found {count}, {may}: {self._prose()}"
            run.report("error", "structure", what, parent, self.definition.rule, self.name)
        if self.node is not None:
            for item in found:
                self.node.visit(item, run)
        if self.slicing is not None:
            self.slicing.visit(parent, found, run)

    def _prose(self) -> str:
        return f"{self.definition.id} is {self.definition.least}..{self.definition.element.get('max', '*')}"


class Fixed:
    """A fixed value or a pattern."""

    def __init__(self, definition: Definition, value: Any, exact: bool) -> None:
        self.rule, self.value, self.exact = definition.rule, value, exact

    def __call__(self, item: Element, run: Run) -> None:
        """Report another value."""
        if self.exact:
            for place, got, wanted in () if is_fixed(item.value, self.value) else self._differences(item):
                what = f"got {shown(got)}, expected exactly {shown(wanted)}"
                if wanted is None:
                    what = f"got {shown(got)}, expected none: exactly {shown(self.value)} may be here"
                elif got is None:
                    what = f"found none, expected {shown(wanted)}: exactly {shown(self.value)} may be here"
                run.report("error", "value", what, item, self.rule, place)
        elif not has_pattern(item.value, self.value):
            what = f"got {shown(item.value)}, expected {shown(self.value)} in it"
            run.report("error", "value", what, item, self.rule)

    def _differences(self, item: Element) -> Iterator[tuple[str, Any, Any]]:
        """Yield what differs: (member, or nothing for the whole; what is there; what is fixed)."""
        if not isinstance(item.value, dict) or not isinstance(self.value, dict):
            yield "", item.value, self.value
            return
        yield from ((place[1:], got, wanted) for place, got, wanted in differences(item.value, self.value))


def compiled(profile: Profile, library: Library) -> Visitor:
    """Return the checks of a profile."""
    return _Compiler(library).root(profile)


class _Compiler:
    """`context` is the type, or the path of an element with children, that has a definition's members.

    `beside` is a definition whose node visits the same elements: the unsliced one of a slice. What
    it asks is not asked again.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._nodes: dict[tuple[int, str, int], Node] = {}

    def root(self, profile: Profile) -> Node:
        base = None
        if profile.type in structures.type_names():
            base = structures.structure(profile.type).elements[profile.type]
        return self._node(profile.root, profile.type, base, None)

    def _node(
        self, definition: Definition, context: str, base: structures.Element | None, beside: Definition | None
    ) -> Node:
        key = (id(definition), context, id(beside))
        if key in self._nodes:
            return self._nodes[key]
        node = self._nodes[key] = Node()
        is_root = definition is definition.profile.root
        if not is_root:
            node.allowed = types.allowed(definition, base)
            if beside is not None and beside.codes == definition.codes:
                node.allowed = None
        node.checks = self._checks(definition, context, base, beside)
        content = definition.content()
        others = beside.content().children if beside is not None else {}
        for child in content.children.values():
            member = self._member(child, context, others.get(child.name))
            if member is not None:
                node.members.append(member)
        return node

    def _checks(
        self, definition: Definition, context: str, base: structures.Element | None, beside: Definition | None
    ) -> list[Check]:
        found: list[Check] = []
        if definition is not definition.profile.root:
            profiled = types.profiled(definition, base, self.library)
            if profiled is not None and not _same(definition, beside, "type"):
                found.append(profiled)
            if not _same(definition, beside, "type"):
                found += references.references(definition, base, self.library)
        for stem, exact in (("fixed", True), ("pattern", False)):
            stated = definition.stated(stem)
            if stated is not None and (beside is None or beside.stated(stem) != stated):
                found.append(Fixed(definition, stated[1], exact))
        found += bounds.bounds(definition)
        if not _same(definition, beside, "binding"):
            found += coded.bindings(definition, base)
        known = {one["key"] for one in beside.element.get("constraint", ())} if beside is not None else set()
        names = definition.codes or (context,)
        for constraint in constraints.constraints(definition, base, names, context):
            if constraint.key not in known:
                found.append(constraint)
        return found

    def _member(self, child: Definition, context: str, beside: Definition | None) -> Member | None:
        fields = [
            field
            for field in _fields(context).values()
            if field.element.name.removesuffix("[x]") == child.name
        ]
        if not fields:
            return None
        base = fields[0].element
        inner = _context(child, fields)
        least = child.least if child.least > base.min else 0
        most = child.most if base.max is None or (child.most is not None and child.most < base.max) else None
        if beside is not None:
            least = least if least > beside.least else 0
            most = None if most == beside.most else most
        node = self._node(child, inner, base, beside)
        slicing = self._slicing(child, fields, base)
        if not least and most is None and not node.asks and slicing is None:
            return None
        return Member(child, least, most, node if node.asks else None, slicing)

    def _slicing(
        self, definition: Definition, fields: list[structures.Field], base: structures.Element
    ) -> Slicing | None:
        """Return the slicing of an element from the slices that stand beside it."""
        if not definition.slices:
            return None
        inside = [one for one in definition.slices if "/" not in (one.slice_name or "")]
        return self._sliced(definition, inside, definition.slices, definition, fields, base)

    def _sliced(
        self,
        definition: Definition,
        slices: list[Definition],
        every: list[Definition],
        whole: Definition,
        fields: list[structures.Field],
        base: structures.Element,
    ) -> Slicing:
        """`whole` is the definition that visits the same elements already."""
        paths = self._discriminators(definition, slices, base)
        found, unknown, default = [], [], None
        for one in slices:
            visitor = self._node(one, _context(one, fields), base, whole)
            asked = visitor if visitor.asks else None
            if one.slice_name == DEFAULT:
                default = asked
                continue
            criteria = [
                known
                for kind, path in paths
                if (known := criterion(kind, path, one, self.library)) is not None
            ]
            if not criteria:
                unknown.append(one.slice_name or one.id)
                continue
            again = [inner for inner in every if _is_reslice(inner, one)]
            inner = self._sliced(one, again, every, one, fields, base) if again else None
            found.append(Slice(one, criteria, asked, inner))
        return Slicing(definition, found, default, unknown)

    def _discriminators(
        self, definition: Definition, slices: list[Definition], base: structures.Element
    ) -> list[tuple[str, tuple[Step, ...]]]:
        slicing = definition.element.get("slicing") or {}
        if not slicing.get("discriminator"):
            if "Extension" in base.types:
                slicing = _BY_URL
            elif base.path.endswith("[x]"):
                slicing = _BY_TYPE
        found = []
        for one in slicing.get("discriminator", ()):
            try:
                found.append((one["type"], steps(one["path"])))
            except (BadPath, FhirPathError):
                continue
        return found


def _fields(context: str) -> Any:
    try:
        return structures.fields(context)
    except KeyError:
        return {}


def _context(definition: Definition, fields: list[structures.Field]) -> str:
    """Return the type that has the members of a definition's elements."""
    codes = definition.codes
    if len(fields) > 1 or fields[0].type in ("Resource", "DomainResource"):
        return codes[0] if len(codes) == 1 else "Element" if len(fields) > 1 else "Resource"
    return fields[0].type


def _same(definition: Definition, beside: Definition | None, key: str) -> bool:
    return beside is not None and beside.element.get(key) == definition.element.get(key)


def _is_reslice(inner: Definition, one: Definition) -> bool:
    """Return whether `inner` is a/b or a/b/c where `one` is a, or a/b."""
    name, outer = inner.slice_name or "", f"{one.slice_name}/"
    return name.startswith(outer) and "/" not in name[len(outer) :]
