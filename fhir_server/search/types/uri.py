"""uri search parameters: the whole uri, sign by sign (R4/search.html#uri).

`:above` asks for the uri and every one that is a part of its path before it; `:below` for the uri
and those whose path goes on from it. Both go by whole segments and, as the specification says, are
for RESTful urls and not for urns. A canonical is also found without its version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.outcome import Invalid, NotSupported
from fhir_server.search import values
from fhir_server.search.ast import Parameter
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    Row,
    SearchType,
    Texts,
)

ORDERED_LENGTH = 200  # as for strings: what is longer stands in `long` as well


@dataclass(frozen=True, slots=True)
class UriValue:
    """A uri to look for; `mode` is exact, above or below."""

    mode: str
    text: str


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> UriValue:
    """Read one value of a uri parameter.

    >>> parse("http://a.org/fhir/", "below")
    UriValue(mode='below', text='http://a.org/fhir')
    """
    plain = values.unescape(text)
    if modifier is None:
        return UriValue("exact", plain)
    if "://" not in plain:
        raise Invalid(f":{modifier} follows the path of a url; {plain!r} has none")
    if modifier == "below" and parameter is not None and not has_rows(parameter):
        raise NotSupported(f"{parameter.code}:below is not indexed; ask for the whole uri or use :above")
    return UriValue(modifier, plain.rstrip("/"))


def where(value: UriValue, columns: Columns) -> Match:
    """Return the keys of the uris asked for, or the condition on a row.

    >>> where(UriValue("above", "http://a.org/fhir/Patient"), Columns()).texts[1:4]
    ('http://a.org/fhir/Patient/', 'http://a.org/fhir', 'http://a.org/fhir/')
    """
    if value.mode == "exact":
        return Texts((value.text,))
    if value.mode == "above":
        root, _, path = value.text.partition("://")
        segments = path.split("/")
        urls = ["/".join(segments[:end]) for end in range(len(segments), 0, -1)]
        return Texts(tuple(f"{root}://{url}{slash}" for url in urls for slash in ("", "/")))
    whole = f"coalesce({columns.long}, {columns.value})"
    pattern = value.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    start = pattern if len(value.text) < ORDERED_LENGTH else ""
    return Row(
        f"{columns.value} like %s and ({whole} = %s or {whole} like %s)",
        (start + "%", value.text, pattern + "/%"),
    )


def has_rows(parameter: Parameter) -> bool:
    """Tell whether texts are kept besides keys; not for _profile and _source, which everything has."""
    return not parameter.code.startswith("_")


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the keys and the row of a uri, url or canonical.

    >>> extract(Parameter("ValueSet", "url", "uri"), Environment())("uri", "http://a.org/v")
    ['http://a.org/v', ('http://a.org/v', None)]
    """
    rows = has_rows(parameter)

    def cells(type_name: str, value: Any) -> Sequence[Cell]:
        if not isinstance(value, str) or not value:
            return []
        cells: list[Cell] = [value]
        if type_name == "canonical" and "|" in value:
            cells.append(value.partition("|")[0])
        if rows:
            whole = value if len(value) > ORDERED_LENGTH else None
            cells.append((value[:ORDERED_LENGTH], whole))
        return cells

    return cells


SEARCH_TYPE = SearchType(
    name="uri",
    extract=extract,
    parse=parse,
    where=where,
    table="idx_string",
    columns=Columns(value="value", long="long"),
    modifiers=frozenset({"above", "below"}),
)
