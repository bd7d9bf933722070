"""XML Patch (RFC 5261) on the elements of a resource in XML (R4/http.html#patch).

A patch is read once (`operations`) and applied to an ElementTree (`apply`). Selectors are those of the
RFC, and in predicates also ways as `[f:system/@value='urn:x']`: elements of FHIR have attributes and no
text. The prefixes f (FHIR) and h (XHTML) need no declaration, names without prefix are those of the
patch's default namespace, or of FHIR where it has none. Two things of the RFC are not there: processing
instructions, which resources have none of, and changing declarations of namespaces (adding one is
passed over), which in a tree of names say nothing.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fhir_server.model.json_patch import MAX_OPERATIONS
from fhir_server.outcome import Invalid, TooCostly, Unprocessable

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
MAX_DEPTH = 128
MAX_VISITS = 5_000_000
"""Elements that the selectors of one patch may look at."""

_PREFIXES = {"": FHIR, "f": FHIR, "h": XHTML}
MAX_SELECTOR = 2_000  # characters
_NAME = r"[^\W\d][\w.\-]*"
_INNER = r"\[[^\]'\"]*(?:'[^']*'|\"[^\"]*\")?\s*\]"
_INNER_ONE = re.compile(_INNER)
_STEP = re.compile(rf"(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME}|\*)(?P<rest>(?:{_INNER})*)")
_LEAF = re.compile(
    rf"@(?:(?P<prefix>{_NAME}):)?(?P<attribute>{_NAME})"
    r"|(?P<kind>text|comment)\(\)(?:\[(?P<number>[0-9]{1,9})\])?"
)
_PREDICATE = re.compile(
    r"\[\s*(?:(?P<number>[0-9]{1,9})"
    r"|(?P<way>[^=\s]+)\s*=\s*(?P<quote>['\"])(?P<value>.*?)(?P=quote))\s*\]",
    re.DOTALL,
)
_ID = re.compile(r"id\(\s*(['\"])(.*?)\1\s*\)")
_PART = re.compile(r"'[^']*'|\"[^\"]*\"|.", re.DOTALL)

Node: TypeAlias = ElementTree.Element
Place: TypeAlias = tuple[str, Node, Any]
"""What a selector found: an element or comment and its parent, an element and the name of its attribute or
the place of a text in it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `number` from 0, `content` an element around the nodes that it puts in."""

    number: int
    op: str
    selector: str
    content: Node
    position: str
    type: str
    whitespace: str
    prefixes: dict[str, str]

    def __str__(self) -> str:
        return f"operation {self.number} ({self.op} {self.selector[:120]!r})"


class _Builder(ElementTree.TreeBuilder):
    """Builds a patch, and remembers which prefixes each operation may use."""

    def __init__(self) -> None:
        super().__init__(insert_comments=True)
        self.depth = 0
        self.scopes: list[dict[str, str]] = []
        self._prefixes: list[tuple[str, str]] = []

    def doctype(self, *_: object) -> None:
        raise Invalid("the patch has a document type; XML of FHIR has none (R4/xml.html)")

    def start_ns(self, prefix: str, uri: str) -> None:
        self._prefixes.append((prefix or "", uri))

    def end_ns(self, prefix: str) -> None:
        self._prefixes.pop()

    def start(self, tag: Any, attrs: Any) -> Node:
        self.depth += 1
        if self.depth == 2:
            self.scopes.append({**_PREFIXES, **dict(self._prefixes)})
        if self.depth > MAX_DEPTH:
            raise Invalid(f"the patch nests deeper than {MAX_DEPTH} levels")
        return super().start(tag, attrs)

    def end(self, tag: str) -> Node:
        self.depth -= 1
        return super().end(tag)


def operations(data: bytes, most: int = MAX_OPERATIONS) -> tuple[Operation, ...]:
    """Return the operations of an XML Patch document: add, replace and remove below one root.

    >>> operations(b"<diff><remove sel='f:Patient/f:active'/></diff>")[0].selector
    'f:Patient/f:active'

    Raises Invalid (400) for what is no patch, TooCostly (422) for more than `most` operations.
    """
    builder = _Builder()
    parser = ElementTree.XMLParser(target=builder)
    try:
        parser.feed(data)
        root = parser.close()
    except ElementTree.ParseError as error:
        raise Invalid(f"the patch is not XML: {error}") from None
    members = [node for node in root if isinstance(node.tag, str)]
    if not members:
        raise Invalid("the patch has no operation; it has add, replace and remove below its root (RFC 5261)")
    if len(members) > most:
        raise TooCostly(
            f"the patch has {len(members)} operations; at most {most} are taken, send it in several patches"
        )
    return tuple(
        _operation(number, node, scope)
        for number, (node, scope) in enumerate(zip(members, builder.scopes, strict=True))
    )


_ATTRIBUTES = {"add": {"sel", "pos", "type"}, "replace": {"sel"}, "remove": {"sel", "ws"}}


def _operation(number: int, node: Node, prefixes: dict[str, str]) -> Operation:
    op = node.tag.rpartition("}")[2]
    known = _ATTRIBUTES.get(op)
    if known is None:
        raise Invalid(f"operation {number} is <{op}>; it can be {', '.join(_ATTRIBUTES)}")
    if strange := [name for name in node.attrib if name not in known and not name.startswith("{")]:
        raise Invalid(f"operation {number} ({op}) has the attribute {strange[0]!r}; it takes {sorted(known)}")
    selector = (node.get("sel") or "").strip()
    if not selector and op != "add":
        raise Invalid(f"operation {number} ({op}) has no sel, which says what it changes")
    if len(selector) > MAX_SELECTOR:
        raise Invalid(f"operation {number} ({op}): sel has more than {MAX_SELECTOR} characters")
    position, space = node.get("pos", ""), node.get("ws", "")
    if position not in ("", "prepend", "before", "after") or space not in ("", "before", "after", "both"):
        raise Invalid(
            f"operation {number} ({op}): pos can be prepend, before or after, ws before, after or both"
        )
    kind = node.get("type", "")
    return Operation(number, op, selector, node, position, kind, space, prefixes)


def apply(root: Node | None, patch: Sequence[Operation]) -> Node:
    """Return the tree as the operations change it, one after the other; the tree itself is changed.

    Raises Unprocessable (422) for an operation that cannot be carried out, Invalid (400) for a selector
    that cannot be read.
    """
    if root is None:
        raise Unprocessable("there is nothing that the patch could change")
    document = ElementTree.Element("")
    document.append(root)
    visits = [MAX_VISITS]
    for operation in patch:
        _Target(document, operation, visits).change()
    return document[0]


class _Target:
    """The document, an element around its root, for the length of one operation."""

    def __init__(self, document: Node, operation: Operation, visits: list[int]) -> None:
        self.document, self.operation, self.visits = document, operation, visits

    def change(self) -> None:
        """Carry out the operation."""
        operation = self.operation
        kind, node, key = self._selected()
        if operation.op == "remove":
            self._remove(kind, node, key)
        elif operation.op == "replace":
            self._replace(kind, node, key)
        elif operation.type:
            self._add_attribute(kind, node)
        elif operation.position in ("before", "after"):
            if kind not in ("element", "comment") or key is self.document:
                raise self._refused("siblings can be added to elements below the root and to comments only")
            index = list(key).index(node) + (operation.position == "after")
            self._insert(key, index, after=operation.position == "after")
        elif kind != "element":
            raise self._refused(f"it finds a {kind}; nodes are added to an element")
        else:
            prepend = operation.position == "prepend"
            self._insert(node, 0 if prepend else len(node), after=prepend)

    def _insert(self, parent: Node, index: int, *, after: bool = False) -> None:
        """Put the content in front of a child.

        What is put behind a node (or first of all) comes before the text that follows there.
        """
        content = self.operation.content
        nodes = [_copied(one) for one in content]
        for node, original in zip(nodes, content, strict=True):
            node.tail = original.tail
        if after:
            behind = _text_before(parent, index)
            _set_text_before(parent, index, content.text or "")
            if nodes:
                nodes[-1].tail = (nodes[-1].tail or "") + behind
            else:
                _set_text_before(parent, index, (content.text or "") + behind)
        else:
            _set_text_before(parent, index, _text_before(parent, index) + (content.text or ""))
        parent[index:index] = nodes

    def _add_attribute(self, kind: str, node: Node) -> None:
        wanted = self.operation.type
        if kind != "element":
            raise self._refused(f"it finds a {kind}; attributes are added to an element")
        if wanted.startswith("namespace::"):
            return  # a tree of names has no declarations, and needs none
        if not wanted.startswith("@"):
            raise Invalid(f"{self.operation} has the type {wanted!r}; it can be @name or namespace::prefix")
        name = self._name(*_prefixed(wanted[1:]), attribute=True)
        if name in node.attrib:
            raise self._refused(f"the attribute {wanted[1:]} is there already, {node.get(name)!r}")
        node.set(name, self._plain())

    def _plain(self) -> str:
        """Return the content, which is text."""
        if len(self.operation.content):
            raise self._refused("its content has elements where text is expected")
        return self.operation.content.text or ""

    def _only(self, comment: bool) -> Node:
        """Return the one element or comment that is the content."""
        content = self.operation.content
        if len(content) != 1 or (not isinstance(content[0].tag, str)) is not comment:
            raise self._refused(f"its content must be one {'comment' if comment else 'element'}")
        return _copied(content[0])

    def _replace(self, kind: str, node: Node, key: Any) -> None:
        if kind == "attribute":
            node.set(key, self._plain())
        elif kind == "text":
            _set_text_before(node, key, self._plain())
        else:
            made = self._only(kind == "comment")
            made.tail = node.tail
            key[list(key).index(node)] = made

    def _remove(self, kind: str, node: Node, key: Any) -> None:
        if kind == "attribute":
            del node.attrib[key]
        elif kind == "text":
            _set_text_before(node, key, "")
        elif key is self.document:
            raise self._refused("it finds the whole resource; DELETE removes that")
        else:
            index = list(key).index(node)
            before, after = _text_before(key, index), node.tail or ""
            if self.operation.whitespace in ("before", "both"):
                before = self._gone(before)
            if self.operation.whitespace in ("after", "both"):
                after = self._gone(after)
            del key[index]
            _set_text_before(key, index, before + after)

    def _gone(self, text: str) -> str:
        if text.strip() or not text:
            raise self._refused("ws asks for white space beside the node, and there is none")
        return ""

    def _selected(self) -> Place:
        """Return the one node that the selector finds."""
        found = list(self._find())
        if len(found) != 1:
            what = f"finds {len(found)} nodes" if found else "finds nothing"
            raise self._refused(f"the selector {what} in the resource; it must find one")
        return found[0]

    def _find(self) -> Iterator[Place]:
        text = self.operation.selector
        steps = _steps(text.removeprefix("/"))
        parents: dict[Node, Node] = {}
        found: list[Node] = [self.document]
        if steps and (by_id := _ID.fullmatch(steps[0])):
            parents = {child: node for node in self.document.iter() for child in node}
            self._visit(len(parents))
            found = [node for node in parents if node.get("id") == by_id[2]]
            steps = steps[1:]
        elif not steps:
            found, parents = list(self.document), {self.document[0]: self.document}
        for number, step in enumerate(steps):
            if number == len(steps) - 1 and (leaf := _LEAF.fullmatch(step)):
                yield from self._leaves(found, leaf)
                return
            parents = {child: node for node in found for child in self._step(node, step)}
            found = list(parents)
        yield from (("element", node, parents[node]) for node in found)

    def _step(self, node: Node, step: str) -> list[Node]:
        """Return the children that a step names."""
        parsed = _STEP.fullmatch(step)
        if parsed is None:
            raise Invalid(
                f"{self.operation}: {step!r} is no step of a selector; write for example "
                "f:Patient/f:name[1]/f:family/@value (RFC 5261 section 4.1)"
            )
        self._visit(len(node))
        if parsed["name"] == "*":
            found = [child for child in node if isinstance(child.tag, str)]
        else:
            name = self._name(parsed["prefix"], parsed["name"])
            found = [child for child in node if child.tag == name]
        for predicate in _INNER_ONE.findall(parsed["rest"]):
            found = self._filtered(found, predicate)
        return found

    def _filtered(self, nodes: list[Node], text: str) -> list[Node]:
        parsed = _PREDICATE.fullmatch(text)
        if parsed is None:
            raise Invalid(f"{self.operation}: {text} is no predicate; [2] and [@value='x'] are")
        if parsed["number"]:
            place = int(parsed["number"])
            return nodes[place - 1 : place] if place else []
        return [node for node in nodes if parsed["value"] in self._strings(node, parsed["way"])]

    def _strings(self, node: Node, way: str) -> Iterable[str]:
        """Return the texts of what a predicate names: `.`, an attribute, or what stands below."""
        *steps, last = way.split("/")
        found = [node]
        for step in steps:
            found = [child for one in found for child in self._step(one, step)]
        if last == ".":
            return ["".join(one.itertext()) for one in found]
        if last.startswith("@"):
            name = self._name(*_prefixed(last[1:]), attribute=True)
            return [one.attrib[name] for one in found if name in one.attrib]
        return ["".join(child.itertext()) for one in found for child in self._step(one, last)]

    def _leaves(self, nodes: list[Node], leaf: re.Match[str]) -> Iterator[Place]:
        """Yield the attribute, texts or comments that the last step names."""
        number = int(leaf["number"]) if leaf["number"] else None
        for node in nodes:
            self._visit(len(node))
            if leaf["attribute"]:
                name = self._name(leaf["prefix"], leaf["attribute"], attribute=True)
                if name in node.attrib:
                    yield "attribute", node, name
                continue
            places: list[Place] = (
                [("text", node, place) for place in range(len(node) + 1) if _text_before(node, place)]
                if leaf["kind"] == "text"
                else [("comment", child, node) for child in node if not isinstance(child.tag, str)]
            )
            yield from places if number is None else places[number - 1 : number] if number else []

    def _name(self, prefix: str | None, name: str, *, attribute: bool = False) -> str:
        """Return a name as the tree has it."""
        if attribute and not prefix:
            return name
        uri = self.operation.prefixes.get(prefix or "")
        if uri is None:
            raise Invalid(f"{self.operation}: the prefix {prefix!r} is not declared in the patch")
        return f"{{{uri}}}{name}" if uri else name

    def _visit(self, nodes: int) -> None:
        self.visits[0] -= nodes + 1
        if self.visits[0] < 0:
            raise TooCostly(f"the selectors look at more than {MAX_VISITS} elements; send a smaller patch")

    def _refused(self, why: str) -> Unprocessable:
        return Unprocessable(f"{self.operation} cannot be carried out: {why}")


def _steps(selector: str) -> list[str]:
    """Return the steps of a selector; a slash in a predicate or in quotation marks is part of its step.

    >>> _steps("f:a[f:b/@value='/']/@value")
    ["f:a[f:b/@value='/']", '@value']
    """
    steps, inside = [""], 0
    for part in _PART.findall(selector):
        inside += (part == "[") - (part == "]")
        if part == "/" and not inside:
            steps.append("")
        else:
            steps[-1] += part
    return steps if selector else []


def _prefixed(name: str) -> tuple[str | None, str]:
    prefix, colon, local = name.partition(":")
    return (prefix, local) if colon else (None, name)


def _copied(node: Node) -> Node:
    made = ElementTree.Element(node.tag, dict(node.attrib))
    made.text = node.text
    for child in node:
        inner = _copied(child)
        inner.tail = child.tail
        made.append(inner)
    return made


def _text_before(parent: Node, index: int) -> str:
    """Return the text in front of a child, or behind the last one."""
    return (parent.text if index == 0 else parent[index - 1].tail) or ""


def _set_text_before(parent: Node, index: int, text: str) -> None:
    if index == 0:
        parent.text = text or None
    else:
        parent[index - 1].tail = text or None


def read(data: bytes) -> Node:
    """Return a document that is ours as a tree, comments included."""
    return ElementTree.fromstring(
        data, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    )


def written(node: Node) -> bytes:
    """Return a tree as XML; each namespace is declared where it begins, without a prefix.

    >>> written(read(b'<a:Patient xmlns:a="http://hl7.org/fhir"><a:active value="true"/></a:Patient>'))
    b'<Patient xmlns="http://hl7.org/fhir"><active value="true"/></Patient>'
    """
    parts: list[str] = []
    _write(node, "", parts)
    return "".join(parts).encode()


def _write(node: Node, around: str, parts: list[str]) -> None:
    tag: Any = node.tag  # of a comment it is a function
    if not isinstance(tag, str):
        parts.append(f"<!--{node.text or ''}-->")
        return
    uri, _, name = tag[1:].rpartition("}") if tag[:1] == "{" else ("", "", tag)
    parts.append(f"<{name}")
    if uri != around:
        parts.append(f' xmlns="{uri.translate(_ESCAPES)}"')
    for number, (key, value) in enumerate(node.attrib.items()):
        if key[:1] == "{":
            space, _, key = key[1:].rpartition("}")
            prefix = "xml" if space == "http://www.w3.org/XML/1998/namespace" else f"n{number}"
            parts.append("" if prefix == "xml" else f' xmlns:{prefix}="{space.translate(_ESCAPES)}"')
            key = f"{prefix}:{key}"
        parts.append(f' {key}="{value.translate(_ESCAPES)}"')
    if not len(node) and not node.text:
        parts.append("/>")
        return
    parts.append(f">{(node.text or '').translate(_TEXT)}")
    for child in node:
        _write(child, uri, parts)
        parts.append((child.tail or "").translate(_TEXT))
    parts.append(f"</{name}>")


_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
