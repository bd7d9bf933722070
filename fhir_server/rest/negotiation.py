"""Which media type the answer has: Accept, _format and fhirVersion (R4/http.html#mime-type).

JSON and XML. A request for Turtle alone is answered 406 with the reason, never with JSON that
nobody asked for. A browser, who names XML beside text/html to say that it reads XHTML, has JSON.
"""

from __future__ import annotations

from functools import lru_cache

from fhir_server.outcome import NotAcceptable

FHIR_JSON = "application/fhir+json"
JSON = "application/json"
TEXT_JSON = "text/json"
FHIR_XML = "application/fhir+xml"
XML = "application/xml"
TEXT_XML = "text/xml"
JSON_TYPES = frozenset((FHIR_JSON, JSON, TEXT_JSON))
XML_TYPES = frozenset((FHIR_XML, XML, TEXT_XML))
OURS = (FHIR_JSON, JSON, FHIR_XML, XML, TEXT_XML, TEXT_JSON)
FHIR_VERSIONS = ("4.0", "4.0.1")

_CHARSET = "; charset=utf-8"  # http.html#2.21.0.10.2: answers set it explicitly
DEFAULT = FHIR_JSON + _CHARSET

_FORMATS = {
    "json": FHIR_JSON,
    TEXT_JSON: TEXT_JSON,
    FHIR_JSON: FHIR_JSON,
    "application/fhir json": FHIR_JSON,  # an unescaped + in a URL is a space
    JSON: JSON,
    "xml": FHIR_XML,
    TEXT_XML: TEXT_XML,
    XML: XML,
    FHIR_XML: FHIR_XML,
    "application/fhir xml": FHIR_XML,
}
# the names of DSTU2, which clients of today still send, the CDS Hooks sandbox among them
_OLD_NAMES = {"application/json+fhir": FHIR_JSON, "application/xml+fhir": FHIR_XML}
_KNOWN_ABSENT = {
    "ttl": "Turtle",
    "turtle": "Turtle",
    "text/turtle": "Turtle",
    "application/x-turtle": "Turtle",
    "application/fhir+turtle": "Turtle",
}


@lru_cache(maxsize=512)
def content_type(accept: str | None, format_parameter: str | None) -> str:
    """Return the Content-Type of the answer.

    `_format` wins over Accept; without either it is application/fhir+json. A client that asks
    for application/json, text/json, application/xml or text/xml gets this name back, with the same content.

    >>> content_type("text/html, */*;q=0.1", None)
    'application/fhir+json; charset=utf-8'
    >>> content_type("application/json", None)
    'application/json; charset=utf-8'
    >>> content_type("text/json", None)
    'text/json; charset=utf-8'
    >>> content_type("application/fhir+xml", "json")
    'application/fhir+json; charset=utf-8'
    >>> content_type("application/fhir+json;q=0.5, text/xml", None)
    'text/xml; charset=utf-8'

    Raises NotAcceptable (406) when nothing that the client takes is ours.
    """
    if format_parameter:
        return _from_format(format_parameter)
    if not accept or accept == "*/*":
        return DEFAULT
    best: tuple[float, int, int, str] | None = None
    refused_version: str | None = None
    ranges = [_media_range(text) for text in accept.split(",") if text.strip()]
    browser = any(media_type == "text/html" for media_type, _ in ranges)
    for order, ours in enumerate(OURS):
        if browser and ours in (XML, TEXT_XML):
            continue
        specific, quality, suffix = -1, 0.0, ""
        for media_type, parameters in ranges:
            rank = _specificity(media_type, ours)
            version = parameters.get("fhirversion")
            if rank >= 0 and version is not None and version not in FHIR_VERSIONS:
                refused_version = version
                continue
            if rank > specific:
                specific, quality = rank, _quality(parameters)
                suffix = f"; fhirVersion={version}" if version else ""
        if specific >= 0 and quality > 0:
            candidate = (quality, specific, -order, ours + suffix)
            best = candidate if best is None or candidate > best else best
    if best is None:
        raise _not_acceptable(accept, [media_type for media_type, _ in ranges], refused_version)
    return best[3] + _CHARSET


