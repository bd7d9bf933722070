"""Resource → the words that a person reads in it, as the text of a tsvector (R4/search.html#content).

Words of the narrative (`text.div`) stand apart from those of all other elements: each has in front a
sign that says which of both it is, and of which resource type, so that a list of the index holds one word
of one type and nothing has to be looked at twice. `_content` asks for both.

Read are elements of the types string and markdown, narratives, and the codes of Codings, in contained
resources and extensions too; not read are ids, urls, dates, numbers, other codes (`status`) and binary
data. Equal texts count once. A phrase does not go from one element to the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from fhir_server.definitions.structures import fields, is_resource_type, type_code
from fhir_server.search.words import blocks, short_words, words

READ = frozenset({"string", "markdown"})
ALSO = frozenset({"Coding.code"})
NOT_READ = frozenset({"Reference.reference", "SampledData.data"})  # strings by type, not to a reader

MOST_BYTES = 400 * 1024
"""Of distinct words of one resource, and as much again of its narrative; Postgres takes 1 MiB together."""
MOST_SIGNS = 4_000_000  # that are read of one resource
LAST_PLACE = 16_383  # the last that a tsvector can say
MOST_PLACES = 255  # of one word
FEW_SIGNS = 1_500  # that hardly have more words than MOST_PLACES
SHORT = 200  # signs of a text that is worth remembering

NARRATIVE, CONTENT = 0x100, 0x200


def head(type_name: str, narrative: bool) -> str:
    """Return the sign in front of words of a resource type: those of narratives, or of all else."""
    return chr((NARRATIVE if narrative else CONTENT) + type_code(type_name))


class Members:
    """What is read of a type: JSON names of texts, and of what has texts inside."""

    __slots__ = ("_path", "_table")
    _known: ClassVar[dict[str, Members]] = {}

    def __init__(self, path: str) -> None:
        self._path = path
        self._table: dict[str, Members | str] | None = None

    @classmethod
    def of(cls, path: str) -> Members:
        """Return those of a type, or of an element that has children."""
        found = cls._known.get(path)
        if found is None:
            found = cls._known[path] = cls(path)
        return found

    @property
    def table(self) -> dict[str, Members | str]:
        """The members by JSON name: "text", "div", "any" (a resource), or what is read inside."""
        if self._table is None:
            made: dict[str, Members | str] = {}
            self._table = made
            for key, field in fields(self._path).items():
                if field.primitive:
                    made[f"_{key}"] = Members.of("Element")
                    if f"{self._path}.{key}" in ALSO or field.type in READ:
                        if f"{self._path}.{key}" not in NOT_READ:
                            made[key] = "text"
                    elif field.type == "xhtml":
                        made[key] = "div"
                elif field.type == "Resource":
                    made[key] = "any"
                elif field.type:
                    made[key] = Members.of(field.type)
        return self._table


def texts(members: Members, node: dict[str, Any], found: list[str]) -> None:
    """Add what is read in an element or a resource; a narrative's blocks one by one."""
    table = members.table
    for key, value in node.items():
        what = table.get(key)
        if what is None:
            continue
        for each in value if value.__class__ is list else (value,):
            if each.__class__ is str:
                if what == "text":
                    found.append(each)
                elif what == "div":
                    found.extend(blocks(each))
            elif each.__class__ is dict:
                if what.__class__ is Members:
                    texts(what, each, found)
                elif what == "any":
                    kind = each.get("resourceType")
                    if is_resource_type(kind):
                        texts(Members.of(str(kind)), each, found)


def vector(type_name: str, resource: dict[str, Any]) -> tuple[str, bool] | None:
    """Return the words of a resource as the text of a tsvector, and whether some were too many.

    None where there is nothing to read.

    >>> vector("Basic", {"resourceType": "Basic", "code": {"text": "bone pain"}})[0][1:]
    "Ȉbone':1 'Ȉpain':2"
    """
    narrative = resource.get("text")
    div = narrative.get("div") if isinstance(narrative, dict) else None
    rest = resource if div is None else {name: value for name, value in resource.items() if name != "text"}
    found: list[str] = []
    some: list[str] = []
    texts(Members.of(type_name), rest, some)
    cut = _put(head(type_name, False), some, found)
    if isinstance(div, str):
        cut = _put(head(type_name, True), blocks(div), found) or cut
    return (" ".join(found), cut) if found else None


def _put(sign: str, some: Iterable[str], found: list[str]) -> bool:
    """Add words with their places as a tsvector writes them; tell whether there were too many."""
    distinct = dict.fromkeys(some)
    if sum(map(len, distinct)) > FEW_SIGNS:
        return _put_many(sign, distinct, found)
    places: dict[str, str] = {}
    place = 0
    for text in distinct:
        for word in short_words(text) if len(text) <= SHORT else words(text):
            place += 1
            known = places.get(word)
            places[word] = str(place) if known is None else f"{known},{place}"
        place += 1
    if place > MOST_PLACES:  # one word may have more of them than it can
        return _put_many(sign, distinct, found)
    found.extend([f"'{sign}{word}':{where}" for word, where in places.items()])
    return False


def _put_many(sign: str, some: Iterable[str], found: list[str]) -> bool:
    """Do the same within the limits that Postgres sets."""
    places: dict[str, list[str]] = {}
    place = signs = size = 0
    cut = False
    for text in some:
        signs += len(text)
        if signs > MOST_SIGNS:
            cut = True
            break
        for word in short_words(text) if len(text) <= SHORT else words(text):
            place += 1
            known = places.get(word)
            if known is None:
                size += len(word.encode()) + 8
                if size > MOST_BYTES:
                    cut = True
                    continue
                places[word] = known = []
            if place <= LAST_PLACE and len(known) < MOST_PLACES:
                size += 2
                known.append(str(place))
            elif place > LAST_PLACE:
                cut = True
        place += 1
    for word, where in places.items():
        found.append(f"'{sign}{word}':{','.join(where)}" if where else f"'{sign}{word}'")
    return cut
