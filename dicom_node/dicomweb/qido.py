"""QIDO-RS: search for studies, series and instances (PS3.18 10.6, 8.3.4).

A search without a match answers 200 with an empty list (table 11.9.3-1 of the present edition says
it for all searches; 204 is gone). Fuzzy matching is not done; the answer says so in a Warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dicom_node.attributes import Attributes
from dicom_node.dicomweb.archive import Archive
from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.index import keys
from dicom_node.index.query import Found, Match, Question, count, find, supported
from dicom_node.instance import KEPT, Level, first
from fhir_server.database.engine import Mode
from fhir_server.outcome import Invalid

DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
_PARAMETERS = ("limit", "offset", "includefield", "fuzzymatching", "accept")


@dataclass(frozen=True, slots=True)
class Answer:
    """The results as DICOM JSON, warnings for the header, and how many matches there are (or None)."""

    results: list[Attributes]
    warnings: list[str] = field(default_factory=list)
    total: int | None = None


@dataclass(slots=True)
class _Request:
    matches: list[Match] = field(default_factory=list)
    include: set[str] = field(default_factory=set)
    everything: bool = False
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


def search(
    archive: Archive,
    level: Level,
    parameters: Iterable[tuple[str, str]],
    study_uid: str = "",
    series_uid: str = "",
) -> Answer:
    """Answer a search at one level, within a study or series if given. Raises Invalid."""
    archive.may("search-type")
    request = _read(level, parameters)
    within = [("0020000D", study_uid), ("0020000E", series_uid)]
    matches = [*request.matches, *(Match((name,), uid) for name, uid in within if uid)]
    question = Question(level, matches, request.limit, request.offset)
    with archive.engine.connection(Mode.SINGLE) as connection:
        found = find(connection, question) if request.limit else []
        total = None
        if len(found) == request.limit:  # there may be more than this page
            total = count(connection, question)
            if (left := total - request.offset - len(found)) > 0:
                request.warnings.append(f"There are {left} additional results that can be requested")
    shown = [
        one for one in Level if one <= level and not (one < level and _fixed(one, study_uid, series_uid))
    ]
    results = [_result(archive, one, level, shown, request, study_uid, series_uid) for one in found]
    return Answer(results, request.warnings, total)


def _fixed(level: Level, study_uid: str, series_uid: str) -> bool:
    """Whether the address names the object of a level, so that its attributes need no repeating."""
    return bool(study_uid) if level is Level.STUDY else bool(series_uid)


def _read(level: Level, parameters: Iterable[tuple[str, str]]) -> _Request:
    request = _Request()
    for name, value in parameters:
        lowered = name.lower()
        if lowered == "limit":
            request.limit = min(_whole(name, value), MAX_LIMIT)
        elif lowered == "offset":
            request.offset = _whole(name, value)
        elif lowered == "fuzzymatching":
            if value.strip().lower() == "true":
                request.warnings.append(
                    "The fuzzymatching parameter is not supported. Only literal matching has been performed."
                )
        elif lowered == "includefield":
            for one in filter(None, value.split(",")):
                if one.strip().lower() == "all":
                    request.everything = True
                else:
                    request.include.add(_path(one.strip())[0])
        elif lowered not in _PARAMETERS:
            match = Match(_path(name), _listed(name, value))
            if supported(level, match):
                request.matches.append(match)
                request.include.add(match.path[0])
            else:
                request.warnings.append(f"{name} is not matched at this level and was left out of the search")
    return request


def _path(name: str) -> tuple[str, ...]:
    """Return the tags of an attribute id: a keyword or eight digits, or two of them with a dot."""
    tags = [tag_of(part) for part in name.split(".")]
    if None in tags or len(tags) > 2:
        raise Invalid(
            f"{name!r} is no parameter of this search; attributes are named by keyword (PatientID) or tag"
            f" (00100020), one level into a sequence by a dot, and there are {', '.join(_PARAMETERS)}"
        )
    return tuple(hex_of(tag) for tag in tags if tag is not None)


def _listed(name: str, value: str) -> str:
    """Return a value in the form of the index; UIDs may be listed with commas (PS3.18 8.3.4.1)."""
    tag = tag_of(name.rsplit(".", 1)[-1])
    return value.replace(",", "\\") if tag is not None and vr_of(tag) == "UI" else value


def _whole(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise Invalid(f"{name} is {value!r}; it is a whole number, 0 or more")
    return number


def _result(
    archive: Archive,
    found: Found,
    level: Level,
    shown: Sequence[Level],
    request: _Request,
    study_uid: str,
    series_uid: str,
) -> Attributes:
    result: Attributes = {keys.SPECIFIC_CHARACTER_SET: {"vr": "CS", "Value": ["ISO_IR 192"]}}
    for one in shown:
        attributes = found.at(one)
        for name in keys.ALWAYS[one]:
            result[name] = attributes.get(name, {"vr": vr_of(int(name, 16))})
        known = keys.WHEN_KNOWN[one] if one is level else ()
        for name in attributes if request.everything else (*known, *request.include):
            if name in attributes:
                result[name] = attributes[name]
            elif name in request.include and int(name, 16) in KEPT[one]:
                result[name] = {"vr": vr_of(int(name, 16))}
    study_uid = study_uid or str(first(found.study, "0020000D"))
    series_uid = series_uid or str(first(found.series, "0020000E") or "")
    address = f"{archive.address}/studies/{study_uid}"
    if level is Level.STUDY:
        _put(result, keys.MODALITIES_IN_STUDY, "CS", found.modalities)
        if request.everything or keys.SOP_CLASSES_IN_STUDY in request.include:
            _put(result, keys.SOP_CLASSES_IN_STUDY, "UI", found.sop_classes)
    if level >= Level.SERIES:
        address += f"/series/{series_uid}"
        _put(result, "0020000D", "UI", (study_uid,))
        _put(result, "0020000E", "UI", (series_uid,))
    if level is Level.INSTANCE:
        address += f"/instances/{first(found.instance, '00080018')}"
        _put(result, keys.AVAILABLE_TRANSFER_SYNTAX, "UI", (found.transfer_syntax,))
    for name, number in zip(keys.COUNTED[level], found.counts, strict=False):
        _put(result, name, "IS", (number,))
    _put(result, keys.RETRIEVE_URL, "UR", (address,))
    _put(result, keys.AVAILABILITY, "CS", ("ONLINE",))
    return dict(sorted(result.items()))


def _put(result: Attributes, name: str, vr: str, values: Sequence[object]) -> None:
    result[name] = {"vr": vr, "Value": list(values)} if values else {"vr": vr}
