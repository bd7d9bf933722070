"""The International Stroke Trial as rows: the CSV with its coding traps taken out.

Source: Edinburgh DataShare doi:10.7488/ds/104, 19,435 patients, 112 columns. Traps: Y and y and
U and empty are mixed; RATRIAL and RASP3 are empty for the 984 pilot patients, RHEP24 for 344;
pilot heparin H is medium dose M; OCCODE 0 and 9 are missing; RDATE has Polish months; the file
is Latin-1. Whatever stands after RXHEP happened after randomisation: it may be an outcome, never
a feature. EXPDD is the trial's own prediction: a benchmark, never a feature.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cds_hooks.models import features

PUBLISHED_SHA256 = "a350aed2329bbcde23c05caaa96b9275b44b017adecc2fd02231d590454695d5"
"""Of the unpacked file as the depositors published it."""

FOLDS = 10
Floats = NDArray[np.float64]

_POLISH = ("sty", "lut", "mar", "kwi", "maj", "cze", "lip", "sie", "wrz", "paź", "lis", "gru")
_MONTHS = {month: number for number, month in enumerate(_POLISH, 1)} | {"paz": 10, "pa\x9f": 10, "pa¼": 10}


class CohortError(ValueError):
    """The file is not the trial's data; the message says what differs."""


@dataclass(frozen=True)
class Cohort:
    """The trial: the table with upper-case text cells, features, arms, outcomes and folds."""

    table: pd.DataFrame
    sha256: str
    x: Floats
    folds: NDArray[np.int64]

    @property
    def aspirin(self) -> Floats:
        """1.0 where aspirin was allocated."""
        return np.asarray(self.table["RXASP"] == "Y", dtype=np.float64)

    @property
    def heparin(self) -> Floats:
        """1.0 where heparin of any dose was allocated."""
        return np.asarray(self.table["RXHEP"] != "N", dtype=np.float64)

    @property
    def dead_or_dependent(self) -> Floats:
        """1.0 dead or dependent at six months, 0.0 not, NaN where it is not known (OCCODE 0, 9)."""
        code = self.table["OCCODE"]
        return np.where(code.isin(["1", "2"]), 1.0, np.where(code.isin(["3", "4"]), 0.0, np.nan))

    def indicator(self, *columns: str) -> Floats:
        """Return 1.0 where any of the 0/1 columns is 1."""
        hit = np.zeros(len(self.table), dtype=bool)
        for column in columns:
            hit |= (self.table[column] == "1").to_numpy()
        return hit.astype(np.float64)


def load(path: Path) -> Cohort:
    """Read IST_corrected.csv, or the same packed as .xz.

    Raises CohortError when columns are missing or a code is not one of the trial's.
    """
    data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    table = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="latin-1")
    needed = {"HOSPNUM", "RXASP", "RXHEP", "OCCODE", "EXPDD", "COUNTRY", *features.NAMES} - {"NDEF"}
    if missing := sorted(needed - set(table.columns)):
        raise CohortError(f"{path.name} lacks the columns {', '.join(missing)}; expected IST_corrected.csv")
    table = table.apply(lambda column: column.str.strip().str.upper())
    table["RXHEP"] = table["RXHEP"].replace("H", "M")
    records = table[[name for name in features.NAMES if name != "NDEF"]].to_dict("records")
    try:
        x = np.array([features.encode(values(record)) for record in records], dtype=np.float64)
    except ValueError as error:
        raise CohortError(f"{path.name}: {error}") from error
    folds = np.array([fold(hospital) for hospital in table["HOSPNUM"]], dtype=np.int64)
    return Cohort(table, hashlib.sha256(data).hexdigest(), x, folds)


def values(record: Mapping[Any, Any]) -> dict[str, features.Value]:
    """Return a row in the coding of the feature table: letters, numbers, None for empty or U.

    RCONSC has a letter U of its own (unconscious), so U is a gap everywhere else only.
    """
    row: dict[str, features.Value] = {}
    for feature in features.FEATURES:
        text = record.get(feature.name, "")
        if text == "" or (text == "U" and feature.name != "RCONSC"):
            row[feature.name] = None
        else:
            row[feature.name] = float(text) if feature.codes is None else text
    return row


def fold(hospital: str) -> int:
    """Return the fold of a hospital: a hash, so that no random generator and no language matters.

    >>> fold("1") == int(hashlib.sha256(b"ist-v1:1").hexdigest(), 16) % 10
    True
    """
    return int(hashlib.sha256(f"ist-v1:{hospital}".encode()).hexdigest(), 16) % FOLDS


def randomised_on(text: str) -> date:
    """Return the day of RDATE, whose months are Polish ("sty-91").

    >>> randomised_on("lut-93")
    datetime.date(1993, 2, 1)
    """
    month, _, year = text.lower().partition("-")
    return date(1900 + int(year), _MONTHS[month], 1)
