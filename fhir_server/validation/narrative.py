"""Narrative.div: well-formed XHTML of the allowed elements and nothing that runs (R4/narrative.html)."""

from __future__ import annotations

import re
from html.entities import name2codepoint
from xml.parsers import expat

NAMESPACE = "http://www.w3.org/1999/xhtml"
_SEPARATOR = " "

# Constraint txt-1 of Narrative, and the further elements of chapters 7-11 and 15 of HTML 4 that it means.
_ELEMENTS = """
    a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd del dfn div dl dt
    em h1 h2 h3 h4 h5 h6 hr i img ins kbd li map ol p pre q s samp small span strike strong sub sup table
    tbody td tfoot th thead tr tt u ul var
"""
_ATTRIBUTES = """
    abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff
    charset cite class colspan compact coords dir frame headers height href hreflang hspace id lang
    longdesc name nowrap rel rev rowspan rules scope shape span src start style summary tabindex title
    type usemap valign value vspace width
"""
ELEMENTS = frozenset(_ELEMENTS.split())
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
XML_ATTRIBUTES = frozenset({"lang", "space"})
_ADDRESSES = frozenset({"href", "src", "cite", "longdesc", "usemap"})
_RUNS = re.compile(r"\s*(?:javascript|vbscript|data\s*:\s*(?!image/(?!svg)))", re.IGNORECASE)
_STYLE_RUNS = re.compile(r"expression\s*\(|javascript:|@import|behaviou?r\s*:|-moz-binding", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20]+")


def problems(text: str) -> tuple[str, ...]:
    """Return what is wrong with a narrative's div, nothing if it is right.

    >>> problems('<div xmlns="http://www.w3.org/1999/xhtml"><p>Anna &amp; Li&nbsp;</p></div>')
    ()
    >>> problems('<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>')
    ('<script> is not allowed in a narrative (line 1)',)
    """
    if "<!DOCTYPE" in text.upper():
        return ("a narrative has no document type declaration",)
    reader = _Reader()
    try:
        reader.parser.Parse(text, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        return (
            *reader.found,
            f"not well-formed XHTML: {what} (line {error.lineno}, column {error.offset + 1})",
        )
    except RecursionError:
        return ("nested too deep",)
    if not reader.has_content:
        reader.found.append("a narrative has some text or an image; this one is empty")
    return tuple(dict.fromkeys(reader.found))


def is_safe(text: str) -> bool:
    """Return whether a narrative's div is right."""
    return not problems(text)


class _Reader:
    """Collects what is wrong while expat reads."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.has_content = False
        self.depth = 0
        self.parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        # XHTML's entities (&nbsp;) have no declaration here: with a foreign DTD they are skipped, not errors.
        self.parser.UseForeignDTD(True)
        self.parser.ExternalEntityRefHandler = lambda *_: 1
        self.parser.SkippedEntityHandler = self.entity
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.ProcessingInstructionHandler = self.instruction

    def problem(self, what: str) -> None:
        self.found.append(f"{what} (line {self.parser.CurrentLineNumber})")

    def entity(self, name: str, is_parameter: bool) -> None:
        if is_parameter:
            return  # the foreign DTD itself
        self.has_content = True
        if name not in name2codepoint:
            self.problem(f"&{name}; is no entity of XHTML")

    def instruction(self, target: str, _: str) -> None:
        self.problem(f"<?{target}?> is not allowed in a narrative")

    def text(self, text: str) -> None:
        if not text.isspace():
            self.has_content = True

    def end(self, _: str) -> None:
        self.depth -= 1

    def start(self, qualified: str, attributes: dict[str, str]) -> None:
        namespace, _, name = qualified.rpartition(_SEPARATOR)
        self.depth += 1
        if self.depth == 1 and (name != "div" or namespace != NAMESPACE):
            self.problem(f'a narrative is a <div xmlns="{NAMESPACE}">, not <{name} xmlns="{namespace}">')
        elif name not in ELEMENTS or namespace != NAMESPACE:
            self.problem(f"<{name}> is not allowed in a narrative")
        if name == "img" and "src" in attributes:
            self.has_content = True
        for qualified_name, value in attributes.items():
            self.attribute(name, qualified_name, value)

    def attribute(self, element: str, qualified: str, value: str) -> None:
        namespace, _, name = qualified.rpartition(_SEPARATOR)
        if namespace == "http://www.w3.org/XML/1998/namespace" and name in XML_ATTRIBUTES:
            return
        if namespace or name not in ATTRIBUTES:
            self.problem(f"the attribute {name} of <{element}> is not allowed in a narrative")
        elif (name in _ADDRESSES and _RUNS.match(_CONTROL.sub("", value))) or (
            name == "style" and _STYLE_RUNS.search(value)
        ):
            self.problem(f"the {name} of <{element}> would run something")
