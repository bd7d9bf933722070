"""The `div` of a narrative between JSON's text and XML's elements (R4/narrative.html#xhtml, R4/xml.html).

In both forms it is the same text, character for character, wherever that text says all by itself: its
namespace is declared on the div and no prefix comes from outside. R4's XML has no entities of XHTML
(`&nbsp;`); they are read as the characters that they stand for, and written so.
"""

from __future__ import annotations

import re
from html.entities import name2codepoint
from xml.parsers import expat

from fhir_server.model.xml_plan import XHTML, XML

_OWN = frozenset({"amp", "lt", "gt", "quot", "apos"})
# What is not closed goes to the end: else each opening of a hostile text would be looked for so far.
_ENTITY = re.compile(r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|&([A-Za-z][A-Za-z0-9]*);", re.DOTALL)
_MARKUP = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)"
    rb"|<(?:[\w.-]+:)?div(?=[\s/>])[^>]*(?:>|\Z)|</(?:[\w.-]+:)?div\s*>|&[A-Za-z]\w*;",
    re.DOTALL,
)
_FOREIGN_ENTITY = re.compile(rb"&(?!amp;|lt;|gt;|quot;|apos;)[A-Za-z]")
START_TAG = re.compile(rb"""<[^\s/>]+(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


class IllFormed(Exception):
    """A div that no XML document can hold; the reason."""


def _character(match: re.Match[str]) -> str:
    name = match[1]
    if name is None or name in _OWN or name not in name2codepoint:
        return match[0]
    return chr(name2codepoint[name])


def spelled_out(document: bytes) -> bytes:
    """Return a document with characters for the entities of XHTML that stand in its narratives.

    >>> spelled_out(b'<a b="&nbsp;"><div>1&nbsp;2 &lt;</div></a>').decode()
    '<a b="&nbsp;"><div>1\\xa02 &lt;</div></a>'
    """
    if not _FOREIGN_ENTITY.search(document):
        return document
    depth = 0

    def replaced(match: re.Match[bytes]) -> bytes:
        nonlocal depth
        found = match[0]
        if found.startswith(b"&"):
            return _ENTITY.sub(_character, found.decode()).encode() if depth else found
        if found.startswith(b"</"):
            depth -= 1
        elif not found.startswith(b"<!") and not found.endswith(b"/>"):
            depth += 1
        return found

    return _MARKUP.sub(replaced, document)


def as_xml(div: str) -> str:
    """Return the XML of a narrative's div.

    >>> as_xml("<div>A&nbsp;B</div>")
    '<div xmlns="http://www.w3.org/1999/xhtml">A\\xa0B</div>'

    Raises IllFormed for what is not well-formed, or no div.
    """
    text = div.strip(" \t\r\n")
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    if not text.startswith("<") or text[1:2] in "!?":
        raise IllFormed("a narrative begins with <div>")
    root: list[str] = []
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")

    def first(name: str, _: dict[str, str]) -> None:
        root.append(name)
        parser.StartElementHandler = None

    parser.StartElementHandler = first
    try:
        parser.Parse(text.encode(), True)
    except UnicodeEncodeError as error:
        raise IllFormed("half of a surrogate pair") from error
    except expat.ExpatError as error:
        raise IllFormed(f"not well-formed XHTML: {expat.ErrorString(error.code)}") from error
    if root == ["div"]:
        return f'<div xmlns="{XHTML}"{text[4:]}'
    if root != [f"{XHTML} div"]:
        raise IllFormed("a narrative is a <div> of XHTML")
    return text


class Rebuilt:
    """A div written again from what expat tells of it, where the text does not stand by itself."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._open: list[tuple[str, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Open an element; names are namespace, local name and perhaps prefix."""
        namespace, local = _split(name)
        around = self._open[-1][0] if self._open else ""
        self._open.append((namespace, local))
        declared = f' xmlns="{namespace}"' if namespace != around else ""
        rest = "".join(
            f' {_attribute(name)}="{value.translate(_ATTRIBUTE)}"' for name, value in attributes.items()
        )
        self._parts.append(f"<{local}{declared}{rest}>")

    def end(self) -> None:
        """Close the element that was opened last."""
        self._parts.append(f"</{self._open.pop()[1]}>")

    def characters(self, text: str) -> None:
        """Write text."""
        self._parts.append(text.translate(_TEXT))

    def text(self) -> str:
        """Return the div."""
        return "".join(self._parts)


def _split(name: str) -> tuple[str, str]:
    parts = name.split(" ")
    return (parts[0], parts[1]) if len(parts) > 1 else ("", name)


def _attribute(name: str) -> str:
    """Return the name of an attribute; those of other namespaces keep it as a prefix that is refused."""
    namespace, local = _split(name)
    if namespace == XML:
        return f"xml:{local}"
    return f'xmlns:p="{namespace}" p:{local}' if namespace else local
