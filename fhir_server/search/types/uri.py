"""uri search parameters: the whole uri, sign by sign (R4/search.html#uri).

`:above` asks for the uri and every one that is a part of its path before it; `:below` for the uri
and those whose path goes on from it. Both go by whole segments and, as the specification says, are
for RESTful urls and not for urns; a fragment (`http://a.org/lab#request7` of _source) is below its url.
A canonical is also found without its version; `url|1.2` with `:below` and `:above` is by version, as of
references.

For `:below` texts are kept in their order, but not for _profile and _source, which everything has:
there the resources are looked at one after the other, so give another criterion with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.schema.names import TENANT, VERSION
from fhir_server.search import keys, values
from fhir_server.search.ast import Parameter
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    OnResource,
    Row,
    SearchType,
    Texts,
)

ORDERED_LENGTH = 200  # as for strings: what is longer stands in `long` as well


@dataclass(frozen=True, slots=True)
class UriValue:
    """A uri to look for; `mode` is exact, above, below, or of versions above-version or below-version.

    `member` is that of Resource.meta where it stands, for what is not kept in order.
    """

    mode: str
    text: str
    member: str | None = None


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> UriValue:
    """Read one value of a uri parameter.

    >>> parse("http://a.org/fhir/", "below")
    UriValue(mode='below', text='http://a.org/fhir', member=None)
    """
    plain = values.unescape(text)
    if modifier is None:
        return UriValue("exact", plain)
    if "|" in plain:
        return UriValue(f"{modifier}-version", plain)
    if "://" not in plain:
        raise Invalid(f":{modifier} follows the path of a url; {plain!r} has none")
    member = parameter.code[1:] if parameter is not None and not has_rows(parameter) else None
    return UriValue(modifier, plain.rstrip("/"), member)


def where(value: UriValue, columns: Columns) -> Match:
    """Return the keys of the uris asked for, or the condition on a row.

    >>> where(UriValue("above", "http://a.org/fhir/Patient"), Columns()).texts[1:4]
    ('http://a.org/fhir/Patient/', 'http://a.org/fhir', 'http://a.org/fhir/')
    """
    if value.mode == "exact":
        return Texts((value.text,))
    url, _, version = value.text.partition("|")
    if value.mode == "below-version":
        return Texts((value.text, f"{keys.BELOW}{value.text}"))
    if value.mode == "above-version":
        return Texts((value.text, *(f"{url}|{beginning}" for beginning in keys.beginnings(version))))
    if value.mode == "above":
        bare, sign, _ = value.text.partition("#")
        if sign:
            return Texts((value.text, *_paths(bare)))
        return Texts(tuple(_paths(value.text)))
    pattern = value.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    further = (value.text, *(f"{pattern}{sign}%" for sign in "/#|"))
    if value.member is not None:
        meta = f"select v.content::jsonb -> 'meta' from {VERSION} v where v.tenant = {TENANT}"
        meta += " and v.pk = {r}.pk and v.version = {r}.version"
        here = f"jsonb_path_query(({meta}), '$.{value.member}[*]') #>> '{{{{}}}}'"
        return OnResource(f"exists (select from (select {here}) m(u) where {_below('u')})", further)
    whole = f"coalesce({columns.long}, {columns.value})"
    start = pattern if len(value.text) < ORDERED_LENGTH else ""
    return Row(f"{columns.value} like %s and {_below(whole)}", (start + "%", *further))


def _below(text: str) -> str:
    return f"({text} = %s or {text} like %s or {text} like %s or {text} like %s)"


def _paths(url: str) -> list[str]:
    """Return a url and all that its path goes on from, each also with a closing slash."""
    root, _, path = url.partition("://")
    segments = path.split("/")
    urls = ["/".join(segments[:end]) for end in range(len(segments), 0, -1)]
    return [f"{root}://{each}{slash}" for each in urls for slash in ("", "/")]


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
            cells += keys.canonical(value)[1:]
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
