"""Small profiles as the tests write them, and what a resource breaks of them."""

from typing import Any

from fhir_server.definitions.conformance import Conformance
from fhir_server.validation.knowledge import Knowledge, NoTerminology, Task
from fhir_server.validation.profiles.check import check

URL = "http://example.org/fhir/StructureDefinition/"
UCUM = "http://unitsofmeasure.org"


class Written:
    """A Source of definitions that a test wrote."""

    def __init__(self, definitions: list[dict[str, Any]]) -> None:
        self.definitions = definitions

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        for one in self.definitions:
            if one["resourceType"] == type_name and one["url"] == url:
                return one
        return None


class Codes(NoTerminology):
    """Value sets that a test wrote: {value set: {(system, code)}}."""

    def __init__(self, value_sets: dict[str, set[tuple[str, str]]]) -> None:
        self.value_sets = value_sets

    def member(self, value_set: str, system: str | None, code: str) -> bool | None:
        if value_set not in self.value_sets:
            return None
        found = self.value_sets[value_set]
        return any(code == other and system in (None, whose) for whose, other in found)


def profile(name: str, type_name: str, *elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a StructureDefinition whose snapshot is the root and `elements` in their order."""
    root = {"id": type_name, "path": type_name, "min": 0, "max": "*"}
    if elements and elements[0]["path"] == type_name:
        root, elements = {**root, **elements[0]}, elements[1:]
    return {
        "resourceType": "StructureDefinition",
        "url": URL + name,
        "name": name,
        "kind": "resource",
        "type": type_name,
        "derivation": "constraint",
        "snapshot": {"element": [root, *elements]},
        **more,
    }


def extension(name: str, *elements: dict[str, Any], context: str = "Element", **more: Any) -> dict[str, Any]:
    """Return the definition of an extension."""
    url = {"id": "Extension.url", "path": "Extension.url", "min": 1, "max": "1", "fixedUri": URL + name}
    root = {"path": "Extension", "min": 0, "max": "1"}
    if elements and elements[0]["path"] == "Extension":
        root, elements = {**root, **elements[0]}, elements[1:]
    more.setdefault("context", [{"type": "element", "expression": context}])
    return profile(name, "Extension", root, *elements, url, **more)


def at(path: str, least: int = 0, most: str = "*", **more: Any) -> dict[str, Any]:
    """Return an ElementDefinition; a path may have a slice: Patient.name:official."""
    bare, _, name = path.partition(":")
    tail = ""
    if "." in name:
        name, _, tail = name.partition(".")
        tail = f".{tail}"
    found: dict[str, Any] = {"id": path, "path": f"{bare}{tail}", "min": least, "max": most, **more}
    if name and not tail:
        found["sliceName"] = name
    return found


def by(kind: str, path: str, rules: str = "open", ordered: bool = False) -> dict[str, Any]:
    """Return a slicing."""
    return {"discriminator": [{"type": kind, "path": path}], "rules": rules, "ordered": ordered}


def broken(resource: dict[str, Any], *definitions: dict[str, Any], **more: Any) -> list[tuple[str, str, str]]:
    """Return (severity, expression, key or id of the rule) of what is broken of the first definition."""
    return [
        (issue.severity, str(issue.expression), str(issue.rule).partition("#")[2])
        for issue in issues(resource, *definitions, **more)
    ]


def issues(resource: dict[str, Any], *definitions: dict[str, Any], **more: Any) -> list[Any]:
    """Return the issues against the first definition, unless `profiles` says against which."""
    knows = {key: more.pop(key) for key in ("terminology", "resolve") if key in more}
    knowledge = Knowledge(Conformance([Written(list(definitions))]), **knows)
    more.setdefault("profiles", (definitions[0]["url"],) if definitions else ())
    return list(check(resource, Task(knowledge=knowledge, **more)))
