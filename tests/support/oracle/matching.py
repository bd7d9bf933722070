"""The slow filter: a query string, a heap of resources, the ids that match.

Every resource is looked at for every query; a value is read from it by the hand-written table and
compared in Python. It parses the query string itself and imports nothing of the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl

from tests.support.oracle import filtering, listing, reading, units
from tests.support.oracle.reading import INFINITE, Number, Span
from tests.support.oracle.table import Entry, Place, entries
from tests.support.oracle.table import entry as entry_of
from tests.support.oracle.telling import WITHOUT_NARRATIVE, Heap
from tests.support.oracle.vocabulary import Vocabulary

Resource = dict[str, Any]
Value = tuple[str, Any]  # shape, JSON
Test = Callable[[list[Value]], bool]
RESULT = {"_sort", "_count"}
UCUM = "http://unitsofmeasure.org"
LOCAL = re.compile(r"([A-Z]\w+)/([A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?")


class Oracle:
    """Answers searches over `resources`; `base` is the address of the server they live on."""

    def __init__(
        self, resources: list[Resource], base: str, now: datetime, outer: Oracle | None = None
    ) -> None:
        self.base, self.now = base, now
        self.outer = outer or self  # a chain may lead from what is contained to what stands alone
        self.inner = self
        self.by_type: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            self.by_type.setdefault(resource["resourceType"], {})[resource["id"]] = resource
        self.words = Heap(self.by_type if outer is None else {})
        self._values: dict[tuple[str, str], dict[str, list[Value]]] = {}
        self.vocabulary = outer.vocabulary if outer is not None else Vocabulary(self)
        if outer is None:
            self.inner = Oracle([], base, now, self)
            for each in resources:
                for inside in each.get("contained", []):
                    address = f"{each['resourceType']}/{each['id']}#{inside.get('id')}"
                    self.inner.by_type.setdefault(inside["resourceType"], {})[address] = inside

    def search(self, type_name: str, query: str) -> set[str]:
        """Return the ids of the resources of a type that match a query string."""
        found = set(self.by_type.get(type_name, ()))
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in RESULT:
                found &= self.criterion(type_name, name, text)
        return found

    def criterion(self, type_name: str, name: str, text: str) -> set[str]:
        """Return the ids of the resources that match one pair of name and value."""
        if name.startswith("_has:"):
            return self._has(type_name, name, text)
        if name == "_filter":
            return filtering.Answer(self, text).of(type_name)
        if name in ("_text", "_content"):
            return self.words.found(type_name, name, text)
        if name == "_list":
            names = [reading.plain(each) for each in reading.pieces(text, ",")]
            return listing.listed(self.by_type, type_name, names, self.base)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        entry = entry_of(type_name, code)
        if dot:
            return self._chain(entry, modifier, rest, text)
        test = self._test(entry, modifier, text)
        return {id_ for id_, values in self.values(entry).items() if test(values)}

    def values(self, entry: Entry) -> dict[str, list[Value]]:
        """Return the values of a parameter for each resource of its type."""
        key = (entry.type_name, entry.code)
        if key not in self._values:
            resources = self.by_type.get(entry.type_name, {})
            self._values[key] = {id_: list(_values(entry, each)) for id_, each in resources.items()}
        return self._values[key]

    def _has(self, type_name: str, name: str, text: str) -> set[str]:
        _, holder, code, rest = name.split(":", 3)
        good = self.outer.criterion(holder, rest, text)
        entry = entries()[holder][code]
        pointed = set()
        for id_, values in self.outer.values(entry).items():
            if id_ in good:
                pointed |= {target for _, target in self.outer.pointed(entry, id_, values, {type_name})}
        return pointed & set(self.by_type.get(type_name, ()))

    def pointed(
        self, entry: Entry, id_: str, values: list[Value], kinds: set[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield type and id of what the values of a resource point to; what is contained by its address."""
        for kind, target in self._local(values):
            if kind in kinds:
                yield kind, target
        container = id_.partition("#")[0] if self is not self.outer else f"{entry.type_name}/{id_}"
        for _, value in values:
            text = value.get("reference", "") if isinstance(value, dict) else ""
            if text == "#":
                kind, _, target = container.partition("/")
                yield kind, target
            elif text.startswith("#"):
                yield "#", f"{container}{text}"

    def _chain(self, entry: Entry, target: str, rest: str, text: str) -> set[str]:
        code = rest.partition(".")[0].partition(":")[0]
        good: set[tuple[str, str]] = set()
        for kind in [target] if target else entry.targets:
            known = rest.startswith("_has:") or code in ("_list", "_content")
            known = known or (code == "_text" and kind not in WITHOUT_NARRATIVE)
            if known or code in entries().get(kind, {}):
                good |= {(kind, id_) for id_ in self.outer.criterion(kind, rest, text)}
                good |= {("#", id_) for id_ in self.outer.inner.criterion(kind, rest, text)}
        kinds = {kind for kind, _ in good}
        return {
            id_
            for id_, values in self.values(entry).items()
            if good & set(self.pointed(entry, id_, values, kinds))
        }

    def _local(self, values: list[Value]) -> Iterator[tuple[str, str]]:
        for _, value in values:
            text = value.get("reference", "") if isinstance(value, dict) else ""
            found = LOCAL.fullmatch(text.removeprefix(self.base + "/"))
            if found:
                yield found[1], found[2]

    def _test(self, entry: Entry, modifier: str, text: str) -> Test:
        if modifier == "missing":
            return lambda values: bool(values) == (text == "false")
        alternatives = reading.pieces(text, ",")
        if entry.kind == "composite":
            tests = [self._composite(entry, one) for one in alternatives]
            return lambda values: any(test(element) for _, element in values for test in tests)
        one_tests = [self._one(entry, modifier, one) for one in alternatives]
        if modifier in ("not", "not-in"):
            return lambda values: not any(test(*value) for value in values for test in one_tests)
        return lambda values: any(test(*value) for value in values for test in one_tests)

    def _composite(self, entry: Entry, text: str) -> Callable[[Any], bool]:
        tests = []
        for part, piece in zip(entry.parts, reading.pieces(text, "$"), strict=True):
            tests.append((part, self._one(part, "", piece)))
        return lambda element: all(
            any(test(*value) for value in _values(part, element)) for part, test in tests
        )

    def _one(self, entry: Entry, modifier: str, text: str) -> Callable[[str, Any], bool]:
        match entry.kind:
            case "string":
                return _string_test(modifier, reading.plain(text))
            case "token" if modifier in ("in", "not-in", "below", "above"):
                return _any_coding(self.vocabulary.pairs(modifier, text))
            case "token" if modifier == "text":
                return _text_test(reading.plain(text))
            case "token":
                return _token_test(modifier, text)
            case "reference":
                return self._reference_test(entry, modifier, text)
            case "date":
                return self._date_test(text)
            case "number":
                return _number_test(text)
            case "quantity":
                return _quantity_test(text)
            case "uri":
                return _uri_test(modifier, reading.plain(text))
        raise AssertionError(entry.kind)

    def _date_test(self, text: str) -> Callable[[str, Any], bool]:
        prefix, rest = reading.prefix_of(text)
        asked = reading.date_span(rest)

        def test(shape: str, value: Any) -> bool:
            span = date_of(shape, value)
            return span is not None and reading.date_matches(prefix, asked, span, self.now)

        return test

    def _reference_test(self, entry: Entry, modifier: str, text: str) -> Callable[[str, Any], bool]:
        if modifier == "identifier":
            inner = _token_test("", text)
            return lambda shape, value: "identifier" in value and inner("Identifier", value["identifier"])
        if modifier in ("below", "above"):
            return self._hierarchy_test(entry, modifier, reading.plain(text))
        asked = reading.plain(text).removeprefix(self.base + "/")
        if "/" not in asked and ":" not in asked:
            wanted = {f"{kind}/{asked}" for kind in ([modifier] if modifier else entry.targets)}
        else:
            wanted = {asked}

        def test(shape: str, value: Any) -> bool:
            if isinstance(value, str):
                return value in wanted or value.partition("|")[0] in wanted
            here = value.get("reference", "").removeprefix(self.base + "/")
            return here in wanted or here.partition("/_history/")[0] in wanted

        return test

    def _hierarchy_test(self, entry: Entry, modifier: str, asked: str) -> Callable[[str, Any], bool]:
        """Climb from each resource that is referred to (or from the one asked for) by what it is part of."""
        if entry.places[0].shape == "canonical":
            return lambda shape, value: _versions(modifier, asked, value)
        kinds = [asked.partition("/")[0]] if "/" in asked else list(entry.targets)
        wanted = asked.rpartition("/")[2]

        def test(shape: str, value: Any) -> bool:
            for kind, id_ in self._local([(shape, value)]):
                pair = (id_, wanted) if modifier == "below" else (wanted, id_)
                if kind in kinds and kind in PARTS and pair[1] in self._wholes(kind, pair[0]):
                    return True
            return False

        return test

    def _wholes(self, kind: str, id_: str) -> set[str]:
        found, open_ = {id_}, [id_]
        while open_:
            resource = self.by_type.get(kind, {}).get(open_.pop(), {})
            values = [("Reference", each) for each in walk(Place("Reference", PARTS[kind]), resource)]
            further = {each for other, each in self._local(values) if other == kind} - found
            further &= set(self.by_type.get(kind, ()))
            found |= further
            open_ += further
        return found


