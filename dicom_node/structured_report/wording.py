"""A content tree as people read it: a narrative in XHTML, and the sentences of its conclusion.

R4/narrative.html. The nesting of sections is shown by headings and lists; what a machine needs only
(identifiers, coordinates) is left out.
"""

from __future__ import annotations

from html import escape
from typing import Final

from dicom_node.structured_report.content import Item, Tree, meaning

MOST_CHARACTERS: Final = 200_000
_CONCLUSIONS: Final = {
    ("DCM", "121073"), ("DCM", "121077"), ("LN", "19005-8"), ("LN", "55110-1"), ("DCM", "121076"),
    ("DCM", "121072"), ("DCM", "111017"), ("DCM", "111033"),
}  # fmt: skip
"""Impression and conclusion, as items and as sections (PS3.16 CID 7002, TID 2000), and those of CAD."""

_CONCLUDED_CODES: Final = {("DCM", "121071"), ("DCM", "121073"), ("DCM", "121077"), ("DCM", "111033")}
_SHOWN: Final = frozenset(
    ["CONTAINER", "TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "PNAME", "IMAGE", "COMPOSITE"]
)
_SILENT: Final = {("DCM", "121049"), ("DCM", "121005"), ("DCM", "121012"), ("DCM", "112040")}


def narrative(tree: Tree, title: str) -> str:
    """Return the report as a div; one that is too long ends with a line that says so."""
    parts = [f"<h1>{_shown(title)}</h1>"]
    size = 0
    # what is to be written next: an item with its depth, or the end of a list
    stack: list[tuple[Item | None, int]] = [(child, 1) for child in reversed(tree.root.children)]
    cut = tree.cut
    opened = 0
    while stack:
        item, depth = stack.pop()
        if item is None:
            parts.append("</li></ul>")
            opened -= 1
            continue
        if size > MOST_CHARACTERS:
            cut = True
            break
        if not _is_shown(item):
            continue
        said = _line(item)
        parts.append(f"<ul><li>{said}")
        size += len(said) + 20
        opened += 1
        stack.append((None, depth))
        if depth < 40:
            stack.extend((child, depth + 1) for child in reversed(item.children))
    parts.append("</li></ul>" * opened)
    if cut:
        parts.append("<p>The report is longer than what is shown here.</p>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(parts)}</div>'


def conclusion(tree: Tree) -> str:
    """Return the sentences of impression and conclusion; of a report without such, all of a short text."""
    said: list[str] = []
    for item in tree.root.walk():
        if item.named in _CONCLUSIONS:
            said += [one.text for one in item.walk() if one.kind == "TEXT" and one.text.strip()]
            said += [
                meaning(one.code) for one in item.walk() if one.kind == "CODE" and one.named in _CONCLUSIONS
            ]
    if not said:
        texts = [one.text for one in tree.root.walk() if one.kind == "TEXT" and one.named not in _SILENT]
        said = texts if len(texts) == 1 else []
    return "\n".join(dict.fromkeys(" ".join(one.split()) for one in said if one.strip()))[:MOST_CHARACTERS]


def conclusion_codes(tree: Tree) -> list[Item]:
    """Return the items that give a conclusion as a code."""
    within = [
        one for item in tree.root.walk() if item.named in _CONCLUSIONS for one in item.walk()
        if one.kind == "CODE" and one.named in _CONCLUDED_CODES
    ]  # fmt: skip
    return list({one.path: one for one in within}.values())[:50]


def _is_shown(item: Item) -> bool:
    return (
        item.kind
        in ("CONTAINER", "TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "PNAME", "IMAGE", "COMPOSITE")
        and item.named not in _SILENT
    )


def _line(item: Item) -> str:
    name = _shown(meaning(item.name))
    if item.kind == "CONTAINER":
        return f"<b>{name}</b>"
    value = item.text
    if item.kind == "CODE":
        value = meaning(item.code)
    elif item.kind == "NUM":
        number, unit = item.number
        said = "" if number is None else f"{number:.12g}"
        value = f"{said} {_unit(unit)}".strip() if said else meaning(item.qualifier) or "not measured"
    elif item.kind == "PNAME":
        value = " ".join(part for part in value.split("^") if part)
    elif item.kind in ("IMAGE", "COMPOSITE"):
        value = "image" if item.kind == "IMAGE" else "object"
    return f"{name}: {_shown(value)}" if name else _shown(value)


def _unit(unit: dict[str, object] | None) -> str:
    said = meaning(unit)
    return "" if said in ("no units", "1") else said


def _shown(value: str) -> str:
    return escape("".join(sign for sign in value if sign >= " " or sign in "\t\n\r"), quote=False)
