"""What the thirty questions found: a table for people, rows for machines, the goals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isnan
from statistics import median
from typing import Any

from conformance.benchmarks import goals
from conformance.benchmarks.goals import Verdict
from conformance.benchmarks.plans import Work
from conformance.benchmarks.rounds import Figures
from conformance.benchmarks.thirty.asking import Answered


@dataclass(slots=True)
class Thirty:
    """Answers to one set of questions. `pairs` are (side, its floor) by size, the small one first."""

    title: str
    pairs: list[tuple[str, str]]
    answered: list[Answered] = field(default_factory=list)
    deep: dict[str, dict[int, Work]] = field(default_factory=dict)

    def sides(self) -> list[str]:
        """Return the names of all sides, peers included."""
        return list(dict.fromkeys(name for one in self.answered for name in one.compared))

    def verdicts(self) -> list[Verdict]:
        """Return the goals that could be judged, over all questions that were answered right."""
        found = []
        large, large_floor = self.pairs[-1]
        wrong = [one for one in self.answered if one.compared[large].verdict != "equal"]
        found.append(Verdict(f"{self.title}, refused or answered wrong", len(wrong), 0, _names(wrong)))
        costs = {one.question.name: self.ratio(one, large, large_floor, "cpu_ms") for one in self.answered}
        dear = {name: cost for name, cost in costs.items() if cost > goals.SEARCH}
        found.append(Verdict(f"{self.title}, above {goals.SEARCH:g} times the CPU by hand", len(dear), 0,
                             ", ".join(f"{name} {cost:.1f}" for name, cost in _down(dear))))  # fmt: skip
        slow, counts = {}, {}
        for one in self.answered:
            time = self.middle(one, large, "p50_ms")
            if one.question.dense:
                counts[one.question.name] = self.ratio(one, large, large_floor, "p50_ms")
            elif time > goals.LONGEST_MS:
                slow[one.question.name] = time
        found.append(Verdict(f"{self.title}, above {goals.LONGEST_MS:g} ms", len(slow), 0,
                             ", ".join(f"{name} {ms:.0f} ms" for name, ms in _down(slow))))  # fmt: skip
        found += [Verdict(name, ratio, goals.DENSE_COUNT, "times the count by hand")
                  for name, ratio in counts.items() if not isnan(ratio)]  # fmt: skip
        if len(self.pairs) > 1:
            found += self._growth()
        for side, works in self.deep.items():
            if len(works) == 2:
                first, last = works[min(works)], works[max(works)]
                found.append(Verdict(f"page {max(works)} of {side}, buffers", last.buffers / first.buffers,
                                     goals.DEEP_PAGE, "times page 1"))  # fmt: skip
        return found

    def _growth(self) -> list[Verdict]:
        small, large = self.pairs[0][0], self.pairs[-1][0]
        found = []
        limits = {"rows": goals.GROWN_WORK, "buffers": goals.GROWN_WORK, "time": goals.GROWN_TIME}
        for what, limit in limits.items():
            beyond = {}
            for one in self.answered:
                ratio = self.grown(one, small, large).get(what, float("nan"))
                if ratio > limit and not one.question.dense:
                    beyond[one.question.name] = ratio
            named = ", ".join(f"{name} {ratio:.1f}" for name, ratio in _down(beyond))
            found.append(Verdict(f"{self.title}, {what} grown beyond {limit:g} times", len(beyond), 0, named))
        return found

    def grown(self, one: Answered, small: str, large: str) -> dict[str, float]:
        """Return large against small; rows and buffers below a page's worth are not told apart."""
        found = {}
        if small in one.work and large in one.work:
            before, after = one.work[small], one.work[large]
            found["rows"] = max(after.rows, 20.0) / max(before.rows, 20.0)
            found["buffers"] = max(after.buffers, 20.0) / max(before.buffers, 20.0)
        if not isnan(self.middle(one, small, "p50_ms")):
            found["time"] = self.middle(one, large, "p50_ms") / self.middle(one, small, "p50_ms")
        return found

    def text(self) -> list[str]:
        """Return the table: a line a question and side, the floor of a size behind its size."""
        if not self.answered:
            return []
        head = "".join(
            f"{word:>9}" for word in ("hits", "p50", "p95", "p99", "CPU", "CPU x", "rows", "buffers")
        )
        lines = ["", f"{self.title}, one client, ms; CPU x is against the SQL by hand", f"{'':44}{head}"]
        floors = dict(self.pairs)
        for one in self.answered:
            for number, side in enumerate(self.sides()):
                name = one.question.name if number == 0 else ""
                compared = one.compared[side]
                line = f"{name[:32]:32}{side[:11]:>12}"
                if compared.verdict != "equal":
                    lines.append(f"{line}  {compared.verdict}: {compared.detail[:110]}")
                    continue
                cells = [f"{compared.hits:.0f}" if side not in floors.values() else ""]
                cells += [_number(self.middle(one, side, figure)) for figure in _FIGURES]
                floor = floors.get(side)
                cells.append(_number(self.ratio(one, side, floor, "cpu_ms")) if floor else "")
                work = one.work.get(side)
                cells += [f"{work.rows:.0f}", f"{work.buffers:.0f}"] if work else ["", ""]
                lines.append(line + "".join(f"{cell:>9}" for cell in cells))
        for side, works in self.deep.items():
            pages = ", ".join(f"page {page}: {work.rows:.0f} rows, {work.buffers:.0f} buffers"
                              for page, work in works.items())  # fmt: skip
            lines.append(f"pages deep, {side}: {pages or 'page 500 was not reached'}")
        return lines

    def document(self) -> dict[str, Any]:
        """Return everything for machines."""
        return {
            "title": self.title,
            "questions": [self._row(one) for one in self.answered],
            "deep": {side: {str(page): asdict(work) for page, work in works.items()}
                     for side, works in self.deep.items()},
        }  # fmt: skip

    def _row(self, one: Answered) -> dict[str, Any]:
        sides = {}
        for side, compared in one.compared.items():
            sides[side] = {
                "verdict": compared.verdict, "hits": compared.hits, "detail": compared.detail,
                **{figure: self.middle(one, side, figure) for figure in _ALL_FIGURES},
                "work": asdict(one.work[side]) if side in one.work else None,
            }  # fmt: skip
        return {"name": one.question.name, "request": one.question.sent()[0][1], "sides": sides}

    def worst(self, side: str, floor: str, most: int = 40) -> list[str]:
        """Return a line a question, the dearest against its floor first: what to look at next."""
        found = []
        for one in self.answered:
            compared, address = one.compared[side], one.question.sent()[0][1]
            parts, ratio = [one.question.name, address], float("inf")
            if compared.verdict == "equal":
                ratio, work = self.ratio(one, side, floor, "cpu_ms"), one.work.get(side, Work(0, 0, 0))
                p50, own = self.middle(one, side, "p50_ms"), self.middle(one, side, "database_ms")
                parts.append(f"p50 {p50:.2f} ms, {ratio:.1f} x CPU by hand, database {own:.2f} ms")
                parts.append(
                    f"{work.rows:.0f} rows, {work.buffers:.0f} buffers, {work.statements:.1f} statements"
                )
                parts.append(work.plan[:600])
            else:
                parts += [compared.verdict, compared.detail]
            found.append((ratio, " | ".join(parts)))
        return [line for _, line in sorted(found, key=lambda pair: -pair[0])[:most]]

    @staticmethod
    def _figures(one: Answered, side: str) -> list[Figures]:
        return one.outcome.rounds.get(side, []) if one.outcome is not None else []

    def middle(self, one: Answered, side: str, figure: str) -> float:
        """Return the median over the rounds of a figure; nan where the side was not measured."""
        found = self._figures(one, side)
        return median(getattr(each, figure) for each in found) if found else float("nan")

    def ratio(self, one: Answered, side: str, floor: str, figure: str) -> float:
        """Return the median of the ratios within each round; nan where one of the two was not measured."""
        if not self._figures(one, side) or not self._figures(one, floor) or one.outcome is None:
            return float("nan")
        return one.outcome.ratio(side, floor, figure)


_FIGURES = ("p50_ms", "p95_ms", "p99_ms", "cpu_ms")
_ALL_FIGURES = (*_FIGURES, "server_ms", "database_ms")
_ALL_FIGURES = (*_FIGURES, "server_ms", "database_ms")


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _down(found: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(found.items(), key=lambda pair: -pair[1])


def _names(answered: list[Answered]) -> str:
    return ", ".join(one.question.name for one in answered)
