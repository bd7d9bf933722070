"""Definitions and examples as the packages of the shared material hold them."""

import tarfile
from pathlib import Path
from typing import Any

from fhir_server.model import json_format
from fhir_server.outcome import Invalid

DEFINITIONS = ("StructureDefinition", "ValueSet", "CodeSystem")


class Package:
    """A Source: the conformance resources of one package; `examples` are its other resources by file."""

    def __init__(self, file: Path, version: str) -> None:
        self.version = version
        self.definitions: dict[tuple[str, str], dict[str, Any]] = {}
        self.examples: dict[str, dict[str, Any]] = {}
        with tarfile.open(file) as archive:
            for member in archive:
                _, _, name = member.name.partition("/")
                if not name.endswith(".json"):
                    continue
                if name.startswith("example/"):
                    self._example(name, archive.extractfile(member).read())
                elif name.partition("-")[0] in DEFINITIONS:
                    found = json_format.parse(archive.extractfile(member).read())
                    self.definitions[found["resourceType"], found["url"]] = found

    def _example(self, name: str, data: bytes) -> None:
        try:
            found = json_format.parse(data)
        except Invalid:
            return
        if "resourceType" in found and "url" not in found:
            self.examples[name] = found

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        return self.definitions.get((type_name, url))
