"""The items of a QuestionnaireResponse, each with what the Questionnaire says of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fhir_server.validation.questionnaires.form import Form, Item, typed_value


@dataclass(slots=True, eq=False)
class Node:
    """One item of a response, or the response itself (`parent` None).

    `item` is what its linkId means, None if nothing. `answer` is the place of the parent's answer
    that it stands in. `order` and `end` number it and what follows all below it.
    """

    source: dict[str, Any]
    item: Item | None
    parent: Node | None
    answer: int | None
    place: int
    order: int = 0
    end: int = 0
    below: dict[int | None, list[Node]] = field(default_factory=dict)
    enabled: bool | None = True

    @property
    def link_id(self) -> str:
        """The linkId."""
        link_id: str = self.source.get("linkId", "")
        return link_id

    @property
    def path(self) -> str:
        """Where it stands, as FHIRPath."""
        steps = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            steps.append(f"item[{node.place}]")
            if node.answer is not None:
                steps.append(f"answer[{node.answer}]")
            node = node.parent
        return ".".join(["QuestionnaireResponse", *reversed(steps)])

    @property
    def answers(self) -> list[dict[str, Any]]:
        """Its answers."""
        answers: list[dict[str, Any]] = self.source.get("answer", [])
        return answers

    @property
    def is_answered(self) -> bool:
        """Say whether there is an answer: a value, or extensions that say why there is none."""
        return any(
            typed_value(answer) is not None or "extension" in answer
            for answer in self.source.get("answer", ())
        )

    def children(self) -> Iterator[Node]:
        """Yield the items right below, of all answers."""
        for nodes in self.below.values():
            yield from nodes


class Tree:
    """A response, walked once: all its nodes in the order of the document, and by linkId."""

    def __init__(self, response: dict[str, Any], form: Form) -> None:
        self.form = form
        self.root = Node(response, None, None, None, 0)
        self.all: list[Node] = []
        self.by_link_id: dict[str, list[Node]] = {}
        todo: list[tuple[Node, bool]] = [(self.root, False)]
        while todo:
            node, done = todo.pop()
            if done:
                node.end = len(self.all)
                continue
            node.order = len(self.all)
            self.all.append(node)
            if node.parent is not None:
                self.by_link_id.setdefault(node.link_id, []).append(node)
            todo.append((node, True))
            below = []
            for place, source in enumerate(node.source.get("item", ())):
                below.append(self._node(source, node, None, place))
            if node is not self.root:
                for number, answer in enumerate(node.answers):
                    for place, source in enumerate(answer.get("item", ())):
                        below.append(self._node(source, node, number, place))
            todo += [(inner, False) for inner in reversed(below)]
        self._orders = {link_id: [node.order for node in nodes] for link_id, nodes in self.by_link_id.items()}

    def _node(self, source: dict[str, Any], parent: Node, answer: int | None, place: int) -> Node:
        item = self.form.meant(source.get("linkId", ""), parent.item)
        node = Node(source, item, parent, answer, place)
        parent.below.setdefault(answer, []).append(node)
        return node

    def nearest(self, link_id: str, node: Node, order: int, scope: Node) -> Node | None:
        """Return the occurrence of a question that a condition means (R4/questionnaire.html#enableWhen).

        First what stands above `node`, then what precedes the place `order`, then what follows,
        each the nearest one, and within `scope` only: the occurrence of the group that both are in.
        """
        above: Node | None = node
        while above is not None and above is not scope.parent:
            if above.parent is not None and above.link_id == link_id:
                return above
            above = above.parent
        nodes = self.by_link_id.get(link_id)
        if nodes is None:
            return None
        place = bisect_left(self._orders[link_id], order)
        if place > 0 and nodes[place - 1].order >= scope.order:
            return nodes[place - 1]
        if place < len(nodes) and nodes[place].order < scope.end:
            return nodes[place]
        return None
