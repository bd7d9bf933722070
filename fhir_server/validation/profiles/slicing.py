"""Elements into slices, and what slicing asks of them (R4/profiling.html#slicing)."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.fhirpath.api import Element
from fhir_server.validation.explain import shown
from fhir_server.validation.profiles.discriminators import Criterion
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import Definition, Visitor
from terminology.logic import every

DEFAULT = "@default"


class Slice:
    """One slice: how it is known, how often it may be there, and what is asked of its elements."""

    __slots__ = ("again", "criteria", "definition", "least", "most", "name", "visitor")

    def __init__(
        self,
        definition: Definition,
        criteria: Sequence[Criterion],
        visitor: Visitor | None,
        again: Slicing | None = None,
    ) -> None:
        self.definition, self.criteria, self.visitor, self.again = definition, criteria, visitor, again
        self.name = definition.slice_name or definition.id
        self.least, self.most = definition.least, definition.most

    def has(self, item: Element, run: Run) -> bool | None:
        """Return whether an element belongs to this slice, None if that cannot be told here."""
        if len(self.criteria) == 1:
            return self.criteria[0].test(item, run)
        return every(one.test(item, run) for one in self.criteria)

    @property
    def says(self) -> str:
        """What tells the slice from others, for a message."""
        return ", ".join(one.says for one in self.criteria)


class Slicing:
    """The slices of an element; `name` is the element's, for messages.

    `unknown` are slices that no discriminator tells from the others: nothing is asked of them.
    """

    def __init__(
        self,
        definition: Definition,
        slices: Sequence[Slice],
        default: Visitor | None,
        unknown: Sequence[str] = (),
    ) -> None:
        slicing = definition.element.get("slicing", {})
        self.definition, self.slices, self.default, self.unknown = definition, slices, default, unknown
        self.rules: str = slicing.get("rules", "open")
        self.ordered: bool = slicing.get("ordered", False)
        self.plain = self.rules == "open" and not self.ordered

    def visit(self, parent: Element, found: list[Element], run: Run) -> None:
        """Report what the elements called by one name below `parent` break."""
        if self.unknown and found:
            names = ", ".join(self.unknown)
            what = f"nothing tells elements of the slices {names} from others, so they were not checked"
            run.report("warning", "not-supported", what, found[0], self.definition.rule)
        if not found:
            for one in self.slices:
                if one.least > 0:
                    self._too_few(one, 0, parent, run)
            return
        groups: list[list[Element]] = [[] for _ in self.slices]
        places: list[int | None] = []
        doubtful: set[int] = set()
        for item in found:
            place = self._place(item, run, doubtful)
            places.append(place)
            if place is not None:
                groups[place].append(item)
            elif self.default is not None:
                self.default.visit(item, run)
            elif not self.plain:
                self._outside(item, doubtful, run)
        for number, one in enumerate(self.slices):
            group = groups[number]
            if len(group) < one.least and number not in doubtful:
                self._too_few(one, len(group), parent, run)
            elif one.most is not None and len(group) > one.most:
                what = f"{self._slice(one)}: found {len(group)}, at most {one.most} may be"
                run.report("error", "structure", what, parent, one.definition.rule, self.definition.name)
            if one.visitor is not None:
                for item in group:
                    one.visitor.visit(item, run)
            if one.again is not None:
                one.again.visit(parent, group, run)
        if not self.plain:
            self._order(found, places, run)

    def _place(self, item: Element, run: Run, doubtful: set[int]) -> int | None:
        """Return the number of the slice that an element belongs to."""
        place = None
        for number, one in enumerate(self.slices):
            answer = one.has(item, run)
            if answer is None:
                doubtful.add(number)
            elif answer:
                if place is None:
                    place = number
                else:
                    names = f"{self.slices[place].name} and {one.name}"
                    what = f"it belongs to the slices {names}; an element belongs to one slice at most"
                    run.report("error", "structure", what, item, self.definition.rule)
                    break
        return place

    def _too_few(self, one: Slice, count: int, parent: Element, run: Run) -> None:
        known = f" ({one.says})" if one.says else ""
        what = f"{self._slice(one)}: found {count or 'none'}, at least {one.least} must be{known}"
        run.report("error", "required", what, parent, one.definition.rule, self.definition.name)

    def _slice(self, one: Slice) -> str:
        return f"slice {one.name} of {self.definition.name}"

    def _outside(self, item: Element, doubtful: set[int], run: Run) -> None:
        if self.rules != "closed" or doubtful or self.unknown:
            return
        what = f"got {shown(item.value)}, which is none of the slices that are allowed"
        if self.slices:
            nearest = max(self.slices, key=lambda one: _nearness(one, item, run))
            wanted = next((c.says for c in nearest.criteria if not c.test(item, run)), nearest.says)
            names = ", ".join(one.name for one in self.slices)
            what += f" ({names}); the nearest is {nearest.name}, if {wanted}"
        run.report("error", "structure", what, item, self.definition.rule)

    def _order(self, found: list[Element], places: list[int | None], run: Run) -> None:
        last = -1
        stranger = None
        for item, place in zip(found, places, strict=True):
            if place is None:
                stranger = stranger or item
                continue
            if self.rules == "openAtEnd" and stranger is not None:
                what = "it is of no slice, and such elements come after those of the slices (openAtEnd)"
                run.report("error", "structure", what, stranger, self.definition.rule)
                stranger = None
            if self.ordered and place < last:
                what = (
                    f"slice {self.slices[place].name} comes before slice {self.slices[last].name}; "
                    "these slices are ordered"
                )
                run.report("error", "structure", what, item, self.definition.rule)
            last = max(last, place)


def _nearness(one: Slice, item: Element, run: Run) -> int:
    return sum(1 for criterion in one.criteria if criterion.test(item, run))
