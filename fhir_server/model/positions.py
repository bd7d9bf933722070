"""Where in the text that was sent an element stands: FHIRPath location → line and column (R4/json.html).

XML has its own reading (xml_positions.py); what follows is JSON's.

Asked only when something is wrong. The text is not read token by token: msgspec cuts each object and
array on the way into its members, so the cost is that of the containers on the way, once for all
locations together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import msgspec

from fhir_server.definitions import structures
from fhir_server.model import xml_positions
from fhir_server.model.json_format import BYTE_ORDER_MARK
from fhir_server.outcome import Issue

Place: TypeAlias = tuple[int, int]
"""Line and column, both from 1; the column counts characters."""

_STEP = re.compile(r"(.+?)(?:\[([0-9]{1,9})\])?")
_KEY = re.compile(rb'[\s,]*"(?:[^"\\]|\\.)*"\s*:\s*')
_GAP = re.compile(rb"[\s,]*")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(slots=True)
class _Wanted:
    """What is looked for at an element and below it: numbers of locations, and the next steps."""

    numbers: list[int] = field(default_factory=list)
    steps: dict[str, dict[int | None, _Wanted]] = field(default_factory=dict)

    def all(self) -> Iterator[int]:
        """Yield the numbers here and below."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield from node.numbers
            for found in node.steps.values():
                waiting += found.values()


def placed(issues: Sequence[Issue], data: bytes, prefix: str | None = None) -> tuple[Issue, ...]:
    """Return the issues with the line and column of their elements in `data`, the text that was sent.

    `prefix` is where in the text the resource stands that the expressions begin with, such as
    Parameters.parameter[0].resource. An issue about a resource as a whole gets a place only where a
    rule says so: without one it may be about the request.

    >>> text = b'{"resourceType": "Patient",\\n "gender": "femal"}'
    >>> issue = placed([Issue("error", "code-invalid", "…", "Patient.gender")], text)[0]
    >>> issue.line, issue.column
    (2, 12)
    """
    wanted: list[str | None] = []
    for issue in issues:
        known = issue.line is not None or issue.expression is None
        whole = issue.expression is not None and "." not in issue.expression and issue.rule is None
        if known or (whole and issue.expression != "resourceType"):
            wanted.append(None)
        else:
            wanted.append(issue.expression if prefix is None else issue.within(prefix).expression)
    if not any(wanted):
        return tuple(issues)
    return tuple(
        issue if place is None else replace(issue, line=place[0], column=place[1])
        for issue, place in zip(issues, places(data, wanted), strict=True)
    )


def placed_groups(groups: Sequence[Sequence[Issue]], data: bytes) -> list[tuple[Issue, ...]]:
    """Return what `placed` makes of several groups of issues, for one look through the text."""
    together = iter(placed([issue for group in groups for issue in group], data))
    return [tuple(next(together) for _ in group) for group in groups]


def places(data: bytes, expressions: Sequence[str | None]) -> list[Place | None]:
    """Return where the element of each FHIRPath location begins in a JSON or XML text.

    The value of a choice is found under the name with its type, what stands in `_birthDate` under
    birthDate. For an element that is missing the place is that of the nearest element around it,
    None only for a text that is no JSON object.

    >>> text = b'{"resourceType": "Observation", "valueQuantity": {"value": 1},\\n "_status": {"id": "a"}}'
    >>> places(text, ["Observation.value.value", "Observation.status.id", "Observation.code"])
    [(1, 60), (2, 20), (1, 1)]
    """
    start = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    if data[start : start + 99].lstrip()[:1] == b"<":
        return xml_positions.places(data, expressions)
    offsets: list[int | None] = [None] * len(expressions)
    try:
        opening = _GAP.match(data, start)
        root = msgspec.Raw(data[opening.end() if opening else start :].rstrip())
        _Search(data, offsets).resource(_tree(expressions), root, opening.end() if opening else start)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [None] * len(expressions)
    found = _coordinates(data, start, {offset for offset in offsets if offset is not None})
    return [None if offset is None else found[offset] for offset in offsets]


def _tree(expressions: Sequence[str | None]) -> _Wanted:
    root = _Wanted()
    for number, expression in enumerate(expressions):
        if expression is None:
            continue
        node = root
        steps = expression.split(".")
        for step in steps if steps == ["resourceType"] else steps[1:]:
            match = _STEP.fullmatch(step)
            if match is None:
                break
            index = int(match[2]) if match[2] else None
            node = node.steps.setdefault(match[1], {}).setdefault(index, _Wanted())
        node.numbers.append(number)
    return root


