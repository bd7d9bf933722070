"""Override reasons: HL7's codes, whole, and the subsets that cards carry."""

from __future__ import annotations

import pytest

from cds_hooks import override_reasons
from cds_hooks.cards import Card, Coding, Source
from tests.support.clause import clause

SUBSETS = {"TREATMENT": override_reasons.TREATMENT, "ORDER": override_reasons.ORDER,
           "PREVENTION": override_reasons.PREVENTION}  # fmt: skip


def test_the_code_system_is_whole() -> None:
    assert len(override_reasons.CATEGORIES) == 6
    assert len(override_reasons.REASONS) == 29
    codes = [coding.code for coding in (*override_reasons.CATEGORIES, *override_reasons.REASONS)]
    assert len(set(codes)) == 35
    assert all(override_reasons.category(code) in override_reasons.CATEGORIES for code in codes)


@clause(
    "CDS-Hooks-2.0/#reasons-for-rejecting-a-card",
    "an override reason has system, code and display",
)
@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_goes_into_a_card(name: str) -> None:
    reasons = SUBSETS[name]
    card = Card("1", "summary", "info", Source("ours"), override_reasons=reasons)
    shown = card.as_json()["overrideReasons"]
    assert [reason["code"] for reason in shown] == [reason.code for reason in reasons]
    assert all(reason["display"] and reason["system"] == override_reasons.SYSTEM for reason in shown)
    assert len({reason.code for reason in reasons}) == len(reasons)
    assert set(reasons) <= set(override_reasons.REASONS)


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(KeyError):
        override_reasons.subset("because")
    assert override_reasons.category("because") is None
    assert isinstance(override_reasons.category("limited-time"), Coding)
