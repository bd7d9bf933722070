"""Query string → Query (R4/search.html, the whole grammar of names and values).

    name=value   name:modifier=a,b   reference:Type.name=…   reference.name=…
    _has:Type:reference:name=…       _sort _count _include _revinclude _summary _elements _total

Chains and `_has` may be nested in each other. Strict reading (the default) refuses what it does not
know and says what would work; lenient reading leaves it out of the search and of `self`, and says
so in Query.issues (R4/search.html#errors).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from fhir_server.definitions import structures
from fhir_server.outcome import FhirError, Invalid, Issue, NotSupported
from fhir_server.search import elements, filters, hierarchy, lists, results, values, wording
from fhir_server.search.ast import All, Chain, Clause, Criterion, Has, Parameter, Query
from fhir_server.search.names import NotIndexed, Unknown, unknown
from fhir_server.search.registry import Registry, standard
from fhir_server.search.types.protocol import Codes, Environment, NoCodes, NothingStored, Stored
from fhir_server.search.types.table import TYPES

OF_ALL = frozenset({"_list", "_filter"})  # criteria that no SearchParameter of R4 defines
DEEPEST = 8  # chains and _has together; deeper ones are mistakes or attacks
MOST_KEYS = 20_000  # that the criteria of one search stand for, in all types
MOST_VALUES = 5_000  # that are written in one search, those between commas too
ANY_TYPE = OF_ALL | {"_has"}
WIDEST = 1000  # types that the chains of one search visit; each is a SELECT of its own


def parse(
    type_name: str,
    pairs: Iterable[tuple[str, str]],
    *,
    strict: bool = True,
    base_urls: tuple[str, ...] = (),
    time_zone: str | tzinfo = UTC,
    now: datetime | None = None,
    registry: Registry | None = None,
    codes: Codes | None = None,
    stored: Stored | None = None,
    full_text: frozenset[str] = frozenset(),
) -> Query:
    """Return the search that `pairs`, names and values of a query string, ask of one type.

    >>> query = parse("Patient", [("gender", "male,female"), ("_count", "5")])
    >>> [value.code for value in query.clauses[0].alternatives], query.count
    (['male', 'female'], 5)

    Raises Invalid or NotSupported (400) for what is wrong, all of it at once when strict. What is
    wrong with a value that was understood to be one (`date=gestern`) is refused in both readings.
    """
    zone = ZoneInfo(time_zone) if isinstance(time_zone, str) else time_zone
    environment = Environment(zone, base_urls, now, codes or NoCodes(), stored or NothingStored(), full_text)
    reader = Reader(type_name, environment, registry or standard())
    query = results.Draft()
    clauses: list[Criterion] = []

    def take(name: str, text: str) -> None:
        if name.partition(":")[0] in results.NAMES:
            query.read(type_name, name, text, reader.registry)
        else:
            found = reader.criterion(type_name, name, text)
            clauses.extend(found.criteria if isinstance(found, All) else [found])

    warnings = each_pair(pairs, take, query.applied, strict=strict)
    return query.query(type_name, tuple(clauses), (*warnings, *reader.told))


def each_pair(
    pairs: Iterable[tuple[str, str]],
    take: Callable[[str, str], None],
    applied: list[tuple[str, str]],
    *,
    strict: bool,
) -> tuple[Issue, ...]:
    """Give each pair to `take`, list those that were understood, and return what was left out.

    Raises Invalid (400) with all that is wrong.
    """
    wrong: list[Issue] = []
    ignored: list[Issue] = []
    for name, text in pairs:
        try:
            _check_signs(name, text)
            take(name, text)
        except (Unknown, NotSupported) as error:
            (wrong if strict else ignored).extend(error.issues)
        except FhirError as error:
            wrong.extend(error.issues)
        else:
            applied.append((name, text))
    if wrong:
        raise Invalid(issues=wrong)
    return tuple(Issue("warning", issue.code, f"{issue.diagnostics}; it was ignored") for issue in ignored)


def _check_signs(name: str, text: str) -> None:
    """Refuse what neither FHIR nor Postgres has in a text."""
    if "\0" in name or "\0" in text:
        raise Invalid(f"{name!r} holds U+0000, which no stored text has; leave it out")
    both = name + text
    if not both.isascii() and any("\ud800" <= sign <= "\udfff" for sign in both):
        raise Invalid(f"{name!r} holds half a surrogate pair, which no stored text has; leave it out")


class Reader:
    """Reads criteria, in one registry and one environment."""

    def __init__(self, type_name: str, environment: Environment, registry: Registry) -> None:
        if not structures.is_resource_type(type_name):
            raise Invalid(f"{type_name!r} is no resource type of R4")
        self.environment = environment
        self.registry = registry
        self.visited = self.keys = self.values = 0
        self.told: list[Issue] = []  # what who asks should know of the criteria

    def criterion(self, type_name: str, name: str, text: str, depth: int = 0) -> Criterion:
        """Return what one name and value ask of a resource type."""
        if depth > DEEPEST:
            raise Invalid(f"{name!r} is nested more than {DEEPEST} deep")
        if name.startswith("_has:"):
            return self.has(type_name, name, text, depth)
        head, dot, tail = name.partition(".")
        code, _, modifier = head.partition(":")
        if code in OF_ALL:
            if name != code:
                raise Unknown(f"{code} takes neither a modifier nor a path; got {name!r}")
            if not text:
                raise Unknown(f"{code} has no value; give one or leave the parameter out")
            if code == "_list":
                return lists.criterion(self, type_name, text)
            return filters.criterion(self, type_name, text)
        parameter = self.parameter(type_name, code)
        if dot:
            return self.chain(parameter, modifier or None, tail, text, depth)
        return self.clause(parameter, modifier or None, text)

    def visit(self, reason: str) -> None:
        """Count one SELECT more; raises TooWide with a reason when there are too many."""
        self.visited += 1
        if self.visited > WIDEST:
            raise TooWide(reason)

    def parameter(self, type_name: str, code: str) -> Parameter:
        """Return the parameter `code` of a type, or say which there are."""
        parameter = self.registry.get(type_name, code)
        if code == "_type":
            raise Unknown("_type is for searches over several types, /fhir?_type=Patient,Group&…")
        if code == "_query":
            raise Invalid(  # in lenient handling, too: R4/search.html#query wants it refused
                "_query is for a search on one type, GET [base]/Patient?_query=…: it stands in no search "
                "over several types or in a compartment, in no chain, and is no condition of a write"
            )
        if parameter is None or (parameter.expression is None and parameter.kind not in ("special", "words")):
            raise self.unknown_parameter(type_name, code)
        return parameter

    def knows(self, type_name: str, code: str) -> bool:
        """Say whether a type has a parameter; raises NotIndexed where its index is being made."""
        if self.registry.get(type_name, code) is not None:
            return True
        if why := self.registry.pending(type_name, code):
            raise NotIndexed(why)
        return False

    def unknown_parameter(self, type_name: str, code: str) -> FhirError:
        """Return the refusal of a code that a type does not have, or not yet."""
        if why := self.registry.pending(type_name, code):
            return NotIndexed(why)
        left_out = {"_query"}
        if type_name not in self.environment.full_text:
            left_out |= {"_text", "_content"}
        known = sorted(OF_ALL.union(set(self.registry.for_type(type_name)) - left_out))
        return unknown(f"{type_name} has no search parameter {code!r}", code, known)

    def clause(self, parameter: Parameter, modifier: str | None, text: str) -> Clause:
        """Return one parameter with its alternatives."""
        if parameter.kind == "words":
            return self.worded(parameter, modifier, text)
        kind = TYPES[parameter.kind]
        if modifier in kind.later:
            raise NotSupported(f"{parameter.code}:{modifier} is not something that this server does yet")
        if modifier is not None and modifier not in (known := modifiers_of(parameter)):
            raise unknown(f"{parameter.code} has no modifier {modifier!r}", modifier, known)
        if not text:
            raise Unknown(f"{parameter.code} has no value; give one or leave the parameter out")
        if modifier == "missing":
            if text not in ("true", "false"):
                raise Invalid(f"{parameter.code}:missing is true or false; got {text!r}")
            return Clause(parameter, modifier, (text == "true",))
        asked = None if modifier == "not" else modifier
        parts = values.split(text, ",")
        if not all(parts):
            raise Invalid(f"{parameter.code}={text} has an empty alternative; write a comma as \\,")
        if modifier == "text":
            return wording.clause(parameter, parts)
        alternatives = [_parsed(kind.parse, part, asked, parameter, self.environment) for part in parts]
        return self.weighed(Clause(parameter, modifier, tuple(dict.fromkeys(alternatives))))

    def worded(self, parameter: Parameter, modifier: str | None, text: str) -> Clause:
        """Return what is asked of the words of a resource, where they are indexed; commas are its own."""
        type_name, code = parameter.type_name, parameter.code
        if modifier is not None:
            raise Unknown(
                f"{code} has no modifiers; got {modifier!r}. Write `not` in front of a word instead"
            )
        if type_name not in self.environment.full_text:
            raise NotSupported(
                f"{code} is turned off for {type_name} on this server, see the setting full_text"
            )
        if self.environment.stored.lacks_words(type_name):
            raise NotSupported(
                f"{code} has no answer yet: some {type_name} resources were stored while full_text was off "
                "for them; they get their words by POST $reindex"
            )
        if not text.strip():
            raise Invalid(f"{code} has no value; give one or leave the parameter out")
        value = _parsed(TYPES["words"].parse, text, None, parameter, self.environment)
        return self.weighed(Clause(parameter, None, (value,)))

    def weighed(self, clause: Clause) -> Clause:
        """Return the clause, unless the search stands for too many keys with it: value sets have many."""
        self.values += len(clause.alternatives)
        if self.values > MOST_VALUES:
            raise TooWide(f"the search has more than {MOST_VALUES} values; ask for fewer at once")
        self.keys += sum(len(getattr(value, "texts", ())) for value in clause.alternatives)
        if self.keys > MOST_KEYS:
            raise TooWide(f"the search stands for more than {MOST_KEYS} codes; ask for fewer at once")
        return clause

    def valued(self, parameter: Parameter, modifier: str | None, text: str) -> Clause:
        """Return a parameter with one value, whose commas mean nothing."""
        if parameter.kind == "words":
            return self.worded(parameter, modifier, text)
        asked = None if modifier == "not" else modifier
        value = _parsed(TYPES[parameter.kind].parse, text, asked, parameter, self.environment)
        return self.weighed(Clause(parameter, modifier, (value,)))

    def chain(self, reference: Parameter, target: str | None, tail: str, text: str, depth: int) -> Criterion:
        """Return `reference:target.tail`; without a target, one branch for each type that has `tail`."""
        if reference.kind != "reference":
            raise Invalid(
                f"{reference.code} is a {reference.kind} parameter; only a reference can be followed by ."
            )
        if target is not None and target not in reference.targets:
            raise unknown(f"{reference.code} does not refer to {target!r}", target, reference.targets)
        code = tail.partition(".")[0].partition(":")[0]
        return self.branching(
            reference, target, code, lambda type_name: self.criterion(type_name, tail, text, depth + 1), depth
        )

    def branching(
        self,
        reference: Parameter,
        target: str | None,
        code: str,
        inside: Callable[[str], Criterion],
        depth: int,
    ) -> Criterion:
        """Return that the reference leads to what `inside` asks of its type, which begins with `code`."""
        if depth > DEEPEST:
            raise Invalid(f"{reference.code}.{code} is nested more than {DEEPEST} deep")
        if reference.kind != "reference":
            raise Invalid(
                f"{reference.code} is a {reference.kind} parameter; only a reference can be followed by ."
            )
        branches: list[tuple[str, Criterion]] = []
        refusal: FhirError | None = None
        for type_name in (target,) if target else reference.targets:
            if target is None and code not in ANY_TYPE and not self.knows(type_name, code):
                continue
            self.visit(
                f"the chain {reference.code}.{code} leads over more than {WIDEST} types; "
                f"name the type that is meant, for example {reference.code}:{type_name}.{code}"
            )
            try:
                branches.append((type_name, inside(type_name)))
            except TooWide:
                raise
            except FhirError as error:
                refusal = refusal or error
        if not branches and (refusal is not None or len(reference.targets) == 1):
            raise refusal or self.unknown_parameter(reference.targets[0], code)
        if not branches:
            raise Unknown(
                f"none of the types that {reference.code} refers to has a search parameter {code!r}"
            )
        urls = [self.url(reference, type_name) for type_name, _ in branches]
        return Chain(
            reference,
            tuple(branches),
            tuple(url for url in urls if url is not None),
            self.contained(branches),
        )

    def contained(self, branches: Sequence[tuple[str, Criterion]]) -> tuple[str, ...]:
        """Return those target types of which there are contained resources (R4/search.html#contained)."""
        known = self.environment.stored.contained()
        return tuple(type_name for type_name, _ in branches if type_name in known)

    def url(self, reference: Parameter, target: str) -> Parameter | None:
        """Return the parameter by which a canonical finds its target; None for plain references."""
        if not elements.facts(reference).types & {"canonical", "uri"}:
            return None
        return self.registry.get(target, "url")

    def has(self, type_name: str, name: str, text: str, depth: int) -> Has:
        """Return `_has:Type:reference:rest`."""
        parts = name.split(":", 3)
        if len(parts) < 4 or not all(parts):
            raise Invalid(f"{name!r} is incomplete; write for example _has:Observation:patient:code=1234-5")
        _, holder, code, rest = parts
        if not structures.is_resource_type(holder):
            raise unknown(
                f"_has names {holder!r}, which is no resource type of R4", holder, structures.resource_types()
            )
        reference = self.parameter(holder, code)
        if reference.kind != "reference" or type_name not in reference.targets:
            candidates = [
                other.code
                for other in self.registry.for_type(holder).values()
                if other.kind == "reference" and type_name in other.targets
            ]
            raise unknown(f"{holder}:{code} does not refer to {type_name}", code, candidates)
        inside = self.criterion(holder, rest, text, depth + 1)
        return Has(reference, type_name, inside, self.url(reference, type_name))


def _parsed(
    parse_value: Callable[[str, str | None, Parameter, Environment], Hashable],
    part: str,
    modifier: str | None,
    parameter: Parameter,
    environment: Environment,
) -> Hashable:
    try:
        return parse_value(part, modifier, parameter, environment)
    except NotSupported:
        raise
    except FhirError as error:
        kind = type(error) if isinstance(error, Invalid) else Invalid
        raise kind(f"{parameter.code}: {error}") from None


def modifiers_of(parameter: Parameter) -> list[str]:
    """Return the modifiers that a parameter takes; those of references are types, too."""
    if parameter.kind == "words":
        return []
    found = set(TYPES[parameter.kind].modifiers) if parameter.code != "_lastUpdated" else set()
    if parameter.kind == "reference":
        if not (elements.facts(parameter).types & {"canonical", "uri"} or hierarchy.is_in(parameter.targets)):
            found -= {"above", "below"}
        found |= set(parameter.targets)
    if parameter.kind != "composite":
        found.add("missing")
    return sorted(found)


class TooWide(Invalid):
    """400: a search that fans out too far, as a chain without types does over most of FHIR."""

    code = "too-costly"
