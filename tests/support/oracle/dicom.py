"""Which instances match a DICOM query: a slow filter over data sets that shares no code with the index.

PS3.4 C.2.2.2, read as docs/dicom.md says. Names are compared by a folding of its own.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from datetime import date, datetime, time, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

Key = tuple[tuple[str, ...], str]
"""Keywords on the way to an attribute, and the value that it has to match."""


class Options:
    """Dates and times together, names fuzzy, and the zone of the key in minutes (None: none)."""

    def __init__(self, combined: bool = True, fuzzy: bool = False, zone: int | None = None) -> None:
        self.combined, self.fuzzy, self.zone = combined, fuzzy, zone


def matches(studies: list[Dataset], one: Dataset, keys: list[Key], options: Options) -> bool:
    """Whether an instance matches; `studies` are all instances of its study, for what is of the study."""
    asked = [(path, value) for path, value in keys if value.strip("*")]
    plain = {path[0]: value for path, value in asked if len(path) == 1}
    together = {
        day: clock
        for day, clock in (("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"))
        if day in plain and ((options.combined and clock in plain) or options.zone is not None)
    }
    for day, clock in together.items():
        value = plain.get(clock, "") if options.combined else ""
        if not _moment(one, day, clock, plain[day], value, options.zone):
            return False
    gone = set(together) | {clock for clock in together.values() if options.combined}
    items: dict[str, list[Key]] = {}
    for path, value in asked:
        if len(path) > 1:
            items.setdefault(path[0], []).append((path[1:], value))
        elif path[0] == "ModalitiesInStudy":
            if not any(_value("CS", each.Modality, value, options) for each in studies):
                return False
        elif path[0] not in gone and not _attribute(one, path[0], value, options):
            return False
    return all(_item(one, name, wanted, options) for name, wanted in items.items())


def _item(one: Dataset, name: str, wanted: list[Key], options: Options) -> bool:
    return any(
        all(_attribute(item, inner[0], value, options) for inner, value in wanted)
        for item in one.get(name, [])
    )


def _attribute(one: Dataset, keyword: str, value: str, options: Options) -> bool:
    element = one.get(Tag(keyword))
    if element is None or element.is_empty:
        return False
    held = element.value if element.VM > 1 else [element.value]
    return any(_value(element.VR, each, value, options) for each in held)


def _value(vr: str, held: Any, value: str, options: Options) -> bool:
    if vr == "PN":
        return _fuzzy(str(held), value) if options.fuzzy else _name(str(held), value)
    if vr == "UI":
        return str(held) in value.split("\\")
    if vr in ("DA", "TM"):
        low, dash, high = value.partition("-")
        high = high if dash else low
        read, latest = (_day, _day) if vr == "DA" else (_early, _late)
        mine = read(str(held))
        return mine is not None and (not low or mine >= read(low)) and (not high or mine <= latest(high))
    if vr in ("IS", "US", "DS"):
        return float(held) in [float(part) for part in value.split("\\")]
    return any(_wild(str(held), part) for part in value.split("\\"))


def _wild(held: str, pattern: str) -> bool:
    literal = re.sub(r"[\[\]]", lambda match: f"[{match[0]}]", pattern)
    return fnmatch.fnmatchcase(held, literal)


def _folded(text: str) -> str:
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return " ".join(bare.casefold().split())


def _groups(name: str) -> list[str]:
    return [_folded(group).rstrip("^ ") for group in name.split("=")]


def _name(held: str, value: str) -> bool:
    mine, wanted = _groups(held), _groups(value)
    if len(wanted) == 1:
        return any(_wild(group, wanted[0]) for group in mine if group)
    fits = [not wanted[0] or wanted[0] == "*" or _wild(mine[0], wanted[0])]
    fits += [
        any(_wild(group, pattern) for group in mine[1:] if group)
        for pattern in wanted[1:]
        if pattern and pattern != "*"
    ]
    return all(fits)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[ ^,.'=-]", name) if word]


def _fuzzy(held: str, value: str) -> bool:
    mine = "=".join(_groups(held))
    wanted = _words(_folded(value).replace("*", "").replace("?", ""))
    padded = "^" + "^".join(re.split(r"[ ^,.'=-]", mine)) + "^"
    grams = {padded[at : at + 3] for at in range(len(padded) - 2)}
    return all(_like(word, _words(mine), grams) for word in wanted)


def _like(word: str, mine: list[str], grams: set[str]) -> bool:
    if any(each.startswith(word) for each in mine):
        return True
    if re.fullmatch("[a-z]+", word) and any(
        _sound(word) == _sound(each) for each in mine if re.fullmatch("[a-z]+", each)
    ):
        return True
    own = {f"^{word}^"[at : at + 3] for at in range(len(word))}
    return len(word) >= 4 and 2 * len(own & grams) >= len(own)


_CLASSES = {
    letter: code
    for code, letters in zip("1234560", ("bfpv", "cgjkqsxz", "dt", "l", "mn", "r", "aeiouy"), strict=True)
    for letter in letters
}  # fmt: skip
_FIRST = {"c": "k", "q": "k", "z": "s", "x": "s", "v": "f", **dict.fromkeys("eiouy", "a")}


def _sound(word: str) -> str:
    word = word.replace("ph", "f")
    codes = [_CLASSES.get(word[0], "0"), *(_CLASSES[letter] for letter in word[1:] if letter in _CLASSES)]
    kept = [code for at, code in enumerate(codes) if at == 0 or code != codes[at - 1] or code == "0"]
    digits = "".join(code for code in kept[1:] if code != "0")
    return _FIRST.get(word[0], word[0]) + digits[:3].ljust(3, "0")


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()


def _early(text: str) -> time:
    digits, _, fraction = text.partition(".")
    digits = digits.ljust(6, "0")
    return time(int(digits[:2]), int(digits[2:4]), int(digits[4:]), int(fraction.ljust(6, "0") or 0))


def _late(text: str) -> time:
    digits, _, fraction = text.partition(".")
    digits += "235959"[len(digits) :]
    return time(int(digits[:2]), int(digits[2:4]), int(digits[4:]), int(fraction.ljust(6, "9")))


def _moment(one: Dataset, day: str, clock: str, days: str, times: str, zone: int | None) -> bool:
    if not one.get(day):
        return False
    if zone is not None and not one.get(clock) and day == "StudyDate":
        # what has no time cannot be told in another zone: the days are compared as they are
        return _value("DA", one[day].value, days, Options())
    low_day, dash, high_day = days.partition("-")
    high_day = high_day if dash else low_day
    low_time, dash, high_time = times.partition("-")
    high_time = high_time if dash else low_time
    mine = datetime.combine(_day(one[day].value), _early(one.get(clock) or "0000"))
    shift = timedelta()
    if zone is not None:
        stated = one.get("TimezoneOffsetFromUTC") or "+0000"
        own = (int(stated[1:3]) * 60 + int(stated[3:])) * (-1 if stated[0] == "-" else 1)
        shift = timedelta(minutes=zone - own)
    mine += shift
    if low_day and mine < datetime.combine(_day(low_day), _early(low_time) if low_time else time.min):
        return False
    return not high_day or mine <= datetime.combine(
        _day(high_day), _late(high_time) if high_time else time.max
    )
