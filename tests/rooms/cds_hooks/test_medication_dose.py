"""The daily dose of a dosage: forms of dose and timing with what they come to, or why they do not."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from cds_hooks.facts.chart import Chart
from cds_hooks.facts.medication import DailyDose, Drug, Unknown, drugs
from cds_hooks.facts.medication_dose import NOTES, course
from cds_hooks.facts.medication_products import of_code
from cds_hooks.facts.medication_timing import PER_DAY, often
from tests.support.opioids import (
    FENTANYL_25,
    GTS,
    HYDROCODONE_5,
    MORPHINE_LIQUID,
    NOW,
    OXYCODONE_10,
    concept,
    dosage,
    order,
    quantity,
    times,
)

Resource = dict[str, Any]
TABLET = quantity(1, "{tablet}")
FORM = "http://terminology.hl7.org/CodeSystem/v3-orderableDrugForm"
OXYCODONE = "7804"
SPRAY = "1115577"


def timed(**repeat: Any) -> Resource:
    return {"repeat": repeat}


def ranged(low: float | None, high: float | None, unit: str = "{tablet}") -> Resource:
    ends = {name: quantity(v, unit) for name, v in (("low", low), ("high", high)) if v is not None}
    return {"doseAndRate": [{"doseRange": ends}]}


def rate(value: float, unit: str, timing: Resource | None = None) -> Resource:
    return {
        "doseAndRate": [{"rateQuantity": quantity(value, unit)}],
        **({"timing": timing} if timing else {}),
    }


def capped(numerator: Resource, value: float, unit: str) -> Resource:
    return {"maxDosePerPeriod": {"numerator": numerator, "denominator": quantity(value, unit)}}


NEEDED = {"asNeededBoolean": True}
TWICE = times(2)

DOSES: list[tuple[str, str, Resource, float | str, set[str]]] = [
    # doses
    ("a tablet twice a day", OXYCODONE_10, dosage(TABLET, TWICE), 20, set()),
    ("one, unit 1", OXYCODONE_10, dosage(quantity(1, "1"), TWICE), 20, set()),
    ("half a tablet", OXYCODONE_10, dosage(quantity(0.5, "{tbl}"), TWICE), 10, set()),
    ("two of HL7's TAB", OXYCODONE_10, dosage(quantity(2, "TAB", FORM), TWICE), 40, set()),
    ("milligrams", OXYCODONE_10, dosage(quantity(15, "mg"), TWICE), 30, set()),
    ("micrograms", OXYCODONE_10, dosage(quantity(2500, "ug"), TWICE), 5, set()),
    ("grams", OXYCODONE_10, dosage(quantity(Decimal("0.01"), "g"), TWICE), 20, set()),
    ("milligrams of an ingredient", OXYCODONE, dosage(quantity(10, "mg"), TWICE), 20, set()),
    ("millilitres", MORPHINE_LIQUID, dosage(quantity(5, "mL"), times(4)), 40, set()),
    ("millilitres in litres", MORPHINE_LIQUID, dosage(quantity(0.005, "L"), times(4)), 40, set()),
    ("milligrams of a liquid", MORPHINE_LIQUID, dosage(quantity(10, "mg"), times(4)), 40, set()),
    ("sprays", SPRAY, dosage(quantity(1, "{spray}"), times(3)), 1.2, set()),
    ("one tablet of a combination", HYDROCODONE_5, dosage(TABLET, times(4)), 20, set()),
    ("one or two tablets", OXYCODONE_10, {**ranged(1, 2), "timing": TWICE}, 40, {"range-maximum"}),
    (
        "stated as tablets and as milligrams",
        OXYCODONE_10,
        {"doseAndRate": [{"doseQuantity": TABLET}, {"doseQuantity": quantity(20, "mg")}], "timing": TWICE},
        40,
        {"alternatives-maximum"},
    ),
    ("no dose", OXYCODONE_10, dosage(None, TWICE), "dose-missing", set()),
    ("at least one tablet", OXYCODONE_10, {**ranged(1, None), "timing": TWICE}, "dose-without-end", set()),
    ("no unit", OXYCODONE_10, dosage({"value": 1}, TWICE), "unit-missing", set()),
    ("a unit in words", OXYCODONE_10, dosage({"value": 10, "unit": "mg"}, TWICE), "unit-missing", set()),
    (
        "a unit of another system",
        OXYCODONE_10,
        dosage(quantity(1, "mg", "urn:x"), TWICE),
        "unit-missing",
        set(),
    ),
    ("mcg, no code of UCUM", OXYCODONE_10, dosage(quantity(10, "mcg"), TWICE), "unit-unusable", set()),
    ("by weight", OXYCODONE_10, dosage(quantity(0.1, "mg/kg"), TWICE), "unit-unusable", set()),
    ("millilitres of a tablet", OXYCODONE_10, dosage(quantity(5, "mL"), TWICE), "unit-unusable", set()),
    ("a patch of a tablet", OXYCODONE_10, dosage(quantity(1, "{patch}"), TWICE), "unit-unusable", set()),
    ("tablets of a liquid", MORPHINE_LIQUID, dosage(TABLET, TWICE), "unit-unusable", set()),
    ("tablets of an ingredient", OXYCODONE, dosage(TABLET, TWICE), "strength-unknown", set()),
    (
        "milligrams of a combination",
        HYDROCODONE_5,
        dosage(quantity(5, "mg"), TWICE),
        "dose-of-combination",
        set(),
    ),
    ("no tablets", OXYCODONE_10, dosage(quantity(0, "{tablet}"), TWICE), "dose-not-a-number", set()),
    ("fewer than none", OXYCODONE_10, dosage(quantity(-1, "mg"), TWICE), "dose-not-a-number", set()),
    ("a word", OXYCODONE_10, dosage(quantity("1", "mg"), TWICE), "dose-not-a-number", set()),
    (
        "less than a bound",
        OXYCODONE_10,
        dosage({**quantity(10, "mg"), "comparator": "<"}, TWICE),
        "dose-not-a-number",
        set(),
    ),
    # timings
    ("every eight hours", OXYCODONE_10, dosage(TABLET, times(1, 8, "h")), 30, set()),
    (
        "every 4 to 6 hours",
        OXYCODONE_10,
        dosage(TABLET, times(1, 4, "h", periodMax=6)),
        60,
        {"range-maximum"},
    ),
    ("once to three times", OXYCODONE_10, dosage(TABLET, times(1, frequencyMax=3)), 30, {"range-maximum"}),
    ("no frequency: once", OXYCODONE_10, dosage(TABLET, timed(period=6, periodUnit="h")), 40, set()),
    ("every half hour", OXYCODONE_10, dosage(TABLET, times(1, 30, "min")), 480, set()),
    ("every other day", OXYCODONE_10, dosage(TABLET, times(1, 2)), 5, {"averaged-over-days"}),
    ("twice a week", OXYCODONE_10, dosage(TABLET, times(2, 1, "wk")), 20 / 7, {"averaged-over-days"}),
    ("ten a month", OXYCODONE_10, dosage(TABLET, times(10, 1, "mo")), 10 / 3, {"averaged-over-days"}),
    ("by the clock", OXYCODONE_10, dosage(TABLET, timed(timeOfDay=["08:00:00", "20:00:00"])), 20, set()),
    ("morning and bedtime", OXYCODONE_10, dosage(TABLET, timed(when=["MORN", "HS"])), 20, set()),
    ("some days", OXYCODONE_10, dosage(TABLET, timed(dayOfWeek=["mon", "thu"])), 10, set()),
    ("BID", OXYCODONE_10, dosage(TABLET, {"code": concept("BID", GTS)}), 20, set()),
    ("Q4H", OXYCODONE_10, dosage(TABLET, {"code": concept("Q4H", GTS)}), 60, set()),
    (
        "code and numbers at odds",
        OXYCODONE_10,
        dosage(TABLET, {**times(2), "code": concept("QID", GTS)}),
        40,
        {"timing-contradictory"},
    ),
    (
        "once a day at two times",
        OXYCODONE_10,
        dosage(TABLET, times(1, when=["MORN", "EVE"])),
        20,
        {"timing-contradictory"},
    ),
    ("three doses in all", OXYCODONE_10, dosage(TABLET, timed(count=3)), 30, {"all-in-one-day"}),
    ("four a day, one in all", OXYCODONE_10, dosage(TABLET, times(4, count=1)), 10, set()),
    (
        "single dates",
        OXYCODONE_10,
        dosage(TABLET, {"event": ["2026-03-03T08:00:00Z", "2026-03-03T20:00:00Z", "2026-03-04"]}),
        20,
        {"single-dates", "from-later-on"},
    ),
    ("no timing", OXYCODONE_10, dosage(TABLET, None), "timing-missing", set()),
    (
        "a timing in words",
        OXYCODONE_10,
        dosage(TABLET, {"code": {"text": "twice"}}),
        "timing-in-words",
        set(),
    ),
    (
        "BID of nobody",
        OXYCODONE_10,
        dosage(TABLET, {"code": {"coding": [{"code": "BID"}]}}),
        "timing-in-words",
        set(),
    ),
    ("at meals", OXYCODONE_10, dosage(TABLET, timed(when=["C"])), "timing-unclear", set()),
    ("three times, in what?", OXYCODONE_10, dosage(TABLET, timed(frequency=3)), "timing-unclear", set()),
    ("a period of nothing", OXYCODONE_10, dosage(TABLET, times(1, 0)), "timing-unclear", set()),
    (
        "a fortnight is no unit",
        OXYCODONE_10,
        dosage(TABLET, times(1, 1, "fortnight")),
        "timing-unclear",
        set(),
    ),
    ("words alone", OXYCODONE_10, {"text": "as directed"}, "dosage-in-words", set()),
    ("nothing", OXYCODONE_10, {}, "dosage-missing", set()),
    # as needed and limits
    (
        "as needed, every six hours",
        OXYCODONE_10,
        dosage(TABLET, times(1, 6, "h"), **NEEDED),
        40,
        {"prn-maximum"},
    ),
    ("as needed", OXYCODONE_10, dosage(TABLET, None, **NEEDED), "prn-without-limit", set()),
    (
        "as needed for pain",
        OXYCODONE_10,
        dosage(TABLET, None, asNeededCodeableConcept={"text": "pain"}),
        "prn-without-limit",
        set(),
    ),
    (
        "as needed, at most four a day",
        OXYCODONE_10,
        dosage(TABLET, None, **NEEDED, **capped(quantity(4, "{tablet}"), 1, "d")),
        40,
        {"prn-maximum", "limit-taken"},
    ),
    (
        "every four hours, at most 30 mg in 24 hours",
        OXYCODONE_10,
        dosage(TABLET, times(1, 4, "h"), **NEEDED, **capped(quantity(30, "mg"), 24, "h")),
        30,
        {"prn-maximum", "capped-by-maximum"},
    ),
    (
        "a limit that cannot be read",
        OXYCODONE_10,
        dosage(TABLET, times(2), **capped(quantity(1, "{box}"), 1, "d")),
        20,
        {"maximum-unreadable"},
    ),
    # rates
    ("a rate without end", MORPHINE_LIQUID, rate(1, "mg/h"), 24, set()),
    ("a volume an hour", MORPHINE_LIQUID, rate(0.5, "mL/h"), 24, set()),
    (
        "a rate for two hours, twice",
        MORPHINE_LIQUID,
        rate(1, "mg/h", timed(frequency=2, period=1, periodUnit="d", duration=2, durationUnit="h")),
        4,
        set(),
    ),
    ("a rate twice a day", MORPHINE_LIQUID, rate(1, "mg/h", TWICE), "rate-without-duration", set()),
    ("a rate without time", MORPHINE_LIQUID, rate(1, "mg"), "rate-unusable", set()),
    # patches, in micrograms an hour
    (
        "a patch of 25",
        FENTANYL_25,
        dosage(quantity(1, "{patch}"), times(1, 3)),
        25,
        {"patches-one-at-a-time"},
    ),
    (
        "two patches",
        FENTANYL_25,
        dosage(quantity(2, "{patch}"), times(1, 72, "h")),
        50,
        {"patches-one-at-a-time"},
    ),
    (
        "a patch every two days",
        FENTANYL_25,
        dosage(quantity(1, "1"), times(1, 2)),
        25,
        {"patches-one-at-a-time"},
    ),
    ("a patch by its rate", FENTANYL_25, rate(50, "ug/h", times(1, 3)), 50, {"patches-one-at-a-time"}),
    (
        "a patch, changed when?",
        FENTANYL_25,
        dosage(quantity(1, "{patch}"), None),
        25,
        {"patches-one-at-a-time", "patch-interval-not-said"},
    ),
    ("a patch a day", FENTANYL_25, dosage(quantity(1, "{patch}"), times(1)), "patch-too-often", set()),
    ("micrograms of a patch", FENTANYL_25, dosage(quantity(25, "ug"), times(1, 3)), "unit-unusable", set()),
    ("a tablet of a patch", FENTANYL_25, dosage(TABLET, times(1, 3)), "unit-unusable", set()),
]


def drug_of(code: str, *dosages: Resource, **more: Any) -> Drug:
    (found,) = drugs(Chart.of("opioid-patient", NOW, [order("o1", code, list(dosages), **more)]))
    return found


@pytest.mark.parametrize(
    ("code", "dose", "expected", "notes"), [row[1:] for row in DOSES], ids=[r[0] for r in DOSES]
)
def test_a_dosage(code: str, dose: Resource, expected: float | str, notes: set[str]) -> None:
    before = copy.deepcopy(dose)
    drug = drug_of(code, dose)
    found = drug.daily_dose(drug.ingredients[0].name, NOW)
    if isinstance(expected, str):
        assert isinstance(found, Unknown)
        assert found.code == expected
    else:
        assert isinstance(found, DailyDose)
        assert found.value == pytest.approx(expected)
        assert set(found.notes) == notes
    assert dose == before


def test_the_table_is_long_enough() -> None:
    assert len(DOSES) >= 70
    assert len({row[0] for row in DOSES}) == len(DOSES)


def test_every_note_has_words() -> None:
    assert set().union(*(row[4] for row in DOSES)) <= set(NOTES)


@pytest.mark.parametrize("code", PER_DAY)
def test_every_code_of_the_value_set_timing_abbreviation(code: str) -> None:
    found = often({"code": concept(code, GTS)})
    assert found is not None
    assert getattr(found, "per_day", None) == PER_DAY[code]


@pytest.mark.parametrize(
    "broken",
    [
        {"doseAndRate": "x"},
        {"doseAndRate": [None], "timing": []},
        {
            "timing": {"repeat": {"when": [1], "timeOfDay": None}},
            "doseAndRate": [{"doseQuantity": {"value": True}}],
        },
        {"timing": {"event": [None]}, "maxDosePerPeriod": {"numerator": None}},
        {"doseAndRate": [{"rateRatio": {}}]},
        {"doseAndRate": [{"doseQuantity": quantity(float("nan"), "mg")}], "timing": TWICE},
        {"timing": {"repeat": {"frequency": "2", "period": 1, "periodUnit": "d"}}},
    ],
)
def test_what_is_no_dosage_is_unknown(broken: Resource) -> None:
    for code in (OXYCODONE_10, FENTANYL_25, OXYCODONE):
        assert isinstance(course(broken, of_code(code)[0]), Unknown)


# Several instructions ---------------------------------------------------------------------------
def bounded(start: str | None, end: str | None, number: float = 1, **more: Any) -> Resource:
    period = {name: value for name, value in (("start", start), ("end", end)) if value}
    return dosage(quantity(number, "{tablet}"), times(2, boundsPeriod=period), **more)


def lasting(days: int, number: float, sequence: int) -> Resource:
    timing = times(2, boundsDuration=quantity(days, "d"))
    return dosage(quantity(number, "{tablet}"), timing, sequence=sequence)


COURSES: list[tuple[str, list[Resource], float | str, set[str]]] = [
    ("at one time: added", [dosage(TABLET, TWICE), dosage(TABLET, times(1))], 30, {"parallel-instructions"}),
    (
        "at one time by number",
        [dosage(TABLET, TWICE, sequence=1), dosage(TABLET, TWICE, sequence=1)],
        40,
        {"parallel-instructions"},
    ),
    (
        "one after another: the highest",
        [dosage(TABLET, TWICE, sequence=1), dosage(TABLET, times(1), sequence=2)],
        20,
        {"steps-in-sequence"},
    ),
    (
        "a step beside what is always taken",
        [dosage(TABLET, TWICE), dosage(TABLET, times(1), sequence=1), dosage(TABLET, times(3), sequence=2)],
        50,
        {"parallel-instructions", "steps-in-sequence"},
    ),
    (
        "a taper that runs: what is left of it",
        [
            bounded(None, "2026-02-28", 4),
            bounded("2026-03-01", "2026-03-08", 2),
            bounded("2026-03-09", None, 1),
        ],
        40,
        set(),
    ),
    (
        "a rise that is ahead",
        [bounded(None, "2026-03-08", 1), bounded("2026-03-09", None, 3)],
        60,
        {"from-later-on"},
    ),
    ("a last day is included", [bounded(None, "2026-03-02")], 20, set()),
    (
        "a taper by lengths, in its second step",
        [lasting(7, 4, 1), lasting(7, 2, 2), lasting(7, 1, 3)],
        40,
        set(),
    ),
    (
        "a step without length does not hide the next",
        [dosage(quantity(2, "{tablet}"), TWICE, sequence=1), lasting(7, 1, 2)],
        40,
        set(),
    ),
    ("without end, as year 9999", [bounded(None, "9999-12-31")], 20, set()),
    ("over", [bounded("2026-01-01", "2026-03-01")], "expired", set()),
    ("one of two unread: the other counts", [dosage(TABLET, TWICE), dosage(TABLET, None)], 20, set()),
]


@pytest.mark.parametrize(
    ("dosages", "expected", "notes"), [c[1:] for c in COURSES], ids=[c[0] for c in COURSES]
)
def test_several_instructions(dosages: list[Resource], expected: float | str, notes: set[str]) -> None:
    found = drug_of(OXYCODONE_10, *dosages).daily_dose("oxycodone", NOW)
    if isinstance(expected, str):
        assert isinstance(found, Unknown)
        assert found.code == expected
        return
    assert isinstance(found, DailyDose)
    assert found.value == pytest.approx(expected)
    assert notes <= set(found.notes)


def test_an_unread_instruction_is_named() -> None:
    found = drug_of(OXYCODONE_10, dosage(TABLET, TWICE), dosage(TABLET, None)).daily_dose("oxycodone", NOW)
    assert isinstance(found, DailyDose)
    assert [problem.code for problem in found.unread] == ["timing-missing"]


def test_the_day_of_a_rise_is_told() -> None:
    found = drug_of(OXYCODONE_10, bounded(None, "2026-03-08"), bounded("2026-03-09", None, 3)).daily_dose(
        "7804", NOW
    )
    assert isinstance(found, DailyDose)
    assert str(found.begins) == "2026-03-09"


def test_a_course_of_a_week_ordered_long_ago_is_over() -> None:
    week = dosage(TABLET, times(2, boundsDuration=quantity(7, "d")))
    assert drug_of(OXYCODONE_10, week).inactive == "expired"
    assert drug_of(OXYCODONE_10, week, authoredOn="2026-02-28").inactive == ""
