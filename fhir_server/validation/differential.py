"""A differential applied to the tree of its base (R4/profiling.html, R4/elementdefinition.html)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.outcome import Unprocessable
from fhir_server.validation.element_tree import ElementDefinition, Node

CORE = "http://hl7.org/fhir/StructureDefinition/"
BY_URL = {"discriminator": [{"type": "value", "path": "url"}], "ordered": False, "rules": "open"}
BY_TYPE = {"discriminator": [{"type": "type", "path": "$this"}], "ordered": False, "rules": "open"}
PLACE = frozenset(("id", "path", "sliceName"))


class NoSnapshot(Unprocessable):
    """422: a StructureDefinition's elements cannot be worked out."""


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
            for child in _by_choice(node, stated.children):
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
        raise NoSnapshot(
            f"{self.definition.get('url')} speaks of {at}, which its base does not have; "
            f"{hint}There are {', '.join(known)}",
            expression="StructureDefinition.differential.element",
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
        element = {name: value for name, value in base.element.items() if name != "slicing"}
        element["min"] = 0
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
            element = {name: value for name, value in node.element.items() if name != "contentReference"}
            element["type"] = target.element.get("type", [])
            return Node(node.name, element, target.children, node.slices)
        return replace(node, children=self.look_up(self._type_of(node, at)).children)

    def _type_of(self, node: Node, at: str) -> str:
        """Return the canonical of the definition that says what is inside an element."""
        types = node.element.get("type", [])
        codes = {choice.get("code", "") for choice in types}
        if len(codes) == 1:
            profiles = [profile for choice in types for profile in choice.get("profile", ())]
            if len(profiles) == 1:
                return str(profiles[0])
            code = str(types[0]["code"])
            return code if ":" in code else CORE + code
        if not codes and self.definition.get("derivation") != "specialization":
            raise NoSnapshot(f"{self.definition.get('url')} speaks of the inside of {at}, which has no type")
        return CORE + "Element"

    def _referred(self, reference: str) -> Node:
        """Return the element that a contentReference (`#Observation.referenceRange`) means."""
        node: Node | None = self.base
        for name in reference.partition("#")[2].split(".")[1:]:
            node = node.child(name) if node is not None else None
        if node is None:
            raise NoSnapshot(f"{self.definition.get('url')} refers to {reference}, which is not in its base")
        return node


def _sliced(node: Node) -> ElementDefinition:
    """Return the element of a node that gets slices, with the slicing that needs no saying."""
    if "slicing" in node.element:
        return node.element
    if node.name in ("extension", "modifierExtension"):
        return {**node.element, "slicing": BY_URL}
    if node.name.endswith("[x]"):
        return {**node.element, "slicing": BY_TYPE}
    return node.element


def _by_choice(base: Node, stated: Sequence[Node]) -> list[Node]:
    """Return the stated children under the names that the base has: `valueQuantity` is of `value[x]`.

    One type alone means that the choice has this type only; several, or one beside `value[x]` itself,
    are slices by type (R4/profiling.html#slicing, R4/formats.html#choice).
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
        if len(nodes) == 1 and not together.element and not together.slices and not of_base.slices:
            node, code = nodes[0]
            made[name] = Node(name, _of_type(of_base, node, code), node.children, node.slices)
            continue
        slices = list(together.slices)
        for node, code in nodes:
            element = _of_type(of_base, node, code)
            slice_name = _slice_of_type(of_base, code) or node.name
            slices.append(Node(slice_name, element, node.children, node.slices))
        made[name] = Node(name, together.element, together.children, slices)
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
    types = [choice for choice in base.element.get("type", ()) if choice.get("code") == code]
    return {**stated.element, "type": types}


def _slice_of_type(base: Node, code: str) -> str:
    """Return the name of the slice that the base already has for a type, "" if it has none."""
    for each in base.slices:
        if {choice.get("code") for choice in each.element.get("type", ())} == {code}:
            return each.name
    return ""
