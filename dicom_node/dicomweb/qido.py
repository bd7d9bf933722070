"""QIDO-RS: search for studies, series and instances (PS3.18 10.6, 8.3.4).

A search without a match answers 200 with an empty list: the present edition has no 204 for it, and readers
of JSON stumble over a body that is not there. Dates and times are matched together, as 8.3.4 asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg2.errors import QueryCanceled

from dicom_node.attributes import Attributes
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.places import Places
from dicom_node.dicomweb.result_texts import ResultTexts
from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.index import keys
from dicom_node.index.matching import offset
from dicom_node.index.moments import TIMEZONE, Zones
from dicom_node.index.query import Found, Manner, Match, Question, count, find, supported
from dicom_node.instance import KEPT, LEVEL_OF, Level, first
from fhir_server.database.engine import Mode
from fhir_server.outcome import Invalid

DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
MOST_COUNTED = 100_000
COUNTING_MS = 1_000
"""What counting all matches may cost; beyond it, the answer does not say how many there are."""

DEEPEST = 8
_PARAMETERS = ("limit", "offset", "includefield", "fuzzymatching", "accept")

Include = dict[str, "Include"]
"""Tag → what is wanted of the items; empty: all of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The results as DICOM JSON, warnings for the header, and how many matches there are (or None).

    `texts` are the results as text, where that was asked for and could be had; `results` is empty then.
    """

    results: list[Attributes]
    warnings: list[str] = field(default_factory=list)
    total: int | None = None
    texts: list[str] | None = None


@dataclass(slots=True)
class _Request:
    matches: list[Match] = field(default_factory=list)
    include: Include = field(default_factory=dict)
    everything: bool = False
    fuzzy: bool = False
    zone: str = ""
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


def search(
    archive: Archive,
    level: Level,
    parameters: Iterable[tuple[str, str]],
    study_uid: str = "",
    series_uid: str = "",
    places: Places | None = None,
    *,
    as_text: bool = False,
) -> Answer:
    """Answer a search at one level, within a study or series if given. Raises Invalid."""
    archive.may("search-type")
    request = _read(level, parameters)
    within = [(keys.STUDY_UID, study_uid), (keys.SERIES_UID, series_uid)]
    matches = [*request.matches, *(Match((name,), uid) for name, uid in within if uid)]
    shown = [
        one for one in Level if one <= level and not (one < level and _fixed(one, study_uid, series_uid))
    ]
    question = Question(
        level,
        tuple(matches),
        request.limit,
        request.offset,
        Manner(True, request.fuzzy, Zones(offset(request.zone), archive.time_zone)),
        computed=_computed(level, request),
        above=_needs_above(level, shown, request, study_uid, series_uid),
    )
    texts = _texts(archive, level, shown, request, study_uid, series_uid) if as_text else None
    if texts is not None:
        question = replace(question, elements=texts.names)
    asked = places.continued(question) if places and question.offset else question
    with archive.engine.connection(Mode.SINGLE) as connection:
        found = find(connection, asked) if request.limit else []
    if places:
        places.ended(question, found)
    if texts is not None:
        total = _total(archive, question, found, request)
        return Answer([], request.warnings, total, [texts.text(one) for one in found])
    result = _results(archive, level, shown, request, study_uid, series_uid)
    return Answer([result(one) for one in found], request.warnings, _total(archive, question, found, request))


def _total(archive: Archive, question: Question, found: list[Found], request: _Request) -> int | None:
    """Return how many matches there are, and warn when there are more than this page."""
    shown = question.offset + len(found)
    if len(found) < question.limit and (found or not question.offset):
        return shown
    total = None
    try:
        with archive.engine.connection(Mode.SNAPSHOT) as connection:
            connection.cursor().execute(f"SET LOCAL statement_timeout = {COUNTING_MS}")
            total = count(connection, question, MOST_COUNTED)
    except QueryCanceled:
        pass
    if total is None or total > MOST_COUNTED:
        request.warnings.append("There are additional results that can be requested")
        return None
    if total > shown:
        request.warnings.append(f"There are {total - shown} additional results that can be requested")
    return total


def _fixed(level: Level, study_uid: str, series_uid: str) -> bool:
    """Whether the address names the object of a level, so that its attributes need no repeating."""
    return bool(study_uid) if level is Level.STUDY else bool(series_uid)


def _needs_above(
    level: Level, shown: list[Level], request: _Request, study_uid: str, series_uid: str
) -> bool:
    """Whether an answer needs the attributes of the levels above its own."""
    named = bool(study_uid) and (level < Level.INSTANCE or bool(series_uid))
    kept_at = (keys.level_of(name) for name in request.include)
    return not named or len(shown) > 1 or any(one is not None and one < level for one in kept_at)


def _computed(level: Level, request: _Request) -> frozenset[str]:
    wanted = {name for name in request.include if name in keys.COMPUTED}
    if level is Level.STUDY:
        wanted |= {keys.MODALITIES_IN_STUDY, keys.SERIES_OF_STUDY, keys.INSTANCES_OF_STUDY}
        if request.everything:
            wanted.add(keys.SOP_CLASSES_IN_STUDY)
    if level is Level.SERIES:
        wanted.add(keys.INSTANCES_OF_SERIES)
    return frozenset(wanted)


def _read(level: Level, parameters: Iterable[tuple[str, str]]) -> _Request:
    request = _Request()
    for name, value in parameters:
        lowered = name.lower()
        if lowered == "limit":
            request.limit = _whole(name, value)
            if request.limit > MAX_LIMIT:
                request.warnings.append(f"The limit was lowered to {MAX_LIMIT} results")
                request.limit = MAX_LIMIT
        elif lowered == "offset":
            request.offset = _whole(name, value)
        elif lowered == "fuzzymatching":
            request.fuzzy = _flag(name, value)
        elif lowered == "includefield":
            for one in filter(None, (part.strip() for part in value.split(","))):
                _include(level, one, request)
        elif lowered not in _PARAMETERS:
            _match(level, name, value, request)
    return request


def _match(level: Level, name: str, value: str, request: _Request) -> None:
    path = _path(name)
    if path == (TIMEZONE,):
        if value and offset(value.strip().replace(" ", "+")) is None:
            raise Invalid(f"{name} is {value!r}; it is a distance to UTC like +0100")
        request.zone = value.strip().replace(" ", "+")  # a plus sign in an address means a space
        request.include.setdefault(TIMEZONE, {})
        return
    match = Match(path, _listed(path[-1], value))
    if not supported(level, match):
        if keys.COMPUTED.get(path[0]) is not None and match.universal:
            request.include.setdefault(path[0], {})
        else:
            request.warnings.append(f"{name} is not matched at this level and was left out of the search")
        return
    request.matches.append(match)
    request.include.setdefault(path[0], {})


def _include(level: Level, name: str, request: _Request) -> None:
    if name.lower() == "all":
        request.everything = True
        return
    path = _path(name)
    kept_at = keys.level_of(path[0])
    kept_at = keys.COMPUTED.get(path[0]) if kept_at is None else kept_at
    if kept_at is None or kept_at > level:
        request.warnings.append(f"{name} cannot be included at this level")
        return
    whole = request.include.get(path[0]) == {}
    inner = request.include.setdefault(path[0], {})
    if not whole:  # a part of a sequence that is wanted as a whole adds nothing
        for tag in path[1:]:
            inner = inner.setdefault(tag, {})


def _path(name: str) -> tuple[str, ...]:
    """Return the tags of an attribute id: keywords or eight digits, with a dot between the levels."""
    tags = [tag_of(part) for part in name.split(".")]
    if None in tags or len(tags) > DEEPEST:
        raise Invalid(
            f"{name[:100]!r} is no parameter of this search; attributes are named by keyword (PatientID) or"
            f" tag (00100020), those in sequences with a dot, and there are {', '.join(_PARAMETERS)}"
        )
    return tuple(hex_of(tag) for tag in tags if tag is not None)


def _listed(name: str, value: str) -> str:
    """Return a value in the form of the index; UIDs and codes may be listed with commas (PS3.18 8.3.4.1)."""
    return value.replace(",", "\\") if vr_of(int(name, 16)) in ("UI", "CS") else value


def _whole(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not 0 <= number < 2**63:
        raise Invalid(f"{name} is {value[:40]!r}; it is a whole number, 0 or more")
    return number


def _flag(name: str, value: str) -> bool:
    lowered = value.strip().lower()
    if lowered not in ("true", "false", ""):
        raise Invalid(f"{name} is {value[:40]!r}; it is true or false")
    return lowered == "true"


def _texts(
    archive: Archive,
    level: Level,
    shown: list[Level],
    request: _Request,
    study_uid: str,
    series_uid: str,
) -> ResultTexts | None:
    """Return what makes a result of a row without parsing it; None where parts of sequences are asked for."""
    if request.everything or any(request.include.values()):
        return None
    wanted = {name for one in shown for name in keys.ALWAYS[one]}
    wanted |= {name for name in request.include if name in LEVEL_OF and name not in keys.COMPUTED}
    computed = _computed(level, request)
    return ResultTexts(
        level, wanted, keys.WHEN_KNOWN[level], computed, archive.address, study_uid, series_uid
    )


def _results(
    archive: Archive,
    level: Level,
    shown: list[Level],
    request: _Request,
    study_uid: str,
    series_uid: str,
) -> Callable[[Found], Attributes]:
    """Return what makes a result of a row."""
    always: list[tuple[Level, str, Attributes | None]] = []
    for one in shown:
        always += [(one, name, {"vr": vr_of(int(name, 16))}) for name in keys.ALWAYS[one]]
        if one is level:
            always += [(one, name, None) for name in keys.WHEN_KNOWN[one]]
    nested: list[tuple[Level, str, Include]] = []
    for name, inner in request.include.items():
        kept_at = next((one for one in Level if int(name, 16) in KEPT[one]), None)
        if kept_at is None or name in keys.COMPUTED:
            continue
        if inner:
            nested.append((kept_at, name, inner))
        else:
            always.append((kept_at, name, {"vr": vr_of(int(name, 16))}))

    def result(found: Found) -> Attributes:
        made: Attributes = {keys.SPECIFIC_CHARACTER_SET: {"vr": "CS", "Value": ["ISO_IR 192"]}}
        if request.everything:
            for one in shown:
                made.update(found.at(one))
        for one, name, empty in always:
            value = found.at(one).get(name, empty)
            if value is not None:
                made[name] = value
        for one, name, inner in nested:
            if name not in made:
                made[name] = _only(found.at(one).get(name), inner)
        _told(made, found, level, request)
        _place(made, found, level, archive.address, study_uid, series_uid)
        return dict(sorted(made.items()))

    return result


def _told(made: Attributes, found: Found, level: Level, request: _Request) -> None:
    told = found.facts
    values = {
        keys.MODALITIES_IN_STUDY: told.modalities,
        keys.SOP_CLASSES_IN_STUDY: told.sop_classes,
        keys.SERIES_OF_STUDY: (told.series,),
        keys.INSTANCES_OF_STUDY: (told.instances,),
        keys.INSTANCES_OF_SERIES: (told.of_series,),
    }
    values.update(
        zip(
            (keys.STUDIES_OF_PATIENT, keys.SERIES_OF_PATIENT, keys.INSTANCES_OF_PATIENT),
            ((number,) for number in told.of_patient),
            strict=True,
        )
    )
    for name in _computed(level, request):
        _put(made, name, vr_of(int(name, 16)), values[name])


def _place(
    made: Attributes, found: Found, level: Level, address: str, study_uid: str, series_uid: str
) -> None:
    """Add the unique keys above the level, and where the object can be had."""
    study_uid = study_uid or str(first(found.study, keys.STUDY_UID))
    address = f"{address}/studies/{study_uid}"
    if level >= Level.SERIES:
        series_uid = series_uid or str(first(found.series, keys.SERIES_UID) or "")
        address += f"/series/{series_uid}"
        _put(made, keys.STUDY_UID, "UI", (study_uid,))
        _put(made, keys.SERIES_UID, "UI", (series_uid,))
    if level is Level.INSTANCE:
        address += f"/instances/{first(found.instance, keys.SOP_UID)}"
        _put(made, keys.AVAILABLE_TRANSFER_SYNTAX, "UI", (found.transfer_syntax,))
    _put(made, keys.RETRIEVE_URL, "UR", (address,))
    _put(made, keys.AVAILABILITY, "CS", ("ONLINE",))


def _only(element: dict[str, Any] | None, wanted: Include) -> dict[str, Any]:
    """Return a sequence with those attributes of its items that are wanted, where they are known."""
    items = []
    for item in (element or {}).get("Value", []):
        items.append(
            {
                name: _only(item[name], inner) if inner else item[name]
                for name, inner in wanted.items()
                if name in item
            }
        )
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _put(result: Attributes, name: str, vr: str, values: Iterable[object]) -> None:
    listed = list(values)
    result[name] = {"vr": vr, "Value": listed} if listed else {"vr": vr}
