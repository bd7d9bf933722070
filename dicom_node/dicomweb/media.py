"""Which representation a client wants: the Accept header, read tolerantly (PS3.18 8.7, RFC 9110 12.5.1).

Viewers leave quotes out, put parameters in any order and write `*` where a UID is meant; all of that is
understood. What cannot be given is answered with 406 and a list of what can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fhir_server.outcome import NotAcceptable

MULTIPART = "multipart/related"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"

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
    def transfer_syntax(self) -> str | None:
        """Return the transfer syntax asked for; None: not said, or any."""
        stated = self.parameters.get("transfer-syntax")
        return None if stated in (None, "", "*") else stated


def accepted(header: str | None) -> list[Accepted]:
    """Return the media ranges of an Accept header, the preferred ones first.

    >>> [(a.media, a.multipart) for a in accepted("multipart/related; type=application/dicom, */*;q=0.1")]
    [('application/dicom', True), ('*/*', False)]
    """
    found = []
    for match in _RANGE.finditer(header or "*/*"):
        media = match[1].lower()
        parameters = {
            name.lower(): value.strip().strip('"') for name, value in _PARAMETER.findall(match[2] or "")
        }
        quality = _quality(parameters.pop("q", "1"))
        if media == MULTIPART:
            found.append(Accepted(parameters.pop("type", "*/*").lower(), True, parameters, quality))
        else:
            found.append(Accepted(media, False, parameters, quality))
    return sorted((one for one in found if one.quality > 0), key=lambda one: -one.quality)


def allows(pattern: str, media: str) -> bool:
    """Whether a media range covers a media type.

    >>> allows("image/*", "image/png"), allows("image/jpeg", "image/png")
    (True, False)
    """
    if pattern in ("*/*", "*"):
        return True
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


def _quality(text: str) -> float:
    try:
        return max(0.0, min(1.0, float(text)))
    except ValueError:
        return 1.0
