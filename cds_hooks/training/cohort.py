"""A trial or cohort as rows: the table as its description reads it, with every coding trap taken out.

One way in for every source: the CSV of a trial, its `$export` or a store end in the same Cohort, and
what follows (risk model, evaluation, effects, gate) asks for arms and outcomes by their names.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cds_hooks.models import features
from cds_hooks.training import description as descriptions
from cds_hooks.training.description import Cells, Description, Event, Group

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_BYTES = 1 << 30
"""Of an unpacked file; more is refused before it is read, so that no archive can fill the memory."""


class CohortError(ValueError):
    """The file is not the trial's data; the message says what differs."""


@dataclass(frozen=True)
class Cohort:
    """The table as text cells, the model's numbers and the fold of each row.

    `sha256` is that of the source: of the unpacked file, or of the rows that were read from FHIR.
    """

    description: Description
    table: pd.DataFrame
    sha256: str
    x: Floats
    folds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def as_published(self) -> bool:
        """Whether the source is, byte for byte, the file that the description names."""
        return self.sha256 == self.description.source.sha256

    @property
    def x_sha256(self) -> str:
        """The SHA-256 of the numbers that a model is trained on, in their order."""
        return hashlib.sha256(np.ascontiguousarray(self.x, dtype="<f8").tobytes()).hexdigest()

    def arm(self, name: str) -> Floats:
        """Return 1.0 treated, 0.0 control, NaN where the row is of another arm."""
        arm = self.description.arms[name]
        column = self.table[arm.column]
        return np.where(column.isin(arm.treated), 1.0, np.where(column.isin(arm.control), 0.0, np.nan))

    def outcome(self, name: str) -> Floats:
        """Return 1.0 where the bad outcome came, 0.0 where not, NaN where it is not known."""
        outcome = self.description.outcomes[name]
        cells = self.table[list(outcome.columns)]
        yes = cells.isin(outcome.yes).any(axis=1)
        no = cells.isin(outcome.no).all(axis=1) if outcome.no else ~yes
        return np.where(yes, 1.0, np.where(no, 0.0, np.nan))

    def counted(self, event: Event) -> Floats:
        """Return what an event counts: its outcome, or 1.0 where any of its columns has a `yes` cell."""
        if event.outcome is not None:
            return self.outcome(event.outcome)
        cells = self.table[list(event.columns)]
        return np.asarray(cells.isin(event.yes).any(axis=1), dtype=np.float64)

    def where(self, cells: Cells) -> Mask:
        """Return the rows whose columns all hold one of their cells."""
        mask = np.ones(len(self.table), dtype=bool)
        for column, wanted in cells.items():
            mask &= np.asarray(self.table[column].isin(wanted), dtype=bool)
        return mask

    def numbers(self, column: str) -> Floats:
        """Return a column as numbers, NaN where a cell is a gap."""
        return np.asarray(pd.to_numeric(self.table[column], errors="coerce"), dtype=np.float64)

    def group(self, group: Group) -> Mask:
        """Return the rows of a subgroup."""
        if group.low is not None or group.below is not None:
            value = self.numbers(group.column)
            low, below = group.low, group.below
            return np.asarray(
                (value >= (-np.inf if low is None else low)) & (value < (np.inf if below is None else below))
            )
        column = self.table[group.column]
        return np.asarray(
            column.isin(group.cells) if group.cells else ~column.isin(group.other_than), dtype=bool
        )

    def take(self, rows: Mask | NDArray[np.int64]) -> Cohort:
        """Return the cohort of some of the rows, in their order."""
        table = self.table.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows]
        return replace(self, table=table.reset_index(drop=True), x=self.x[rows], folds=self.folds[rows])


def load(path: Path, description: Description | None = None) -> Cohort:
    """Read a trial's CSV (or the same packed as .xz) as its description says; default is the IST.

    Raises CohortError when a column is missing or not described, or a cell is in no coding.
    """
    trial = description or descriptions.shipped("international-stroke-trial")
    data = _bytes(path)
    source = trial.source
    try:
        table = pd.read_csv(
            io.BytesIO(data), dtype=str, keep_default_na=False, encoding=source.encoding, sep=source.separator
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise CohortError(f"{path.name} is no table in {source.encoding}: {error}") from error
    if missing := sorted(set(trial.columns) - set(table.columns)):
        raise CohortError(f"{path.name} lacks the columns {', '.join(missing)}; expected {source.file}")
    described = {*trial.columns, *trial.leakage, *trial.unused}
    if strange := [column for column in table.columns if column not in described]:
        raise CohortError(
            f"{path.name} has columns that {trial.id} does not describe: {', '.join(strange)};"
            " name each as a variable, as leakage or as unused"
        )
    table = table.apply(lambda column: column.str.strip())
    if source.upper_case:
        table = table.apply(lambda column: column.str.upper())
    for column, spelling in source.recode.items():
        table[column] = table[column].replace(dict(spelling))
    return of_table(trial, table, hashlib.sha256(data).hexdigest(), path.name)


def of_table(trial: Description, table: pd.DataFrame, sha256: str, name: str) -> Cohort:
    """Return the cohort of clean cells; `name` is what errors call the source."""
    if table.empty:
        raise CohortError(f"{name} holds no patient")
    variables = [variable.name for variable in trial.variables if not variable.count_of]
    try:
        x = np.array(
            [trial.encode(values(record, trial)) for record in _records(table, variables)], dtype=np.float64
        )
    except ValueError as error:
        raise CohortError(f"{name}: {error}") from error
    for arm in trial.arms.values():
        if not table[arm.column].isin([*arm.treated, *arm.control]).any():
            raise CohortError(f"{name}: {arm.column} holds no cell of the arm {arm.name}")
    folds = np.array([trial.folds.of(group) for group in table[trial.folds.column]], dtype=np.int64)
    return Cohort(trial, table, sha256, x, folds)


def _records(table: pd.DataFrame, columns: list[str]) -> Iterable[dict[str, str]]:
    for cells in zip(*(table[column] for column in columns), strict=True):
        yield dict(zip(columns, cells, strict=True))


def values(record: Mapping[Any, Any], trial: Description) -> dict[str, features.Value]:
    """Return a row in the trial's coding: letters, numbers, None for a gap.

    A gap's spelling is a value where a coding has it: RCONSC of the IST has a U (unconscious).
    Raises ValueError for a cell that is neither a number nor a gap where a number is due.
    """
    row: dict[str, features.Value] = {}
    for variable in trial.variables:
        cell = record.get(variable.name, "")
        if variable.count_of or (cell in trial.source.gaps and cell not in (variable.codes or ())):
            row[variable.name] = None
        elif variable.codes is None:
            try:
                row[variable.name] = float(cell)
            except ValueError:
                raise ValueError(f"{variable.name} is {cell!r}, which is no number") from None
        else:
            row[variable.name] = cell
    return row


def _bytes(path: Path) -> bytes:
    with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CohortError(f"{path.name} is larger than {MAX_BYTES:,} bytes; give the rows that are needed")
    return data
