"""The Markdown of card details → markup: paragraphs, lists, tables, bold, links; nothing else passes.

CDS Hooks 2.0, "Card Attributes": `detail` is GitHub Flavored Markdown. A card may come from anybody's
service, so the text is escaped first and only our own tags are put around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup, escape

_BOLD = re.compile(r"\*\*(.+?)\*\*")
_LINK = re.compile(r"\[([^\]\[]+)\]\((https?://[^\s()]+)\)")
_RULE = re.compile(r"\|?[\s:|-]+\|[\s:|-]*\Z")


def markup(text: str) -> Markup:
    """Return Markdown as markup.

    >>> markup("**Fewer** <b>")
    Markup('<p><strong>Fewer</strong> &lt;b&gt;</p>')
    >>> markup("| a | b |\\n|---|---|\\n| 1 | 2 |").count("<td>")
    2
    """
    return Markup("\n").join(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[Markup]:
    for kind, group in groupby(lines, key=_kind):
        block = [line.strip() for line in group]
        if kind == "table":
            yield _table(block)
        elif kind == "list":
            items = Markup("").join(Markup("<li>{}</li>").format(_inline(line[2:])) for line in block)
            yield Markup("<ul>{}</ul>").format(items)
        elif kind == "heading":
            yield from (Markup("<h4>{}</h4>").format(_inline(line.lstrip("# "))) for line in block)
        elif kind == "text":
            yield Markup("<p>{}</p>").format(Markup("<br>").join(_inline(line) for line in block))


def _kind(line: str) -> str:
    stripped = line.strip()
    if not stripped:
        return "gap"
    if stripped.startswith("|"):
        return "table"
    if stripped.startswith(("- ", "* ")):
        return "list"
    return "heading" if re.match(r"#{1,6} ", stripped) else "text"


def _table(lines: list[str]) -> Markup:
    head = _cells(lines[0]) if len(lines) > 1 and _RULE.match(lines[1]) else None
    rows = [_cells(line) for line in (lines[2:] if head else lines)]
    made = Markup("")
    if head:
        cells = Markup("").join(Markup('<th scope="col">{}</th>').format(_inline(cell)) for cell in head)
        made += Markup("<thead><tr>{}</tr></thead>").format(cells)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(_inline(cell)) for cell in row)
        )
        for row in rows
    )
    return Markup('<div class="scroll"><table>{}<tbody>{}</tbody></table></div>').format(made, body)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _inline(text: str) -> Markup:
    safe = str(escape(text))
    safe = _BOLD.sub(r"<strong>\1</strong>", safe)
    return Markup(_LINK.sub(r'<a href="\2" rel="noreferrer noopener">\1</a>', safe))
