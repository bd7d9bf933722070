"""What a narrative may contain (R4/narrative.html#xhtml, invariants txt-1 and txt-2)."""

from __future__ import annotations

from functools import lru_cache
from html.entities import name2codepoint
from typing import Any
from xml.parsers import expat

_XHTML = "http://www.w3.org/1999/xhtml"
# The basic formatting of XHTML 1.0 chapters 7–11 (without section 4 of 9) and 15, a and img.


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TAGS = _words(
    """a abbr acronym address b bdo big blockquote br caption cite code col colgroup dd del dfn div dl dt
    em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q s samp small span strike strong sub sup table
    tbody td tfoot th thead tr tt u ul var center font"""
)
_COMMON = _words("id class title style lang xml:lang dir accesskey tabindex")
_ATTRIBUTES = {
    "a": _words("href name charset hreflang type rel rev shape coords target"),
    "img": _words("src alt longdesc height width usemap ismap align border hspace vspace"),
    "blockquote": _words("cite"),
    "q": _words("cite"),
    "ins": _words("cite datetime"),
    "del": _words("cite datetime"),
    "table": _words("summary width border frame rules cellspacing cellpadding align bgcolor"),
    "font": _words("size color face"),
    "ol": _words("type start compact"),
    "ul": _words("type compact"),
    "li": _words("type value"),
    "pre": _words("width xml:space"),
    "br": _words("clear"),
    "hr": _words("align noshade size width"),
}
_CELL = _words(
    """align char charoff valign span width height abbr axis headers scope rowspan colspan nowrap
    bgcolor"""
)
_BLOCK_ALIGN = _words("div p h1 h2 h3 h4 h5 h6 caption")
_TABLE_PARTS = _words("col colgroup thead tbody tfoot tr td th")
_ENTITIES = frozenset(name2codepoint)


class _Refused(Exception):
    pass


def problem(xhtml: Any) -> str | None:
    """Return what is wrong with the tags of a narrative's div (txt-1), or None.

    >>> problem('<div xmlns="http://www.w3.org/1999/xhtml"><p>Hello</p></div>')
    >>> problem('<div xmlns="http://www.w3.org/1999/xhtml"><script>1</script></div>')
    '<script> is not allowed in a narrative'
    """
    return _checked(xhtml)[0]


def has_content(xhtml: Any) -> bool:
    """Say whether a narrative shows a text or an image (txt-2).

    >>> has_content('<div xmlns="http://www.w3.org/1999/xhtml"> </div>')
    False
    """
    return _checked(xhtml)[1]


@lru_cache(maxsize=64)  # txt-1 and txt-2 ask about the same text one after the other
def _checked(xhtml: Any) -> tuple[str | None, bool]:
    if not isinstance(xhtml, str):
        return "a narrative is a text", False
    checks = _Checks()
    parser = expat.ParserCreate(encoding="utf-8")
    parser.StartElementHandler = checks.start
    parser.EndElementHandler = checks.end
    parser.CharacterDataHandler = checks.text
    parser.StartDoctypeDeclHandler = checks.doctype
    parser.ProcessingInstructionHandler = checks.instruction
    parser.UseForeignDTD(True)  # &nbsp; and its like are skipped instead of refused; nothing is loaded
    parser.SkippedEntityHandler = checks.entity
    try:
        parser.Parse(xhtml.strip().encode("utf-8", "surrogatepass"), True)
    except _Refused as refusal:
        return str(refusal), checks.has_content
    except expat.ExpatError as error:
        return f"not well-formed XML: {error}", checks.has_content
    return None, checks.has_content


class _Checks:
    def __init__(self) -> None:
        self.depth = 0
        self.has_content = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > 100:
            raise _Refused("a narrative may have 100 levels of tags")
        if self.depth == 1 and (tag != "div" or attributes.get("xmlns") != _XHTML):
            raise _Refused(f"a narrative is one <div xmlns={_XHTML!r}>")
        if tag not in _TAGS:
            raise _Refused(f"<{tag}> is not allowed in a narrative")
        if tag == "img" and attributes.get("src"):
            self.has_content = True
        for name, value in attributes.items():
            if name == "xmlns":
                if value != _XHTML:
                    raise _Refused(f"the namespace {value!r} is not allowed in a narrative")
            elif not _allows(tag, name):
                raise _Refused(f"<{tag} {name}> is not allowed in a narrative")
            elif name in ("href", "src") and value.strip().lower().startswith(("javascript:", "vbscript:")):
                raise _Refused("a narrative has no scripts")

    def end(self, tag: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        if not self.has_content and not data.isspace():
            self.has_content = True

    def doctype(self, *_: object) -> None:
        raise _Refused("a narrative has no DOCTYPE")

    def instruction(self, target: str, data: str) -> None:
        raise _Refused("a narrative has no processing instructions")

    def entity(self, name: str, is_parameter: bool) -> None:
        if name not in _ENTITIES:
            raise _Refused(f"the entity &{name}; is not known")
        self.has_content = True


def _allows(tag: str, name: str) -> bool:
    if name in _COMMON or name in _ATTRIBUTES.get(tag, ()):
        return True
    return (tag in _TABLE_PARTS and name in _CELL) or (tag in _BLOCK_ALIGN and name == "align")
