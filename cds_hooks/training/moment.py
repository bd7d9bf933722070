"""When a patient was randomised, as a file writes it: ISO 8601, or month names with a two-digit year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """The column of the moment and its spelling; without `months` the cells are ISO dates or instants.

    `spelt` holds other spellings of a month; a two-digit year is added to `century`.
    """

    column: str
    months: tuple[str, ...] = ()
    spelt: Mapping[str, int] = field(default_factory=dict)
    century: int = 0

    def of(self, cell: str) -> datetime:
        """Return the moment in UTC; a date without a time is noon, a month its first day at noon.

        >>> Moment("RDATE", ("STY", "LUT"), century=1900).of("lut-93").isoformat()
        '1993-02-01T12:00:00+00:00'
        >>> Moment("on").of("2020-05-01").isoformat()
        '2020-05-01T12:00:00+00:00'

        Raises ValueError for a cell that is neither.
        """
        if not self.months:
            found = datetime.fromisoformat(cell if "T" in cell.upper() else f"{cell}T12:00:00")
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        month, _, year = cell.upper().partition("-")
        number = self.months.index(month) + 1 if month in self.months else self.spelt.get(month)
        if number is None or not year.isdecimal():
            raise ValueError(
                f"{self.column} is {cell!r}; expected is one of {', '.join(self.months)}, then -YY"
            )
        return datetime(self.century + int(year), number, 1, 12, tzinfo=UTC)
