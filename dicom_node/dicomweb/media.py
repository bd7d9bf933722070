"""Which representation a client wants: the Accept header, read tolerantly (PS3.18 8.7, RFC 9110 12.5.1).

Viewers leave quotes out, put parameters in any order and write `*` where a UID is meant; all of that is
understood. What cannot be given is answered with 406 and a list of what can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fhir_server.outcome import NotAcceptable

MULTIPART = "multipart/related"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
ANY_SYNTAX = "*"
LONGEST_KNOWN = 400

_FORMER = {"image/x-jls": "image/jls", "image/x-dicom-rle": "image/dicom-rle", "image/j2c": "image/jp2"}
"""Names that media types had before they were registered; clients still use them."""

_PARAMETER = re.compile(r';\s*([A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,]*)')
_RANGE = re.compile(r'\s*([^;,\s]+)((?:\s*;\s*[A-Za-z-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,]*))*)\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Accepted:
    """One media range. For multipart/related, `media` is the type of its parts."""

    media: str
    multipart: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def transfer_syntax(self) -> str:
        """Return the transfer syntax asked for, ANY_SYNTAX, or nothing where it is left to us.

        Nothing is the default of the media type (PS3.18 8.7.3.5.2), but for a range such as */*,
        which takes whatever there is.
        """
        stated = self.parameters.get("transfer-syntax", "")
        return ANY_SYNTAX if not stated and "*" in self.media else stated


def accepted(header: str | None) -> Sequence[Accepted]:
    """Return the media ranges of an Accept header, the preferred ones first.

    >>> [(a.media, a.multipart) for a in accepted("multipart/related; type=application/dicom, */*;q=0.1")]
    [('application/dicom', True), ('*/*', False)]
    """
    text = header or "*/*"
    return _known(text) if len(text) <= LONGEST_KNOWN else _ranges(text)


def _ranges(header: str) -> Sequence[Accepted]:
    found = []
    for match in _RANGE.finditer(header):
        media = match[1].lower()
        parameters = _parameters(match[2] or "")
        quality = _quality(parameters.pop("q", "1"))
        if media == MULTIPART:
            # some clients put the parameters of the part's type inside the quotes, as of a whole media type
            kind, _, inner = parameters.pop("type", "*/*").partition(";")
            parameters = {**_parameters(f";{inner}"), **parameters}
            found.append(Accepted(kind.strip().lower() or "*/*", True, parameters, quality))
        else:
            found.append(Accepted(media, False, parameters, quality))
    return tuple(sorted((one for one in found if one.quality > 0), key=lambda one: -one.quality))


_known = lru_cache(maxsize=256)(_ranges)
"""A client says the same in every request."""


def allows(pattern: str, media: str) -> bool:
    """Whether a media range covers a media type.

    >>> allows("image/*", "image/png"), allows("image/jpeg", "image/png")
    (True, False)
    """
    if pattern in ("*/*", "*"):
        return True
    pattern = _FORMER.get(pattern, pattern)
    main, _, sub = pattern.partition("/")
    return media == pattern or (sub == "*" and media.startswith(f"{main}/"))


def choose(ranges: Sequence[Accepted], offered: Sequence[str]) -> str:
    """Return the single-part media type that suits best. Raises NotAcceptable."""
    for wanted in ranges:
        if not wanted.multipart:
            for media in offered:
                if allows(wanted.media, media):
                    return media
    raise NotAcceptable(
        f"none of the accepted media types can be given; this address gives {', '.join(offered)}"
    )


def _parameters(text: str) -> dict[str, str]:
    """Return the parameters of a media range; of one that is said twice the last."""
    return {name.lower(): value.strip().strip('"') for name, value in _PARAMETER.findall(text)}


def _quality(text: str) -> float:
    try:
        return max(0.0, min(1.0, float(text)))
    except ValueError:
        return 1.0
