"""FHIRPath Patch (R4/fhirpatch.html): a Parameters resource of operations, applied to a resource.

Paths are FHIRPath and end at elements of the resource itself, its contained ones included; they are
evaluated one after the other, each on what the former operations made. Where the page is silent:
deleting the last member of an element deletes the element, as FHIR has no empty ones; a `value` is a
value[x], a `resource`, or, for types that value[x] has not, parts named after the child elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.definitions import structures
from fhir_server.fhirpath import nodes, types
from fhir_server.fhirpath.api import Expression
from fhir_server.fhirpath.errors import FhirPathError
from fhir_server.fhirpath.evaluate import watched
from fhir_server.fhirpath.parser import parse
from fhir_server.fhirpath.types import Member
from fhir_server.fhirpath.values import Element, root
from fhir_server.fhirpath.watch import Watch
from fhir_server.model.json_format import MAX_DEPTH
from fhir_server.model.json_patch import MAX_OPERATIONS, copied
from fhir_server.outcome import Invalid, TooCostly, Unprocessable

_PARTS = {
    "add": ("path", "name", "value"),
    "insert": ("path", "index", "value"),
    "delete": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "source", "destination"),
}
_TEXTS = ("valueCode", "valueString")
_NUMBERS = ("valueInteger", "valueUnsignedInt", "valuePositiveInt")
_NOT_A_VALUE = ("name", "id", "extension", "modifierExtension", "part", "resource")

Pair = tuple[Any, Any]
"""A value, and what JSON keeps beside it if it is primitive."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `place` is where it stands in the Parameters, `value` the part called so."""

    place: str
    type: str
    path: str
    name: str = ""
    value: dict[str, Any] | None = None
    index: int = 0
    source: int = 0
    destination: int = 0

    def __str__(self) -> str:
        return f"{self.type} {self.path!r}"


def operations(parameters: dict[str, Any], most: int = MAX_OPERATIONS) -> tuple[Operation, ...]:
    """Return the operations of a Parameters resource that is valid by itself.

    Raises Invalid (400) for what is no FHIRPath Patch, TooCostly (422) for more than `most` operations.
    """
    if parameters.get("resourceType") != "Parameters":
        raise Invalid(
            f"the body is a {parameters.get('resourceType')}; a patch in FHIR's own form is a Parameters "
            "resource with a parameter named operation for each change (R4/fhirpatch.html)",
            expression="resourceType",
        )
    members = parameters.get("parameter", [])
    if len(members) > most:
        raise TooCostly(
            f"the patch has {len(members)} operations; at most {most} are taken, send it in several patches"
        )
    return tuple(
        _operation(member, f"Parameters.parameter[{number}]") for number, member in enumerate(members)
    )


def _operation(member: dict[str, Any], place: str) -> Operation:
    if member.get("name") != "operation":
        raise Invalid(f"the parameter is named {member.get('name')!r}, expected operation", expression=place)
    parts: dict[str, dict[str, Any]] = {}
    for part in member.get("part", []):
        if parts.setdefault(part["name"], part) is not part:
            raise Invalid(f"the operation has the part {part['name']} twice", expression=place)
    kind = _one(parts, "type", _TEXTS, place)
    wanted = _PARTS.get(kind)
    if wanted is None:
        raise Invalid(f"the type is {kind!r}; it can be {', '.join(_PARTS)}", expression=place)
    if strange := [name for name in parts if name != "type" and name not in wanted]:
        raise Invalid(
            f"{kind} has no part {', '.join(map(repr, strange))}; it takes type, {', '.join(wanted)}",
            expression=place,
        )
    given: dict[str, Any] = {}
    for name in wanted:
        if name == "value":
            if name not in parts:
                raise Invalid(f"{kind} needs a part named value", expression=place)
            given[name] = parts[name]
        else:
            given[name] = _one(parts, name, _TEXTS if name in ("path", "name") else _NUMBERS, place)
    return Operation(place, kind, **given)


def _one(parts: dict[str, dict[str, Any]], name: str, keys: Sequence[str], place: str) -> Any:
    part = parts.get(name, {})
    for key in keys:
        if key in part:
            return part[key]
    stands = f"the part {name} has no {keys[0]}" if part else f"there is no part named {name}"
    raise Invalid(f"{stands}; write {{'name': '{name}', '{keys[0]}': …}}", expression=place)


