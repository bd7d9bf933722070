"""Structural rules as closures compiled from the facts: is a resource right, yes or no?

Types, cardinalities, choices, formats, required codes, reference targets, narratives
(R4/validation.html). A type is compiled when it is first met. The closures only accept; what is not
accepted goes to `explain`, which finds every problem and may take its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.primitives import ELEMENT_ID, FAILURES, PRIMITIVES, Primitive, Test
from fhir_server.definitions.structures import Field
from fhir_server.fhirpath import narrative
from fhir_server.model import references
from fhir_server.validation import bindings

Accept = Callable[[Any], bool]

ONE, MANY, SIBLING, SIBLINGS, CHOSEN = range(5)
ANY_TARGET = frozenset({"Resource"})
# Attributes in XML, so they have no extensions and no underscored sibling in JSON.
WITHOUT_SIBLING = frozenset({"id", "url", "div"})


class Structure:
    """The compiled types; `in_transaction` allows references such as `Practitioner?identifier=…`."""

    def __init__(self, *, in_transaction: bool) -> None:
        self.in_transaction = in_transaction
        self._objects: dict[str, Accept] = {}

    def accepts(self, resource: Any) -> bool:
        """Return whether a resource obeys every structural rule.

        >>> Structure(in_transaction=False).accepts({"resourceType": "Patient", "active": True})
        True

        A False is no verdict: `explain` decides, and may find nothing.
        """
        try:
            return self._resource(resource)
        except (KeyError, *FAILURES):  # an unknown member, or a value of quite another type
            return False

    def _resource(self, value: Any) -> bool:
        return self.object(value["resourceType"])(value)

    def object(self, path: str) -> Accept:
        """Return the test for objects of a type, or of an element that has children."""
        if path not in self._objects:
            self._compile(path)
        return self._objects[path]

    def _compile(self, path: str) -> None:
        members: dict[str, tuple[int, Test]] = {}
        fields = structures.fields(path)
        required, groups = cardinality(fields)
        # What stands beside a primitive may be an id alone; whether there is a value its holder knows.
        accept = _object(members, required, groups, lone_id=path == "Element")
        # Registered before its members are: HumanName has extensions, which have HumanNames.
        self._objects[path] = self._narrowed(path, accept)
        for key, field in fields.items():
            members[key] = (MANY if field.many else ONE, self.test(field))
            if has_sibling(field):
                kind = SIBLINGS if field.many else CHOSEN if field.element.path.endswith("[x]") else SIBLING
                members[f"_{key}"] = (kind, self.object("Element"))
        if structures.is_resource_type(path):
            members["resourceType"] = (ONE, frozenset({path}).__contains__)

    def _narrowed(self, path: str, accept: Accept) -> Accept:
        """Return `accept` with what a type's own binding adds: an Age is in a unit of time."""
        root = structures.structure(path).elements[path] if "." not in path else None
        for value_set in bindings.limits(root.binding if root else None):
            return _with_unit(accept, bindings.code_test(value_set))
        return accept

    def test(self, field: Field) -> Test:
        """Return the test for one value of a field."""
        if field.primitive:
            return leaf_test(field)
        if field.type == "Resource":
            return self._resource
        if field.type == "Reference":
            return self._reference(frozenset(field.element.targets))
        if field.type == "Quantity" and field.element.profiles:
            return self.object(field.element.profiles[0])
        accept = self.object(field.type)
        if field.type == "CodeableConcept":
            for value_set in bindings.limits(field.element.binding):
                accept = _with_coding(accept, value_set, text_is_enough(field))
        return accept

    def _reference(self, targets: frozenset[str]) -> Accept:
        accept = self.object("Reference")
        in_transaction = self.in_transaction

        def test(value: Any) -> bool:
            if not accept(value):
                return False
            if "type" not in value and value.get("reference", "").partition("/")[0] in targets:
                return True
            return reference_problem(value, targets, in_transaction) is None

        return test


def leaf_test(field: Field) -> Test:
    """Return the test for a primitive value: its required codes, or the format of its type."""
    if field.type == "xhtml":
        return narrative.is_safe
    limits = bindings.limits(field.element.binding)
    if limits and field.type == "code":
        first, *others = [bindings.code_test(value_set) for value_set in limits]
        if not others:
            return first
        return lambda value: first(value) and all(other(value) for other in others)
    return format_of(field).test


def format_of(field: Field) -> Primitive:
    """Return the format of a primitive field: that of its type, or of an element's id."""
    return ELEMENT_ID if field.key == "id" and field.type == "string" else PRIMITIVES[field.type]


def has_sibling(field: Field) -> bool:
    """Return whether `_name` may stand beside a member, with extensions for a primitive value."""
    if not field.primitive:
        return False
    if field.key in WITHOUT_SIBLING:
        return field.key == "url" and field.element.path != "Extension.url"
    return True


