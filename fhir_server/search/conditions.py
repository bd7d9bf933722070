"""Criterion → SQL condition on a resource row: the layout of the index is known here.

    equality    resource.keys holds the key: `keys @> …` for all of several, `keys && …` for any
    order       exists a row of idx_* with the parameter's column hash and the resource's pk
    chain       keys && array(the reference keys of the targets that fulfil the rest), each made from
                the target's rid: same twelve bytes behind the reference parameter's four
    _has        rid in (the reference keys of the holders that fulfil the rest, turned into rids)
    canonical   the same by the twelve bytes of the target's url key

Everything a client wrote is a parameter; numbers that are ours (type codes, column hashes) stand in
the text, so that equal shapes give equal texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fhir_server.definitions.structures import type_code
from fhir_server.outcome import NotSupported
from fhir_server.schema.names import CONTAINED, RESOURCE, ROWS
from fhir_server.schema.names import TENANT as TENANT
from fhir_server.search import absence, chart, keys, spans
from fhir_server.search.ast import (
    All,
    Chain,
    Clause,
    Criterion,
    Either,
    Has,
    Not,
    Parameter,
    alternatives,
    innermost,
    type_of,
)
from fhir_server.search.elements import is_bound
from fhir_server.search.linked import by_row, is_tried, only_canonical
from fhir_server.search.sql import Keys, OfType, any_of_these, joined, negated, select
from fhir_server.search.sql import Sql as Sql  # what everybody makes of conditions
from fhir_server.search.types.protocol import OnResource, Row, SearchType, Texts
from fhir_server.search.types.special import IdValue
from fhir_server.search.types.table import TYPES
from fhir_server.search.types.words import asked
from fhir_server.search.word_rows import has_words, words_source

ROWS_OF_CONTAINED = (
    "(select c.*, false as deleted, null::timestamptz as last_updated, null::int as version, "
    f"null::jsonb as meta, null::uuid as chart from {CONTAINED} c)"
)
"""Contained resources with the columns that conditions on resources speak of."""
COMPLEMENTS = frozenset({"not", "not-in"})  # modifiers that ask for all else, resources without a value too
LONG = 16  # keys; more are looked up in a hash where no index serves
Visible = Callable[[str], Criterion | None]  # what a caller may see of a type, None for all of it


@dataclass(slots=True)
class Conditions:
    """Says criteria in SQL; one instance a statement, because it counts the aliases.

    `visible` gives for each type a criterion that rows of it must fulfil wherever they are looked
    at: as matches, behind chains and before `_has` (no leak through a side door). `by_row` says chains
    in the form for conditions that are tried on one row after the other. `walking` keeps rows from being
    collected beforehand, which is right where all will be looked at and wrong where a page ends the walk.
    `at_hand` says that matches `r` are few by another criterion: their words are looked at one by one.
    The targets of the chain `looked_at` stand in a CTE `t`, which has all if they are `looked_at_most`.
    """

    visible: Visible | None = None
    by_row: bool = False
    walking: bool = False
    at_hand: bool = False
    looked_at: Chain | None = None
    looked_at_most: int = 0
    aliases: int = 0
    inside: set[str] = field(default_factory=set)  # the aliases that stand for contained resources
    tried: set[str] = field(default_factory=set)  # those that stand for what refers to one row

    def rows(self, alias: str, type_name: str, criteria: Sequence[Criterion], *also: Sql) -> Sql:
        """Return the whole condition on the rows of one type, deletions left out."""
        limit = self.visible(type_name) if self.visible else None
        parts = [*self.each(alias, criteria), *also]
        if limit is not None:
            parts.append(self.criterion(alias, limit))
        own = f"{alias}.tenant = {TENANT} and not {alias}.deleted"
        if not any(isinstance(part, OfType) for part in parts):
            # A key says the type itself, and beside it the type would only invite the primary key.
            own = (
                f"{alias}.tenant = {TENANT} and {alias}.type = {type_code(type_name)} and not {alias}.deleted"
            )
        return joined([Sql(own), *self.merged(alias, parts)], " and ")

    def each(self, alias: str, criteria: Sequence[Criterion]) -> list[Sql]:
        """Return the conditions of an AND, one for all bounds on a value that a resource has once.

        `date=ge2020&date=lt2021` on one row is one range of the index; on two rows it would be two
        scans and a join. Where a value may repeat, each bound may be met by another row.
        """
        found: list[Sql] = []
        if worded := asked(criteria):
            found.append(self.words(alias, worded))
        bounds: dict[Parameter, list[Clause]] = {}
        for criterion in criteria:
            if criterion in worded:
                continue
            if isinstance(criterion, Clause) and is_bound(criterion):
                bounds.setdefault(criterion.parameter, []).append(criterion)
            else:
                found.append(self.criterion(alias, criterion))
        for parameter, clauses in bounds.items():
            found.append(self.row(alias, parameter, TYPES[parameter.kind], row_condition(clauses)))
        return found

    def disjoint(self, alias: str, type_name: str, criteria: Sequence[Criterion]) -> list[Sql]:
        """Return the same as conditions that share no row, each with a narrow stretch of the dates."""
        bounds: dict[Parameter, list[Clause]] = {}
        for each in criteria:
            if isinstance(each, Clause) and each.parameter.kind == "date" and is_bound(each):
                bounds.setdefault(each.parameter, []).append(each)
        for parameter, clauses in bounds.items():
            parts = row_stretches(clauses)
            if len(parts) > 1:
                rest = [each for each in criteria if each not in clauses]
                kind = TYPES[parameter.kind]
                rows = [self.row(alias, parameter, kind, condition) for condition, _ in parts]
                return [self.rows(alias, type_name, rest, row) for row in rows]
        return [self.rows(alias, type_name, criteria)]

    def merged(self, alias: str, parts: Iterable[Sql]) -> list[Sql]:
        """Return the parts of an AND with all single keys asked for at once: one GIN scan, not many."""
        single: list[str] = []
        rest: list[Sql] = []
        for part in parts:
            if isinstance(part, Keys) and len(part.any_of) == 1:
                single.append(part.any_of[0])
            else:
                rest.append(part)
        if single:
            rest.insert(0, Sql(f"{alias}.keys @> %s::uuid[]", (list(dict.fromkeys(single)),)))
        return rest

    def criterion(self, alias: str, criterion: Criterion) -> Sql:
        """Return the condition of one criterion on the resource row `alias`."""
        match criterion:
            case Clause():
                return self.clause(alias, criterion)
            case Chain():
                return self.chain(alias, criterion)
            case Has():
                return self.has(alias, criterion)
            case Either():
                criteria = alternatives(criterion)
                united = not self.by_row and is_indexed(criterion)
                if united and not all(isinstance(each, Clause) for each in criteria):
                    return self.united(alias, criteria)
                parts = [self.criterion(alias, each) for each in criteria]
                if parts and all(isinstance(part, Keys) for part in parts):
                    return has_key(
                        alias, [k for part in parts if isinstance(part, Keys) for k in part.any_of]
                    )
                return self.united(alias, criteria) if united else any_of_these(parts)
            case All(criteria):
                return self.all(alias, criteria)
            case Not(inside):
                return negated(self.criterion(alias, inside))

    def united(self, alias: str, criteria: Sequence[Criterion]) -> Sql:
        """Return an OR as the union of what each side finds by its own index; no index serves an OR."""
        selects = []
        for criterion in criteria:
            name = self.alias("e")
            source = RESOURCE
            if alias in self.inside:
                self.inside.add(name)
                source = ROWS_OF_CONTAINED
            condition = self.rows(name, type_of(criterion), [criterion])
            selects.append(select(f"{name}.pk", f"{source} {name}", condition))
        both = joined(selects, " union all ")
        return Sql(f"{alias}.pk in ({both.text})", both.parameters)

    def all(self, alias: str, criteria: Sequence[Criterion]) -> Sql:
        """Return the condition of an AND inside of another condition."""
        parts = self.each(alias, criteria)
        if len(parts) == 1:
            return parts[0]
        both = joined(self.merged(alias, parts), " and ")
        return Sql(f"({both.text})", both.parameters)

    def clause(self, alias: str, clause: Clause) -> Sql:
        """Return the condition of one parameter."""
        parameter = clause.parameter
        kind = TYPES[parameter.kind]
        if parameter.kind == "words":
            return self.words(alias, [clause])
        if parameter.code == "_id" and alias in self.inside:
            ids = [each.id for each in clause.alternatives if isinstance(each, IdValue) and each.rid]
            found = Sql(f"{alias}.id = any(%s)", (ids,))
            return negated(found) if clause.modifier in COMPLEMENTS else found
        if clause.modifier == "missing":
            if parameter.kind == "special":  # what every resource has
                return Sql("false" if clause.alternatives[0] else "true")
            return _missing(alias, parameter, bool(clause.alternatives[0]))
        texts: list[str] = []
        rows: list[Row] = []
        own: list[OnResource] = []
        for value in clause.alternatives:
            match kind.where(value, kind.columns):
                case Texts(any_of):
                    texts += any_of
                case Row() as row:
                    rows.append(row)
                case OnResource() as condition:
                    own.append(condition)
        parts: list[Sql] = []
        if texts or not (rows or own):
            wanted = _keys(parameter, texts)
            if len(wanted) > LONG and (self.by_row or clause.modifier in COMPLEMENTS):
                parts.append(_has_key_by_row(alias, wanted))
            else:
                parts.append(has_key(alias, wanted))
        if rows:
            parts.append(
                self.row(alias, parameter, kind, any_of_these([Sql(row.sql, row.parameters) for row in rows]))
            )
        parts += [Sql(condition.sql.format(r=alias), condition.parameters) for condition in own]
        found = any_of_these(parts)
        return negated(found) if clause.modifier in COMPLEMENTS else found

    def row(self, alias: str, parameter: Parameter, kind: SearchType, condition: Sql) -> Sql:
        """Return that one row of the type's table fulfils the condition."""
        assert kind.table in ROWS
        name = self.alias("i")
        fence = " offset 0" if self.walking else ""
        return Sql(
            f"exists (select from {kind.table} {name} where {name}.tenant = {TENANT} "
            f"and {name}.pk = {alias}.pk and {name}.{param(parameter)} and {condition.text}{fence})",
            condition.parameters,
        )

    def words(self, alias: str, clauses: Sequence[Clause]) -> Sql:
        """Return that the words of the resource answer all of the clauses."""
        if alias in self.inside:
            if "r" in self.inside and not alias.startswith("t"):
                raise NotSupported("_text and _content are not for contained resources; leave _contained out")
            return Sql("false")  # at the end of a chain: these words are those of what contains it
        at_hand = alias in self.tried or (alias == "r" and (self.by_row or self.at_hand or self.walking))
        return has_words(alias, self.alias("x"), clauses, at_hand)

    def chain(self, alias: str, chain: Chain) -> Sql:
        """Return that the resource refers to one that fulfils the rest of the chain."""
        if self.by_row and by_row(chain):
            tried = self.chain_by_row(alias, chain)
            if chain != self.looked_at:
                return tried
            few = f"(select count(*) <= {self.looked_at_most} from t)"
            near = f"{few} then {alias}.keys && array(select * from t)"
            return Sql(f"case when {near} else {tried.text} end", tried.parameters)
        targets = self.targets(chain)
        return OfType(f"{alias}.keys && array({targets.text})", targets.parameters)

    def targets(self, chain: Chain) -> Sql:
        """Select the reference keys of the resources that fulfil the rest of the chain."""
        urls = {url.type_name: url for url in chain.urls}
        selects: list[Sql] = []
        for target, criterion in chain.branches:
            name = self.alias("t")
            condition = self.rows(name, target, [criterion])
            inner = self.alias("t")
            if target in chain.contained:
                self.inside.add(inner)
                contained = self.rows(inner, target, [criterion])
            for code in chain.reference.sources or (chain.reference.code,):
                head = keys.prefix(chain.reference.type_name, code)
                if not only_canonical(chain.reference):
                    made = f"('{head}' || substr({name}.rid::text, 9))::uuid"
                    selects.append(select(made, f"{RESOURCE} {name}", condition))
                if target in urls:
                    selects.append(_swapped(head, name, urls[target], condition))
                if target in chain.contained:
                    made = f"('{head}' || substr({inner}.rid::text, 9))::uuid"
                    selects.append(select(made, f"{ROWS_OF_CONTAINED} {inner}", contained))
        return joined(selects, " union all ")

    def chain_by_row(self, alias: str, chain: Chain) -> Sql:
        """Return the same for one row at a time: is what it refers to among those that fulfil the rest?"""
        parts = []
        self.by_row = False
        for target, criterion in chain.branches:
            for source in (RESOURCE, ROWS_OF_CONTAINED) if target in chain.contained else (RESOURCE,):
                name = self.alias("t")
                if source == ROWS_OF_CONTAINED:
                    self.inside.add(name)
                condition = self.rows(name, target, [criterion])
                parts.append(
                    Sql(
                        f"exists (select from unnest({alias}.keys) k join {source} {name} "
                        f"on {name}.rid = ('00000000' || substr(k::text, 9))::uuid "
                        f"where {_ranges(chain.reference)} and {condition.text})",
                        condition.parameters,
                    )
                )
        self.by_row = True
        return any_of_these(parts)

    def has(self, alias: str, has: Has) -> Sql:
        """Return that a resource which fulfils the rest refers to this one."""
        parts: list[Sql] = []
        if self.by_row and alias not in self.inside and is_tried(has):
            return self.has_by_row(alias, has)
        if has.target == "Patient" and alias not in self.inside and chart.refers_to_patient(has.reference):
            name = self.alias("h")
            condition = self.rows(name, has.reference.type_name, [has.criterion])
            return Sql(
                f"{alias}.rid = any(array("
                f"select {name}.chart from {RESOURCE} {name} where {condition.text}))",
                condition.parameters,
            )
        if not only_canonical(has.reference):
            name = self.alias("h")
            condition = self.rows(name, has.reference.type_name, [has.criterion])
            found = _swapped("00000000", name, has.reference, condition)
            parts.append(Sql(f"{alias}.rid in ({found.text})", found.parameters))
        if has.url is not None:
            for code in has.url.sources or (has.url.code,):
                name = self.alias("h")
                condition = self.rows(name, has.reference.type_name, [has.criterion])
                found = _swapped(keys.prefix(has.url.type_name, code), name, has.reference, condition)
                parts.append(Sql(f"{alias}.keys && array({found.text})", found.parameters))
        return any_of_these(parts)

    def has_by_row(self, alias: str, has: Has) -> Sql:
        """Return the same for one row at a time: its reference key and the rest, in one GIN scan.

        Counted, because of `exists` the planner believes that the first is found soon, and reads the table.
        """
        name = self.alias("h")
        self.tried.add(name)
        (code,) = has.reference.sources or (has.reference.code,)
        head = keys.prefix(has.reference.type_name, code)
        key = Keys(f"{name}.keys @> array[('{head}' || substr({alias}.rid::text, 9))::uuid]")
        condition = self.rows(name, has.reference.type_name, [has.criterion], key)
        counted = f"(select count(*) from {RESOURCE} {name} where {condition.text})"
        return Sql(f"{counted} > 0", condition.parameters)

    def holders(self, has: Has, limit: int) -> Sql:
        """Select a row for each of at most `limit` resources that fulfil the innermost criterion."""
        has = innermost(has)
        name = self.alias("h")
        condition = self.rows(name, has.reference.type_name, [has.criterion])
        found = select("1", f"{RESOURCE} {name}", condition)
        return Sql(f"{found.text} limit {limit}", found.parameters)

    def alias(self, letter: str) -> str:
        """Return a table alias that the statement does not have yet."""
        self.aliases += 1
        return f"{letter}{self.aliases}"


