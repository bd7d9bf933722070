"""A trial or cohort described in one TOML file: what its columns are, and what is asked of them.

The file names source and hash, arms, outcomes, baseline variables with codings and units, the column
that folds group by, the columns that came after randomisation (leakage), benchmarks, subgroups, harms,
published numbers, the external split, and for each gate one learner and one outcome, named before
anybody looks. `docs/models.md` explains every table; `trials/` holds the descriptions that we ship.

What the file does not say is not guessed, and what it says too much (an unknown key, a column that is
two things at once) is refused by name.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cds_hooks.models import features
from cds_hooks.training.entry import DescriptionError, Entry
from cds_hooks.training.moment import Moment

TRIALS = Path(__file__).parent / "trials"

_ID = re.compile(r"[a-z][a-z0-9-]{0,39}")  # resources are named after it, and a FHIR id has 64
Cells = Mapping[str, tuple[str, ...]]
"""Column → the cells that are meant; several columns have to hold together."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file: its name, its SHA-256 as published, its spelling, and what has to be said about it."""

    name: str
    file: str
    sha256: str | None
    doi: str | None
    period: str | None
    licence: str | None
    notice: str | None
    encoding: str
    separator: str
    upper_case: bool
    gaps: tuple[str, ...]
    recode: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Folds:
    """Folds of whole groups: fold = SHA-256(salt:group) mod count."""

    column: str
    salt: str
    count: int
    unit: str

    def of(self, group: str) -> int:
        """Return the fold of a group: a hash, so that no random generator and no language matters.

        >>> Folds("HOSPNUM", "ist-v1", 10, "hospitals").of("1") == int(
        ...     hashlib.sha256(b"ist-v1:1").hexdigest(), 16) % 10
        True
        """
        return int(hashlib.sha256(f"{self.salt}:{group}".encode()).hexdigest(), 16) % self.count


@dataclass(frozen=True, slots=True)
class Arm:
    """One randomised comparison; cells in neither list are of another arm and take no part in it."""

    name: str
    column: str
    treated: tuple[str, ...]
    control: tuple[str, ...]
    control_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A bad outcome: yes where any column has a `yes` cell, no where all have a `no` cell, else unknown.

    Without `no` every other cell means no.
    """

    name: str
    label: str
    columns: tuple[str, ...]
    yes: tuple[str, ...]
    no: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """One baseline variable: a coded one (`codes`), a number, or a count of cells in other variables."""

    name: str
    label: str
    codes: Mapping[str, float] | None
    unit: str | None
    low: float | None
    high: float | None
    unknown: str
    squared: bool
    count_of: tuple[str, ...] = ()
    count_cell: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Somebody else's prediction of an outcome: compared with, adjusted for, never a feature."""

    column: str
    outcome: str
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the patients: by cells of a column, or by its number being in [low, below)."""

    name: str
    column: str
    cells: tuple[str, ...] = ()
    other_than: tuple[str, ...] = ()
    low: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A harm or a published number: patients (`where`), and what is counted in them.

    That is an outcome, or rows of which any of the columns has a `yes` cell; with neither, the patients.
    """

    name: str
    where: Cells
    outcome: str | None
    columns: tuple[str, ...]
    yes: tuple[str, ...] = ("1",)
    paper: str | None = None
    percent: bool = True


@dataclass(frozen=True, slots=True)
class External:
    """The outside split: fitted on the others, looked at once in the groups named."""

    column: str
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """The average effect that is published: of which arm, on which outcome."""

    arm: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Gate:
    """One claim of individual effects, named beforehand: one arm, one outcome, one learner."""

    name: str
    arm: str
    outcome: str
    learner: str
    draws: int
    folds: int


