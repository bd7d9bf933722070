"""The flat list of a StructureDefinition's elements as a tree, and back (R4/elementdefinition.html#id).

In a tree a step has children, and slices beside them: `Patient.extension:race.url` is the child `url`
of the slice `race` of the child `extension`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fhir_server.outcome import Unprocessable

ElementDefinition = Mapping[str, Any]
Step = tuple[str, str]
"""The name of a step and the name of its slice ("" where the step is not sliced)."""

DEEPEST = 60
LARGEST = 20_000
"""Steps of a path and elements of a snapshot, at most; the largest published ones have 10 and 1,000."""


class NoSnapshot(Unprocessable):
    """422: a StructureDefinition's elements cannot be worked out."""


@dataclass(slots=True)
class Node:
    """An element with what is below it; `name` is the last step of the path or the name of a slice.

    Once it is built a node is shared and not changed; `element` is what was stated, {} for a step
    that only leads to others. Ids and paths in it may be those of another place: `flat` writes them.
    """

    name: str
    element: ElementDefinition = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    slices: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        """Return the child called `name`, None if there is none."""
        return next((child for child in self.children if child.name == name), None)

    def slice(self, name: str) -> Node | None:
        """Return the slice called `name`, None if there is none."""
        return next((node for node in self.slices if node.name == name), None)


def tree(elements: Sequence[ElementDefinition]) -> Node:
    """Return the tree of a snapshot or of a differential, however few of its steps are stated.

    >>> node = tree([{"path": "Patient"}, {"path": "Patient.name.family", "min": 1}])
    >>> node.child("name").child("family").element["min"]
    1
    """
    root = Node(elements[0]["path"].partition(".")[0] if elements else "")
    by_id = all(_id_is_of_path(element) for element in elements)
    at: list[Step] = []
    for element in elements:
        at = _steps_of_id(element) if by_id else _steps_of_path(element, at)
        if len(at) > DEEPEST:
            raise NoSnapshot(
                f"a path has {len(at)} steps and begins {element['path'][:60]}; {DEEPEST} are allowed"
            )
        node = root
        for name, slice_name in at[1:]:
            node = _step(node.children, node.child(name), name)
            if slice_name:
                node = _slice(node, slice_name)
        node.element = {**node.element, **element} if node.element else element
    return root


def _step(siblings: list[Node], found: Node | None, name: str) -> Node:
    if found is None:
        found = Node(name)
        siblings.append(found)
    return found


def _slice(node: Node, name: str) -> Node:
    """Return a slice, inside the slices that its name says it is a slice of: `a/b` is inside `a`."""
    if name.count("/") > DEEPEST:
        raise NoSnapshot(f"a slice is called {name[:60]}… and is inside more than {DEEPEST} others")
    done = ""
    for part in name.split("/"):
        done = f"{done}/{part}" if done else part
        node = _step(node.slices, node.slice(done), done)
    return node


def _id_is_of_path(element: ElementDefinition) -> bool:
    """Say whether the id has the steps of the path and names the slice that the element is."""
    path, steps = element["path"].split("."), str(element.get("id", "")).split(".")
    if "id" not in element or len(path) != len(steps):
        return False
    for name, step in zip(path[1:], steps[1:], strict=True):
        stated, sliced, _ = step.partition(":")
        if stated != name and not (sliced and stated.endswith("[x]") and name.startswith(stated[:-3])):
            return False
    return bool(element.get("sliceName")) <= (":" in steps[-1])


def _steps_of_id(element: ElementDefinition) -> list[Step]:
    return [
        (name, slice_name) for name, _, slice_name in (s.partition(":") for s in element["id"].split("."))
    ]


def _steps_of_path(element: ElementDefinition, before: list[Step]) -> list[Step]:
    """Return the steps of an element without a usable id: the slice it is in is the last one named."""
    names = element["path"].split(".")
    steps: list[Step] = []
    for name, step in zip(names[:-1], before, strict=False):
        if step[0] != name:
            break
        steps.append(step)
    steps += [(name, "") for name in names[len(steps) : -1]]
    return [*steps, (names[-1], element.get("sliceName", ""))]


def flat(node: Node, name: str) -> list[dict[str, Any]]:
    """Return the elements of a tree in the order of a snapshot, with ids and paths that begin with `name`."""
    found = list(islice(_flat(node, name, name), LARGEST + 1))
    if len(found) > LARGEST:
        raise NoSnapshot(f"a snapshot of {name} has more than the {LARGEST} elements that are allowed")
    return found


def _flat(node: Node, path: str, id_: str, slice_name: str = "") -> Iterator[dict[str, Any]]:
    made: dict[str, Any] = {**node.element, "id": id_, "path": path}
    made.pop("sliceName", None)
    if slice_name:
        made["sliceName"] = slice_name
    yield made
    for child in node.children:
        yield from _flat(child, f"{path}.{child.name}", f"{id_}.{child.name}")
    stem = id_[: -len(slice_name) - 1] if slice_name else id_
    for each in node.slices:
        yield from _flat(each, path, f"{stem}:{each.name}", each.name)
