"""Syntax tree → closures from a collection to a collection (N1 §3–4).

A compiled node takes the scope and its focus: for the first node of a path that is $this, for
the others what the node before them found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_server.fhirpath import nodes, temporal, types
from fhir_server.fhirpath.arithmetic import negate
from fhir_server.fhirpath.comparison import Fault, distinct, equal, single, truth
from fhir_server.fhirpath.conditions import referred_type
from fhir_server.fhirpath.errors import FhirPathSyntaxError, FhirPathTypeError
from fhir_server.fhirpath.functions import FUNCTIONS
from fhir_server.fhirpath.functions.table import Function
from fhir_server.fhirpath.operators import LOGIC, OPERATORS
from fhir_server.fhirpath.scope import FEW, Compiled, Scope
from fhir_server.fhirpath.values import Collection, Element, Quantity, TypeInfo, members, system_type
from fhir_server.fhirpath.watch import Watch

_KNOWN = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}
_TYPE_FUNCTIONS = frozenset(("is", "as", "ofType"))


def compiled(text: str, tree: nodes.Expression, *, lenient: bool = False) -> Compiled:
    """Return a function that evaluates `tree`.

    `lenient` is the dialect of R4's own search parameters and invariants: `as` filters where the
    specification wants a single value, and a System type's name also means the FHIR primitive.
    """
    return _Compiler(text, lenient).start(tree)


def watched(text: str, tree: nodes.Expression, watch: Watch) -> Compiled:
    """Return a function that evaluates `tree` as long as `watch` lets it."""
    return _Watched(text, watch).start(tree)


class _Compiler:
    def __init__(self, text: str, lenient: bool) -> None:
        self.text, self.lenient = text, lenient
        self.scoped = "defineVariable" in text  # only then can an operand leave variables behind

    def start(self, tree: nodes.Expression) -> Compiled:
        """Compile what stands at the beginning of a path; its focus is $this."""
        match tree:
            case nodes.MemberInvocation():
                return self.type_or_member(tree)
            case nodes.InvocationExpression(subject=subject, invocation=invocation):
                return self.chain(self.start(subject), self.follow(invocation))
            case nodes.BinaryExpression():
                return self.binary(tree)
            case nodes.TypeExpression():
                return self.type_expression(tree)
            case nodes.IndexerExpression(subject=subject, index=index):
                return self.indexer(tree, self.start(subject), self.operand(index))
            case nodes.PolarityExpression(sign=sign, operand=operand):
                return self.polarity(tree, sign, self.start(operand))
            case nodes.ExternalConstant(name=name):
                return self.constant(tree, name)
        return self.literal(tree) if isinstance(tree, _LITERALS) else self.follow(tree)

    def follow(self, tree: nodes.Expression) -> Compiled:
        """Compile what follows a dot; its focus is what stands before the dot."""
        match tree:
            case nodes.MemberInvocation(name=name):
                return self.member(name)
            case nodes.FunctionInvocation(name=name) if name in _TYPE_FUNCTIONS and len(tree.arguments) == 1:
                return self.type_function(tree)
            case nodes.FunctionInvocation():
                return self.function(tree)
            case nodes.ThisInvocation():
                return lambda scope, focus: scope.this
            case nodes.IndexInvocation():
                return lambda scope, focus: [] if scope.index is None else [scope.index]
            case nodes.TotalInvocation():
                return lambda scope, focus: scope.total
        raise FhirPathSyntaxError("expected an element or a function", self.text, tree.position)

    def operand(self, tree: nodes.Expression) -> Compiled:
        """Compile an operand or argument: variables that it defines end with it."""
        inner = self.start(tree)
        if not self.scoped:
            return inner

        def enclosed(scope: Scope, focus: Collection) -> Collection:
            variables = scope.variables
            found = inner(scope, focus)
            scope.variables = variables
            return found

        return enclosed

    def literal(self, tree: nodes.Expression) -> Compiled:
        value = self.literal_value(tree)
        items = [] if value is None else [value]
        return lambda scope, focus: items

    def literal_value(self, tree: nodes.Expression) -> Any:
        match tree:
            case nodes.BooleanLiteral(value=value) | nodes.StringLiteral(value=value):
                return value
            case nodes.NumberLiteral(value=number):
                return number
            case nodes.QuantityLiteral(value=number, unit=unit, calendar=calendar):
                return Quantity(number, unit.removesuffix("s") if calendar else unit)
            case nodes.TemporalLiteral(kind=kind, value=text):
                found = _TEMPORAL[kind](text.removeprefix("T"))
                if found is None:
                    raise FhirPathSyntaxError(f"@{text} does not exist", self.text, tree.position)
                return found
        return None

    def chain(self, before: Compiled, after: Compiled) -> Compiled:
        return lambda scope, focus: after(scope, before(scope, focus))

    def member(self, name: str) -> Compiled:
        def step(scope: Scope, focus: Collection) -> Collection:
            if len(focus) == 1 and type(focus[0]) is Element:
                found = members(focus[0], name)
                if len(found) > FEW:
                    scope.spend(len(found))
                return found
            found = []
            for item in focus:
                if type(item) is Element:
                    found += members(item, name)
                elif name in _PARTS.get(type(item), ()):
                    found.append(getattr(item, name))
            scope.spend(len(focus) + len(found))
            return found

        return step

    def type_or_member(self, tree: nodes.MemberInvocation) -> Compiled:
        """A path may begin with the type of its context: Patient.name on a Patient (R4/fhirpath.html)."""
        name = tree.name
        step = self.member(name)
        if not name[:1].isupper() or types.find(name) is None:
            return step

        def begin(scope: Scope, focus: Collection) -> Collection:
            if len(focus) == 1 and type(focus[0]) is Element and focus[0].type == name:
                return focus
            return [item for item in focus if type(item) is Element and types.is_a(item.type, name)]

        return begin

    def binary(self, tree: nodes.BinaryExpression) -> Compiled:
        left, right, sign = self.operand(tree.left), self.operand(tree.right), tree.operator
        if sign == "|":
            return self.union(left, right)
        if sign in LOGIC:
            return self.logic(tree, left, right)
        if sign in ("=", "!=") and isinstance(tree.right, nodes.StringLiteral):
            return self.text_comparison(left, tree.right.value, sign == "=")
        operate, fail = OPERATORS[sign], self.failure(tree)

        def run(scope: Scope, focus: Collection) -> Collection:
            one, other = left(scope, focus), right(scope, focus)
            if len(one) > FEW or len(other) > FEW:
                scope.spend(len(one) + len(other))
            try:
                answer = operate(one, other)
            except Fault as fault:
                raise fail(fault) from None
            return [] if answer is None else [answer]

        return run

    def union(self, left: Compiled, right: Compiled) -> Compiled:
        def run(scope: Scope, focus: Collection) -> Collection:
            both = [*left(scope, focus), *right(scope, focus)]
            scope.spend(len(both))
            return distinct(both)

        return run

    def text_comparison(self, left: Compiled, wanted: str, positive: bool) -> Compiled:
        """`code = 'final'`, by far the most comparisons: without a detour for FHIR's kinds of text."""
        literal = [wanted]

        def run(scope: Scope, focus: Collection) -> Collection:
            items = left(scope, focus)
            if not items:
                return []
            if len(items) == 1:
                item = items[0]
                value = item.value if type(item) is Element else item
                if type(value) is str:  # a date says = as a text, too, see operators.item_equal
                    return [(value == wanted) is positive]
            answer = equal(items, literal)
            return [] if answer is None else [answer is positive]

        return run

    def logic(self, tree: nodes.BinaryExpression, left: Compiled, right: Compiled) -> Compiled:
        combine, fail, sign = LOGIC[tree.operator], self.failure(tree), tree.operator
        settled = {"and": False, "or": True, "implies": False}.get(sign)  # then the right side is not asked

        def run(scope: Scope, focus: Collection) -> Collection:
            try:
                one = truth(left(scope, focus), sign)
                if one is settled and one is not None:
                    return [sign != "and"]
                answer = combine(one, truth(right(scope, focus), sign))
            except Fault as fault:
                raise fail(fault) from None
            return [] if answer is None else [answer]

        return run

    def failure(self, tree: nodes.Node) -> Callable[[Fault], FhirPathTypeError]:
        text, position = self.text, tree.position
        return lambda fault: FhirPathTypeError(str(fault), text, position)

    def indexer(self, tree: nodes.Node, subject: Compiled, index: Compiled) -> Compiled:
        fail = self.failure(tree)

        def run(scope: Scope, focus: Collection) -> Collection:
            items = subject(scope, focus)
            try:
                place = single(index(scope, scope.this), "[]")
            except Fault as fault:
                raise fail(fault) from None
            if place is None:
                return []
            if not isinstance(place, int) or isinstance(place, bool):
                raise fail(Fault("[] wants an integer"))
            return items[place : place + 1] if place >= 0 else []

        return run

    def polarity(self, tree: nodes.Node, sign: str, operand: Compiled) -> Compiled:
        fail = self.failure(tree)

        def run(scope: Scope, focus: Collection) -> Collection:
            try:
                answer = negate(operand(scope, focus), sign)
            except Fault as fault:
                raise fail(fault) from None
            return [] if answer is None else [answer]

        return run

    def constant(self, tree: nodes.Node, name: str) -> Compiled:
        known: Collection | None = None
        if name in _KNOWN:
            known = [_KNOWN[name]]
        elif name.startswith("vs-"):
            known = [f"http://hl7.org/fhir/ValueSet/{name[3:]}"]
        elif name.startswith("ext-"):
            known = [f"http://hl7.org/fhir/StructureDefinition/{name[4:]}"]
        text, position = self.text, tree.position

        def run(scope: Scope, focus: Collection) -> Collection:
            found = scope.variables.get(name, known)
            if found is None:
                raise FhirPathTypeError(f"%{name} is not defined", text, position)
            return found

        return run

    def function(self, tree: nodes.FunctionInvocation) -> Compiled:
        function = FUNCTIONS.get(tree.name)
        if function is None:
            raise FhirPathSyntaxError(f"there is no function {tree.name}()", self.text, tree.position)
        count = len(tree.arguments)
        if not function.least <= count <= function.most:
            wanted = f"{function.least}" + (f" to {function.most}" if function.most > function.least else "")
            raise FhirPathSyntaxError(
                f"{tree.name}() takes {wanted} arguments, got {count}", self.text, tree.position
            )
        if tree.name == "sort":
            return self.call(tree, function, tuple(self.sort_key(one) for one in tree.arguments))
        arguments = tuple(self.operand(one) for one in tree.arguments)
        return self.call(tree, function, arguments)

    def call(self, tree: nodes.Node, function: Function, arguments: tuple[Any, ...]) -> Compiled:
        run, fail = function.run, self.failure(tree)
        if function.lazy or not arguments:

            def call_lazy(scope: Scope, focus: Collection) -> Collection:
                if len(focus) > FEW:
                    scope.spend(len(focus))
                try:
                    return run(scope, focus, *arguments)
                except Fault as fault:
                    raise fail(fault) from None

            return call_lazy

        def call_eager(scope: Scope, focus: Collection) -> Collection:
            this = scope.this
            values = [argument(scope, this) for argument in arguments]
            scope.spend(len(focus) + sum(map(len, values)))
            try:
                return run(scope, focus, *values)
            except Fault as fault:
                raise fail(fault) from None

        return call_eager

    def sort_key(self, tree: nodes.Expression) -> tuple[Compiled, bool]:
        match tree:
            case nodes.SortKey(key=inner, descending=descending):
                return self.operand(inner), descending
            case nodes.PolarityExpression(sign="-", operand=inner):  # -family: a text
                return self.operand(inner), True
        return self.operand(tree), False

    def type_expression(self, tree: nodes.TypeExpression) -> Compiled:
        if tree.operator == "as":
            return self.cast(tree, self.operand(tree.operand), tree.specifier)
        match tree.operand:
            case nodes.FunctionInvocation(name="resolve", arguments=()):
                return self.resolves(tree, lambda scope, focus: focus)
            case nodes.InvocationExpression(
                subject=subject, invocation=nodes.FunctionInvocation(name="resolve", arguments=())
            ):
                return self.resolves(tree, self.start(subject))
        return self.type_test(tree, self.operand(tree.operand), tree.specifier)

    def type_function(self, tree: nodes.FunctionInvocation) -> Compiled:
        specifier = self.specifier(tree.arguments[0])
        if tree.name == "ofType":
            matches = self.matcher(tree, specifier)
            return lambda scope, focus: [item for item in focus if matches(item)]
        if tree.name == "as":
            return self.cast(tree, lambda scope, focus: focus, specifier)
        return self.type_test(tree, lambda scope, focus: focus, specifier)

    def specifier(self, tree: nodes.Expression) -> str:
        match tree:
            case nodes.MemberInvocation(name=name):
                return name
            case nodes.InvocationExpression(subject=subject, invocation=nodes.MemberInvocation(name=name)):
                return f"{self.specifier(subject)}.{name}"
        raise FhirPathSyntaxError("expected the name of a type", self.text, tree.position)

    def type_test(self, tree: nodes.Node, operand: Compiled, specifier: str) -> Compiled:
        matches, fail = self.matcher(tree, specifier), self.failure(tree)

        def run(scope: Scope, focus: Collection) -> Collection:
            items = operand(scope, focus)
            if len(items) > 1:
                raise fail(Fault(f"is works on one value, got {len(items)}"))
            return [matches(items[0])] if items else []

        return run

    def resolves(self, tree: nodes.TypeExpression, subject: Compiled) -> Compiled:
        """`resolve() is Patient`: what the reference says of itself, before anybody is asked."""
        resolved = self.function(nodes.FunctionInvocation(tree.position, "resolve", ()))
        test = self.type_test(tree, resolved, tree.specifier)
        wanted = tree.specifier.removeprefix("FHIR.")

        def run(scope: Scope, focus: Collection) -> Collection:
            items = subject(scope, focus)
            item = items[0] if len(items) == 1 else None
            if isinstance(item, Element) and isinstance(item.value, (dict, str)):
                holder = scope.resource("rootResource")
                said = referred_type(item.value, None if holder is None else holder.value)
                if said is not None:
                    return [types.is_a(said, wanted)]
            return test(scope, items)

        return run

    def cast(self, tree: nodes.Node, operand: Compiled, specifier: str) -> Compiled:
        matches, fail, lenient = self.matcher(tree, specifier), self.failure(tree), self.lenient

        def run(scope: Scope, focus: Collection) -> Collection:
            items = operand(scope, focus)
            if len(items) > 1 and not lenient:
                raise fail(Fault(f"as works on one value, got {len(items)}; ofType() filters"))
            return [item for item in items if matches(item)]

        return run

    def matcher(self, tree: nodes.Node, specifier: str) -> Callable[[Any], bool]:
        """Return whether an item is of the type that `specifier` names (N1 §6.3)."""
        space, dot, name = specifier.partition(".")
        if not dot or space not in ("System", "FHIR"):
            space, name = "", specifier
        fhir = name if space != "System" and types.find(name) is not None else None
        named = name if space != "FHIR" and name in types.SYSTEM_TYPES else None
        if self.lenient and named is not None and fhir is None:
            fhir = types.FHIR_OF.get(named)
        if fhir is None and named is None and space != "System":
            raise FhirPathTypeError(f"there is no type {specifier!r}", self.text, tree.position)

        def matches(item: Any) -> bool:
            if type(item) is Element:
                return fhir is not None and types.is_a(item.type, fhir)
            return named is not None and (named == "Any" or system_type(item) == named)

        return matches


