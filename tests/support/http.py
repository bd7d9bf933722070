"""A small HTTP client over the WSGI door: JSON in, status, headers and JSON out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from werkzeug.test import Client
from werkzeug.wrappers import Response

from fhir_server.model import json_format

FHIR_JSON = "application/fhir+json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `json` is None for an empty body."""

    status: int
    headers: Any
    data: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON, decimals kept."""
        return json_format.parse(self.data) if self.data else None

    @property
    def issue(self) -> dict[str, Any]:
        """Return the first issue; the body must be an OperationOutcome."""
        outcome = self.json
        assert outcome["resourceType"] == "OperationOutcome", outcome
        first: dict[str, Any] = outcome["issue"][0]
        assert first["severity"]
        assert first["code"]
        assert first["diagnostics"]
        return first


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class FhirClient:
    """Sends requests to a WSGI application; paths are below /fhir unless they begin with a slash."""

    def __init__(self, application: Application) -> None:
        self._client = Client(application, Response)

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **more: Any
    ) -> Reply:
        """Send a request; a dict as body becomes FHIR JSON."""
        sent = dict(headers or {})
        data = body
        if isinstance(body, dict):
            data = json_format.encode(body)
            sent.setdefault("Content-Type", FHIR_JSON)
        elif isinstance(body, bytes):
            sent.setdefault("Content-Type", FHIR_JSON)
        address = path if path.startswith("/") else f"/fhir/{path}".rstrip("/")
        response = self._client.open(address, method=method, data=data, headers=sent, **more)
        return Reply(response.status_code, response.headers, response.get_data())

    def get(self, path: str, **headers: str) -> Reply:
        """GET with headers given as If_None_Match='…'."""
        return self.send("GET", path, headers=_named(headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        """POST a resource or bytes."""
        return self.send("POST", path, body, _named(headers))

    def put(self, path: str, body: Any = None, **headers: str) -> Reply:
        """PUT a resource or bytes."""
        return self.send("PUT", path, body, _named(headers))

    def delete(self, path: str, **headers: str) -> Reply:
        """DELETE."""
        return self.send("DELETE", path, headers=_named(headers))


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
