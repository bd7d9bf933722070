"""A Questionnaire as what its responses are held against (R4/questionnaire.html): items by linkId."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CORE = "http://hl7.org/fhir/StructureDefinition/"
SDC = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-"

GROUP, DISPLAY, QUESTION = "group", "display", "question"
CHOICES = frozenset({"choice", "open-choice"})

ANSWERS: dict[str, tuple[str, ...]] = {
    "boolean": ("Boolean",),
    "decimal": ("Decimal",),
    "integer": ("Integer",),
    "date": ("Date",),
    "dateTime": ("DateTime",),
    "time": ("Time",),
    "string": ("String",),
    "text": ("String",),
    "url": ("Uri",),
    # What an option may be (Questionnaire.item.answerOption.value[x]), an answer may be.
    "choice": ("Coding", "Integer", "Date", "Time", "String", "Reference"),
    "open-choice": ("Coding", "String", "Integer", "Date", "Time", "Reference"),
    "attachment": ("Attachment",),
    "reference": ("Reference",),
    "quantity": ("Quantity",),
}
"""The value[x] that the answers to an item of a type may have, as the ending of the JSON key."""


def typed_value(holder: dict[str, Any], stem: str = "value") -> tuple[str, Any] | None:
    """Return the type and the value of a choice element; the value is None if only extensions are there.

    >>> typed_value({"valueInteger": 5}), typed_value({"_valueDate": {"id": "a"}}), typed_value({})
    (('Integer', 5), ('Date', None), None)
    """
    for key, value in holder.items():
        if key.startswith(stem) and key[len(stem) : len(stem) + 1].isupper():
            return key[len(stem) :], value
    for key in holder:
        if key.startswith(f"_{stem}") and key[len(stem) + 1 : len(stem) + 2].isupper():
            return key[len(stem) + 1 :], None
    return None


def extensions(element: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the extensions of an element by url, modifier extensions among them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("extension", "modifierExtension"):
        for extension in element.get(name, ()):
            found.setdefault(extension.get("url", ""), []).append(extension)
    return found


@dataclass(slots=True, eq=False)
class Item:
    """One item of a Questionnaire, at its place."""

    link_id: str
    kind: str
    source: dict[str, Any]
    path: str
    parent: Item | None
    position: int
    extensions: dict[str, list[dict[str, Any]]]
    items: list[Item] = field(default_factory=list)
    demanded: list[Item] = field(default_factory=list)

    @property
    def required(self) -> bool:
        """Say whether a completed response must have it (while it is enabled)."""
        return self.source.get("required") is True

    @property
    def repeats(self) -> bool:
        """Say whether there may be several answers, or several of the group."""
        return self.source.get("repeats") is True

    @property
    def is_question(self) -> bool:
        """Say whether it takes answers."""
        return self.kind not in (GROUP, DISPLAY)

    def values(self, url: str) -> list[Any]:
        """Return the values of the extensions with a url."""
        found = (typed_value(extension) for extension in self.extensions.get(url, ()))
        return [value for _, value in filter(None, found) if value is not None]

    def value(self, url: str, kind: type | tuple[type, ...]) -> Any:
        """Return the value of the first extension with a url, None if there is none of that Python type."""
        for value in self.values(url):
            if isinstance(value, kind) and not (isinstance(value, bool) and kind is int):
                return value
        return None

    @property
    def min_occurs(self) -> int:
        """How many answers, or groups, there must at least be."""
        at_least: int = self.value(f"{CORE}questionnaire-minOccurs", int) or 0
        return max(at_least, 1 if self.required else 0)

    @property
    def max_occurs(self) -> int | None:
        """How many answers, or groups, there may be, None without a limit."""
        if not self.repeats:
            return 1
        at_most: int | None = self.value(f"{CORE}questionnaire-maxOccurs", int)
        return at_most


class Form:
    """The items of a Questionnaire, walked once."""

    def __init__(self, questionnaire: dict[str, Any]) -> None:
        self.source = questionnaire
        self.url: str = questionnaire.get("url", "")
        self.extensions = extensions(questionnaire)
        self.items: list[Item] = []
        self.demanded: list[Item] = []
        self.by_link_id: dict[str, Item] = {}
        self._below: dict[tuple[int, str], Item] = {}
        self.again: list[Item] = []
        self.all: list[Item] = []
        """All items in the order of the document."""
        todo: list[tuple[dict[str, Any], Item | None, int, str]] = []
        for place, source in enumerate(questionnaire.get("item", ())):
            todo.append((source, None, place, f"Questionnaire.item[{place}]"))
        todo.reverse()
        while todo:
            source, parent, place, path = todo.pop()
            link_id = source.get("linkId", "")
            item = Item(link_id, source.get("type", ""), source, path, parent, place, extensions(source))
            self.all.append(item)
            beside = self if parent is None else parent
            beside.items.append(item)
            if item.min_occurs > 0 and item.kind != DISPLAY:
                beside.demanded.append(item)
            self._below.setdefault((id(parent), link_id), item)
            if link_id in self.by_link_id:
                self.again.append(item)
            else:
                self.by_link_id[link_id] = item
            below = source.get("item", ())
            todo += [(inner, item, number, f"{path}.item[{number}]") for number, inner in enumerate(below)][
                ::-1
            ]

    def meant(self, link_id: str, above: Item | None) -> Item | None:
        """Return the item of a linkId: the one right below `above` first, should there be several."""
        return self._below.get((id(above), link_id)) or self.by_link_id.get(link_id)

    def common(self, one: Item, other: Item) -> Item | None:
        """Return the nearest item above both (or one of them), None if that is the Questionnaire."""
        above = set()
        place: Item | None = one
        while place is not None:
            above.add(id(place))
            place = place.parent
        place = other
        while place is not None and id(place) not in above:
            place = place.parent
        return place
