"""A differential applied to the tree of its base (R4/profiling.html, R4/elementdefinition.html)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.validation.element_tree import ElementDefinition, Node, NoSnapshot

CORE = "http://hl7.org/fhir/StructureDefinition/"
BY_URL = {"discriminator": [{"type": "value", "path": "url"}], "ordered": False, "rules": "open"}
BY_TYPE = {"discriminator": [{"type": "type", "path": "$this"}], "ordered": False, "rules": "open"}
PLACE = frozenset(("id", "path", "sliceName"))


@dataclass(frozen=True, slots=True)
class Differential:
    """What a definition states, applied to `base`; `look_up` finds the trees of types and profiles."""

    definition: dict[str, Any]
    base: Node
    look_up: Callable[[str], Node]

    def applied(self, stated: Node) -> Node:
        """Return the tree of the snapshot."""
        return self._merged(self.base, stated, self.base.name)

    def _merged(self, base: Node, stated: Node, at: str) -> Node:
        """Return `base` with what is stated of it, of its children and of its slices."""
        element = self._constrained(base.element, stated.element)
        node = Node(base.name, element, base.children, base.slices)
        if stated.children:
            if not node.children:
                node = self._opened(node, at)
            node.children = list(node.children)
            for child in _by_choice(node, stated.children, in_slice=":" in at):
                self._put(node, child, f"{at}.{child.name}")
        if stated.slices:
            node.slices = list(base.slices)
            node.element = _sliced(node)
            for each in stated.slices:
                self._put_slice(node, base, each, f"{at}:{each.name}")
        return node

    def _put(self, parent: Node, stated: Node, at: str) -> None:
        """Replace the child of `parent` that is spoken of."""
        for number, child in enumerate(parent.children):
            if child.name == stated.name:
                parent.children[number] = self._merged(child, stated, at)
                return
        if self.definition.get("derivation") == "specialization":
            parent.children.append(self._merged(Node(stated.name), stated, at))
            return
        known = [child.name for child in parent.children]
        near = difflib.get_close_matches(stated.name[:100], known, 1, 0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise self._refused(
            f"speaks of {at}, which its base does not have; {hint}There are {', '.join(known) or 'none'}"
        )

    def _put_slice(self, node: Node, base: Node, stated: Node, at: str) -> None:
        for number, known in enumerate(node.slices):
            if known.name == stated.name:
                node.slices[number] = self._merged(known, stated, at)
                return
        if not stated.element and stated.slices:  # `a/b` where no slice is called `a`
            for each in stated.slices:
                self._put_slice(node, base, each, at)
            return
        element = {**_without(base.element, "slicing"), "min": 0}
        named = _choice({base.name: base}, stated.name)
        if named is not None:  # a slice called `valueQuantity` has this type, also if it does not say so
            element["type"] = _types(base, named[1])
        fresh = Node(stated.name, element, base.children)
        node.slices.append(self._merged(fresh, stated, at))

    # --- one element ----------------------------------------------------------------------------

    def _constrained(self, base: ElementDefinition, stated: ElementDefinition) -> ElementDefinition:
        """Return an element with what is stated about it; constraints add up, all else is replaced."""
        if not stated:
            return base
        made = dict(base)
        for name, value in stated.items():
            if name in PLACE:
                continue
            if name == "constraint":
                made[name] = self._constraints(base.get(name, ()), value)
            elif name == "binding":
                made[name] = {**base.get(name, {}), **value}
            elif name == "isModifier":  # what modifies in the base does so in every profile
                made[name] = bool(value or base.get(name))
            else:
                made[name] = value
        return made

    def _constraints(self, base: Sequence[Any], stated: Sequence[Any]) -> list[Any]:
        own = [{"source": self.definition.get("url"), **constraint} for constraint in stated]
        keys = {constraint.get("key") for constraint in own}
        return [*(constraint for constraint in base if constraint.get("key") not in keys), *own]

    # --- walking into types ---------------------------------------------------------------------

    def _opened(self, node: Node, at: str) -> Node:
        """Return a node with the children of its type, or of the element that it refers to."""
        reference = node.element.get("contentReference")
        if reference:
            target = self._referred(reference)
            element = _without(node.element, "contentReference")
            element["type"] = target.element.get("type", [])
            return Node(node.name, element, target.children, node.slices)
        return replace(node, children=self._type_of(node, at).children)

    def _type_of(self, node: Node, at: str) -> Node:
        """Return the tree of the type or profile that says what is inside an element."""
        types = node.element.get("type", [])
        codes = {str(choice.get("code", "")) for choice in types}
        if not codes and self.definition.get("derivation") != "specialization":
            raise self._refused(f"speaks of the inside of {at}, which has no type")
        if len(codes) != 1:
            return self.look_up(CORE + "Element")
        profiles = [profile for choice in types for profile in choice.get("profile", ())]
        code = codes.pop()
        if len(profiles) == 1:
            return self.look_up(profiles[0])
        return self.look_up(code if ":" in code else CORE + code)

    def _referred(self, reference: str) -> Node:
        """Return the element that a contentReference (`#Observation.referenceRange`) means."""
        root, *names = (step.partition(":")[0] for step in reference.partition("#")[2].split("."))
        node: Node | None = self.base if root == self.base.name else self.look_up(CORE + root)
        for name in names:
            node = node.child(name) if node is not None else None
        if node is None:
            raise self._refused(f"refers to {reference}, which is not in its base")
        return node

    def _refused(self, said: str) -> NoSnapshot:
        url = self.definition.get("url", "a StructureDefinition without a url")
        return NoSnapshot(f"{url} {said}", expression="StructureDefinition.differential.element")


def _without(element: ElementDefinition, name: str) -> dict[str, Any]:
    return {key: value for key, value in element.items() if key != name}


def _sliced(node: Node) -> ElementDefinition:
    """Return the element of a node that gets slices, with the slicing that needs no saying."""
    if "slicing" in node.element:
        return node.element
    if node.name in ("extension", "modifierExtension"):
        return {**node.element, "slicing": BY_URL}
    if node.name.endswith("[x]"):
        return {**node.element, "slicing": BY_TYPE}
    return node.element


def _by_choice(base: Node, stated: Sequence[Node], in_slice: bool) -> list[Node]:
    """Return the stated children under the names that the base has: `valueQuantity` is of `value[x]`.

    They are slices by type (R4/profiling.html#slicing). R4 leaves open what becomes of the other types;
    we read it as publishers do. Required, the type is the only one; optional, the others stay, but not
    in an extension. Inside a slice the element itself is narrowed to the one type.
    """
    known = {child.name: child for child in base.children}
    typed: dict[str, list[tuple[Node, str]]] = {}
    made: dict[str, Node] = {}
    for node in stated:
        choice = None if node.name in known else _choice(known, node.name)
        if choice is None:
            made[node.name] = node
        else:
            typed.setdefault(choice[0], []).append((node, choice[1]))
            made.setdefault(choice[0], Node(choice[0]))
    for name, nodes in typed.items():
        together = made[name]
        of_base = known[name]
        element = dict(together.element)
        alone = (
            len(nodes) == 1
            and not element
            and not nodes[0][0].slices
            and not together.slices
            and not of_base.slices
        )
        if alone:
            node, code = nodes[0]
            narrowed = _of_type(of_base, node, code)
            if in_slice:
                made[name] = Node(name, narrowed, node.children)
                continue
            if node.element.get("min") or base.name == "Extension":
                element = {"type": narrowed["type"], "slicing": {**BY_TYPE, "rules": "closed"}}
            if node.element.get("min"):
                element["min"] = 1
        slices = list(together.slices)
        for node, code in nodes:
            slices += node.slices  # a path `valueQuantity` together with a sliceName
            if node.slices and not node.element:
                continue
            slice_name = _slice_of_type(of_base, code) or node.name
            slices.append(Node(slice_name, _of_type(of_base, node, code), node.children))
        made[name] = Node(name, element, together.children, slices)
    return list(made.values())


def _choice(known: dict[str, Node], name: str) -> tuple[str, str] | None:
    """Return the choice and the type code that `valueQuantity` stands for."""
    for stem, node in known.items():
        if stem.endswith("[x]") and name.startswith(stem[:-3]):
            for choice in node.element.get("type", ()):
                code = str(choice.get("code", ""))
                if stem[:-3] + code[:1].upper() + code[1:] == name:
                    return stem, code
    return None


def _of_type(base: Node, stated: Node, code: str) -> ElementDefinition:
    """Return what is stated about a choice with the one type that its name says."""
    if "type" in stated.element:
        return stated.element
    return {**stated.element, "type": _types(base, code)}


def _types(base: Node, code: str) -> list[Any]:
    return [choice for choice in base.element.get("type", ()) if choice.get("code") == code]


def _slice_of_type(base: Node, code: str) -> str:
    """Return the name of the slice that the base already has for a type, "" if it has none."""
    for each in base.slices:
        if {choice.get("code") for choice in each.element.get("type", ())} == {code}:
            return each.name
    return ""
