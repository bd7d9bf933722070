"""`:below` on codes that are media types (R4/search.html#mimetype): `contenttype:below=text/xml`.

A media type is found by its base part, whatever parameters come behind it (`text/xml; charset=UTF-8`), and by
its top-level type, `image` or `image/*`. Case does not matter there (RFC 9110 8.3.1). Such values leave keys
of their own for both, so that the index answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from fhir_server.outcome import Invalid
from fhir_server.search import keys
from fhir_server.search.ast import Parameter

_CONTENT_TYPE = re.compile(r"\bcontentType\s*\)?$")
_BASE = re.compile(r"([\w!#$&^.+-]+)(?:/([\w!#$&^.+-]+|\*))?", re.ASCII)


@lru_cache(maxsize=4096)
def is_media_type(parameter: Parameter) -> bool:
    """Tell whether the values of a parameter are media types: R4 has them in elements called contentType.

    >>> is_media_type(Parameter("Library", "content-type", "token", "Library.content.contentType"))
    True
    """
    return parameter.expression is not None and bool(_CONTENT_TYPE.search(parameter.expression))


def texts(value: str) -> Sequence[str]:
    """Return the key texts under which `:below` finds a media type.

    >>> [text.removeprefix(keys.BELOW) for text in texts("Text/XML; charset=UTF-8")]
    ['text/xml', 'text/']
    """
    base = value.partition(";")[0].strip().lower()
    top, slash, _ = base.partition("/")
    return (keys.BELOW + base, f"{keys.BELOW}{top}/") if top and slash else ()


def below(text: str) -> str:
    """Return the key text that `:below` asks for.

    >>> below("text/xml").removeprefix(keys.BELOW), below("image/*").removeprefix(keys.BELOW)
    ('text/xml', 'image/')

    Raises Invalid (400) for what is no media type without parameters.
    """
    found = _BASE.fullmatch(text.strip().lower())
    if found is None:
        raise Invalid(f":below asks for the base part of a media type, text/xml, or image/*; got {text!r}")
    top, sub = found[1], found[2]
    return f"{keys.BELOW}{top}/{'' if sub in (None, '*') else sub}"
