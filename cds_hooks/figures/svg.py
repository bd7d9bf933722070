"""A chart as SVG: a frame with two scales, marks on it, a title and a description for who does not see it.

Colours are attributes, never a style sheet or a script, so that a page with a strict content security
policy may hold the drawing; text and axes take the colour of the page (`currentColor`), the marks one that
is legible on light and dark paper. The description says the figures in words (WCAG 1.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

JADE, CLAY, GREY = "#2a8c7f", "#c4602d", "#8a8f94"
FONT = "system-ui, sans-serif"


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` to places from `start` to `end`, straight."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value; what lies outside stops at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass
class Chart:
    """A drawing in the making; marks are added in the order in which they lie."""

    title: str
    description: str
    width: int
    height: int
    marks: list[str] = field(default_factory=list)

    def line(self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> None:
        """Add a line through places."""
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.marks.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-linejoin="round"{dashes}/>'
        )

    def rule(self, x1: float, y1: float, x2: float, y2: float, colour: str = GREY, width: float = 1) -> None:
        """Add a straight line: an axis, a tick, an interval."""
        self.marks.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" '
            f'stroke="{colour}" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 4) -> None:
        """Add a filled circle."""
        self.marks.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>')

    def band(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Add a pale area behind what follows."""
        self.marks.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'fill="{colour}" fill-opacity="0.12"/>'
        )

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start",
        turned: bool = False, size: int = 12,
    ) -> None:  # fmt: skip
        """Add words; `anchor` is start, middle or end."""
        turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
        self.marks.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="currentColor" font-size="{size}"{turn}>'
            f"{escape(words)}</text>"
        )

    def axes(
        self, x: Scale, y: Scale, x_label: str, y_label: str, ticks: tuple[Sequence[float], Sequence[float]]
    ) -> None:
        """Add both axes with their ticks and labels."""
        self.rule(x.start, y.start, x.end, y.start, "currentColor")
        self.rule(x.start, y.start, x.start, y.end, "currentColor")
        for value in ticks[0]:
            self.rule(x(value), y.start, x(value), y.start + 5, "currentColor")
            self.text(x(value), y.start + 18, f"{value:g}", anchor="middle")
        for value in ticks[1]:
            self.rule(x.start - 5, y(value), x.start, y(value), "currentColor")
            self.text(x.start - 9, y(value) + 4, f"{value:g}", anchor="end")
        self.text((x.start + x.end) / 2, y.start + 38, x_label, anchor="middle")
        self.text(16, (y.start + y.end) / 2, y_label, anchor="middle", turned=True)

    def svg(self) -> str:
        """Return the drawing.

        >>> chart = Chart("A & B", "nothing", 10, 10)
        >>> chart.svg().startswith('<svg xmlns="http://www.w3.org/2000/svg"'), "A &amp; B" in chart.svg()
        (True, True)
        """
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" font-family={quoteattr(FONT)} '
            f"aria-label={quoteattr(self.title)}>\n"
            f"<title>{escape(self.title)}</title>\n<desc>{escape(self.description)}</desc>\n"
            + "\n".join(self.marks)
            + "\n</svg>\n"
        )
