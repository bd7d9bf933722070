"""The invariants of R4 as closures compiled from the facts (R4/conformance-rules.html#constraints).

A resource is walked once. At every element a cheap test, which asks no more than whether an
invariant could be broken there, sees most of them kept; where it is not sure, FHIRPath has the last
word. A resource is expected to be structurally right.

Not looked at: `ele-1`, `txt-1`, `txt-2` and `sqty-1`, which `structure` holds (an object has a
member, narratives are safe and not blank, a SimpleQuantity has no comparator); and `dom-6`, a
narrative for robust management: advice that most writes of machines would get, so nobody read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field, Invariant
from fhir_server.fhirpath import api, values
from fhir_server.fhirpath.extract import predicate
from fhir_server.fhirpath.walk import Predicate
from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.structure import has_sibling

NOT_ASKED = frozenset({"ele-1", "txt-1", "txt-2", "sqty-1", "dom-6"})

# An invariant is kept where one of these members is missing; only the rest need the engine.
NEEDS = {
    "csd-1": "concept", "cpb-7": "document", "cpb-9": "resource", "cpb-12": "searchParam",
    "ctm-1": "onBehalfOf", "dom-2": "contained", "dom-4": "contained", "dom-5": "contained",
    "drt-1": "code", "eld-2": "min max", "eld-11": "binding", "eld-12": "valueSet", "eld-13": "type",
    "eld-14": "constraint", "eld-16": "sliceName", "ig-2": "definition",
    "mdd-1": "whenHandedOver whenPrepared", "mea-1": "group", "mrp-2": "group", "que-10": "maxLength",
    "que-12": "enableWhen", "que-13": "initial", "rng-2": "low high", "sdf-10": "binding",
    "tim-4": "duration", "tim-5": "period", "tim-9": "offset", "Task/inv-1": "lastModified authoredOn",
    "tcp-1": "version",
}  # fmt: skip


FEW = 20
"""Contained resources that a test looks through for each reference; of more, a set is made first."""


class Rule(NamedTuple):
    """An invariant at an element: `kept(node, container)` is False where the engine has to look."""

    key: str
    invariant: Invariant
    kept: Predicate


class Suspect(NamedTuple):
    """A rule that may be broken, and the way to the element: (name, index or None), innermost first."""

    rule: Rule
    way: list[tuple[str, int | None]]


Visit: TypeAlias = Callable[[Any, Any], list[Suspect] | None]
"""(value, resource that holds it, the outermost if that is contained) → suspects."""


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield the invariants that a structurally right resource breaks, each with its element.

    >>> patient = {"resourceType": "Patient", "contact": [{"gender": "female"}]}
    >>> [(issue.severity, issue.expression) for issue in check(patient)]
    [('error', 'Patient.contact[0]')]

    What the engine cannot evaluate counts as kept: a flaw of ours refuses nobody's resource.
    """
    try:
        suspects = _resource(resource, None) or ()
    except RecursionError:  # deeper than we can follow
        return
    judge = Judge(resource)
    for rule, way in suspects:
        item = judge.element(way)
        if item is not None and not judge.keeps(item, rule):
            what = f"{rule.invariant.human} ({rule.key})"
            yield Issue(rule.invariant.severity, "invariant", what, item.path)


class Judge:
    """Who has the last word on the suspects of one resource.

    `ref-1`, `dom-3` and `obs-7` are read here, as their FHIRPath looks through the whole resource for
    each reference, each contained resource and each component.
    """

    def __init__(self, resource: Any) -> None:
        self.root = api.root(resource)
        self._below: dict[tuple[int, str], dict[int | None, api.Element]] = {}
        self._ids: dict[int, set[str]] = {}

    def element(self, way: list[tuple[str, int | None]]) -> api.Element | None:
        """Return the engine's element at the end of a way."""
        item = self.root
        for name, index in reversed(way):
            place = (id(item), name)
            if place not in self._below:  # listed once, as there may be many beside each other
                self._below[place] = {child.index: child for child in values.members(item, name)}
            below = self._below[place].get(index)
            if below is None:
                return None
            item = below
        return item

    def keeps(self, item: api.Element, rule: Rule) -> bool:
        """Return whether an element keeps a rule."""
        try:
            if rule.key == "ref-1":
                return self._resolves(item)
            if rule.key == "dom-3":
                return _refers(item)
            if rule.key == "obs-7":
                return _says_once(item)
            return api.compile(rule.invariant.expression, lenient=True).holds(item)
        except Exception:  # whatever goes wrong here is no fault of the resource
            return True

    def _resolves(self, item: api.Element) -> bool:
        holder = item
        while holder.parent is not None and (
            holder.name == "contained" or "resourceType" not in holder.value
        ):
            holder = holder.parent
        if id(holder) not in self._ids:
            self._ids[id(holder)] = {inner.get("id") for inner in holder.value.get("contained", ())}
        text: str = item.value["reference"]
        return text[:1] != "#" or text == "#" or text[1:] in self._ids[id(holder)]


