"""Person names → SQL: literal with wild cards, or fuzzy by sound, beginning and trigrams.

PS3.4 C.2.2.2.1 (names match without case and accents), C.2.2.2.1.1 and C.5.1.1 (fuzzy semantic matching,
which the standard leaves to us). What fuzzy means here: every word of the key fits a word of the name, in any
order and any of its groups. It fits as its beginning, by its sound (Meyer, Maier), or when the name has at
least half of the trigrams of a word of four letters or more (Petersn, Petersen).
"""

from __future__ import annotations

from typing import Any

from dicom_node.index.matching import fold, grams, grams_of_pattern, like, words
from dicom_node.values import PN_GROUPS

Condition = tuple[str, list[Any]]

SHORTEST_SIMILAR = 4
MOST_WORDS = 10


def literal(value: str) -> Condition:
    """Return the condition that the PatientName of `st` matches a key, in any of its groups.

    A key with several groups (Yamada^Tarou=山田^太郎) wants the first in the alphabetic group and each
    other in one of the others. "Doe^John" finds Doe^John^^Dr only with a wild card.
    """
    groups = [fold(group).rstrip("^ ") for group in value.split("=")]
    conditions, values = [], []
    for number, group in enumerate(groups):
        if not group or group == "*":
            continue
        alphabetic, other = number == 0, number > 0 or len(groups) == 1
        condition, found = _group(group, alphabetic=alphabetic, other=other)
        conditions.append(condition)
        values += found
    return " AND ".join(conditions) or "true", values


def _group(pattern: str, *, alphabetic: bool, other: bool) -> Condition:
    wild = "*" in pattern or "?" in pattern
    sql_pattern = like(pattern)
    either, values = [], []
    if alphabetic:
        either.append(f"st.name_alphabetic {'LIKE' if wild else '='} %s")
        values.append(sql_pattern if wild else pattern)
    if other:
        either.append(
            "(st.name_other <> ''"
            " AND EXISTS (SELECT FROM unnest(string_to_array(substr(st.name_other, 2), '=')) g (v)"
            f" WHERE g.v {'LIKE' if wild else '='} %s))"
        )
        values.append(sql_pattern if wild else pattern)
    condition = f"({' OR '.join(either)})"
    if wild and (wanted := grams_of_pattern(pattern)):  # the index finds the few that can match at all
        return _first(f"st.name_grams @> %s AND {condition}"), [wanted, *values]
    return condition, values


def _first(condition: str) -> str:
    """Return a condition that is looked up by itself, whatever order and limit stand around it.

    Else the database would often rather walk through all studies in their order, hoping to fill a page.
    """
    return f"st.pk = ANY(ARRAY(SELECT st.pk FROM dicom_study st WHERE {condition}))"


def literal_in(sql: str, value: str) -> Condition:
    """Return the condition for a PN within JSON; `sql` gives one of its values."""
    patterns = [fold(group).rstrip("^ ") for group in value.split("=")]
    pattern = like(next(filter(None, patterns), ""))
    group = "SELECT FROM jsonb_each_text(CASE WHEN jsonb_typeof({}) = 'object' THEN {} END) g (k, v)"
    return (
        f"EXISTS ({group.format(sql, sql)} WHERE rtrim(dicom_fold(g.v), '^ ') LIKE %s)",
        [pattern],
    )


def fuzzy(value: str) -> Condition:
    """Return the condition that the PatientName of `st` is like a key."""
    name = "st.name_alphabetic || st.name_other"
    condition, values = _all_words(value, f"'^' || dicom_words({name})", "st.name_grams", "st.name_sounds")
    return (_first(condition), values) if values else (condition, values)


def fuzzy_in(sql: str, value: str) -> Condition:
    """Return the same for a PN within JSON."""
    groups = ", ".join(f"{sql} ->> '{group}'" for group in PN_GROUPS)
    joined = f"dicom_fold(concat_ws('=', {groups}))"
    return _all_words(
        value, f"'^' || dicom_words({joined})", f"dicom_grams({joined})", f"dicom_sounds({joined})"
    )


def fuzzy_words(value: str) -> list[str]:
    """Return the words of a key; wild cards mean nothing here.

    >>> fuzzy_words("Müller*^Jörg Peter")
    ['muller', 'jorg', 'peter']
    """
    bare = fold(value).replace("*", "").replace("?", "")
    return [word for word in words(bare).split("^") if word][:MOST_WORDS]


def _all_words(value: str, text: str, grams_sql: str, sounds_sql: str) -> Condition:
    conditions, values = [], []
    for word in fuzzy_words(value):
        either = [f"{text} LIKE %s"]
        found: list[Any] = [f"%{like(f'^{word}')}%"]
        if beginning := grams(f"^{word}"):
            either = [f"({grams_sql} @> %s AND {either[0]})"]
            found.insert(0, beginning)
        if word.isascii() and word.isalpha():
            either.append(f"{sounds_sql} && dicom_sounds(%s)")
            found.append(word)
        if len(word) >= SHORTEST_SIMILAR:
            wanted = grams(f"^{word}^")
            # half of them are shared, so at least one of any half and one more is
            some = wanted[: len(wanted) - (len(wanted) + 1) // 2 + 1]
            either.append(
                f"({grams_sql} && %s AND 2 * (SELECT count(*) FROM unnest({grams_sql}) g"
                " WHERE g = ANY(%s)) >= %s)"
            )
            found += [some, wanted, len(wanted)]
        conditions.append(f"({' OR '.join(either)})")
        values += found
    return " AND ".join(conditions) or "true", values
