"""Our side: what a FHIR server says of files, by POST [base]/[type]/$validate."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit


class Server:
    """A FHIR server at a base address, over one connection."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base.rstrip("/"))
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.path = parts.path
        self.connection = kind(parts.hostname or "", parts.port, timeout=120)

    def validate(self, resource: bytes, profiles: Iterable[str] = ()) -> list[list[str]]:
        """Return the issues of a resource as [severity, code, expression, text], against each profile."""
        named = json.loads(resource).get("resourceType")
        type_ = f"/{named}" if isinstance(named, str) and named.isalpha() else ""
        found: list[list[str]] = []
        for profile in list(profiles) or [""]:
            query = f"?profile={quote(profile, safe='')}" if profile else ""
            outcome = self._post(f"{self.path}{type_}/$validate{query}", resource)
            found += [_listed(issue) for issue in outcome.get("issue", ())]
        return found

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        self.connection.request("POST", path, body, headers)
        answer: dict[str, Any] = json.loads(self.connection.getresponse().read())
        return answer


def _listed(issue: dict[str, Any]) -> list[str]:
    text = issue.get("diagnostics") or issue.get("details", {}).get("text", "")
    return [issue["severity"], issue["code"], (issue.get("expression") or [""])[0], text]


def answers(base: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a line of JSON for each file of a list, in the form of HL7's side."""
    server = Server(base)
    for line in lines:
        path, _, profiles = line.rstrip("\n").partition("\t")
        with open(path, "rb") as file:
            issues = server.validate(file.read(), [one for one in profiles.split(",") if one])
        yield json.dumps({"file": path, "issues": issues}, ensure_ascii=False)
