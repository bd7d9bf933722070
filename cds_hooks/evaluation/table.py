"""A hospital's own patients as a table: the model's inputs in their coding, and what became of them.

CSV (or the same as .xz) with a column for each input of the feature table, in the coding that the page of
the service lists, and `outcome` (1 bad, 0 not), or the trial's OCCODE (1, 2 bad; 3, 4 not). An empty cell
is a gap, and so is U where it is no code. Rows without an outcome are left out and counted. Columns that
are not inputs are read for `where` and `site` alone, so what happened later cannot become an input.
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cds_hooks.evaluation.regression import Floats
from cds_hooks.evaluation.sample import Sample, by_value, groups
from cds_hooks.models import features
from cds_hooks.models.predictor import Predictor
from fhir_server.outcome import Invalid

MAX_BYTES = 1 << 30
_OUTCOME = {"1": 1.0, "0": 0.0}
_OCCODE = {"1": 1.0, "2": 1.0, "3": 0.0, "4": 0.0}
_SITES = ("site", "COUNTRY")

Row = Mapping[str, str]


@dataclass(frozen=True)
class Patients:
    """Rows with an outcome: inputs in the trial's coding, outcome, site; `left_out` had no outcome.

    `others` are further columns that a report groups by, such as language.
    """

    values: Sequence[Mapping[str, features.Value]]
    y: Floats
    site: Sequence[str | None]
    sha256: str
    left_out: int
    others: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def matrix(self) -> Floats:
        """Return the model's numbers, a row a patient, NaN for a gap."""
        return np.array([features.encode(row) for row in self.values], dtype=np.float64)

    def sample(self, predictor: Predictor) -> Sample:
        """Return what a model predicts for them, with the groups of a report."""
        p = np.array([predictor.predict(features.encode(row)) for row in self.values], dtype=np.float64)
        sex = [None if row["SEX"] is None else str(row["SEX"]) for row in self.values]
        age = [row["AGE"] if isinstance(row["AGE"], float) else None for row in self.values]
        others = {name: by_value(values) for name, values in self.others.items()}
        return Sample(self.y, p, {**groups(sex, age, self.site), **others})


def read(path: Path, where: Sequence[str] = (), site: str = "", by: Sequence[str] = ()) -> Patients:
    """Read the patients of a file; `where` narrows them, each `COLUMN=a,b` or `COLUMN!=a,b`.

    `site` names the column of the place, else `site` or COUNTRY; `by` further columns to group by.
    Raises Invalid naming what is missing, or the line and the input that cannot be read.
    """
    data = _bytes(path)
    rows = csv.DictReader(io.StringIO(_text(data), newline=""))
    columns = {name: name for name in rows.fieldnames or ()}
    needed = [feature.name for feature in features.FEATURES if feature.name != "NDEF"]
    if missing := [name for name in needed if name not in columns]:
        raise Invalid(f"{path.name} lacks the columns {', '.join(missing)}; expected the inputs of the model")
    outcome, codes = ("outcome", _OUTCOME) if "outcome" in columns else ("OCCODE", _OCCODE)
    if outcome not in columns:
        raise Invalid(f"{path.name} has no column outcome (1 bad, 0 not) and no OCCODE")
    conditions = [_condition(text, columns, path.name) for text in where]
    place = site or next((name for name in _SITES if name in columns), "")
    if place and place not in columns:
        raise Invalid(f"{path.name} has no column {place!r} for the site")
    for column in by:
        if column not in columns:
            raise Invalid(f"{path.name} has no column {column!r} to group by")
    others: dict[str, list[str | None]] = {column: [] for column in by}
    values, y, sites, left_out = [], [], [], 0
    for number, row in enumerate(rows, 2):
        cells = {name: (cell or "").strip().upper() for name, cell in row.items() if name in columns}
        if not all((cells[column] in wanted) is equal for column, wanted, equal in conditions):
            continue
        bad = codes.get(cells[outcome])
        if bad is None:
            left_out += 1
            continue
        values.append(_values(cells, f"{path.name}, line {number}"))
        y.append(bad)
        sites.append(cells[place] or None if place else None)
        for column, found in others.items():
            found.append(cells[column] or None)
    if not y:
        raise Invalid(f"{path.name} has no patient with an outcome{' under --where' if where else ''}")
    return Patients(values, np.array(y), sites, hashlib.sha256(data).hexdigest(), left_out, others)


def _values(cells: Row, where: str) -> dict[str, features.Value]:
    answer: dict[str, features.Value] = {"NDEF": None}
    for feature in features.FEATURES:
        if feature.name == "NDEF":
            continue
        cell = cells[feature.name]
        if cell == "" or (cell == "U" and "U" not in (feature.codes or ())):
            answer[feature.name] = None
        elif feature.codes is None:
            try:
                answer[feature.name] = float(cell)
            except ValueError:
                raise Invalid(f"{where}: {feature.name} is no number") from None
        elif cell in feature.codes:
            answer[feature.name] = cell
        else:
            raise Invalid(f"{where}: {feature.name} has to be one of {', '.join(feature.codes)}")
    return answer


def _condition(text: str, columns: Mapping[str, str], name: str) -> tuple[str, frozenset[str], bool]:
    column, separator, wanted = text.partition("=")
    equal = not column.endswith("!")
    column = column.rstrip("!").strip()
    if not separator or column not in columns:
        raise Invalid(f"--where {text!r}: write COLUMN=value or COLUMN!=value with a column of {name}")
    return column, frozenset(value.strip().upper() for value in wanted.split(",")), equal


def _bytes(path: Path) -> bytes:
    with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Invalid(f"{path.name} is larger than {MAX_BYTES:,} bytes; give the rows that are needed")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # as the trial's own file is


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, unpacked where it is .xz."""
    return hashlib.sha256(_bytes(path)).hexdigest()
