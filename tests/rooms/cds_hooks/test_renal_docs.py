"""The page of renal-and-interaction says what the code does: rules, pairs, reasons, the example."""

from __future__ import annotations

import re
from pathlib import Path

from cds_hooks.facts import laboratory, renal
from cds_hooks.facts.cross_reactions import CEPHALOSPORINS, CROSS_REACTIONS, RETRIEVED
from cds_hooks.facts.interactions import PAIRS
from cds_hooks.services import renal_and_interaction
from cds_hooks.services.renal_and_interaction_rules import RULES

PAGE = (Path(__file__).parents[3] / "docs" / "services" / "renal-and-interaction.md").read_text(
    encoding="utf-8"
)
FROM_OUTSIDE = {"other-patient", "error", "timeout"}
"""What the conductor of a call says for every service."""
WITH_CARDS = {"shown", "renal-rule", "interaction", "allergy", "cross-reaction"}


def rows(head: str) -> list[str]:
    table = PAGE[PAGE.index(head) :].split("\n\n")[0]
    return table.strip().splitlines()[2:]


def test_every_rule_stands_in_the_page_with_its_sentence_s_place() -> None:
    told = []
    for rule in RULES:
        label = rule.label
        version = f"SPL {label.set_id}, {label.version}"
        drugs = " + ".join(rule.drugs) + (f" ({rule.only})" if rule.only else "")
        told.append(
            f"| `{rule.id}` | {drugs} | {rule.measure} {rule.range} | {rule.strength}"
            f" | [{label.product}]({label.url}), {label.section}; {version} |"
        )
    assert rows("| rule | drug |") == told
    assert f"It knows {len(RULES)} sentences of labels on {len({rule.drugs for rule in RULES})} drugs" in PAGE


def test_every_pair_stands_in_the_page() -> None:
    assert rows("| pair | between |") == [
        f"| `{pair.id}` | {pair.title} | {pair.consequence} | {pair.action}"
        f" | [{pair.label.product}]({pair.label.url}), {pair.label.section};"
        f" {'SPL ' + pair.label.set_id if pair.label.set_id else pair.label.version} |"
        for pair in PAIRS
    ]


def test_every_cross_reaction_stands_in_the_page_with_its_label() -> None:
    assert rows("| cross-reaction |") == [
        f"| `{row.id}` | {row.allergy} | {row.drug} | {'warning' if row.strong else 'information'}"
        f" | [{row.product}]({row.url}), {row.section}; SPL {row.set_id}, {row.version} |"
        for row in CROSS_REACTIONS
    ]


def test_the_page_counts_what_the_copies_state() -> None:
    uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    assert all(uuid.fullmatch(rule.label.set_id) for rule in RULES)
    later = [rule for rule in RULES if rule.label.confirmed]
    stated = len(RULES) - len(later)
    assert f"{stated} of the {len(RULES)} sentences were read in a copy that states its SPL set id" in PAGE
    assert f"For the other {len(later)} the copy names none" in PAGE
    assert {rule.label.confirmed for rule in later} == {
        url for url in re.findall(r"\]\((\S+)\)", PAGE) if "spec-v1632" in url
    }
    assert all("the copy states no version; " in rule.label.version for rule in later)
    assert not any("the copy states no version" in rule.label.version for rule in RULES if rule not in later)


def test_every_cephalosporin_stands_in_the_page_with_its_label() -> None:
    assert rows("| cephalosporin | SPL set id |") == [
        f"| [{name}]({RETRIEVED}/{name}.json) | {set_id} |" for name, set_id in CEPHALOSPORINS.items()
    ]


def test_the_reasons_of_the_page_are_those_of_the_code() -> None:
    code = Path(renal_and_interaction.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'Decision\(\("([a-z-]+)",\)', code))
    reasons |= {
        word
        for line in code.splitlines()
        if "reasons" in line or "codes" in line
        for word in re.findall(r'"([a-z]+(?:-[a-z]+)*)"', line)
    }
    reasons |= set(re.findall(r'(?:refusals|found)\["([a-z-]+)"\]', Path(renal.__file__).read_text("utf-8")))
    problems = set(
        re.findall(r'f"\{(?:measurement\.)?name\}-([a-z]+)"', Path(laboratory.__file__).read_text("utf-8"))
    )
    reasons |= {f"{name}-{problem}" for name in ("creatinine", "weight") for problem in problems}
    told = {
        name for row in rows("| reason | when |") for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }
    assert len(problems) == 6
    assert told - FROM_OUTSIDE == reasons - WITH_CARDS
    assert all(f"`{name}`" in PAGE for name in WITH_CARDS)


def test_the_example_of_the_page_is_that_of_the_code() -> None:
    assert f"**{renal.ckd_epi_2021(1.2, 55, 'male'):.1f}** mL/min/1.73" in PAGE
    assert f"**{renal.cockcroft_gault(1.2, 55, 'male', 80):.1f}** mL/min" in PAGE
