"""The FHIR door in front of the Flask application: BASE and all below it never reach Flask.

Routes, errors and headers are our own (routes.py, errors.py, door.py), so Flask's contexts, its
URL map and Werkzeug's response objects would be paid for and not used: 130 of a read's 230 µs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fhir_server.rest.door import Door
from fhir_server.rest.routes import BASE

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def in_front(door: Door, application: Application) -> Application:
    """Return the WSGI application that answers FHIR through `door` and the rest as `application` does."""
    below, fhir = f"{BASE}/", door.wsgi

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(below) or path == BASE:
            return fhir(environ, start_response)
        return application(environ, start_response)

    return wsgi