def has_key(alias: str, any_of: Iterable[str]) -> Sql:
    """Return that the resource has at least one of the keys."""
    distinct = tuple(dict.fromkeys(any_of))
    if not distinct:
        return Sql("false")
    operator = "@>" if len(distinct) == 1 else "&&"
    return Keys(f"{alias}.keys {operator} %s::uuid[]", (list(distinct),), distinct)


def _has_key_by_row(alias: str, any_of: Sequence[str]) -> Sql:
    """Return the same for one row at a time: a long list is hashed, `&&` would compare each with each."""
    distinct = list(dict.fromkeys(any_of))
    return Sql(f"exists (select from unnest({alias}.keys) k where k = any(%s::uuid[]))", (distinct,))


def param(parameter: Parameter) -> str:
    """Return the condition on the column param of an index table, its alias aside."""
    codes = parameter.sources or (parameter.code,)
    columns = [str(keys.column_hash(parameter.type_name, code)) for code in codes]
    return f"param = {columns[0]}" if len(columns) == 1 else f"param in ({', '.join(columns)})"


def _keys(parameter: Parameter, texts: Iterable[str]) -> list[str]:
    codes = parameter.sources or (parameter.code,)
    return [keys.key(parameter.type_name, code, text) for text in texts for code in codes]


def keys_of(clause: Clause) -> list[str] | None:
    """Return the keys of which a clause asks for one, None where it is answered by more than keys."""
    if clause.modifier == "missing":
        return _keys(clause.parameter, [keys.ABSENT if clause.alternatives[0] else keys.PRESENT])
    kind = TYPES[clause.parameter.kind]
    texts: list[str] = []
    for value in clause.alternatives:
        found = kind.where(value, kind.columns)
        if not isinstance(found, Texts):
            return None
        texts += found.texts
    return _keys(clause.parameter, texts)