def apply(resource: dict[str, Any], patch: Sequence[Operation], watch: Watch | None = None) -> dict[str, Any]:
    """Return what the operations make of a resource; the resource stays as it is.

    >>> delete = {"name": "operation", "part": [{"name": "type", "valueCode": "delete"},
    ...                                         {"name": "path", "valueString": "Patient.name[0].given"}]}
    >>> patch = operations({"resourceType": "Parameters", "parameter": [delete]})
    >>> apply({"resourceType": "Patient", "active": True, "name": [{"given": ["Ann"]}]}, patch)
    {'resourceType': 'Patient', 'active': True}

    Raises Unprocessable (422) for an operation that cannot be carried out, Invalid (400) for a path that
    cannot be read, TooCostly (422) for paths that take longer than the watch allows.
    """
    made: dict[str, Any] = copied(resource)
    watch = watch or Watch()
    for operation in patch:
        _Target(made, operation, watch).change()
    return made


class _Target:
    """The resource, for the length of one operation."""

    __slots__ = ("operation", "resource", "watch")

    def __init__(self, resource: dict[str, Any], operation: Operation, watch: Watch) -> None:
        self.resource, self.operation, self.watch = resource, operation, watch

    def change(self) -> None:
        """Carry out the operation."""
        match self.operation.type:
            case "add":
                self._add()
            case "insert" | "move":
                self._arrange()
            case "delete":
                if element := self._element(may_be_missing=True):
                    self._not_the_root(element)
                    _drop(element)
            case _:
                element = self._element()
                assert element is not None
                self._replace(element)

    def _add(self) -> None:
        element = self._element()
        assert element is not None
        name = self.operation.name
        member, choices = self._member(element.type, name)
        key, value = self._value(self.operation.value or {}, choices, f"{element.type}.{name}")
        container = _container(element)
        if member.many:
            _put(container, key, [*_pairs(container, key), value])
            return
        if there := [one for one, _ in member.choices if one in container or f"_{one}" in container]:
            raise self._refused(
                f"{element.path} has {there[0]} already and cannot have it twice; use replace "
                f"with the path {element.path}.{member.name}"
            )
        _put(container, key, value)

    def _replace(self, element: Element) -> None:
        parent = self._not_the_root(element)
        member, choices = self._member(parent.type, element.name)
        key, value = self._value(self.operation.value or {}, choices, f"{parent.type}.{element.name}")
        source, old = _place(element)
        if member.many:
            pairs = _pairs(source, old)
            pairs[element.index or 0] = value
            _put(source, old, pairs)
        else:
            _put(source, old, [])
            _put(source, key, value)

    def _arrange(self) -> None:
        """Insert into a list, or move within it."""
        operation = self.operation
        element, name = self._list()
        member, choices = self._member(element.type, name)
        if not member.many:
            raise self._refused(f"{element.path}.{name} is no list: it stands there once at most")
        container = _container(element)
        key = member.choices[0][0]
        pairs = _pairs(container, key)
        if operation.type == "insert":
            self._check_index("index", operation.index, len(pairs) + 1, f"{element.path}.{name}", len(pairs))
            _, value = self._value(operation.value or {}, choices, f"{element.type}.{name}")
            pairs.insert(operation.index, value)
        else:
            for what in ("source", "destination"):
                number = getattr(operation, what)
                self._check_index(what, number, len(pairs), f"{element.path}.{name}", len(pairs))
            pairs.insert(operation.destination, pairs.pop(operation.source))
        _put(container, key, pairs)

    def _check_index(self, what: str, number: int, end: int, where: str, there: int) -> None:
        if not 0 <= number < end:
            can = f"0 to {end - 1}" if end else "nothing"
            raise self._refused(f"{what} is {number}, but {where} has {there} items; it can be {can}")

    def _list(self) -> tuple[Element, str]:
        """Return the element that has the list of the path, and the name of the list."""
        tree = self._parsed()
        if isinstance(tree, nodes.MemberInvocation):
            return root(self.resource), tree.name
        if isinstance(tree, nodes.InvocationExpression) and isinstance(
            tree.invocation, nodes.MemberInvocation
        ):
            element = self._element(tree=tree.subject)
            assert element is not None
            return element, tree.invocation.name
        raise self._refused("the path must name a list, as Patient.name does: an element's name at its end")

    def _parsed(self) -> nodes.Expression:
        try:
            return parse(self.operation.path)
        except FhirPathError as error:
            raise Invalid(f"{self.operation}: {error}", expression=self.operation.place) from None
        except RecursionError:
            raise self._refused("the path is nested too deeply") from None

    def _element(
        self, *, may_be_missing: bool = False, tree: nodes.Expression | None = None
    ) -> Element | None:
        """Return the one element that the path finds, or the one that has the list of the path."""
        text = self.operation.path
        tree = tree or self._parsed()
        try:
            expression = Expression(text, tree, watched(text, tree, self.watch))
            found = expression.evaluate(self.resource)
        except FhirPathError as error:
            raise Invalid(f"{self.operation}: {error}", expression=self.operation.place) from None
        except (AttributeError, KeyError, RecursionError, TypeError):
            # The engine relies on structure, and what a former operation has put in may have none.
            raise self._refused("the path cannot be followed in what the operations before it made") from None
        if not found and may_be_missing:
            return None
        if len(found) != 1:
            what = f"finds {len(found)} elements" if found else "finds nothing"
            raise self._refused(f"the path {what} in the resource; it must find one")
        element = found[0]
        if not isinstance(element, Element) or not self._is_ours(element):
            raise self._refused("the path finds a value that is no element of this resource")
        return element

    def _is_ours(self, element: Element) -> bool:
        place, steps = element, 0
        while place.parent is not None:
            place, steps = place.parent, steps + 1
        if steps > MAX_DEPTH:
            raise self._refused(f"the path leads deeper than {MAX_DEPTH} levels")
        return place.value is self.resource

    def _not_the_root(self, element: Element) -> Element:
        if element.parent is None:
            raise self._refused("the path finds the whole resource; name an element of it")
        return element.parent

    def _member(self, type_name: str, name: str) -> tuple[Member, Sequence[tuple[str, str]]]:
        """Return the element called `name` (value, value[x], valueQuantity) and the keys it may take."""
        kind = types.find(type_name)
        if kind is not None and name not in ("resourceType", ""):
            if (member := kind.members.get(name.removesuffix("[x]"))) is not None:
                return member, member.choices
            if (named := kind.keys.get(name)) is not None:
                return named[0], ((name, named[1]),)
        known = ", ".join(kind.members) if kind is not None else "none"
        raise self._refused(f"{type_name} has no element {name!r}; it has {known}")

    def _value(
        self, part: dict[str, Any], choices: Sequence[tuple[str, str]], where: str
    ) -> tuple[str, Pair]:
        """Return the key that a value goes to, and the value, if it is of a type that stands there."""
        if "resource" in part:
            for key, wanted in choices:
                if types.is_resource_base(wanted):
                    return key, (copied(part["resource"]), None)
            raise self._refused(f"{where} takes {_names(choices)}, not a resource")
        if "part" in part:
            for key, wanted in choices:
                if len(choices) == 1 and wanted not in types.SYSTEM_OF and not types.is_resource_base(wanted):
                    return key, (self._object(part["part"], wanted), None)
            raise self._refused(f"{where} takes {_names(choices)} and cannot be built of parts")
        keys = {key.removeprefix("_") for key in part if key not in _NOT_A_VALUE}
        field = structures.fields("Parameters.parameter").get(next(iter(keys), ""))
        if field is None or len(keys) != 1:
            raise self._refused(f"the value of {where} is missing; it takes {_names(choices)}")
        for exact in (True, False):
            for key, wanted in choices:
                if wanted == field.type or (not exact and _fits(field.type, wanted, where)):
                    return key, (copied(part.get(field.key)), copied(part.get(f"_{field.key}")))
        raise self._refused(f"{where} takes {_names(choices)}, the value is {field.key}")

    def _object(self, parts: Sequence[dict[str, Any]], type_name: str) -> dict[str, Any]:
        """Return an element built of parts, each named after a child element."""
        made: dict[str, Any] = {}
        for part in parts:
            member, choices = self._member(type_name, part["name"])
            key, value = self._value(part, choices, f"{type_name}.{part['name']}")
            if member.many:
                _put(made, key, [*_pairs(made, key), value])
            elif any(one in made or f"_{one}" in made for one, _ in member.choices):
                raise self._refused(f"{type_name}.{member.name} comes twice; it stands there once at most")
            else:
                _put(made, key, value)
        return made

    def _refused(self, why: str) -> Unprocessable:
        return Unprocessable(
            f"{self.operation} cannot be carried out: {why}", expression=self.operation.place
        )


