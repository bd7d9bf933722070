"""Media types: `:below` finds them by their base part (R4/search.html#mimetype)."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.outcome import Invalid
from fhir_server.search.parse import parse
from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause


def document(id: str, *types: str) -> dict[str, Any]:
    content = [{"attachment": {"contentType": each}} for each in types]
    return {"resourceType": "DocumentReference", "id": id, "content": content}


DOCUMENTS = (
    document("plain", "text/xml"),
    document("more", "text/xml; charset=UTF-8"),
    document("upper", "Text/XML;charset=x"),
    document("other", "text/xmlish"),
    document("both", "image/png", "text/xml;a=b"),
    document("picture", "image/jpeg"),
    document("none"),
)


@clause("R4/search.html#mimetype", ":below finds media types by their base part, whatever comes behind it")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("contenttype=text/xml", ["plain"]),
        ("contenttype:below=text/xml", ["plain", "more", "upper", "both"]),
        ("contenttype:below=TEXT/xml", ["plain", "more", "upper", "both"]),
        ("contenttype:below=image", ["both", "picture"]),
        ("contenttype:below=image/*", ["both", "picture"]),
        ("contenttype:below=image/png,text/xmlish", ["other", "both"]),
        ("contenttype:below=text/x", []),
        ("contenttype:below=text/xml&contenttype:below=image", ["both"]),
        ("contenttype=text/xml; charset=UTF-8", ["more"]),
        ("contenttype:missing=true", ["none"]),
    ],
)
def test_below(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"DocumentReference?{query}", *DOCUMENTS) == ids


@clause("R4/search.html#mimetype", "what is no base part of a media type is refused")
@pytest.mark.parametrize("text", ["text/xml; charset=UTF-8", "*/*", "text/", "a/b/c"])
def test_refused(text: str) -> None:
    with pytest.raises(Invalid, match="asks for the base part of a media type"):
        parse("DocumentReference", [("contenttype:below", text)])


@clause("R4/search.html#token", "no bar with ContactPoints, uris and booleans: refused, no empty answer")
@pytest.mark.parametrize(
    ("type_name", "code", "text"),
    [
        ("Patient", "phone", "phone|555"),
        ("Patient", "telecom", "http://a.org|555"),
        ("Patient", "active", "http://a.org|true"),
    ],
)
def test_bars(type_name: str, code: str, text: str) -> None:
    with pytest.raises(Invalid, match="which have no system; ask for"):
        parse(type_name, [(code, text)])
    assert parse(type_name, [(code, text.partition("|")[2])]).clauses