def is_indexed(criterion: Criterion) -> bool:
    """Tell whether an index finds what fulfils a criterion; what is absent stands in none."""
    match criterion:
        case Clause(_, modifier, alternatives):
            if modifier == "missing" and alternatives == (True,):
                return absence.is_kept(criterion.parameter)
            return modifier not in COMPLEMENTS
        case Either(criteria):
            return all(map(is_indexed, criteria))
        case All(criteria):
            return any(map(is_indexed, criteria))
        case Not():
            return False
    return True


def is_on_rows(clause: Clause) -> bool:
    """Tell whether a clause is answered by rows of an index table, and by nothing else."""
    kind = TYPES[clause.parameter.kind]
    if clause.modifier in ("missing", *COMPLEMENTS) or kind.table is None:
        return False
    return all(isinstance(kind.where(value, kind.columns), Row) for value in clause.alternatives)


def row_condition(clauses: Sequence[Clause]) -> Sql:
    """Return what one row of the index table must fulfil for all of the clauses."""
    each = []
    for clause in clauses:
        kind = TYPES[clause.parameter.kind]
        rows = [kind.where(value, kind.columns) for value in clause.alternatives]
        each.append(any_of_these([Sql(row.sql, row.parameters) for row in rows if isinstance(row, Row)]))
    return joined(each, " and ")


