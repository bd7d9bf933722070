"""Small FHIR packages for tests, made in memory."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any

Resource = dict[str, Any]
PROFILE = "http://example.org/fhir/StructureDefinition/tested-patient"


def profile(
    url: str = PROFILE,
    version: str = "1.0.0",
    *,
    least_names: int = 1,
    type_name: str = "Patient",
    element: str = "name",
    **more: Any,
) -> Resource:
    """Return a profile that asks for `name`, or another element that repeats, so many times."""
    path = f"{type_name}.{element}"
    name = {"id": path, "path": path, "min": least_names}
    base = {"path": path, "min": 0, "max": "*"}
    kind = {"name": "HumanName", "telecom": "ContactPoint"}[element]
    whole = {**name, "max": "*", "base": base, "definition": "names", "type": [{"code": kind}]}
    root = {"id": type_name, "path": type_name, "min": 0, "max": "*", "definition": "a resource"}
    root["base"] = {"path": type_name, "min": 0, "max": "*"}
    return {
        "resourceType": "StructureDefinition",
        "url": url,
        "version": version,
        "name": "Tested",
        "status": "active",
        "kind": "resource",
        "abstract": False,
        "type": type_name,
        "baseDefinition": f"http://hl7.org/fhir/StructureDefinition/{type_name}",
        "derivation": "constraint",
        "snapshot": {"element": [root, whole]},
        "differential": {"element": [{"id": type_name, "path": type_name}, name]},
        **more,
    }


def value_set(url: str, version: str = "1.0.0") -> Resource:
    """Return a value set of one code."""
    include = [{"system": "http://example.org/codes", "concept": [{"code": "a"}]}]
    return {
        "resourceType": "ValueSet",
        "url": url,
        "version": version,
        "status": "active",
        "compose": {"include": include},
    }


def package(
    *resources: Resource,
    name: str = "example.tested",
    version: str = "1.0.0",
    fhir: str = "4.0.1",
    dependencies: dict[str, str] | None = None,
    examples: Iterable[Resource] = (),
) -> bytes:
    """Return the bytes of a package of `resources`."""
    manifest = {"name": name, "version": version, "fhirVersions": [fhir], "dependencies": dependencies or {}}
    files: dict[str, bytes] = {"package/package.json": json.dumps(manifest).encode()}
    files["package/.index.json"] = b'{"index-version": 1, "files": []}'
    for folder, several in (("package", resources), ("package/example", examples)):
        for number, resource in enumerate(several):
            kind = resource.get("resourceType", "other")
            files[f"{folder}/{kind}-{number}.json"] = json.dumps(resource).encode()
    return archive(files)


def archive(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """Return a .tgz of `files` and of bare entries; the same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    data = bytearray(packed.getvalue())
    data[4:8] = bytes(4)  # the time in gzip's header
    return bytes(data)
