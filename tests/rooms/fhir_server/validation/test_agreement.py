"""Whatever stands in a resource, both readings answer, and what is accepted has no problem."""

import copy
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.definitions import structures
from fhir_server.validation import explain
from fhir_server.validation.structure import Structure

from . import samples

STRUCTURES = {flag: Structure(in_transaction=flag) for flag in (False, True)}

KEYS = """
id extension url value valueString _valueString system code coding reference resourceType text div status
type given _given name _ resource contained
"""
TEXTS = ["", " ", "Patient", "Patient/1", "Patient?x", "final", "2020", "a", samples.DIV, "urn:uuid:1", "#"]
keys = st.sampled_from([*KEYS.split(), ""])
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False)
    | st.sampled_from(
        ["", " ", "Patient", "Patient/1", "Patient?x", "final", "2020", "a", samples.DIV, "urn:uuid:1", "#"]
    )
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def bent(draw):
    """A valid resource in which something was put anywhere, known members in known places too."""
    sample = draw(st.sampled_from(samples.VALID))
    resource = copy.deepcopy(sample)
    for _ in range(draw(st.integers(1, 3))):
        place, type_path = resource, sample["resourceType"]
        while draw(st.booleans()):
            inner = [value for value in (place.values() if isinstance(place, dict) else place) if value]
            inner = [value for value in inner if isinstance(value, dict | list)]
            if not inner:
                break
            place, type_path = draw(st.sampled_from(inner)), ""
        if isinstance(place, dict):
            known = sorted(structures.fields(type_path)) if type_path else list(place) or ["id"]
            name = draw(keys | st.sampled_from(known) | st.sampled_from(known).map("_{}".format))
            place[name] = draw(junk)
        else:
            place[draw(st.integers(0, len(place) - 1)) : draw(st.integers(0, len(place)))] = [draw(junk)]
    return resource


@settings(max_examples=600, deadline=None)
@given(bent() | junk, st.booleans())
def test_what_is_accepted_has_no_problem(resource, in_transaction):
    found = list(explain.resource_problems(resource, None, in_transaction))
    if STRUCTURES[in_transaction].accepts(resource):
        assert found == []
    else:
        # Not promised, but so it is: the quick reading never sends a right resource to the slow one,
        # except where extensions stand for the value of a choice.
        assert found or "_value" in str(resource)


def test_floats_of_python_callers_are_numbers():
    observation = samples.OBSERVATION | {"valueQuantity": {"value": 1.5}}
    assert STRUCTURES[False].accepts(observation)
    assert STRUCTURES[False].accepts(observation | {"valueQuantity": {"value": Decimal("1.50")}})
