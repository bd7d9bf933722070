"""Range requests: a part of a content (RFC 9110 section 14), so that a broken download can go on."""

from __future__ import annotations

import re

from fhir_server.outcome import FhirError
from fhir_server.rest.request import Request

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*\Z")


class RangeNotSatisfiable(FhirError):
    """416: the range begins behind the end; Content-Range tells how long the content is."""

    status, code = 416, "value"
    size_bytes = 0


def asked(request: Request, size_bytes: int, tag: str) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last that are asked for, None for all of them.

    A header with several ranges or another unit is passed over, as a server may (section 14.2); so is one
    whose If-Range names another state.

    >>> asked(Request({"REQUEST_METHOD": "GET", "PATH_INFO": "", "HTTP_RANGE": "bytes=-500"}), 2000, '"a"')
    (1500, 2000)

    Raises RangeNotSatisfiable (416).
    """
    header = request.header("RANGE")
    if header is None or request.method not in ("GET", "HEAD"):
        return None
    condition = request.header("IF_RANGE")
    if condition is not None and condition.strip() != tag:
        return None
    found = _RANGE.match(header.strip().lower())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, stop = max(size_bytes - int(found[2]), 0), size_bytes
    else:
        start, stop = int(found[1]), min(int(found[2]) + 1 if found[2] else size_bytes, size_bytes)
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        error = RangeNotSatisfiable(
            f"{header!r} lies behind the end of the content, which has {size_bytes} bytes"
        )
        error.size_bytes = size_bytes
        raise error
    return start, stop