PARTS = {"Location": "partOf", "Organization": "partOf", "Encounter": "partOf", "Procedure": "partOf"}


def _versions(modifier: str, asked: str, value: str) -> bool:
    """Say whether one version begins as the other does, part by part."""
    (url, _, version), (other, _, stored) = asked.partition("|"), value.partition("|")
    one, two = version.split(".") if version else [], stored.split(".") if stored else []
    if modifier == "above":
        return url == other and (not one or (bool(two) and one[: len(two)] == two))
    return url == other and two[: len(one)] == one


def _any_coding(pairs: set[tuple[str, str]]) -> Callable[[str, Any], bool]:
    def test(shape: str, value: Any) -> bool:
        shape, _, bound = shape.partition("@")
        if shape == "code":
            return (bound, value) in pairs
        return any(pair in pairs for pair in _pairs(shape, value))

    return test


def _text_test(text: str) -> Callable[[str, Any], bool]:
    def test(shape: str, value: Any) -> bool:
        if shape == "Identifier":
            value = value.get("type", {})
        words = [None if shape == "Coding" else value.get("text")]
        words += [each.get("display") for each in ([value] if shape == "Coding" else value.get("coding", []))]
        return any(reading.folded(word).startswith(reading.folded(text)) for word in words if word)

    return test