def _from_format(text: str) -> str:
    media_type, parameters = _media_range(text)
    version = parameters.get("fhirversion")
    if media_type not in _FORMATS or (version is not None and version not in FHIR_VERSIONS):
        raise _not_acceptable(f"_format={text}", [media_type], version)
    return _FORMATS[media_type] + _CHARSET


def _not_acceptable(asked: str, media_types: list[str], version: str | None) -> NotAcceptable:
    absent = sorted({_KNOWN_ABSENT[media_type] for media_type in media_types if media_type in _KNOWN_ABSENT})
    if absent:
        reason = f"{' and '.join(absent)} is not written by this server yet"
    elif version is not None and version not in FHIR_VERSIONS:
        reason = f"this server speaks FHIR 4.0 (R4), not fhirVersion={version}"
    else:
        reason = "this server writes JSON and XML only"
    return NotAcceptable(f"{asked!r} was asked for; {reason}; ask for {FHIR_JSON} or {FHIR_XML}")


def is_xml(content_type: str) -> bool:
    """Return whether a Content-Type of ours is one of XML.

    >>> is_xml("text/xml; charset=utf-8"), is_xml(DEFAULT)
    (True, False)
    """
    return "xml" in content_type


def _media_range(text: str) -> tuple[str, dict[str, str]]:
    """Split one media range into its type and its parameters, names in lower case.

    >>> _media_range('Application/FHIR+json; q=0.5; fhirVersion="4.0"')
    ('application/fhir+json', {'q': '0.5', 'fhirversion': '4.0'})
    >>> _media_range("application/json+fhir")[0]
    'application/fhir+json'
    """
    media_type, *rest = text.split(";")
    parameters = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if equals:
            parameters[name.strip().lower()] = value.strip().strip('"')
    name = media_type.strip().lower()
    return _OLD_NAMES.get(name, name), parameters


def media_type_of(text: str) -> tuple[str, dict[str, str]]:
    """Return type and parameters of a Content-Type header."""
    return _media_range(text)


def takes(accept: str | None, format_parameter: str | None, native: str) -> str | None:
    """Return the FHIR Content-Type in which a Binary is wanted, None where its own content is.

    R4/binary.html: as a resource where a FHIR type is asked for by name, else in its own media type.

    >>> takes("*/*", None, "application/pdf"), takes("application/fhir+json", None, "application/pdf")
    (None, 'application/fhir+json; charset=utf-8')
    >>> takes("application/pdf;q=0.5, application/fhir+xml", None, "application/pdf")
    'application/fhir+xml; charset=utf-8'

    Raises NotAcceptable (406) where neither is taken.
    """
    own = _media_range(native)[0]
    if format_parameter:
        return None if _media_range(format_parameter)[0] == own else _from_format(format_parameter)
    ranges = [_media_range(text) for text in (accept or "*/*").split(",") if text.strip()]
    by_rank = [(_specificity(media_type, own), _quality(parameters)) for media_type, parameters in ranges]
    rank, quality = max(by_rank, default=(-1, 0.0))
    quality = quality if rank >= 0 else 0.0
    browser = any(media_type == "text/html" for media_type, _ in ranges)
    ours = (FHIR_JSON, FHIR_XML) if browser else OURS
    best = max((_quality(parameters) for media_type, parameters in ranges if media_type in ours), default=0.0)
    if quality > best or (quality == best > 0 and rank == 2):
        return None
    return content_type(accept, None)


def _specificity(media_range: str, ours: str) -> int:
    if media_range == ours:
        return 2
    if media_range.endswith("/*") and media_range != "*/*":
        return 1 if ours.startswith(media_range[:-1]) else -1
    return 0 if media_range in ("*/*", "*") else -1


def _quality(parameters: dict[str, str]) -> float:
    """Return the weight of a media range (RFC 9110 12.4.2); one that cannot be read counts as 1."""
    try:
        return min(max(float(parameters.get("q", "1")), 0.0), 1.0)
    except ValueError:
        return 1.0
