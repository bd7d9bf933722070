"""Whether an invariant is surely kept, by a look at the JSON (R4/conformance-rules.html#constraints).

The expressions of most invariants are turned into such a test by FHIRPath itself. Here are those that
it cannot turn, or that would look at the whole resource again for each element. A test may be unsure
(False) about a resource that keeps the rule; it never says kept about one that breaks it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fhir_server.fhirpath.extract import predicate
from fhir_server.fhirpath.walk import Predicate

# An invariant is kept where one of these members is missing; only the rest need the engine.
NEEDS = {
    "csd-1": "concept", "cpb-7": "document", "cpb-9": "resource", "cpb-12": "searchParam",
    "ctm-1": "onBehalfOf", "dom-2": "contained", "dom-4": "contained", "dom-5": "contained",
    "drt-1": "code", "eld-2": "min max", "eld-11": "binding", "eld-12": "valueSet", "eld-13": "type",
    "eld-14": "constraint", "eld-16": "sliceName", "ig-1": "resource", "ig-2": "definition",
    "mdd-1": "whenHandedOver whenPrepared", "mea-1": "group", "mrp-2": "group", "que-10": "maxLength",
    "que-12": "enableWhen", "que-13": "initial", "rng-2": "low high", "sdf-10": "binding",
    "tim-4": "duration", "tim-5": "period", "tim-9": "offset", "Task/inv-1": "lastModified authoredOn",
    "sdf-8": "element", "sdf-8a": "element", "tcp-1": "version",
}  # fmt: skip


FEW = 20
"""Contained resources that a test looks through for each reference; of more, a set is made first."""


def surely_kept(home: str, key: str, expression: str, type_name: str) -> Predicate:
    """Return the test for the rule `key`, stated in the type `home`, on values of `type_name`."""
    for name in (f"{home}/{key}", key):
        if name in BY_HAND:
            return _guarded(BY_HAND[name])
        if name in NEEDS:
            return _lacks(*NEEDS[name].split())
    if key.endswith("-0"):  # a name that a machine can use, of the conformance resources
        return _lacks("name")
    return _guarded(predicate(expression, type_name) or _unsure)


def _guarded(kept: Predicate) -> Predicate:
    """Return a predicate that is unsure where `kept` stumbles."""

    def guarded(node: Any, container: Any) -> bool | None:
        try:
            return kept(node, container)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return False

    return guarded


def _unsure(node: Any, container: Any) -> bool:
    return False


def _lacks(*names: str) -> Predicate:
    if len(names) == 1:
        key, beside = names[0], f"_{names[0]}"
        return lambda node, container: key not in node and beside not in node
    return lambda node, container: any(name not in node and f"_{name}" not in node for name in names)


def _ordered(node: Any, container: Any) -> bool:
    start, end = node.get("start"), node.get("end")
    if start is None or end is None:
        return True
    # Partial dates, leap seconds and a date beside a time raise: the engine's business.
    # And strictly, as beyond microseconds it drops digits.
    return start == end or datetime.fromisoformat(start) < datetime.fromisoformat(end)


def _resolves(node: Any, container: Any) -> bool:
    text = node.get("reference")
    if text is None or text[:1] != "#":
        return True
    near = container.get("contained", ())[:FEW]
    return text == "#" or any(inner.get("id") == text[1:] for inner in near)


def _referred(node: Any, container: Any) -> bool:
    if "contained" not in node:
        return True
    named: set[str] = set()
    todo = [node]
    while todo:
        item = todo.pop()
        if item.__class__ is dict:
            text = item.get("reference")
            if text.__class__ is str:
                named.add(text)
            todo += item.values()
        elif item.__class__ is list:
            todo += item
    return all(f"#{inner['id']}" in named for inner in node["contained"])


def _no_value_twice(node: Any, container: Any) -> bool:
    if "component" not in node or not any(key.startswith(("value", "_value")) for key in node):
        return True
    own = {(coding.get("system"), coding.get("code")) for coding in node["code"].get("coding", ())}
    return own.isdisjoint(
        (coding.get("system"), coding.get("code"))
        for component in node["component"]
        for coding in component["code"].get("coding", ())
    )


def _told(member: str, types: frozenset[str]) -> Predicate:
    """Return whether just the Bundles of some types have `member` in their entries."""

    def told(node: Any, container: Any) -> bool:
        wanted = node["type"] in types
        return all((member in entry) is wanted for entry in node.get("entry", ()))

    return told


def _distinct(node: Any, container: Any) -> bool:
    if node.get("type") == "history":
        return True
    seen = [
        entry["fullUrl"] + entry.get("resource", {}).get("meta", {}).get("versionId", "")
        for entry in node.get("entry", ())
        if "fullUrl" in entry or "_fullUrl" in entry
    ]
    return len(set(seen)) == len(seen)


def _begins(kind: str, type_name: str) -> Predicate:
    """Return whether a Bundle of a kind begins with a resource of a type."""

    def begins(node: Any, container: Any) -> bool:
        return node["type"] != kind or bool(node["entry"][0]["resource"]["resourceType"] == type_name)

    return begins


# What the engine alone could judge and what stands in most resources: when it is surely kept.
BY_HAND: dict[str, Predicate] = {
    "bdl-3": _told("request", frozenset({"batch", "transaction", "history"})),
    "bdl-4": _told("response", frozenset({"batch-response", "transaction-response", "history"})),
    "bdl-7": _distinct,
    "bdl-8": lambda node, container: "/_history/" not in node.get("fullUrl", ""),
    "bdl-11": _begins("document", "Composition"),
    "bdl-12": _begins("message", "MessageHeader"),
    "con-3": lambda node, container: "clinicalStatus" in node,
    "dom-3": _referred,
    "eld-3": lambda value, container: bool(value == "*" or value.isdecimal()),
    "eld-6": lambda node, container: not any(key.startswith(("fixed", "_fixed")) for key in node),
    "eld-7": lambda node, container: not any(key.startswith(("pattern", "_pattern")) for key in node),
    "obs-7": _no_value_twice,
    "org-1": lambda node, container: "identifier" in node or "name" in node,
    "org-2": lambda node, container: node.get("use") != "home",
    "org-3": lambda node, container: node.get("use") != "home",
    "per-1": _ordered,
    "ref-1": _resolves,
    "sdf-8b": lambda node, container: all("base" in element for element in node["element"]),
}


def _groups_known(node: Any, resource: Any) -> bool:
    known = {grouping.get("id") for grouping in node.get("grouping", ())}
    return all(item["groupingId"] in known for item in node["resource"] if "groupingId" in item)


def _versions_known(node: Any, resource: Any) -> bool:
    known = set(node["fhirVersion"])
    listed = node["definition"].get("resource", ())
    return all(known.issuperset(item.get("fhirVersion", ())) for item in listed)


def _below_first(node: Any, resource: Any) -> bool:
    first, *tail = [element["path"] for element in node["element"]]
    return (resource["kind"] == "logical" or first == resource["type"]) and all(
        path.startswith(f"{first}.") for path in tail
    )


def _below_type(node: Any, resource: Any) -> bool:
    first, *tail = [element["path"] for element in node["element"]]
    root = resource["differential"]["element"][0]["path"].partition(".")[0]
    return (resource["kind"] == "logical" or first.startswith(resource["type"])) and all(
        path.startswith(f"{root}.") for path in tail
    )


READ: dict[str, Predicate] = {
    "ig-1": _groups_known,
    "ig-2": _versions_known,
    "sdf-8": _below_first,
    "sdf-8a": _below_type,
}
"""(element, nearest resource) → whether a rule is kept, exactly; what is not as it should be raises.

As FHIRPath these look at everything for everything: 1,500 groupings take four seconds.
"""