def _string_test(modifier: str, text: str) -> Callable[[str, Any], bool]:
    def test(shape: str, value: Any) -> bool:
        for word in _words(shape, value):
            if modifier == "exact":
                if word == text:
                    return True
            elif modifier == "contains":
                if reading.folded(text) in reading.folded(word):
                    return True
            elif reading.folded(word).startswith(reading.folded(text)):
                return True
        return False

    return test


def _words(shape: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        return
    members = {
        "HumanName": ("text", "family", "given", "prefix", "suffix"),
        "Address": ("text", "line", "city", "district", "state", "postalCode", "country"),
    }[shape]
    for member in members:
        inside = value.get(member, [])
        yield from [inside] if isinstance(inside, str) else (word for word in inside if word)


def _token_test(modifier: str, text: str) -> Callable[[str, Any], bool]:
    parts = [reading.plain(part) for part in reading.pieces(text, "|")]
    if modifier == "of-type":
        return lambda shape, value: (
            value.get("value") == parts[2]
            and any(
                (coding.get("system"), coding.get("code")) == (parts[0], parts[1])
                for coding in value.get("type", {}).get("coding", [])
            )
        )
    system, code = (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])

    def test(shape: str, value: Any) -> bool:
        shape, _, bound = shape.partition("@")
        if shape in ("CodeableConcept", "Coding", "Identifier"):
            return any(_coded(system, code, *pair) for pair in _pairs(shape, value))
        if shape == "deceased" or shape == "boolean":
            return not system and code == ("true" if value else "false")
        if shape == "code":
            return (not system or system == bound) and (code in ("", value))
        if shape == "string":
            return not system and code.casefold() == value.casefold()
        return not system and code == (value.get("value") if shape == "ContactPoint" else value)

    return test


def _pairs(shape: str, value: Any) -> list[tuple[str | None, str | None]]:
    if shape == "Identifier":
        return [(value.get("system"), value.get("value"))]
    codings = value.get("coding", []) if shape == "CodeableConcept" else [value]
    return [(coding.get("system"), coding.get("code")) for coding in codings]


def _coded(asked_system: str | None, asked: str, system: str | None, code: str | None) -> bool:
    if asked_system is None:
        return code == asked
    if asked_system == "":
        return system is None and code == asked
    return system == asked_system and asked in ("", code)


def date_of(shape: str, value: Any) -> Span | None:
    """Return the span of a stored date, None where it is none."""
    if shape == "Period":
        return reading.period_span(value)
    if shape == "Timing":
        spans = [reading.date_span(event) for event in value.get("event", [])]
        bounds = reading.period_span(value.get("repeat", {}).get("boundsPeriod", {}))
        spans += [bounds] if bounds else []
        return Span(min(s.low for s in spans), max(s.high for s in spans)) if spans else None
    try:
        return reading.date_span(value)
    except ValueError:
        return None


