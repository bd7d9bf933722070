"""Accept, _format and fhirVersion → the Content-Type of the answer."""

from __future__ import annotations

import pytest

from fhir_server.outcome import NotAcceptable
from fhir_server.rest.negotiation import content_type
from tests.support.clause import clause

FHIR = "application/fhir+json; charset=utf-8"
XML = "application/fhir+xml; charset=utf-8"
PLAIN = "application/json; charset=utf-8"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@clause("R4/http.html#mime-type", "Accept with weights; the generic JSON name is answered with itself")
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, FHIR),
        ("", FHIR),
        ("*/*", FHIR),
        ("application/*", FHIR),
        ("application/fhir+json", FHIR),
        ("APPLICATION/FHIR+JSON", FHIR),
        ("application/json", PLAIN),
        ("application/json, */*", PLAIN),
        ("application/json;q=0.4, application/fhir+json;q=0.5", FHIR),
        ("application/json;q=0.9, application/fhir+json;q=0.5", PLAIN),
        ("application/fhir+xml, application/fhir+json;q=0.1", XML),
        ("application/fhir+xml;q=0.1, application/fhir+json", FHIR),
        ("application/xml", "application/xml; charset=utf-8"),
        ("text/xml", "text/xml; charset=utf-8"),
        ("text/*", "text/xml; charset=utf-8"),
        ("application/fhir+xml; fhirVersion=4.0", "application/fhir+xml; fhirVersion=4.0; charset=utf-8"),
        ("application/fhir+json;q=0, application/*", PLAIN),
        ("application/fhir+json;fhirVersion=4.0", "application/fhir+json; fhirVersion=4.0; charset=utf-8"),
        ("application/fhir+json;fhirVersion=3.0, application/fhir+json;q=0.2", FHIR),
        ("application/fhir+json;q=nonsense", FHIR),
        (BROWSER, FHIR),
    ],
)
def test_accept(accept: str | None, expected: str) -> None:
    assert content_type(accept, None) == expected


@clause("R4/http.html#parameters", "_format overrides Accept")
@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("json", FHIR),
        ("text/json", "text/json; charset=utf-8"),
        ("application/json", PLAIN),
        ("application/fhir+json", FHIR),
        ("application/fhir json", FHIR),
        ("xml", XML),
        ("application/fhir+xml", XML),
        ("application/fhir xml", XML),
        ("text/xml", "text/xml; charset=utf-8"),
        ("application/xml", "application/xml; charset=utf-8"),
    ],
)
def test_format_wins(parameter: str, expected: str) -> None:
    assert content_type("text/turtle", parameter) == expected


@clause("R4/http.html#mime-type", "nothing acceptable: 406, with what would work")
@pytest.mark.parametrize(
    ("accept", "parameter", "says"),
    [
        ("application/fhir+xml; fhirVersion=5.0", None, "fhirVersion=5.0"),
        ("text/turtle", None, "Turtle is not written"),
        ("text/html", None, "JSON and XML only"),
        ("image/png;q=1", None, "JSON and XML only"),
        ("application/fhir+json;q=0", None, "JSON and XML only"),
        ("application/fhir+json; fhirVersion=3.0", None, "fhirVersion=3.0"),
        ("application/fhir+json", "ttl", "Turtle is not written"),
        ("application/fhir+json", "html", "JSON and XML only"),
        ("*/*", "application/fhir+json; fhirVersion=5.0", "fhirVersion=5.0"),
    ],
)
def test_refused(accept: str, parameter: str | None, says: str) -> None:
    with pytest.raises(NotAcceptable) as caught:
        content_type(accept, parameter)
    assert says in str(caught.value)
    assert "application/fhir+json" in str(caught.value)