def _fits(given: str, wanted: str, where: str) -> bool:
    """Say whether a value of one type may stand where the definitions want another.

    Only where value[x] has no other way to say it: xhtml comes as a string, an id of an element or a
    resource as id or string, the url of an extension as uri, and the kinds of Quantity as each other.

    >>> _fits("string", "xhtml", "Narrative.div"), _fits("date", "dateTime", "Period.start")
    (True, False)
    """
    if wanted == "xhtml" or where.endswith(".id"):
        return given in ("string", "id")
    if where == "Extension.url":
        return given in ("uri", "url", "string")
    return types.is_a(given, "Quantity") and types.is_a(wanted, "Quantity")


def _names(choices: Sequence[tuple[str, str]]) -> str:
    """Return what the value of an element may come as."""
    known = structures.fields("Parameters.parameter")
    keys = [f"value{wanted[:1].upper()}{wanted[1:]}" for _, wanted in choices]
    named = [key for key in keys if key in known]
    return " or ".join(named) or ("valueString" if choices[0][1] == "xhtml" else "parts")


def _place(element: Element) -> tuple[dict[str, Any], str]:
    """Return the JSON object in which an element stands, and its key there."""
    parent = element.parent
    assert parent is not None
    source = parent.value if isinstance(parent.value, dict) else parent.extra
    kind = types.find(parent.type)
    assert source is not None
    assert kind is not None
    for key, _ in kind.members[element.name].choices:
        if key in source or f"_{key}" in source:
            return source, key
    raise KeyError(element.path)