def number_of(shape: str, value: Any) -> Span | None:
    """Return the span of a stored number: a point, a Range, the values of SampledData."""
    if shape == "Range":
        low, high = value.get("low", {}).get("value"), value.get("high", {}).get("value")
        if low is None and high is None:
            return None
        return Span(-INFINITE if low is None else _exact(low), INFINITE if high is None else _exact(high))
    if shape == "SampledData":
        origin, factor = _exact(value["origin"].get("value", 0)), _exact(value.get("factor", 1))
        points = []
        for word in value.get("data", "").split():
            if word == "L" and "lowerLimit" in value:
                points.append(_exact(value["lowerLimit"]))
            elif word == "U" and "upperLimit" in value:
                points.append(_exact(value["upperLimit"]))
            elif word not in "ELU":
                points.append(_exact(word) * factor + origin)
        return Span(min(points), max(points)) if points else None
    if isinstance(value, dict):
        if "value" not in value:
            return None
        number = _exact(value["value"])
        comparator = value.get("comparator", "")
        low = -INFINITE if "<" in comparator else number
        return Span(low, INFINITE if ">" in comparator else number)
    return Span(_exact(value), _exact(value))


def _exact(number: Any) -> Fraction:
    return Fraction(Decimal(str(number)))


def _number_test(text: str) -> Callable[[str, Any], bool]:
    prefix, rest = reading.prefix_of(text)
    asked = reading.written_number(rest)
    return lambda shape, value: _fits(prefix, asked, number_of(shape, value))


def _fits(prefix: str, asked: Number, span: Span | None) -> bool:
    return span is not None and reading.number_matches(prefix, asked, span)


def _quantity_test(text: str) -> Callable[[str, Any], bool]:
    parts = [reading.plain(part) for part in reading.pieces(text, "|")]
    prefix, rest = reading.prefix_of(parts[0])
    asked = reading.written_number(rest)
    system, unit = (parts[1], parts[2]) if len(parts) == 3 else ("", "")

    def test(shape: str, value: Any) -> bool:
        holder = value
        if shape == "SampledData":
            holder = value["origin"]
        elif shape == "Range":
            holder = value["low"] if "value" in value.get("low", {}) else value.get("high", {})
        span = number_of(shape, value)
        if system and (holder.get("system"), holder.get("code")) != (system, unit):
            if system != UCUM or holder.get("system") != UCUM or span is None:
                return False
            span = _moved(span, holder.get("code", ""), unit)
        if unit and not system and unit not in (holder.get("code"), holder.get("unit")):
            return False
        return _fits(prefix, asked, span)

    return test


def _moved(span: Span, code: str, other: str) -> Span | None:
    """Return a stored span in the unit of the search, None where it measures something else."""
    ends = [end if abs(end) == INFINITE else units.moved(end, code, other) for end in (span.low, span.high)]
    return None if ends[0] is None or ends[1] is None else Span(ends[0], ends[1])


def _uri_test(modifier: str, text: str) -> Callable[[str, Any], bool]:
    def test(shape: str, value: Any) -> bool:
        if modifier and "|" in text:
            return _versions(modifier, text, value)
        whole, asked = value.partition("|")[0] if shape == "canonical" else value, text.rstrip("/")
        if modifier == "below":
            return whole.rstrip("/") == asked or whole.startswith((asked + "/", asked + "#"))
        if modifier == "above":
            return asked == whole.rstrip("/") or asked.startswith((whole.rstrip("/") + "/", whole + "#"))
        return value == text or (shape == "canonical" and value.partition("|")[0] == text)

    return test


def _values(entry: Entry, resource: Any) -> Iterator[Value]:
    for place in entry.places:
        if place.shape == "deceased":
            gone = resource.get("deceasedBoolean", False) or "deceasedDateTime" in resource
            yield "deceased", gone
            continue
        shape, _, kind = place.shape.partition(":")
        only = kind if shape == "Reference" else ""
        for value in walk(place, resource):
            if not only or _points_to(only, value, resource):
                yield (shape if only else place.shape), value


def _points_to(kind: str, value: Any, resource: Resource) -> bool:
    """Say whether a reference is to a resource of a type; what is contained is looked up."""
    text = value.get("reference", "")
    if text.startswith("#"):
        inside = resource.get("contained", [])
        return any((each.get("id"), each["resourceType"]) == (text[1:], kind) for each in inside)
    return f"{kind}/" in text or value.get("type") == kind


def walk(place: Place, resource: Any) -> list[Any]:
    """Return what stands at a path, lists opened."""
    here = [resource]
    for step in [] if place.path == "." else place.path.split("."):
        name, _, condition = step.partition("[")
        following: list[Any] = []
        for node in here:
            inside = node.get(name) if isinstance(node, dict) else None
            following += inside if isinstance(inside, list) else [] if inside is None else [inside]
        if condition:
            member, _, text = condition.rstrip("]").partition("=")
            following = [node for node in following if node.get(member) == text]
        here = following
    return [node for node in here if node is not None]
