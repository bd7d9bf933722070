"""What a structured report measures and finds: groups of measurements, and measurements by themselves.

PS3.16 TID 1500 (measurement report) with 1410, 1411, 1419 and 1501 (groups), TID 4000 and 4100 (CAD of
mammograms and chest images: single image findings, composite features); and the numbers of any other
template as they stand. Templates are recognised by concept names, not by their identifiers: makers
omit those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dicom_node.attributes import Attributes
from dicom_node.instance import first
from dicom_node.structured_report.content import CODED, Item, Tree, coded

MOST_MEASUREMENTS: Final = 2000

GROUP: Final = ("DCM", "125007")
FINDINGS: Final = (("DCM", "111059"), ("DCM", "111015"))
"""Single Image Finding and Composite Feature of CAD: a finding by a code, with what belongs to it below."""

_FINDING: Final = (("DCM", "121071"),)
_SITE: Final = (("SCT", "363698007"), ("SRT", "G-C0E3"))
_LATERALITY: Final = (("SCT", "272741003"), ("SRT", "G-C171"))
_METHOD: Final = (("SCT", "370129005"), ("SRT", "G-C036"))
_DERIVATION: Final = (("DCM", "121401"),)
_TRACKING_ID: Final = (("DCM", "112039"),)
_TRACKING_UID: Final = (("DCM", "112040"),)
_RENDERING: Final = (("DCM", "111056"),)
_NOT_FOR_PRESENTATION: Final = ("DCM", "111152")
_ABOUT: Final = {*_SITE, *_LATERALITY, *_METHOD, *_DERIVATION, *_TRACKING_ID, *_TRACKING_UID, *_RENDERING}
_SKIPPED: Final = {("DCM", "121049"), ("DCM", "121005"), ("DCM", "121006"), ("DCM", "121007")}
"""Language and observer context (TID 1204, 1001): about the report, not about the patient."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that something was measured in; `frames` is empty for all of it."""

    sop_class: str
    sop_uid: str
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a measurement is about: where in the body, by which method, as part of what is followed up."""

    site: Attributes | None = None
    laterality: Attributes | None = None
    method: Attributes | None = None
    derivation: Attributes | None = None
    tracking_id: str = ""
    tracking_uid: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its unit, a code or a text, under a concept name.

    `absent` is the code of why a number has no value.
    """

    path: str
    name: Attributes
    about: Subject
    value: float | None = None
    unit: Attributes | None = None
    absent: Attributes | None = None
    code: Attributes | None = None
    text: str = ""
    at: str = ""
    images: Sequence[Image] = ()


@dataclass(slots=True)
class Group:
    """Measurements that belong together, with the finding that they describe."""

    path: str
    name: Attributes
    about: Subject
    finding: Attributes | None = None
    at: str = ""
    images: Sequence[Image] = ()
    members: list[Measurement] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """All that a report measures; `cut` says that there was more than we take."""

    groups: list[Group]
    single: list[Measurement]
    cut: bool


def found(tree: Tree) -> Found:
    """Return what a content tree measures and finds."""
    groups: list[Group] = []
    single: list[Measurement] = []
    count = 0
    # (item, the group that it stands in, what it is about)
    stack: list[tuple[Item, Group | None, Subject]] = [(tree.root, None, _about(tree.root, Subject()))]
    while stack and count < MOST_MEASUREMENTS:
        item, group, about = stack.pop()
        below: list[tuple[Item, Group | None, Subject]] = []
        for child in item.children:
            if child.named in _SKIPPED:
                continue
            if _is_group(child):
                if _hidden(child):
                    continue
                made = _group(tree, child, _about(child, about))
                groups.append(made)
                count += 1
                if group is not None:
                    group.groups.append(made.path)
                below.append((child, made, made.about))
            elif child.kind == "NUM" or (group is not None and _is_evaluation(child)):
                measurement = _measurement(tree, child, about)
                count += 1
                (single if group is None else group.members).append(measurement)
            elif child.kind == "CONTAINER" or (child.kind == "CODE" and child.children):
                below.append((child, group, _about(child, about)))
        stack.extend(reversed(below))
    return Found(groups, single, tree.cut or bool(stack))


def _is_group(item: Item) -> bool:
    if item.kind == "CONTAINER":
        return item.named == GROUP
    return item.kind == "CODE" and item.named in FINDINGS


def _hidden(item: Item) -> bool:
    """Whether a CAD finding is not meant to be shown to anybody (TID 4006, Rendering Intent)."""
    intent = item.child(*_RENDERING)
    return intent is not None and coded(intent.code) == _NOT_FOR_PRESENTATION


def _is_evaluation(item: Item) -> bool:
    """Whether a code or text is a qualitative evaluation of the group that it stands in (TID 1501)."""
    return item.kind in ("CODE", "TEXT") and item.named not in _ABOUT and item.named not in _FINDING


def _group(tree: Tree, item: Item, about: Subject) -> Group:
    finding = item.child(*_FINDING)
    return Group(
        item.path,
        item.name or {},
        about,
        item.code if item.kind == "CODE" else finding.code if finding else None,
        _at(item),
        _images(tree, item),
    )


def _measurement(tree: Tree, item: Item, about: Subject) -> Measurement:
    value, unit = item.number
    return Measurement(
        item.path,
        item.name or {},
        _about(item, about),
        value,
        unit,
        item.qualifier,
        item.code if item.kind == "CODE" else None,
        item.text if item.kind == "TEXT" else "",
        _at(item),
        _images(tree, item),
    )


def _about(item: Item, above: Subject) -> Subject:
    site = item.child(*_SITE)
    laterality = item.child(*_LATERALITY) or (site.child(*_LATERALITY) if site else None)
    tracking, uid = item.child(*_TRACKING_ID), item.child(*_TRACKING_UID)
    return Subject(
        site.code if site else above.site,
        laterality.code if laterality else (None if site else above.laterality),
        _code(item, _METHOD) or above.method,
        _code(item, _DERIVATION) or above.derivation,
        tracking.text if tracking else above.tracking_id,
        uid.text if uid else above.tracking_uid,
    )


def _code(item: Item, names: Sequence[CODED]) -> Attributes | None:
    child = item.child(*names)
    return child.code if child else None


def _at(item: Item) -> str:
    value = first(item.own, "0040A032")  # observation date and time
    return value if isinstance(value, str) else ""


def _images(tree: Tree, item: Item) -> tuple[Image, ...]:
    """Return the images of an item: its own, and those in which its coordinates were drawn."""
    images: list[Image] = []
    waiting = list(tree.targets(item))[:200]
    while waiting and len(images) < 200:
        one = waiting.pop(0)
        if one.kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
            images += _references(one)
        elif one.kind in ("SCOORD", "TCOORD"):
            waiting += list(tree.targets(one))[:200]
    return tuple(dict.fromkeys(images))


def _references(item: Item) -> list[Image]:
    images = []
    for reference in item.own.get("00081199", {}).get("Value", []):
        if isinstance(reference, dict) and isinstance(uid := first(reference, "00081155"), str):
            frames = reference.get("00081160", {}).get("Value", [])
            numbers = tuple(frame for frame in frames if isinstance(frame, int))
            images.append(Image(str(first(reference, "00081150") or ""), uid, numbers))
    return images