@dataclass(frozen=True)
class Description:
    """The whole file; `sha256` is that of its bytes."""

    id: str
    title: str
    source: Source
    folds: Folds
    variables: tuple[Variable, ...]
    outcomes: Mapping[str, Outcome]
    arms: Mapping[str, Arm]
    risk: tuple[str, ...]
    effect: Effect | None
    leakage: tuple[str, ...]
    unused: tuple[str, ...]
    benchmarks: tuple[Benchmark, ...]
    subgroups: tuple[Group, ...]
    harms: tuple[Event, ...]
    published: tuple[Event, ...]
    external: External | None
    gates: tuple[Gate, ...]
    serving: str | None
    moment: Moment | None
    sha256: str = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The baseline variables, in the order of the model's columns."""
        return tuple(variable.name for variable in self.variables)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file that this description reads; the file has to have them all."""
        return tuple(self.uses())

    @property
    def squares(self) -> tuple[int, ...]:
        """The positions of the variables that the logistic model takes squared as well."""
        return tuple(place for place, variable in enumerate(self.variables) if variable.squared)

    def uses(self) -> dict[str, str]:
        """Return what each column is read for, by its first use."""
        found = {variable.name: "variable" for variable in self.variables if not variable.count_of}
        pairs = [(self.folds.column, "group")]
        pairs += [(arm.column, "arm") for arm in self.arms.values()]
        pairs += [(column, "outcome") for one in self.outcomes.values() for column in one.columns]
        pairs += [(benchmark.column, "benchmark") for benchmark in self.benchmarks]
        pairs += [(group.column, "subgroup") for group in self.subgroups]
        pairs += [(column, "event") for event in (*self.harms, *self.published) for column in event.columns]
        pairs += [(column, "event") for event in (*self.harms, *self.published) for column in event.where]
        pairs += [(self.external.column, "external split")] if self.external else []
        pairs += [(self.moment.column, "moment")] if self.moment else []
        for column, use in pairs:
            found.setdefault(column, use)
        return found

    def encode(self, values: Mapping[str, features.Value]) -> list[float]:
        """Return the model's numbers for values in the trial's coding; unknown becomes NaN.

        Where the program serves this trial's model, the table of `models/features` does it: the same
        lines for training and serving. Raises ValueError for a cell that no coding knows.
        """
        if self.serving is not None:
            return features.encode(values)
        return [_number(variable, values) for variable in self.variables]

    def analysis(self, arm: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the variables that may predict the effect of an arm, and the other arms to be added.

        The arm's own column is never among them; the other arms of a factorial trial are.
        """
        own = self.arms[arm].column
        kept = tuple(place for place, name in enumerate(self.names) if name != own)
        others = (other for other in self.arms.values() if other.column not in (own, *self.names))
        return kept, tuple(other.name for other in others)


def _number(variable: Variable, values: Mapping[str, features.Value]) -> float:
    if variable.count_of:
        return float(sum(values.get(name) == variable.count_cell for name in variable.count_of))
    value = values.get(variable.name)
    if value is None or value == "":
        return float("nan")
    if variable.codes is None:
        return float(value)
    if value not in variable.codes:
        raise ValueError(f"{variable.name} is {value!r}; known are {', '.join(variable.codes)}")
    return variable.codes[str(value)]


# Reading the file -------------------------------------------------------------------------------
def load(path: Path) -> Description:
    """Read and check a description; raises DescriptionError naming table, key and what would do."""
    data = path.read_bytes()
    try:
        whole = Entry(path.name, tomllib.loads(data.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DescriptionError(f"{path.name} is no TOML: {error}") from error
    found = _description(whole, hashlib.sha256(data).hexdigest())
    _check(found, path.name)
    return found


def shipped(name: str) -> Description:
    """Return a description that comes with the program, by its id.

    >>> shipped("international-stroke-trial").effect.arm
    'aspirin'
    """
    path = TRIALS / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in TRIALS.glob("*.toml")))
        raise DescriptionError(f"there is no description {name}; known are {known}")
    return load(path)


