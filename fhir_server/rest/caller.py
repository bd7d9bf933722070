"""Who calls: the Authorization header → a Grant, once a request.

With `auth` off every caller of the loopback address may do everything; a token that is sent
all the same is not looked at. The SMART issue puts its tokens here.
"""

from __future__ import annotations

from fhir_server.authorization.grant import Grant
from fhir_server.rest.request import Request

GRANT = "xinglin.grant"
"""Where the worker puts the grant of an asynchronous request; no header of a client has such a name."""

_EVERYONE = Grant.anonymous()


def caller(request: Request) -> Grant:
    """Return the grant of the request's sender, or that of whoever it is carried out for later."""
    grant: Grant = request.environ.get(GRANT, _EVERYONE)
    return grant
