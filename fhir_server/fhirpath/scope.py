"""What an evaluation carries along: variables, the world outside, the trace, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.values import Collection, Element

# An expression from outside must not keep a process busy: so many items may pass through it.
MAX_ITEMS = 2_000_000
FEW = 8
"""Collections of so many items are not counted; what is made one by one is counted where it is made."""


class Exhausted(Exception):
    """An evaluation has passed through all the items that it was allowed."""


class World(Protocol):
    """What an expression may ask about things outside of its resource.

    Each answers None when it does not know: then resolve() is empty, and so is memberOf().
    """

    def resolve(self, reference: str) -> dict[str, Any] | None:
        """Return the resource that a reference leads to."""
        ...

    def member_of(self, coded: Any, type_name: str, value_set: str) -> bool | None:
        """Say whether a code, Coding, CodeableConcept or text is in a value set."""
        ...

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        """Say whether `code` is `other` or more general than it."""
        ...

    def conforms_to(self, resource: dict[str, Any], profile: str) -> bool | None:
        """Say whether a resource is valid against a profile."""
        ...


class Scope:
    """The state of one evaluation; `this` is $this as a collection, `index` and `total` likewise."""

    __slots__ = ("_now", "budget", "index", "root", "this", "total", "traces", "variables", "world")

    def __init__(
        self,
        focus: Collection,
        variables: dict[str, Collection],
        world: World | None,
        now: datetime | None = None,
        budget: int = MAX_ITEMS,
    ) -> None:
        self.this: Collection = focus
        self.index: int | None = None
        self.total: Collection = []
        self.variables = variables
        self.world = world
        self.traces: list[tuple[str, Collection]] = []
        self.budget = budget
        self._now = now

    def spend(self, items: int) -> None:
        """Count items that were made; raises Exhausted beyond the limit."""
        self.budget -= items
        if self.budget < 0:
            raise Exhausted

    def now(self) -> datetime:
        """Return the one moment that now(), today() and timeOfDay() mean throughout an evaluation."""
        if self._now is None:
            self._now = temporal.now()
        return self._now

    def resource(self, name: str = "resource") -> Element | None:
        """Return %resource (or %rootResource) when it is an element."""
        found = self.variables.get(name, [])
        return found[0] if len(found) == 1 and isinstance(found[0], Element) else None


Compiled: TypeAlias = Callable[[Scope, Collection], Collection]


def each(scope: Scope, items: Collection, body: Compiled) -> Iterator[tuple[Any, Collection]]:
    """Yield every item with what `body` makes of it; $this and $index are set meanwhile."""
    this, index, variables = scope.this, scope.index, scope.variables
    scope.spend(len(items))
    for place, item in enumerate(items):
        focus = [item]
        scope.this, scope.index = focus, place
        yield item, body(scope, focus)
        scope.variables = variables
    scope.this, scope.index = this, index


def whole(scope: Scope, items: Collection, body: Compiled) -> Collection:
    """Return what `body` makes of a collection as a whole, which is $this meanwhile."""
    this, variables = scope.this, scope.variables
    scope.this = items
    found = body(scope, items)
    scope.this, scope.variables = this, variables
    return found
