"""A search as data: Query, Clause, Chain, Has, Either, All, Not, Sort, Include.

Frozen dataclasses between the text (parse.py) and the SQL (compile.py). A Query is an AND of
clauses; whoever must narrow it (a compartment, a scope) adds one more with `also`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from fhir_server.outcome import Issue


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter of one resource type.

    `kind` is the type of R4/valueset-search-param-type.html, or "special" for what does not live
    in the index (_id, _lastUpdated). `sources` are the codes whose index rows answer it: itself,
    or others where its expression is the union of theirs (Observation.combo-code). `index` is the name
    under which its own rows stand; those that R4 does not define have one that no other definition
    had before or will have (`code@pk`), so that rows of an older meaning never answer.
    """

    type_name: str
    code: str
    kind: str
    expression: str | None = None
    targets: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    sources: tuple[str, ...] = ()
    url: str = ""
    index: str = ""

    def __hash__(self) -> int:
        """Hash the name alone: parameters are looked up many times a search, and have up to 145 targets."""
        return hash((self.type_name, self.code, self.index))

    @property
    def rows(self) -> str:
        """The name under which rows and keys of its own stand."""
        return self.index or self.code


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a composite: its own parameter, and its FHIRPath below the composite's element."""

    parameter: Parameter
    expression: str


@dataclass(frozen=True, slots=True)
class Clause:
    """One parameter with its alternatives: `code:not=a,b` is Clause(code, "not", (a, b)).

    `:missing` has one alternative, True or False. The other values are those of the parameter's
    search type, for instance types.date.DateValue.
    """

    parameter: Parameter
    modifier: str | None
    alternatives: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """`subject:Patient.name=…`: a reference to a resource that itself fulfils a criterion.

    One branch for each target type, because the same name is another parameter on each.
    """

    reference: Parameter
    branches: tuple[tuple[str, Criterion], ...]
    urls: tuple[Parameter, ...] = ()  # the `url` of target types, where the reference may be a canonical
    contained: tuple[str, ...] = field(
        default=(), repr=False, compare=False
    )  # types of which some are contained


@dataclass(frozen=True, slots=True)
class Has:
    """`_has:Observation:patient:code=…`: referred to by a resource that fulfils a criterion.

    `target` is the type that is searched, here Patient.
    """

    reference: Parameter
    target: str
    criterion: Criterion
    url: Parameter | None = None  # the `url` of the type searched, where the reference may be a canonical


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of the criteria holds; a compartment is Either over its parameters."""

    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class All:
    """All of the criteria hold, of one and the same resource."""

    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The criterion does not hold."""

    criterion: Criterion


Criterion = Clause | Chain | Has | Either | All | Not


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of `_sort`."""

    parameter: Parameter
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Include:
    """`_include=Observation:subject:Patient` or, with `reverse`, `_revinclude=…`.

    `parameter` belongs to the resource that holds the reference; `target` limits the type that
    it points to; `iterate` follows resources that were themselves included.
    """

    parameter: Parameter
    target: str | None = None
    reverse: bool = False
    iterate: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks of one resource type, or of several (R4/search.html#_type).

    A search over several types has an empty `type_name` and in `parts` one search a type, of the same
    sort keys; what shapes the answer stands in the whole alone.

    `applied` are the pairs that were understood, for the `self` link; `issues` tell what lenient
    handling left out. `count` is None where the client did not say.
    """

    type_name: str
    clauses: tuple[Criterion, ...] = ()
    sort: tuple[Sort, ...] = ()
    includes: tuple[Include, ...] = ()
    count: int | None = None
    total: str = "none"
    summary: str | None = None
    elements: tuple[str, ...] = ()
    applied: tuple[tuple[str, str], ...] = ()
    issues: tuple[Issue, ...] = ()
    parts: tuple[Query, ...] | None = None
    contained: str = "false"
    contained_type: str = "container"

    def also(self, *criteria: Criterion) -> Query:
        """Return the query with further criteria that must hold too."""
        return replace(self, clauses=self.clauses + criteria)

    def canonical(self) -> str:
        """Return one text for all spellings of the same criteria: order and escapes do not matter.

        For locks and comparisons, not for people; sorting, paging and includes are left out.
        """
        return f"{self.type_name}?" + "&".join(sorted({_canonical(clause) for clause in self.clauses}))


def _canonical(criterion: Criterion) -> str:
    match criterion:
        case Clause(parameter, modifier, alternatives):
            name = f"{parameter.type_name}.{parameter.code}:{modifier or ''}"
            return f"{name}={','.join(sorted({repr(value) for value in alternatives}))}"
        case Chain(reference, branches):
            inner = sorted(f"{target}.{_canonical(branch)}" for target, branch in branches)
            return f"{reference.type_name}.{reference.code}({'|'.join(inner)})"
        case Has(reference, _, inside):
            return f"_has({reference.type_name}.{reference.code}:{_canonical(inside)})"
        case Either(criteria):
            return f"either({'|'.join(sorted({_canonical(each) for each in criteria}))})"
        case All(criteria):
            return f"all({'&'.join(sorted({_canonical(each) for each in criteria}))})"
        case Not(inside):
            return f"not({_canonical(inside)})"


def alternatives(either: Either) -> list[Criterion]:
    """Return the criteria of an OR, those of an OR in it among them."""
    found: list[Criterion] = []
    for each in either.criteria:
        found += alternatives(each) if isinstance(each, Either) else [each]
    return found


def type_of(criterion: Criterion) -> str:
    """Return the resource type that a criterion is about."""
    match criterion:
        case Clause(parameter) | Chain(parameter):
            return parameter.type_name
        case Has(_, target):
            return target
        case Either(criteria) | All(criteria):
            return type_of(criteria[0])
        case Not(inside):
            return type_of(inside)


def innermost(has: Has) -> Has:
    """Return the last of nested `_has`, whose criterion is none."""
    return innermost(has.criterion) if isinstance(has.criterion, Has) else has