def _refers(item: api.Element) -> bool:
    named = set(_pointers(item))
    return all(
        "id" not in inner.value or f"#{inner.value['id']}" in named or "#" in _pointers(inner)
        for inner in values.members(item, "contained")
    )


def _says_once(item: api.Element) -> bool:
    own = _codings(item)
    return all(own.isdisjoint(_codings(component)) for component in values.members(item, "component"))


def _codings(item: api.Element) -> set[Any]:
    return {
        values.key(coding)
        for code in values.members(item, "code")
        for coding in values.members(code, "coding")
    }


def _is_resource(item: api.Element) -> bool:
    return item.value.__class__ is dict and "resourceType" in item.value


def _pointers(item: api.Element) -> Iterator[Any]:
    """Yield what the references, canonicals and addresses below an element say."""
    todo = list(values.children(item))
    while todo:
        below = todo.pop()
        if below.name == "reference" or below.type in ("canonical", "uri", "url"):
            yield below.value if below.value.__class__ is str else None
        todo += values.children(below)


def _resource(value: Any, container: Any) -> list[Suspect] | None:
    return _object(value["resourceType"])(value, value if container is None else container)


@cache
def _object(path: str) -> Visit:
    """Return the visit of objects of a type, or of an element that has children."""
    rules = _rules(path, structures.structure(path.partition(".")[0]).elements[path].constraints)
    members: dict[str, tuple[str, Visit]] = {}
    plain: set[str] = {"resourceType"}
    ready = False

    def prepare() -> None:
        # Not before the first visit: HumanName has extensions, which have HumanNames.
        nonlocal ready
        for key, field in structures.fields(path).items():
            name = field.element.name.removesuffix("[x]")
            visit = _field(field)
            if visit is None:
                plain.add(key)
            else:
                members[key] = (name, visit)
            if has_sibling(field):
                members[f"_{key}"] = (name, _object("Element"))
        ready = True

    def visit(node: Any, container: Any) -> list[Suspect] | None:
        found = None
        for rule in rules:
            if rule.kept(node, container) is False:
                found = found or []
                found.append(Suspect(rule, []))
        if not ready:
            prepare()
        if node.keys() <= plain:
            return found
        for key, member in node.items():
            if key not in members:
                continue
            name, below = members[key]
            if member.__class__ is list:
                for index, item in enumerate(member):
                    if item is not None:
                        suspects = below(item, container)
                        if suspects:
                            found = _noted(found, suspects, name, index)
            else:
                suspects = below(member, container)
                if suspects:
                    found = _noted(found, suspects, name, None)
        return found

    return visit


def _noted(
    found: list[Suspect] | None, suspects: list[Suspect], name: str, index: int | None
) -> list[Suspect]:
    for suspect in suspects:
        suspect.way.append((name, index))
    return suspects if found is None else found + suspects


def _field(field: Field) -> Visit | None:
    """Return the visit of a field's values, None if nothing can be wrong with them."""
    if field.type == "Resource":
        return _contained if field.key == "contained" else lambda value, container: _resource(value, None)
    inner = None if field.primitive else _object(field.type)
    constraints: Iterable[str] = ()
    if field.type != field.element.path:
        there = structures.structure(field.type.partition(".")[0]).elements
        already = there[field.type].constraints if field.type in there else ()
        constraints = [key for key in field.element.constraints if key not in already]
    rules = _rules(field.element.path, constraints, field.type)
    if not rules:
        return inner

    def visit(value: Any, container: Any) -> list[Suspect] | None:
        found = [Suspect(rule, []) for rule in rules if rule.kept(value, container) is False]
        return found + ((inner(value, container) if inner else None) or [])

    return visit


def _contained(value: Any, container: Any) -> list[Suspect] | None:
    return _resource(value, container)


def _rules(path: str, keys: Iterable[str], type_name: str = "") -> tuple[Rule, ...]:
    """Return the rules of the element at `path`, whose values are of `type_name` if that has a name."""
    home = path.partition(".")[0]
    found = []
    for key in keys:
        invariant = structures.invariant(home, key)
        if key not in NOT_ASKED and invariant.expression:
            found.append(Rule(key, invariant, _kept(home, key, invariant.expression, type_name or path)))
    return tuple(found)


