"""Doors in front of the Flask application: what is asked of their addresses never reaches Flask.

Routes, errors and headers of a door are its own (FHIR: routes.py, errors.py, door.py), so Flask's contexts
and its URL map would be paid for and not used: 130 of a read's 230 µs, a tenth of a CDS call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def in_front(base: str, door: Application, application: Application) -> Application:
    """Return the application that answers `base` and all below it by `door`, the rest by another."""
    below = f"{base}/"

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(below) or path == base:
            return door(environ, start_response)
        return application(environ, start_response)

    return wsgi
