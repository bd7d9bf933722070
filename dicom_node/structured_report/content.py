"""The content tree of a structured report, from the DICOM JSON model (PS3.3 C.17.3).

Iterative and bounded: a tree of more than `MOST_ITEMS` content items is cut, and says so. The path of
an item is its place as PS3.3 C.17.3.2.5 numbers it: "1" is the root, "1.2" its second child.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.instance import first

MOST_ITEMS: Final = 20_000

CODED = tuple[str, str]  # coding scheme designator, code value


@dataclass(slots=True)
class Item:
    """A content item; `own` has all its attributes but the children."""

    path: str
    relation: str
    kind: str
    own: Attributes
    children: list[Item] = field(default_factory=list)

    @property
    def name(self) -> Attributes | None:
        """Return the concept name as a code item."""
        return item_of(self.own, "0040A043")

    @property
    def named(self) -> CODED:
        """Return scheme and value of the concept name; ("", "") without one."""
        return coded(self.name)

    @property
    def code(self) -> Attributes | None:
        """Return the value of a CODE item as a code item."""
        return item_of(self.own, "0040A168")

    @property
    def text(self) -> str:
        """Return the value of a TEXT, UIDREF, PNAME, DATE, TIME or DATETIME item."""
        for name in ("0040A160", "0040A124", "0040A120", "0040A121", "0040A122"):
            if isinstance(value := first(self.own, name), str):
                return value
        person = first(self.own, "0040A123")
        return str(person.get("Alphabetic", "")) if isinstance(person, dict) else ""

    @property
    def number(self) -> tuple[float | None, Attributes | None]:
        """Return value and unit of a NUM item, (None, None) where it was not measured."""
        measured = item_of(self.own, "0040A300")
        if measured is None:
            return None, None
        value = first(measured, "0040A30A")
        if not isinstance(value, int | float):
            value = first(measured, "0040A161")
        return (float(value) if isinstance(value, int | float) else None), item_of(measured, "004008EA")

    @property
    def qualifier(self) -> Attributes | None:
        """Return why a NUM item has no value (114000 Not a number, 114006 Measurement failure, …)."""
        return item_of(self.own, "0040A301")

    def walk(self) -> Iterator[Item]:
        """Yield this item and all below it, in the order in which they stand."""
        stack = [self]
        while stack:
            item = stack.pop()
            yield item
            stack.extend(reversed(item.children))

    def child(self, *names: CODED) -> Item | None:
        """Return the first child with one of these concept names."""
        return next((one for one in self.children if one.named in names), None)


@dataclass(frozen=True, slots=True)
class Tree:
    """A content tree; `cut` says that it was longer than what was read."""

    root: Item
    by_path: dict[str, Item]
    cut: bool

    def targets(self, item: Item) -> Iterator[Item]:
        """Yield the children of an item, those that it only refers to included (PS3.3 C.17.3.2.5)."""
        for child in item.children:
            reference = child.own.get("0040DB73", {}).get("Value")
            if reference and not child.kind:
                path = ".".join(str(number) for number in reference)
                if path in self.by_path:
                    yield self.by_path[path]
            else:
                yield child


def read(found: Attributes) -> Tree:
    """Return the content tree of a data set; one without any content has a root without children.

    >>> read({"0040A040": {"Value": ["CONTAINER"]}}).root.kind
    'CONTAINER'
    """
    root = _item("1", found)
    by_path = {"1": root}
    waiting = [(root, found)]
    cut = False
    while waiting:
        parent, attributes = waiting.pop()
        for place, one in enumerate(attributes.get("0040A730", {}).get("Value", []), 1):
            if not isinstance(one, dict):
                continue
            if len(by_path) >= MOST_ITEMS:
                cut = True
                break
            item = _item(f"{parent.path}.{place}", one)
            by_path[item.path] = item
            parent.children.append(item)
            waiting.append((item, one))
    return Tree(root, by_path, cut)


def coded(item: Attributes | None) -> CODED:
    """Return scheme and value of a code item; ("", "") for none."""
    if item is None:
        return "", ""
    return str(first(item, "00080102") or ""), str(first(item, "00080100") or "")


def meaning(item: Attributes | None) -> str:
    """Return what a code item means in words, else its value."""
    return "" if item is None else str(first(item, "00080104") or first(item, "00080100") or "")


def item_of(found: Attributes, name: str) -> Attributes | None:
    """Return the first item of a sequence, None for none."""
    value: Any = first(found, name)
    return value if isinstance(value, dict) else None


def _item(path: str, found: Attributes) -> Item:
    own = {name: element for name, element in found.items() if name != "0040A730"}
    return Item(path, str(first(found, "0040A010") or ""), str(first(found, "0040A040") or ""), own)