class _Search:
    """Finds offsets of `data` for the numbers of a tree, and keeps them in `offsets`."""

    def __init__(self, data: bytes, offsets: list[int | None]) -> None:
        self.data, self.offsets = data, offsets

    def resource(self, wanted: _Wanted, raw: msgspec.Raw, offset: int) -> None:
        """Find what is wanted of a resource, which names its type itself."""
        self.object(wanted, raw, offset, None)

    def here(self, wanted: _Wanted, offset: int) -> None:
        """Let everything wanted at and below an element be at `offset`."""
        for number in wanted.all():
            self.offsets[number] = offset

    def object(self, wanted: _Wanted, raw: msgspec.Raw, offset: int, type_path: str | None) -> None:
        """Find what is wanted at and below the value `raw` that begins at `offset`."""
        self.here(wanted, offset)  # the nearest element, for what is not found further down
        if not wanted.steps or self.data[offset : offset + 1] != b"{":
            return
        members = _members(raw)
        if type_path is None or "resourceType" in members:
            type_path = _named(members.get("resourceType"))
        starts = self.starts(members, offset)
        fields = structures.fields(type_path) if type_path else {}
        for name, places in wanted.steps.items():
            keys = [key for key, field in fields.items() if field.element.name.removesuffix("[x]") == name]
            key = next((key for key in keys if key in members or f"_{key}" in members), name)
            found = fields.get(key)
            primitive = found is not None and found.primitive
            value = (members.get(key), starts.get(key, 0))
            beside = (members.get(f"_{key}"), starts.get(f"_{key}", 0))
            inner = None if found is None or found.type == "Resource" else found.type
            self.values(places, value, inner, shallow=primitive and beside[0] is not None)
            if beside[0] is not None:
                self.values(places, beside, "Element", extra=value[0] is not None)

    def values(
        self,
        wanted: dict[int | None, _Wanted],
        member: tuple[msgspec.Raw | None, int],
        type_path: str | None,
        *,
        shallow: bool = False,
        extra: bool = False,
    ) -> None:
        """Find what is wanted of one member, an array or not.

        `shallow`: what is below is not looked for here, but beside. `extra`: the element itself has
        a place already, only what is below is looked for.
        """
        raw, offset = member
        if raw is None:
            return
        if self.data[offset : offset + 1] != b"[":
            for index, node in wanted.items():
                if index in (None, 0):
                    self.one(node, raw, offset, type_path, shallow=shallow, extra=extra)
            return
        if not extra:
            for node in wanted.values():
                self.here(node, offset)  # the array, for places that it does not have
        last = max((index for index in wanted if index is not None), default=-1)
        place = offset + 1
        for index, item in enumerate(_items(raw) if last >= 0 else ()):
            gap = _GAP.match(self.data, place)
            place = gap.end() if gap else place
            if index in wanted:
                null = self.data[place : place + 4] == b"null"
                self.one(wanted[index], item, place, type_path, shallow=shallow, extra=extra or null)
            if index == last:
                break
            place += len(memoryview(item))

    def one(
        self,
        wanted: _Wanted,
        raw: msgspec.Raw,
        offset: int,
        type_path: str | None,
        *,
        shallow: bool,
        extra: bool,
    ) -> None:
        """Find what is wanted of one value."""
        if shallow:
            self.here(wanted, offset)
            return
        before = [(number, self.offsets[number]) for number in wanted.numbers]
        self.object(wanted, raw, offset, type_path)
        if extra:
            for number, earlier in before:
                self.offsets[number] = earlier

    def starts(self, members: dict[str, msgspec.Raw], offset: int) -> dict[str, int]:
        """Return where the values of an object begin; members that stand twice end the list."""
        found: dict[str, int] = {}
        place = offset + 1
        for key, raw in members.items():
            match = _KEY.match(self.data, place)
            if match is None:
                break
            place = found[key] = match.end()
            place += len(memoryview(raw))
        return found


def _named(raw: Any) -> str | None:
    """Return the resource type that the member resourceType names, if R4 has it."""
    name = None if raw is None else msgspec.json.decode(raw)
    return name if isinstance(name, str) and structures.is_resource_type(name) else None


def _coordinates(data: bytes, start: int, offsets: set[int]) -> dict[int, Place]:
    """Return line and column of each offset, in one pass."""
    found: dict[int, Place] = {}
    line, column, before = 1, 1, start
    for offset in sorted(offsets):
        breaks = data.count(b"\n", before, offset)
        if breaks:
            line, column = line + breaks, 1
            before = data.rfind(b"\n", before, offset) + 1
        column += len(data[before:offset].decode())
        before = offset
        found[offset] = (line, column)
    return found