def _kept(home: str, key: str, expression: str, type_name: str) -> Predicate:
    for name in (f"{home}/{key}", key):
        if name in BY_HAND:
            return _guarded(BY_HAND[name])
        if name in NEEDS:
            return _lacks(*NEEDS[name].split())
    if key.endswith("-0"):  # a name that a machine can use, of the conformance resources
        return _lacks("name")
    return _guarded(predicate(expression, type_name) or _unsure)


def _guarded(kept: Predicate) -> Predicate:
    """Return a predicate that is unsure where `kept` stumbles."""

    def guarded(node: Any, container: Any) -> bool | None:
        try:
            return kept(node, container)
        except (AttributeError, KeyError, TypeError, ValueError):
            return False

    return guarded


def _unsure(node: Any, container: Any) -> bool:
    return False


def _lacks(*names: str) -> Predicate:
    if len(names) == 1:
        key, beside = names[0], f"_{names[0]}"
        return lambda node, container: key not in node and beside not in node
    return lambda node, container: any(name not in node and f"_{name}" not in node for name in names)


def _ordered(node: Any, container: Any) -> bool:
    start, end = node.get("start"), node.get("end")
    if start is None or end is None:
        return True
    # Partial dates, leap seconds and a date beside a time raise: the engine's business.
    # And strictly, as beyond microseconds it drops digits.
    return start == end or datetime.fromisoformat(start) < datetime.fromisoformat(end)


def _resolves(node: Any, container: Any) -> bool:
    text = node.get("reference")
    if text is None or text[:1] != "#":
        return True
    near = container.get("contained", ())[:FEW]
    return text == "#" or any(inner.get("id") == text[1:] for inner in near)


def _referred(node: Any, container: Any) -> bool:
    if "contained" not in node:
        return True
    named: set[str] = set()
    todo = [node]
    while todo:
        item = todo.pop()
        if item.__class__ is dict:
            text = item.get("reference")
            if text.__class__ is str:
                named.add(text)
            todo += item.values()
        elif item.__class__ is list:
            todo += item
    return all(f"#{inner['id']}" in named for inner in node["contained"])


def _no_value_twice(node: Any, container: Any) -> bool:
    if "component" not in node or not any(key.startswith(("value", "_value")) for key in node):
        return True
    own = {(coding.get("system"), coding.get("code")) for coding in node["code"].get("coding", ())}
    return own.isdisjoint(
        (coding.get("system"), coding.get("code"))
        for component in node["component"]
        for coding in component["code"].get("coding", ())
    )


def _told(member: str, types: frozenset[str]) -> Predicate:
    """Return whether just the Bundles of some types have `member` in their entries."""

    def told(node: Any, container: Any) -> bool:
        wanted = node["type"] in types
        return all((member in entry) is wanted for entry in node.get("entry", ()))

    return told


def _distinct(node: Any, container: Any) -> bool:
    if node.get("type") == "history":
        return True
    seen = [
        entry["fullUrl"] + entry.get("resource", {}).get("meta", {}).get("versionId", "")
        for entry in node.get("entry", ())
        if "fullUrl" in entry or "_fullUrl" in entry
    ]
    return len(set(seen)) == len(seen)


def _begins(kind: str, type_name: str) -> Predicate:
    """Return whether a Bundle of a kind begins with a resource of a type."""

    def begins(node: Any, container: Any) -> bool:
        return node["type"] != kind or bool(node["entry"][0]["resource"]["resourceType"] == type_name)

    return begins


# What the engine alone could judge and what stands in most resources: when it is surely kept.
BY_HAND: dict[str, Predicate] = {
    "bdl-3": _told("request", frozenset({"batch", "transaction", "history"})),
    "bdl-4": _told("response", frozenset({"batch-response", "transaction-response", "history"})),
    "bdl-7": _distinct,
    "bdl-8": lambda node, container: "/_history/" not in node.get("fullUrl", ""),
    "bdl-11": _begins("document", "Composition"),
    "bdl-12": _begins("message", "MessageHeader"),
    "con-3": lambda node, container: "clinicalStatus" in node,
    "dom-3": _referred,
    "eld-3": lambda value, container: bool(value == "*" or value.isdecimal()),
    "eld-6": lambda node, container: not any(key.startswith(("fixed", "_fixed")) for key in node),
    "eld-7": lambda node, container: not any(key.startswith(("pattern", "_pattern")) for key in node),
    "obs-7": _no_value_twice,
    "org-1": lambda node, container: "identifier" in node or "name" in node,
    "org-2": lambda node, container: node.get("use") != "home",
    "org-3": lambda node, container: node.get("use") != "home",
    "per-1": _ordered,
    "ref-1": _resolves,
    "sdf-8b": lambda node, container: all("base" in element for element in node["element"]),
}
