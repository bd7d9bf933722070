"""TerminologyCapabilities (R4/terminologycapabilities.html): what can be said about codes here.

Made of the definitions that terminology works with: R4's code systems, those of packages, those that
clients store, and those that are a rule. Terms are asked in validation and by the modifiers of searches;
elements of operations that are not built ($expand, $translate and the like) are left out, not denied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fhir_server import __version__
from fhir_server.definitions import code_systems
from fhir_server.interactions.context import Settings
from fhir_server.model import temporal
from terminology.grammars import GRAMMARS

DESCRIPTION = (
    "Codes are checked when resources are validated, by their bindings and value sets. Searches take value "
    "sets with :in and :not-in, and hierarchies with :above and :below, of the systems that stand here with "
    "subsumption. $expand, $lookup, $validate-code, $subsumes and $translate are not built yet."
)


def statement(settings: Settings, started: datetime, installed: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the TerminologyCapabilities resource.

    `installed` are url and version of the code systems of packages and of clients.

    >>> made = statement(Settings(("http://a/fhir",)), datetime.fromisoformat("2026-01-02T03:04:05Z"), [])
    >>> made["resourceType"], made["kind"]
    ('TerminologyCapabilities', 'instance')
    """
    systems: dict[str, dict[str, Any]] = {url: {"uri": url} for url in GRAMMARS}
    for url in code_systems.code_system_urls():
        found = code_systems.code_system(url)
        if found.content == "complete":
            systems[url] = _of_r4(url, found)
    for url, version in installed:
        system = systems.setdefault(url, {"uri": url})
        versions = system.setdefault("version", [])
        if version and not any(each.get("code") == version for each in versions):
            versions.append({"code": version})
    return {
        "resourceType": "TerminologyCapabilities",
        "status": "active",
        "date": temporal.instant(started),
        "publisher": "Xinglin",
        "kind": "instance",
        "name": "XinglinTerminology",
        "title": "Terminology of the Xinglin FHIR server",
        "description": DESCRIPTION,
        "software": {"name": "Xinglin", "version": __version__},
        "implementation": {"description": "Xinglin FHIR R4 server", "url": settings.base_url},
        "lockedDate": False,
        "codeSystem": [_without_empty(systems[url]) for url in sorted(systems)],
        "codeSearch": "explicit",
    }


def _of_r4(url: str, system: code_systems.CodeSystem) -> dict[str, Any]:
    made: dict[str, Any] = {"uri": url}
    if system.version:
        made["version"] = [{"code": system.version, "isDefault": True}]
    made["subsumption"] = system.hierarchy_meaning in ("", "is-a")
    return made


def _without_empty(system: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in system.items() if value != []}