def _container(element: Element) -> dict[str, Any]:
    """Return the JSON object that holds the members of an element; a primitive gets one beside it."""
    if isinstance(element.value, dict):
        found: dict[str, Any] = element.value
        return found
    if element.extra is None:
        element.extra = {}
        _set(element, (element.value, element.extra))
    return element.extra


def _set(element: Element, pair: Pair) -> None:
    source, key = _place(element)
    if element.index is None:
        _put(source, key, pair)
    else:
        pairs = _pairs(source, key)
        pairs[element.index] = pair
        _put(source, key, pairs)


def _drop(element: Element) -> None:
    """Remove an element, and those around it that have nothing else."""
    source, key = _place(element)
    pairs = _pairs(source, key) if element.index is not None else []
    if element.index is not None:
        del pairs[element.index]
    _put(source, key, pairs)
    parent = element.parent
    if parent is None or source or parent.parent is None:
        return
    if isinstance(parent.value, dict) or parent.value is None:
        _drop(parent)
    else:
        _set(parent, (parent.value, None))


def _pairs(source: dict[str, Any], key: str) -> list[Pair]:
    """Return the items of a list with what stands beside them."""
    values, extras = source.get(key) or [], source.get(f"_{key}") or []
    count = max(len(values), len(extras))
    return list(
        zip(
            [*values, *[None] * (count - len(values))],
            [*extras, *[None] * (count - len(extras))],
            strict=True,
        )
    )


def _put(source: dict[str, Any], key: str, held: Pair | list[Pair]) -> None:
    """Put a value or a list at a key; what is empty is taken away."""
    many = isinstance(held, list)
    pairs = held if isinstance(held, list) else [held]
    for place, name in ((0, key), (1, f"_{key}")):
        items = [pair[place] for pair in pairs]
        if all(item is None for item in items):
            source.pop(name, None)
        else:
            source[name] = items if many else items[0]
