"""Drugs of a chart: what is in them by code, whether they run; the tables that say so."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from cds_hooks.facts.chart import Chart
from cds_hooks.facts.medication import DailyDose, Drug, Unknown, drugs
from cds_hooks.facts.medication_products import TableError, merged, of_code, read
from tests.support.opioids import (
    METHADONE_10,
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
TWICE = times(2)


def drug_of(code: str, *dosages: Resource, **more: Any) -> Drug:
    (found,) = drugs(Chart.of("opioid-patient", NOW, [order("o1", code, list(dosages), **more)]))
    return found


# What is in a drug, and whether it runs -----------------------------------------------------------
def test_two_codes_of_one_product_are_one_drug() -> None:
    both = {
        "coding": [*concept("892596")["coding"], *concept("892598")["coding"], *concept("7052")["coding"]]
    }
    drug = drug_of("x", dosage(quantity(1, "{capsule}"), times(1)), medicationCodeableConcept=both)
    assert [i.name for i in drug.ingredients] == ["morphine"]
    found = drug.daily_dose("morphine", NOW)
    assert isinstance(found, DailyDose)
    assert found.value == 20


def test_two_strengths_of_one_drug_are_none() -> None:
    both = {"coding": [*concept(OXYCODONE_10)["coding"], *concept("1049611")["coding"]]}
    drug = drug_of("x", dosage(TABLET, TWICE), medicationCodeableConcept=both)
    assert isinstance(drug.daily_dose("oxycodone", NOW), Unknown)


def test_codes_of_two_drugs_disagree() -> None:
    both = {"coding": [*concept(OXYCODONE_10)["coding"], *concept(METHADONE_10)["coding"]]}
    drug = drug_of("x", dosage(quantity(10, "mg"), TWICE), medicationCodeableConcept=both)
    found = drug.daily_dose("oxycodone", NOW)
    assert isinstance(found, Unknown)
    assert found.code == "codes-disagree"


@pytest.mark.parametrize(
    ("members", "inactive"),
    [
        ({"status": "active"}, ""),
        ({"status": "unknown"}, ""),
        ({"status": "draft", "intent": "proposal"}, ""),
        ({"status": "on-hold"}, "on-hold"),
        ({"status": "completed"}, "ended"),
        ({"status": "stopped"}, "ended"),
        ({"status": "cancelled"}, "ended"),
        ({"status": "entered-in-error"}, "entered-in-error"),
        ({"doNotPerform": True}, "not-to-be-given"),
        ({"intent": "proposal"}, "not-an-order"),
        ({"intent": "plan"}, "not-an-order"),
        ({"intent": "option"}, "not-an-order"),
        ({"intent": "filler-order"}, ""),
    ],
)
def test_whether_an_order_runs(members: Resource, inactive: str) -> None:
    assert drug_of(OXYCODONE_10, dosage(TABLET, TWICE), **members).inactive == inactive


@pytest.mark.parametrize(
    ("medication", "names"),
    [
        ({"medicationCodeableConcept": {"text": "Oxycodone 10 mg"}}, []),
        ({"medicationCodeableConcept": concept("1049683", "http://snomed.info/sct")}, []),
        ({"medicationCodeableConcept": {}}, []),
        ({"medicationReference": {"reference": "Medication/none"}}, []),
        (
            {
                "medicationReference": {"reference": "#m"},
                "contained": [{"resourceType": "Medication", "id": "m", "code": concept(OXYCODONE_10)}],
            },
            ["oxycodone"],
        ),
        ({"medicationReference": {"reference": "Medication/beside"}}, ["methadone"]),
        (
            {"medicationReference": {"reference": "https://ehr.example/Medication/beside/_history/2"}},
            ["methadone"],
        ),
        ({"medicationReference": {"reference": "#beside"}}, []),
        (
            {
                "medicationReference": {"reference": "Medication/m"},
                "contained": [{"resourceType": "Medication", "id": "m", "code": concept(OXYCODONE_10)}],
            },
            [],
        ),
    ],
)
def test_the_drug_of_an_order(medication: Resource, names: list[str]) -> None:
    """A contained Medication is reached by `#` alone, one of the chart by its id alone."""
    resource = order("o1", OXYCODONE_10, dosage(TABLET, TWICE))
    del resource["medicationCodeableConcept"]
    beside = {"resourceType": "Medication", "id": "beside", "code": concept(METHADONE_10)}
    (found,) = drugs(Chart.of("opioid-patient", NOW, [{**resource, **medication}, beside]))
    assert [entry.name for entry in found.ingredients] == names


# The tables ---------------------------------------------------------------------------------------
def rows(table: str) -> list[list[str]]:
    text = (files("cds_hooks.facts") / table).read_text(encoding="utf-8")
    return [line.split("|") for line in text.splitlines() if re.match(r"\d+\|", line)]


@pytest.mark.parametrize(
    ("table", "number"), [("opioids.txt", 910), ("benzodiazepines.txt", 207), ("naloxone.txt", 21)]
)
def test_a_table_is_whole(table: str, number: int) -> None:
    found = rows(table)
    assert len({row[0] for row in found}) == len(found) == number


@pytest.mark.parametrize("table", ["opioids.txt", "benzodiazepines.txt", "naloxone.txt"])
def test_the_strengths_are_those_of_the_name(table: str) -> None:
    """A shorter reading than that which made the table: every strength in the name is in the row."""
    for code, _form, _parts, name in rows(table):
        if name.startswith("{"):
            continue
        told = sorted(float(number) for number in re.findall(r"([\d.]+) MG", name.split("[")[0]))
        entries = of_code(code)
        have = sorted(entry.strength.value for entry in entries if entry.strength)
        salts = len(told) - len(have)
        assert salts in (0, 1), name
        assert sum(have) == pytest.approx(sum(told)), name
        assert all(re.search(entry.name, name, re.IGNORECASE) for entry in entries), name


def test_every_part_of_a_combination_is_there() -> None:
    """What a check of interactions or allergies must not miss behind the opioid or the benzodiazepine."""
    assert [entry.name for entry in of_code("856769")] == ["chlordiazepoxide", "amitriptyline"]
    for table in ("opioids.txt", "benzodiazepines.txt", "naloxone.txt"):
        for code, _form, _parts, name in rows(table):
            parts = name.split("[")[0].count(" / ") + 1
            assert parts - len(of_code(code)) == (1 if "terephthalate" in name else 0), name


@pytest.mark.parametrize(
    "line",
    ["7|Oral Tablet|1:5 mg", "7|Oral Tablet|9:5 mg|x", "7|Oral Tablet|1:5 g|x", "7|Oral Tablet|1:0 mg|x"],
)
def test_a_line_that_cannot_be_read_is_named(line: str) -> None:
    with pytest.raises(TableError, match="mine, line 2"):
        read("mine", ["ingredient|1|a|opioid", line])


def test_two_tables_that_disagree_are_refused() -> None:
    one = read("one", ["ingredient|1|a|", "7|Oral Tablet|1:5 mg|a"])
    other = read("other", ["ingredient|1|a|", "ingredient|2|b|", "7|Oral Tablet|1:6 mg+2:1 mg|a"])
    with pytest.raises(TableError):
        merged([one, other])
    third = read("third", ["ingredient|2|b|nsaid", "7|Oral Tablet|2:1 mg|a"])
    assert [(entry.name, entry.parts) for entry in merged([one, third])["7"]] == [("a", 2), ("b", 2)]