def _description(whole: Entry, digest: str) -> Description:
    trial, source, folds = whole.table("trial"), whole.table("source"), whole.table("folds")
    unlisted, effect, external = whole.table("columns"), whole.optional("effect"), whole.optional("external")
    report = whole.optional("report") or Entry("[report]", {})
    found = Description(
        id=trial.text("id"),
        title=trial.text("title"),
        serving=trial.text_or_none("serving"),
        moment=_moment(trial.optional("randomised_on")),
        source=Source(
            source.text("name"), source.text("file"), source.text_or_none("sha256"),
            source.text_or_none("doi"), source.text_or_none("period"), source.text_or_none("licence"),
            source.text_or_none("notice"), source.text("encoding", "utf-8"), source.text("separator", ","),
            source.flag("upper_case"), source.texts("gaps", ("",)), source.mapping("recode"),
        ),
        folds=Folds(
            folds.text("column"), folds.text("salt"), folds.whole("count", 10), folds.text("unit", "groups")
        ),
        variables=tuple(_variable(entry) for entry in whole.table("baseline").tables("variables")),
        outcomes=_named(_outcome(entry) for entry in whole.tables("outcome")),
        arms=_named(_arm(entry) for entry in whole.tables("arm")),
        risk=whole.table("risk").texts("outcomes"),
        effect=Effect(effect.text("arm"), effect.text("outcome")) if effect else None,
        leakage=unlisted.texts("leakage", ()),
        unused=unlisted.texts("unused", ()),
        benchmarks=tuple(
            Benchmark(entry.text("column"), entry.text("outcome"), entry.text("label"))
            for entry in whole.tables("benchmark")
        ),
        subgroups=tuple(_group(entry) for entry in report.tables("subgroups")),
        harms=tuple(_event(entry) for entry in report.tables("harms")),
        published=tuple(_event(entry) for entry in report.tables("published")),
        external=External(external.text("column"), external.texts("test")) if external else None,
        gates=tuple(_gate(entry) for entry in whole.tables("gate")),
        sha256=digest,
    )  # fmt: skip
    whole.finish()
    return found


