"""FHIR XML → the values of FHIR JSON, by what R4's definitions say of each element (R4/xml.html).

expat reads, and one look at a table says what an element is. There is no document type and so no
entity of one; narratives pass as they are written. Readings where R4 leaves a choice:

- the order of elements is not insisted upon, it says nothing that JSON could not say without;
- `xml:id` is taken for `id`, and attributes of the namespace of schema instances are passed over;
- `xml:lang` belongs into narratives; elsewhere it is refused, because it would be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from fhir_server.definitions import structures
from fhir_server.model.json_format import BYTE_ORDER_MARK, MAX_DEPTH
from fhir_server.model.xml_narrative import START_TAG, Rebuilt, spelled_out
from fhir_server.model.xml_plan import (
    COMPLEX,
    CONTAINER,
    PRIMITIVE,
    RESOURCE,
    XML,
    XSI,
    Slot,
    plan,
    resources,
)
from fhir_server.model.xml_words import CONVERSIONS, malformed, shown, stray_attribute, stray_element
from fhir_server.outcome import Invalid, Issue

MAX_ISSUES = 20
MAX_NARRATIVE_DEPTH = 100
_SPACE = " \t\r\n"
_NOTHING: dict[str, Slot] = {}
_DOCUMENT = Slot("", "", CONTAINER, "Resource", False, 0, 0)
_ENCODINGS = ("utf-8", "utf8", "us-ascii")


class Enough(Exception):
    """No reason to read on: what is wrong is told."""


def parse(data: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the resource in an XML document, in the form of FHIR JSON.

    >>> parse(b'<Patient xmlns="http://hl7.org/fhir"><name><given/><given value="B"/></name></Patient>')
    Traceback (most recent call last):
    fhir_server.outcome.Invalid: line 1, column 52: the element is empty; ...
    >>> parse(b'<Patient xmlns="http://hl7.org/fhir"><active value="true" id="a"/></Patient>')
    {'resourceType': 'Patient', 'active': True, '_active': {'id': 'a'}}
    >>> parse(b'<Patient xmlns="http://hl7.org/fhir"><birthdate value="1970"/></Patient>')
    Traceback (most recent call last):
    fhir_server.outcome.Invalid: line 1, column 38: <birthdate> is no element of Patient; ...

    Raises Invalid, naming line and column, for what is not XML in UTF-8, for a document type, other
    namespaces, elements and attributes that R4 does not have, numbers that are none, and for what
    would nest deeper than `max_depth` in JSON.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if b"\0" in data[:4] or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        what = "line 1, column 1: not UTF-8 (UTF-16?); FHIR is UTF-8 (R4/http.html#mime-type)"
        raise Invalid(issues=[Issue("error", "invalid", what, rule="xml-syntax")])
    data = spelled_out(data)
    reader = Reader(data, max_depth)
    try:
        reader.parser.Parse(data, True)
    except Enough:
        pass
    except expat.ExpatError as error:
        reader.issues.append(malformed(data, error))
    finally:
        del reader.parser  # it knows the reader: together they would stay until the next collection
    if reader.issues:
        raise Invalid(issues=reader.issues)
    reader.leave_out_nulls()
    found: dict[str, Any] = reader.document[""]
    return found


class Reader:
    """Builds the resource while expat reads.

    The element that is open: `names` are its children, `value` its object (None for a primitive or
    an element around a resource that is still empty), `slot` its place. `waiting` are those around it.
    """

    def __init__(self, data: bytes, max_depth: int) -> None:
        self.data, self.max_depth = data, max_depth
        self.issues: list[Issue] = []
        self.document: dict[str, Any] = {}
        self.hollow: dict[tuple[int, str], dict[str, Any]] = {}
        self.names: dict[str, Slot] = resources().by_name
        self.value: dict[str, Any] | None = None
        self.slot: Slot | None = _DOCUMENT
        self.depth = 0
        self.bare = False
        self.prefixes = False
        self.waiting: list[tuple[dict[str, Slot], dict[str, Any] | None, Slot | None, int]] = [
            ({}, self.document, None, 0)
        ]
        self.parser = parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self.doctype
        parser.XmlDeclHandler = self.declaration
        parser.StartNamespaceDeclHandler = self.prefix
        self.listen()

    def listen(self) -> None:
        """Let expat tell of FHIR's elements."""
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters

    def leave_out_nulls(self) -> None:
        """Take away arrays of values without a value: only `_given` is there then."""
        for (_, key), holder in self.hollow.items():
            if not any(value is not None for value in holder[key]):
                del holder[key]

    # What expat tells

    def doctype(self, *_: object) -> None:
        self.problem(
            "a document type declaration is not allowed; leave <!DOCTYPE …> out", "invalid", "xml-syntax"
        )
        raise Enough

    def declaration(self, version: str, encoding: str | None, _: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            self.problem(
                f"the document says encoding={shown(encoding)}; FHIR is UTF-8", "invalid", "xml-syntax"
            )
            raise Enough

    def prefix(self, prefix: str | None, uri: str | None) -> None:
        if prefix is not None and uri != XSI:
            self.prefixes = True

    def start(self, name: str, attributes: dict[str, str]) -> None:
        slot = self.names.get(name)
        if slot is None:
            self.unusual(name, attributes)
            return
        kind = slot.kind
        holder = self.value
        if holder is None and kind != RESOURCE:
            holder = self.beside()
        self.waiting.append((self.names, holder, self.slot, self.depth))
        self.depth += slot.weight
        self.slot = slot
        if kind == PRIMITIVE:
            assert holder is not None
            self.names, self.value = _ELEMENT, None
            value: Any = attributes.get("value")
            self.bare = value is None
            if value is not None:
                convert = CONVERSIONS.get(slot.type)
                if convert is not None:
                    value = self.converted(convert, value)
            key = slot.key
            if slot.many:
                if key in holder:
                    holder[key].append(value)
                    if slot.beside in holder:
                        holder[slot.beside].append(None)
                else:
                    holder[key] = [value]
                if value is None:
                    self.hollow[id(holder), key] = holder
            elif key in holder or slot.beside in holder:
                self.twice(slot)
            elif value is not None:
                holder[key] = value
            if self.bare or len(attributes) > 1:
                self.attributes(attributes, ("id", "value"))
            return
        if self.depth > self.max_depth:
            self.problem(f"nested deeper than {self.max_depth} levels", rule="limit-depth")
            raise Enough
        if kind == COMPLEX:
            assert holder is not None
            made: dict[str, Any] = {}
            below = plan(slot.type)
            self.names, self.value = below.by_name, made
            if not slot.many:
                if slot.key in holder:
                    self.twice(slot)
                holder[slot.key] = made
            elif slot.key in holder:
                holder[slot.key].append(made)
            else:
                holder[slot.key] = [made]
            if attributes:
                self.attributes(attributes, below.attributes)
        elif kind == RESOURCE:
            self.resource(slot, holder, attributes)
        elif kind == CONTAINER:
            self.names, self.value = resources().by_name, None
            if attributes:
                self.attributes(attributes, ())
        else:
            self.narrative(slot, name, attributes)

    def end(self, _: str) -> None:
        slot, value = self.slot, self.value
        if value is None and slot is not None:
            if slot.kind == PRIMITIVE and self.bare:
                self.problem("the element is empty; it has a value, or extensions that say why there is none")
            elif slot.kind == CONTAINER:
                self.problem(f"<{slot.key}> is empty; a resource is expected in it")
        self.names, self.value, self.slot, self.depth = self.waiting.pop()
        self.bare = False

    def characters(self, text: str) -> None:
        if self.slot is not None and text.strip(_SPACE):
            found = text.strip(_SPACE)[:20]
            self.problem(f'text is not allowed here: {found!r}; values stand in attributes: value="…"')

    # What elements come to

    def beside(self) -> dict[str, Any]:
        """Return the object of ids and extensions beside the primitive that is open, made now."""
        assert self.slot is not None
        made: dict[str, Any] = {}
        self.value = made
        key, beside = self.slot.key, self.slot.beside
        holder = self.waiting[-1][1]
        assert holder is not None
        if not self.slot.many:
            holder[beside] = made
        elif beside in holder:
            holder[beside][-1] = made
        else:
            holder[beside] = [None] * (len(holder[key]) - 1) + [made]
        return made

    def resource(self, slot: Slot, before: dict[str, Any] | None, attributes: dict[str, str]) -> None:
        """Begin a resource: the document, or the one that `contained` or `resource` is around."""
        around = self.waiting[-1][2]
        assert around is not None
        if before is not None:
            self.problem(f"<{around.key}> holds a second resource; each has a <{around.key}> of its own")
        made: dict[str, Any] = {"resourceType": slot.type}
        self.waiting[-1] = (self.waiting[-1][0], made, around, self.waiting[-1][3])
        holder = self.waiting[-2][1]
        assert holder is not None
        if not around.many:
            if around.key in holder and before is None:
                self.twice(around)
            holder[around.key] = made
        else:
            holder.setdefault(around.key, []).append(made)
        below = plan(slot.type)
        self.names, self.value = below.by_name, made
        if attributes:
            self.attributes(attributes, below.attributes)

    def narrative(self, slot: Slot, name: str, attributes: dict[str, str]) -> None:
        """Read a div: as the text it is, or written again where it needs what is declared outside."""
        parser, holder, data = self.parser, self.waiting[-1][1], self.data
        assert holder is not None
        begin, depth = parser.CurrentByteIndex, 1
        tag = START_TAG.match(data, begin)
        again: Rebuilt | None = None
        if self.prefixes or tag is None or not tag[0].startswith(b"<div") or b"xmlns" not in tag[0]:
            again = Rebuilt()
            again.start(name, attributes)
        if slot.key in holder:
            self.twice(slot)

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            if depth > MAX_NARRATIVE_DEPTH:
                self.problem(
                    f"a narrative may have {MAX_NARRATIVE_DEPTH} levels of elements", rule="limit-depth"
                )
                raise Enough
            if again is not None:
                again.start(name, attributes)

        def end(name: str) -> None:
            nonlocal depth
            depth -= 1
            if again is not None:
                again.end()
            if depth:
                return
            if again is not None or tag is None:
                holder[slot.key] = again.text() if again is not None else ""
            elif tag[0].endswith(b"/>"):
                holder[slot.key] = tag[0].decode()
            else:
                after = data.index(b">", self.parser.CurrentByteIndex) + 1
                holder[slot.key] = data[begin:after].decode()
            self.listen()
            self.value = {}
            self.end(name)

        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler = None if again is None else again.characters

    def attributes(self, attributes: dict[str, str], known: tuple[str, ...]) -> None:
        """Take ids and an extension's url; tell of attributes that are not known."""
        for name, value in attributes.items():
            namespace, _, local = name.partition(" ")
            if not local:
                namespace, local = "", name
            local = local.partition(" ")[0]
            if namespace == XML and local == "id" and "id" in known:
                if attributes.get("id", value) != value:
                    self.problem(
                        f"id is {shown(attributes['id'])!r} and xml:id is {shown(value)!r}; which is meant?"
                    )
                namespace = ""
            if namespace == XSI and local in ("schemaLocation", "noNamespaceSchemaLocation"):
                continue
            if namespace or local not in known:
                where = self.slot.key or self.slot.type if self.slot is not None else ""
                self.problem(stray_attribute(namespace, local, where, known, self.names))
            elif local != "value":
                (self.beside() if self.value is None else self.value)[local] = value

    def converted(self, convert: Callable[[str], Any], text: str) -> Any:
        """Return a boolean or number; tell of a text that is none."""
        try:
            return convert(text)
        except ValueError as error:
            assert self.slot is not None
            what = f"{shown(text)!r} is no {self.slot.type}; {error} is expected"
            self.problem(what, "value", f"format-{self.slot.type}")
            return text

    # What is wrong

    def unusual(self, name: str, attributes: dict[str, str]) -> None:
        """Begin an element with a prefix; tell of one that does not belong here, and pass over it."""
        namespace, _, local = name.partition(" ")
        if not local:
            namespace, local = "", name
        elif " " in local:
            local = local.partition(" ")[0]
            if f"{namespace} {local}" in self.names:
                self.start(f"{namespace} {local}", attributes)
                return
        if self.slot is not None:
            self.problem(stray_element(namespace, local, self.slot, self.names))
            if self.slot is _DOCUMENT:
                raise Enough
        self.waiting.append((self.names, self.value, self.slot, self.depth))
        self.bare = False
        self.names, self.value, self.slot = _NOTHING, {}, None
        if len(self.waiting) > 2 * self.max_depth:
            self.problem(f"nested deeper than {self.max_depth} levels", rule="limit-depth")
            raise Enough

    def twice(self, slot: Slot) -> None:
        """Tell of an element that stands twice and may stand once."""
        self.problem(f"<{slot.key}> stands twice and may stand once; which is meant?")

    def problem(self, what: str, code: str = "structure", rule: str = "xml-structure") -> None:
        """Keep what is wrong, with its place in the text and in the resource."""
        line, column = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1
        text = f"line {line}, column {column}: {what}"
        self.issues.append(Issue("error", code, text, self.path(), rule, line, column))
        if len(self.issues) == MAX_ISSUES:
            raise Enough

    def path(self) -> str | None:
        """Return the FHIRPath of the element that is open."""
        steps: list[str] = []
        frames = [(holder, slot) for _, holder, slot, _ in self.waiting[1:]] + [(None, self.slot)]
        for place, (_, slot) in enumerate(frames):
            if slot is None or slot is _DOCUMENT:
                continue
            if slot.kind == RESOURCE:
                steps = steps or [slot.type]
                continue
            holder = frames[place - 1][0] if place else None
            name = slot.key
            if slot.type and holder is not None:
                members = holder.get(name)
                number = f"[{len(members) - 1}]" if slot.many and isinstance(members, list) else ""
                steps.append(f"{_element_name(slot, frames[place - 1][1])}{number}")
        return ".".join(steps) or None


def _element_name(slot: Slot, around: Slot | None) -> str:
    """Return FHIRPath's name of an element: valueQuantity is value."""
    if around is None or around.kind == CONTAINER:
        return slot.key
    path = "Element" if around.kind == PRIMITIVE else around.type
    field = structures.fields(path).get(slot.key)
    return slot.key if field is None else field.element.name.removesuffix("[x]")


_ELEMENT = plan("Element").by_name
