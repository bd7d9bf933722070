"""Keys: distinct where they must be, the same where they must meet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.definitions.structures import resource_types
from fhir_server.search import keys
from fhir_server.search.registry import Registry


def test_parameter_hashes_of_all_of_r4_are_distinct() -> None:
    registry = Registry()
    pairs = [(name, code) for name in resource_types() for code in registry.for_type(name)]
    assert len(pairs) > 3000
    assert len({keys.param_hash(*pair) for pair in pairs}) == len(pairs)
    assert len({keys.column_hash(*pair) for pair in pairs}) == len(pairs)


def test_a_reference_key_ends_as_its_target_does() -> None:
    rid = keys.rid("Patient", "7")
    assert rid[:8] == "00000000"
    for type_name, code in (("Observation", "subject"), ("Condition", "patient")):
        assert keys.key(type_name, code, "Patient/7") == keys.prefix(type_name, code) + rid[8:]


def test_hashes_stay_what_they_are() -> None:
    # Stored rows hold them: a change here is a reindex everywhere.
    assert keys.key("Observation", "code", "http://loinc.org|8867-4") == "248dfcec1f08884915e53ba3be0d98c0"
    assert keys.rid("Patient", "7") == "000000002135b32c6f0c1ca0ad51d04d"
    assert keys.column_hash("Observation", "date") == -22355728


@given(st.lists(st.text(alphabet="ab|$\\", min_size=1), min_size=2, max_size=4))
def test_parts_of_a_text_cannot_run_together(parts: list[str]) -> None:
    joined = "|".join(map(keys.escaped, parts))
    cut: list[str] = [""]
    skip = False
    for sign in joined:
        if skip or sign not in "\\|":
            cut[-1] += sign
            skip = False
        elif sign == "\\":
            skip = True
        else:
            cut.append("")
    assert cut == parts


def test_long_codes_keep_apart() -> None:
    first, second = "9" * 200 + "1", "9" * 200 + "2"
    assert keys.short(first) != keys.short(second)
    assert len(keys.short(first)) < 100
