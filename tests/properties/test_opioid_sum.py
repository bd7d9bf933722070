"""The sum of MME over any chart: another drug never lowers it, order does not matter, nothing is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cds_hooks.services.opioid_mme_rules import FACTORS, NOT_COUNTED, REASONS
from tests.support.opioids import (
    BUPRENORPHINE,
    DIAZEPAM_5,
    FENTANYL_25,
    GTS,
    HYDROCODONE_5,
    METHADONE_10,
    MORPHINE_INJECTION,
    MORPHINE_LIQUID,
    OXYCODONE_10,
    OXYCODONE_ER_30,
    call,
    concept,
    order,
    quantity,
    statement,
    tablets,
)

Resource = dict[str, Any]

DRUGS = [
    OXYCODONE_10, OXYCODONE_ER_30, HYDROCODONE_5, METHADONE_10, FENTANYL_25, "1603495", MORPHINE_LIQUID,
    MORPHINE_INJECTION, BUPRENORPHINE, DIAZEPAM_5, "7052", "314076",
]  # fmt: skip
DAYS = ["2026-02-01", "2026-03-01", "2026-03-02", "2026-03-09", "2026-04-01"]

quantities = st.builds(
    quantity,
    st.sampled_from([0, 0.5, 1, 2, 12]),
    st.sampled_from(["{tablet}", "{patch}", "mg", "ug", "mL", "1", "ug/h", "mcg"]),
)
doses = st.one_of(
    quantities.map(lambda q: {"doseQuantity": q}),
    st.tuples(quantities, quantities).map(lambda q: {"doseRange": {"low": q[0], "high": q[1]}}),
    quantities.map(lambda q: {"rateQuantity": q}),
    st.just({}),
)
bounds = st.one_of(
    st.just({}),
    st.tuples(st.sampled_from([None, *DAYS]), st.sampled_from([None, *DAYS])).map(
        lambda ends: {"boundsPeriod": {n: d for n, d in zip(("start", "end"), ends, strict=True) if d}}
    ),
    st.sampled_from([3, 14]).map(lambda days: {"boundsDuration": quantity(days, "d")}),
)
timings = st.one_of(
    st.just(None),
    st.builds(
        lambda frequency, period, unit, limits: {
            "repeat": {"frequency": frequency, "period": period, "periodUnit": unit, **limits}
        },
        st.integers(0, 6),
        st.sampled_from([1, 2, 3, 72]),
        st.sampled_from(["d", "h", "wk", "x"]),
        bounds,
    ),
    st.sampled_from(["BID", "Q4H", "X"]).map(lambda code: {"code": concept(code, GTS)}),
)
dosages = st.builds(
    lambda dose, timing, needed, sequence: {
        "doseAndRate": [dose],
        **({"timing": timing} if timing else {}),
        **({"asNeededBoolean": True} if needed else {}),
        **({"sequence": sequence} if sequence else {}),
    },
    doses,
    timings,
    st.booleans(),
    st.sampled_from([None, None, 1, 2]),
)
statuses = st.sampled_from(["active", "active", "active", "draft", "on-hold", "completed", "unknown"])


@st.composite
def charts(draw: st.DrawFn, least: int = 0) -> list[Resource]:
    """Requests and statements under ids of their own, so that none replaces another."""
    made: list[Resource] = []
    for number in range(draw(st.integers(least, 5))):
        drug, listed = draw(st.sampled_from(DRUGS)), draw(st.lists(dosages, min_size=1, max_size=3))
        if draw(st.integers(0, 4)) == 0:
            made.append(statement(f"s{number}", drug, listed[0]))
        else:
            made.append(order(f"r{number}", drug, listed, draw(statuses)))
    return made


ASKED = tablets("asked", OXYCODONE_10, 1, 1, "draft")


def mme(resources: list[Resource]) -> float:
    decision = call(resources, [ASKED])
    return float(decision.output["mme_per_day"])


@settings(max_examples=200, deadline=None)
@given(charts(), charts(least=1))
def test_another_drug_never_lowers_the_sum(some: list[Resource], more: list[Resource]) -> None:
    renamed = [{**entry, "id": f"more-{entry['id']}"} for entry in more]
    assert mme([*some, *renamed]) >= mme(some) - 1e-6


@settings(max_examples=150, deadline=None)
@given(charts(least=2), st.randoms(use_true_random=False))
def test_the_order_of_the_resources_does_not_matter(some: list[Resource], random: Any) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)
    one, other = call(some, [ASKED]), call(shuffled, [ASKED])
    assert (one.reasons, one.output) == (other.reasons, other.output)
    assert [card.as_json() for card in one.cards] == [card.as_json() for card in other.cards]


@settings(max_examples=150, deadline=None)
@given(charts())
def test_nothing_is_lost_and_everything_has_a_name(some: list[Resource]) -> None:
    decision = call(some, [ASKED])
    assert set(decision.reasons) <= set(REASONS) | set(NOT_COUNTED)
    told = {(line["reference"], line["opioid"]) for line in decision.output["lines"]}
    for entry in some:
        code = entry["medicationCodeableConcept"]["coding"][0]["code"]
        if code in (OXYCODONE_10, METHADONE_10, BUPRENORPHINE, MORPHINE_INJECTION):
            assert any(reference == f"{entry['resourceType']}/{entry['id']}" for reference, _ in told)
    for line in decision.output["lines"]:
        assert line["mme"] >= 0
        assert line["codes"] or line["mme"] > 0 or line["opioid"] in FACTORS
    assert abs(sum(line["mme"] for line in decision.output["lines"]) - decision.output["mme_per_day"]) < 1e-3
