"""What a narrative may contain: Narrative.div, txt-1 and txt-2 (R4/narrative.html#xhtml).

The one list, for htmlChecks() and for validation. The text of R4 allows the basic formatting of
HTML 4.0, chapters 7–11 and 15, with `a` and `img`; and forbids what runs, what is loaded as a
stylesheet, and deprecated elements. So, where the formal expressions of txt-1 and the text differ:

- `address`, `bdo` and `kbd` stand in chapters 7–9 and are allowed, though txt-1's XPath forgot them;
- `ins` and `del` (section 9.4, named as the exception), `center`, `font`, `basefont`, `s`, `strike`,
  `u`, `dir` and `menu` (deprecated), `map` and `area` (chapter 13) are not;
- attributes are those of the XPath, for any element, and XHTML's own xml:lang and xml:space.

White space is XML's: a no-break space is content.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html.entities import name2codepoint
from typing import Any
from xml.parsers import expat

NAMESPACE = "http://www.w3.org/1999/xhtml"
_XML = "http://www.w3.org/XML/1998/namespace"
_SEPARATOR = " "
_SPACE = " \t\r\n"

_ELEMENTS = """
    div span h1 h2 h3 h4 h5 h6 address
    bdo
    em strong dfn code samp kbd var cite abbr acronym blockquote q sub sup p br pre
    ul ol li dl dt dd
    table caption thead tbody tfoot colgroup col tr th td
    tt i b big small hr
    a img
"""
"""A line a chapter: 7, 8, 9, 10, 11, 15, and what the text adds."""
_ATTRIBUTES = """
    abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff
    charset cite class colspan compact coords dir frame headers height href hreflang hspace id lang
    longdesc name nowrap rel rev rowspan rules scope shape span src start style summary tabindex title
    type valign value vspace width
"""
ELEMENTS = frozenset(_ELEMENTS.split())
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
XML_ATTRIBUTES = frozenset({"lang", "space"})
_ADDRESSES = frozenset({"href", "src", "cite", "longdesc"})
_RUNS = re.compile(r"\s*(?:javascript|vbscript|data\s*:\s*(?!image/(?!svg)))", re.IGNORECASE)
_STYLE_RUNS = re.compile(r"expression\s*\(|javascript:|@import|behaviou?r\s*:|-moz-binding", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20]+")
MAX_DEPTH = 100  # as deep as a browser or a printer of ours will follow
MAX_FOUND = 20


def problems(text: Any) -> tuple[str, ...]:
    """Return what breaks txt-1 in a narrative's div, else what breaks txt-2; nothing if it is right.

    >>> problems('<div xmlns="http://www.w3.org/1999/xhtml"><p>Anna &amp; Li&nbsp;</p></div>')
    ()
    >>> problems('<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>')
    ('<script> is not allowed in a narrative (line 1)',)
    >>> problems('<div xmlns="http://www.w3.org/1999/xhtml"> </div>')
    ('a narrative has some text or an image; this one is empty',)
    """
    found, has_content = _read(text)
    return found if found or has_content else ("a narrative has some text or an image; this one is empty",)


def is_safe(text: Any) -> bool:
    """Return whether a narrative's div is right."""
    found, has_content = _read(text)
    return has_content and not found


def checked(text: Any) -> tuple[bool, bool]:
    """Return whether a narrative's div keeps txt-1 and txt-2.

    >>> checked('<div xmlns="http://www.w3.org/1999/xhtml"><u>x</u></div>')
    (False, True)
    """
    return _checked(text) if isinstance(text, str) else (False, False)


@lru_cache(maxsize=1)  # txt-1 and txt-2 ask about the same text one after the other
def _checked(text: str) -> tuple[bool, bool]:
    found, has_content = _read(text)
    return not found, has_content


def _read(text: Any) -> tuple[tuple[str, ...], bool]:
    if not isinstance(text, str):
        return ("a narrative is a text",), False
    reader = _Reader()
    try:
        # As bytes: expat would refuse a text with half of a surrogate pair in another way.
        reader.parser.Parse(text.strip(_SPACE).encode("utf-8", "surrogatepass"), True)
    except _Refused as refusal:
        reader.found.append(str(refusal))
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        reader.found.append(f"not well-formed XHTML: {what} (line {error.lineno}, column {error.offset + 1})")
    return tuple(dict.fromkeys(reader.found)), reader.has_content


class _Refused(Exception):
    """No reason to read on."""


class _Reader:
    """Collects what is wrong while expat reads."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.has_content = False
        self.depth = 0
        self.parser = expat.ParserCreate("utf-8", namespace_separator=_SEPARATOR)
        # XHTML's entities (&nbsp;) have no declaration here: with a foreign DTD they are skipped, not errors.
        self.parser.UseForeignDTD(True)
        self.parser.ExternalEntityRefHandler = lambda *_: 1
        self.parser.SkippedEntityHandler = self.entity
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.ProcessingInstructionHandler = self.instruction
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.XmlDeclHandler = self.declaration

    def problem(self, what: str) -> None:
        self.found.append(f"{what} (line {self.parser.CurrentLineNumber})")
        if len(self.found) >= MAX_FOUND:
            raise _Refused("and more; only the first problems are listed")

    def doctype(self, *_: object) -> None:
        raise _Refused("a narrative has no document type declaration")

    def declaration(self, *_: object) -> None:
        raise _Refused("a narrative is a <div> and not a document with an XML declaration")

    def entity(self, name: str, is_parameter: bool) -> None:
        if is_parameter:
            return  # the foreign DTD itself
        self.has_content = True
        if name not in name2codepoint:
            self.problem(f"&{name}; is no entity of XHTML")

    def instruction(self, target: str, _: str) -> None:
        self.problem(f"<?{target}?> is not allowed in a narrative")

    def text(self, text: str) -> None:
        if not self.has_content and text.strip(_SPACE):
            self.has_content = True

    def end(self, _: str) -> None:
        self.depth -= 1

    def start(self, qualified: str, attributes: dict[str, str]) -> None:
        namespace, _, name = qualified.rpartition(_SEPARATOR)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"a narrative may have {MAX_DEPTH} levels of elements")
        if self.depth == 1 and (name != "div" or namespace != NAMESPACE):
            self.problem(f'a narrative is a <div xmlns="{NAMESPACE}">, not <{name} xmlns="{namespace}">')
        elif name not in ELEMENTS or namespace != NAMESPACE:
            self.problem(f"<{name}> is not allowed in a narrative")
        if name == "img" and attributes.get("src"):
            self.has_content = True
        for qualified_name, value in attributes.items():
            self.attribute(name, qualified_name, value)

    def attribute(self, element: str, qualified: str, value: str) -> None:
        namespace, _, name = qualified.rpartition(_SEPARATOR)
        if namespace == _XML and name in XML_ATTRIBUTES:
            return
        if namespace or name not in ATTRIBUTES:
            self.problem(f"the attribute {name} of <{element}> is not allowed in a narrative")
        elif (name in _ADDRESSES and _RUNS.match(_CONTROL.sub("", value))) or (
            name == "style" and _STYLE_RUNS.search(value)
        ):
            self.problem(f"the {name} of <{element}> would run something")
