"""What a client sent, as one lean value over the WSGI environment (PEP 3333).

Headers and parameters are looked at when they are asked for, and not before: a read by id
touches four of them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fhir_server.outcome import Invalid

MAX_PARAMETERS = 500  # far above any search that a person or program means

# They steer the answer and are no search criteria (R4/http.html#parameters).
GENERAL_PARAMETERS = frozenset({"_format", "_pretty"})

_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_REPEATABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?\Z")


class Request:
    """A request: method, path, and the rest on demand.

    >>> environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/fhir/Patient", "QUERY_STRING": "name=A%20B"}
    >>> request = Request(environ)
    >>> request.method, request.path, request.parameters
    ('GET', '/fhir/Patient', [('name', 'A B')])
    """

    __slots__ = ("_parameters", "environ", "form", "method", "path", "sent")

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ["PATH_INFO"]
        self._parameters: list[tuple[str, str]] | None = None
        self.sent: bytes | None = None  # the text of a resource once it was read
        self.form: list[tuple[str, str]] = []  # of a search by POST, once it was read

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of the URL, decoded, in the order they came. Raises Invalid when not UTF-8."""
        if self._parameters is None:
            text = self.environ.get("QUERY_STRING", "")
            self._parameters = decode_parameters(text, "the URL") if text else []
        return self._parameters

    def criteria(self) -> list[tuple[str, str]]:
        """Return the parameters without those that only steer the form of the answer."""
        return [pair for pair in [*self.parameters, *self.form] if pair[0] not in GENERAL_PARAMETERS]

    def parameter(self, name: str) -> str | None:
        """Return the last value of a parameter of the URL or the form, or None."""
        if not self.form and not self.environ.get("QUERY_STRING"):
            return None
        for key, value in reversed([*self.parameters, *self.form]):
            if key == name:
                return value
        return None

    def header(self, name: str) -> str | None:
        """Return a header by its CGI name without HTTP_, for instance "IF_MATCH", or None."""
        return self.environ.get(f"HTTP_{name}")

    def own_ids(self) -> list[tuple[str, str]]:
        """Return the headers by which a client finds its request again (R4/http.html#custom).

        Its X-Request-Id is that of the answer. One that we would not use as an id is replaced by ours, and
        comes back as X-Correlation-Id, as one that it sent under this name does.

        >>> Request({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_REQUEST_ID": "a-1"}).own_ids()
        [('X-Request-Id', 'a-1')]
        """
        asked = self.environ.get("HTTP_X_REQUEST_ID")
        correlated = self.environ.get("HTTP_X_CORRELATION_ID")
        ids: list[tuple[str, str]] = []
        if asked and _REQUEST_ID.match(asked):
            ids.append(("X-Request-Id", asked))
        elif asked:
            ids.append(("X-Request-Id", secrets.token_hex(16)))
            correlated = correlated or asked
        if correlated and _REPEATABLE.match(correlated):
            ids.append(("X-Correlation-Id", correlated))
        return ids


def unescaped_utf8(text: str, where: str) -> str:
    """Return what a client meant that sent UTF-8 bytes as they are; PEP 3333 hands each as one character.

    >>> unescaped_utf8("name=MÃ¼ller", "the URL")
    'name=Müller'
    """
    try:
        return text.encode("latin-1").decode()
    except UnicodeError as error:
        raise Invalid(f"{where} is not UTF-8; write ü as %C3%BC") from error


def decode_parameters(text: str, where: str) -> list[tuple[str, str]]:
    """Return the (name, value) pairs of a query string or a form, empty values kept.

    >>> decode_parameters("name=M%C3%BCller&active=", "the URL")
    [('name', 'Müller'), ('active', '')]

    Raises Invalid when escapes are malformed or not UTF-8 and when there are more than MAX_PARAMETERS.
    """
    if not text.isascii():
        text = unescaped_utf8(text, where)
    if "%" in text and (wrong := _NO_ESCAPE.search(text)):
        raise Invalid(f"{wrong[0]!r} in {where} is no %-escape; write a percent sign as %25")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise Invalid(
            f"the parameters of {where} are not UTF-8 once the %-escapes are decoded; write ü as %C3%BC"
        ) from error
    except ValueError as error:
        raise Invalid(f"{where} has more than {MAX_PARAMETERS} parameters", code="too-long") from error