class _Watched(_Compiler):
    """Compiles so that whatever a node has found is shown to `watch` before anything is made of it."""

    def __init__(self, text: str, watch: Watch) -> None:
        super().__init__(text, lenient=False)
        self.watch = watch

    def start(self, tree: nodes.Expression) -> Compiled:
        return self.shown(super().start(tree))

    def follow(self, tree: nodes.Expression) -> Compiled:
        return self.shown(super().follow(tree))

    def function(self, tree: nodes.FunctionInvocation) -> Compiled:
        inner, before = super().function(tree), _BEFORE.get(tree.name)
        if before is None:
            return inner
        watch = self.watch

        def run(scope: Scope, focus: Collection) -> Collection:
            watch.count(before(len(focus)))
            return inner(scope, focus)

        return run

    def shown(self, inner: Compiled) -> Compiled:
        watch = self.watch

        def run(scope: Scope, focus: Collection) -> Collection:
            found = inner(scope, focus)
            watch.look(found)
            return found

        return run


# What a function does with so many items before anybody can stop it, in steps.
_BEFORE: dict[str, Callable[[int], int]] = {"sort": lambda count: count * count.bit_length()}

_PARTS: dict[type, tuple[str, ...]] = {TypeInfo: ("namespace", "name"), Quantity: ("value", "unit")}
_TEMPORAL: dict[str, Callable[[str], temporal.Temporal | None]] = {
    "date": temporal.parse_date,
    "dateTime": temporal.parse_date_time,
    "time": temporal.parse_time,
}
_LITERALS = (
    nodes.NullLiteral,
    nodes.BooleanLiteral,
    nodes.StringLiteral,
    nodes.NumberLiteral,
    nodes.TemporalLiteral,
    nodes.QuantityLiteral,
)
