"""TYPES: every search parameter type by its name in R4/valueset-search-param-type.html."""

from __future__ import annotations

from fhir_server.search.types import (
    composite,
    date,
    near,
    number,
    quantity,
    reference,
    special,
    string,
    token,
    uri,
    words,
)
from fhir_server.search.types.protocol import Types

SIMPLE: Types = {
    "string": string.SEARCH_TYPE,
    "token": token.SEARCH_TYPE,
    "reference": reference.SEARCH_TYPE,
    "date": date.SEARCH_TYPE,
    "number": number.SEARCH_TYPE,
    "quantity": quantity.SEARCH_TYPE,
    "uri": uri.SEARCH_TYPE,
    "near": near.SEARCH_TYPE,
    "words": words.SEARCH_TYPE,
    "special": special.SEARCH_TYPE,
}
TYPES: Types = {**SIMPLE, "composite": composite.search_type(SIMPLE)}
