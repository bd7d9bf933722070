"""The Flask blueprint of the FHIR door: every address under /fhir and every method, one rule.

Routes are found by our own table (routes.py): Werkzeug's map would answer wrong methods,
double slashes and trailing slashes by itself, in HTML.
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter, Rule

from fhir_server.rest.door import Door
from fhir_server.rest.routes import BASE


class _Everything(BaseConverter):
    """The rest of a path, whatever it is; Werkzeug's own converter stumbles over //."""

    regex = ".*?"
    part_isolating = False


class _AsItIs(Response):
    """A response that adds nothing of its own: the door has decided on every header."""

    automatically_set_content_length = False
    default_mimetype = None


def blueprint(door: Door) -> Blueprint:
    """Return the blueprint that answers BASE and all below it through `door`."""
    made = Blueprint("fhir", __name__)

    def fhir(path: str = "") -> Response:
        answer = door.answer(request.environ)
        return _AsItIs(answer.body, answer.status, answer.headers)

    def mount(state: BlueprintSetupState) -> None:
        endpoint = f"{state.name}.fhir"
        state.app.url_map.converters["everything"] = _Everything
        for template in (BASE, f"{BASE}/<everything:path>"):
            # no methods named: all of them, so that even an unknown one gets our answer
            state.app.url_map.add(Rule(template, endpoint=endpoint, merge_slashes=False, strict_slashes=True))
        state.app.view_functions[endpoint] = fhir

    made.record_once(mount)
    return made