def _named(found: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for one in found:
        if one.name in answer:
            raise DescriptionError(f"{type(one).__name__.lower()} {one.name!r} is there twice")
        answer[one.name] = one
    return answer


def _moment(entry: Entry | None) -> Moment | None:
    if entry is None:
        return None
    return Moment(
        entry.text("column"),
        entry.texts("months", ()),
        entry.mapping("spelt"),
        int(entry.number("century") or 0),
    )


def _variable(entry: Entry) -> Variable:
    codes, count = entry.mapping("codes"), entry.optional("count")
    return Variable(
        entry.text("name"), entry.text("label"),
        {str(cell): float(number) for cell, number in codes.items()} or None,
        entry.text_or_none("unit"), entry.number("low"), entry.number("high"),
        entry.text("unknown", features.REQUIRED), entry.flag("squared"),
        count.texts("of") if count else (), count.text("cell") if count else "",
    )  # fmt: skip


def _outcome(entry: Entry) -> Outcome:
    return Outcome(
        entry.text("name"), entry.text("label"), entry.texts("columns"), entry.texts("yes"),
        entry.texts("no", ()),
    )  # fmt: skip


def _arm(entry: Entry) -> Arm:
    name = entry.text("name")
    probability = entry.number("probability")
    if probability is None or not 0 < probability < 1:
        raise DescriptionError(
            f"arm {name!r}: probability is {probability}; give the chance of being treated, as randomised"
        )
    return Arm(
        name, entry.text("column"), entry.texts("treated"), entry.texts("control"),
        entry.text("control_name", f"no {name}"), probability,
    )  # fmt: skip


def _group(entry: Entry) -> Group:
    return Group(
        entry.text("name"), entry.text("column"), entry.texts("cells", ()), entry.texts("other_than", ()),
        entry.number("low"), entry.number("below"),
    )  # fmt: skip


def _event(entry: Entry) -> Event:
    name, where = entry.text("name"), entry.mapping("where")
    for column, cells in where.items():
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            raise DescriptionError(f"{name}: where {column} is {cells!r}; expected is a list of cells")
    measure = entry.text("measure", "percent")
    if measure not in ("percent", "count"):
        raise DescriptionError(f"{name}: measure is {measure!r}; expected is percent or count")
    return Event(
        name, {column: tuple(cells) for column, cells in where.items()}, entry.text_or_none("outcome"),
        entry.texts("columns", ()), entry.texts("yes", ("1",)), entry.text_or_none("paper"),
        measure == "percent",
    )  # fmt: skip


def _gate(entry: Entry) -> Gate:
    return Gate(
        entry.text("name"), entry.text("arm"), entry.text("outcome"), entry.text("learner"),
        entry.whole("draws", 200), entry.whole("folds", 5),
    )  # fmt: skip


# What has to hold between the tables --------------------------------------------------------------
def _check(found: Description, file: str) -> None:
    for problem in _problems(found):
        raise DescriptionError(f"{file}: {problem}")


def _problems(found: Description) -> Any:
    uses, names = found.uses(), found.names
    later = {column for outcome in found.outcomes.values() for column in outcome.columns}
    later |= {benchmark.column for benchmark in found.benchmarks} | set(found.leakage)
    if not _ID.fullmatch(found.id):
        yield f"the id is {found.id!r}; expected are at most 40 of a-z, 0-9 and -, a letter first"
    if len(set(names)) != len(names):
        yield f"a variable is there twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}"
    for name in sorted(set(names) & later):
        yield f"{name} is a variable and came after randomisation; what came later cannot predict"
    if found.folds.column in names:
        yield f"{found.folds.column} groups the folds; a site must not predict itself"
    for name in sorted(set(found.unused) & set(uses)):
        yield f"{name} is listed as unused and is used as {uses[name]}"
    if not found.risk:
        yield "[risk] outcomes is empty; name at least one outcome"
    for where, outcome in [("risk", name) for name in found.risk] + [
        (f"gate {gate.name}", gate.outcome) for gate in found.gates
    ] + [(f"benchmark {one.column}", one.outcome) for one in found.benchmarks]:  # fmt: skip
        if outcome not in found.outcomes:
            yield f"{where}: there is no outcome {outcome!r}; known are {', '.join(found.outcomes)}"
    for where, arm in [(f"gate {gate.name}", gate.arm) for gate in found.gates] + (
        [("effect", found.effect.arm)] if found.effect else []
    ):
        if arm not in found.arms:
            yield f"{where}: there is no arm {arm!r}; known are {', '.join(found.arms) or 'none'}"
    if found.effect and found.effect.outcome not in found.risk[:1]:
        yield f"effect: its outcome is {found.effect.outcome!r}; it has to be the first of [risk] outcomes"
    if found.effect and found.effect.outcome not in found.outcomes:
        yield f"effect: there is no outcome {found.effect.outcome!r}; known are {', '.join(found.outcomes)}"
    for event in (*found.harms, *found.published):
        if event.outcome is not None and event.outcome not in found.outcomes:
            yield f"{event.name}: there is no outcome {event.outcome!r}"
    for variable in found.variables:
        if absent := sorted(set(variable.count_of) - set(names)):
            yield f"{variable.name} counts {', '.join(absent)}, which are no variables"
        if variable.codes and not variable.count_of and variable.unit:
            yield f"{variable.name} has codes and a unit; it is one or the other"
    if found.gates and found.external is None:
        yield "a gate needs an [external] split"
    if found.serving is not None:
        yield from _differences(found)


def _differences(found: Description) -> Any:
    """Name what differs from the table that serving reads: one definition, held from both sides."""
    if found.names != features.NAMES:
        yield f"variables are {', '.join(found.names)}; the serving table has {', '.join(features.NAMES)}"
        return
    for variable, feature in zip(found.variables, features.FEATURES, strict=True):
        for key, here, there in (
            ("label", variable.label, feature.label),
            ("codes", variable.codes, dict(feature.codes) if feature.codes else None),
            ("unit", variable.unit, feature.unit),
            ("low", variable.low, feature.low),
            ("high", variable.high, feature.high),
            ("unknown", variable.unknown, feature.unknown),
        ):
            if here != there:
                yield f"{variable.name}: {key} is {here!r}; models/features, which serves it, says {there!r}"