def row_stretches(clauses: Sequence[Clause]) -> list[tuple[Sql, bool]]:
    """Return the same as conditions that no two of them share a row, and which are on long intervals.

    Those come before the others in the order of `low` (spans.py).
    """
    condition = row_condition(clauses) if clauses else Sql("true")
    found = [
        (joined([Sql(each.sql, each.parameters), condition], " and "), each.long)
        for each in spans.of(clauses)
    ]
    return found or [(condition, False)]


def row_source(clauses: Sequence[Clause], limit: int | None = None) -> Sql:
    """Select the pks of the rows that fulfil the clauses, all on one parameter; at most `limit` of them."""
    parameter = clauses[0].parameter
    if parameter.kind == "words":
        found = words_source(clauses)
        return found if limit is None else Sql(f"{found.text} limit {limit}", found.parameters)
    parts = [condition for condition, _ in row_stretches(clauses)]
    if units := spans.in_units(clauses):
        parts = [Sql(each.sql, each.parameters) for each in units]
    selects = [
        select(
            "i.pk",
            f"{TYPES[parameter.kind].table} i",
            Sql(f"i.tenant = {TENANT} and i.{param(parameter)} and {condition.text}", condition.parameters),
        )
        for condition in parts
    ]
    both = joined(selects, " union all ")
    return both if limit is None else Sql(f"{both.text} limit {limit}", both.parameters)


def _missing(alias: str, parameter: Parameter, missing: bool) -> Sql:
    if missing and absence.is_kept(parameter):
        return has_key(alias, _keys(parameter, [keys.ABSENT]))
    present = has_key(alias, _keys(parameter, [keys.PRESENT]))
    return negated(present) if missing else present


def _swapped(head: str, name: str, parameter: Parameter, condition: Sql) -> Sql:
    """Select the keys of one parameter of the rows `name`, under another first four bytes."""
    return select(
        f"('{head}' || substr(k::text, 9))::uuid",
        f"{RESOURCE} {name} cross join unnest({name}.keys) k",
        Sql(f"{condition.text} and {_ranges(parameter)}", condition.parameters),
    )


def _ranges(parameter: Parameter) -> str:
    """Return that k is a key of the parameter, other than the one that says that there is a value."""
    ranges = []
    for code in parameter.sources or (parameter.code,):
        first = keys.prefix(parameter.type_name, code)
        present = keys.key(parameter.type_name, code, keys.PRESENT)
        ranges.append(f"k between '{first}{'0' * 24}' and '{first}{'f' * 24}' and k <> '{present}'")
    return ranges[0] if len(ranges) == 1 else f"({' or '.join(ranges)})"
