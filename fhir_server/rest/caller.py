"""Who calls: the Authorization header → a Grant, once a request.

With `auth` off every caller of the loopback address may do everything; a token that is sent
all the same is not looked at. The SMART issue puts its tokens here.
"""

from __future__ import annotations

from fhir_server.authorization.grant import Grant
from fhir_server.rest.request import Request

_EVERYONE = Grant.anonymous()


def caller(request: Request) -> Grant:
    """Return the grant of the request's sender."""
    return _EVERYONE