def cardinality(fields: Mapping[str, Field]) -> tuple[list[Field], list[tuple[frozenset[str], int]]]:
    """Return the required fields, and for each choice its keys with the least number of them (0 or 1).

    >>> required, groups = cardinality(structures.fields("Observation"))
    >>> [field.key for field in required], len(groups)
    (['status', 'code'], 2)
    """
    required: list[Field] = []
    groups: dict[str, tuple[frozenset[str], int]] = {}
    for field in fields.values():
        if field.element.path.endswith("[x]"):
            keys, _ = groups.get(field.element.path, (frozenset(), 0))
            groups[field.element.path] = (keys | {field.key}, field.element.min)
        elif field.element.min > 0:
            required.append(field)
    return required, list(groups.values())


def present(key: str, value: Mapping[str, Any]) -> bool:
    """Return whether an object has a member, or extensions that stand for it."""
    return key in value or f"_{key}" in value


def has_children(value: Mapping[str, Any]) -> bool:
    """Return whether an element without a value has something beside its id (ele-1).

    >>> has_children({"id": "a"}), has_children({"id": "a", "extension": []})
    (False, True)
    """
    return len(value) > 1 or "id" not in value


def _object(
    members: Mapping[str, tuple[int, Test]],
    required: list[Field],
    groups: list[tuple[frozenset[str], int]],
    *,
    lone_id: bool = False,
) -> Accept:
    """Return the test of an object: `members` says for each key how often and which test.

    ele-1: an element has a value or children, and an id is none; `lone_id` lets it pass.
    """
    names = tuple(field.key for field in required)

    def accept(value: Any) -> bool:
        if value.__class__ is not dict or not value:
            return False
        if len(value) == 1 and "id" in value and not lone_id:
            return False
        for key, member in value.items():
            kind, test = members[key]
            if kind == ONE:
                if not test(member):
                    return False
            elif kind == MANY:
                if member.__class__ is not list or not member:
                    return False
                for item in member:
                    # A null in a list holds the place of extensions; SIBLINGS looks at the pair.
                    if (item is None and f"_{key}" not in value) or (item is not None and not test(item)):
                        return False
            elif kind == SIBLING:
                if not test(member) or (key[1:] not in value and not has_children(member)):
                    return False
            elif kind == CHOSEN:
                # Extensions in the place of a value choose a type too: rare, so `explain` looks at it.
                if key[1:] not in value or not test(member):
                    return False
            elif not _paired(value.get(key[1:]), member, test):
                return False
        for name in names:
            if name not in value and f"_{name}" not in value:
                return False
        for keys, least in groups:
            found = keys.intersection(value)
            if len(found) > 1 or (least and not found):
                return False
        return True

    return accept


def _paired(values: Any, siblings: Any, test: Test) -> bool:
    """Return whether `given` and `_given` belong together: equally long, no place empty in both."""
    if siblings.__class__ is not list or not siblings:
        return False
    if values is not None and (values.__class__ is not list or len(values) != len(siblings)):
        return False
    for number, sibling in enumerate(siblings):
        if sibling is None:
            if values is None or values[number] is None:
                return False
        elif not test(sibling) or ((values is None or values[number] is None) and not has_children(sibling)):
            return False
    return any(sibling is not None for sibling in siblings)


def _with_unit(accept: Accept, unit: Test) -> Accept:
    def test(value: Any) -> bool:
        return accept(value) and (value.get("system") != bindings.UCUM or bool(unit(value.get("code", ""))))

    return test


def text_is_enough(field: Field) -> bool:
    """Return whether a concept may do without a coding: a maximum binding limits only what is coded."""
    return field.element.binding is not None and field.element.binding.strength != "required"


def _with_coding(accept: Accept, value_set: str, text_is_enough: bool) -> Accept:
    def test(value: Any) -> bool:
        return accept(value) and bindings.has_coding(value_set, value, text_is_enough=text_is_enough)

    return test


def reference_problem(
    value: Mapping[str, Any], targets: frozenset[str], in_transaction: bool
) -> tuple[str, str] | None:
    """Return the rule and what is wrong with where a well-formed Reference points, None if nothing is.

    >>> reference_problem({"reference": "Device/1"}, frozenset({"Patient"}), False)
    ('reference-target', "'Device/1' is a Device; expected Patient")
    >>> reference_problem({"reference": "Patient?name=x"}, frozenset({"Patient"}), True)
    """
    text = value.get("reference")
    named = references.named_type(text) if text is not None else None
    if named is not None and text is not None:
        if not in_transaction and text.startswith(f"{named}?"):
            return "reference-condition", (
                f"{text!r} is a condition, which only a transaction resolves; "
                f"expected a literal reference, such as {named}/123"
            )
        if not _is_target(named, targets):
            return "reference-target", f"{text!r} is a {named}; expected {_either(targets)}"
    kind = value.get("type")
    if structures.is_resource_type(kind):
        if not _is_target(str(kind), targets):
            return "reference-target", f"the type is {kind}; expected {_either(targets)}"
        if named is not None and named != kind:
            return "reference-type", f"{text!r} is a {named}, but its type says {kind}"
    return None


def _is_target(name: str, targets: frozenset[str]) -> bool:
    return not targets or name in targets or targets == ANY_TARGET


def _either(targets: frozenset[str]) -> str:
    return " or ".join(sorted(targets))
