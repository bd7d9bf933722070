"""opioid-mme: benzodiazepines beside opioids, and when naloxone is offered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.opioids import (
    BUPRENORPHINE,
    DIAZEPAM_5,
    HYDROCODONE_5,
    NALOXONE_SPRAY,
    OXYCODONE_10,
    SUBJECT,
    call,
    concept,
    order,
    statement,
    tablets,
)

Resource = dict[str, Any]
OXYCODONE_DRAFT = tablets("d", OXYCODONE_10, 1, 6, "draft")


DIAZEPAM = tablets("b", DIAZEPAM_5, 1, 2)


@pytest.mark.parametrize(
    ("stored", "drafts"),
    [
        ([DIAZEPAM], [tablets("d", HYDROCODONE_5, 1, 1, "draft")]),
        ([tablets("a", HYDROCODONE_5, 1, 1)], [{**DIAZEPAM, "status": "draft"}]),
        (
            [order("a", {"text": "Xanax 1 mg"}, {"text": "at night"})],
            [tablets("d", HYDROCODONE_5, 1, 1, "draft")],
        ),
        ([order("a", BUPRENORPHINE, {"text": "daily"})], [{**DIAZEPAM, "status": "draft"}]),
        ([], [tablets("d", HYDROCODONE_5, 1, 1, "draft"), {**DIAZEPAM, "status": "draft"}]),
    ],
)
def test_opioid_and_benzodiazepine(stored: list[Resource], drafts: list[Resource]) -> None:
    decision = call(stored, drafts)
    assert "benzodiazepine-overlap" in decision.reasons
    card = decision.cards[-1]
    assert card.indicator == "warning"
    assert card.summary.startswith("Opioid and benzodiazepine together")
    assert card.suggestions


@pytest.mark.parametrize(
    "stored",
    [
        {**DIAZEPAM, "status": "stopped"},
        {**DIAZEPAM, "status": "on-hold"},
        tablets("a", HYDROCODONE_5, 1, 1),
    ],
)
def test_no_overlap(stored: Resource) -> None:
    assert call([stored], [tablets("d", HYDROCODONE_5, 1, 1, "draft")]).cards == ()


def test_both_at_once_offer_naloxone_once() -> None:
    decision = call([DIAZEPAM], [OXYCODONE_DRAFT])
    assert decision.reasons == ("mme-90", "benzodiazepine-overlap", "naloxone-suggested")
    assert [len(card.suggestions) for card in decision.cards] == [1, 0]


def test_naloxone_is_a_draft_to_be_signed() -> None:
    (suggestion,) = call([], [OXYCODONE_DRAFT]).cards[0].suggestions
    (action,) = suggestion.actions
    resource = action.resource
    assert resource is not None
    assert (action.type, resource["status"], resource["intent"]) == ("create", "draft", "proposal")
    assert resource["medicationCodeableConcept"]["coding"][0]["code"] == NALOXONE_SPRAY
    assert resource["subject"] == SUBJECT
    assert "no allergy came with this call" in action.description
    assert not suggestion.is_recommended


@pytest.mark.parametrize(
    "stored",
    [
        order("n", NALOXONE_SPRAY, {"text": "as needed"}),
        order("n", "7242", {"text": "as needed"}),
        order("n", {"text": "Narcan nasal spray"}, {"text": "as needed"}),
        statement("n", NALOXONE_SPRAY, {"text": "as needed"}),
    ],
)
def test_naloxone_that_is_there_is_not_offered(stored: Resource) -> None:
    decision = call([stored], [OXYCODONE_DRAFT])
    assert "naloxone-ordered" in decision.reasons
    assert not decision.cards[0].suggestions
    assert "Naloxone is ordered or taken already" in decision.cards[0].detail


def test_naloxone_inside_buprenorphine_is_no_rescue() -> None:
    decision = call([order("a", BUPRENORPHINE, {"text": "daily"})], [OXYCODONE_DRAFT])
    assert "naloxone-suggested" in decision.reasons


def test_an_expired_naloxone_is_offered_again() -> None:
    decision = call([order("n", NALOXONE_SPRAY, {}, "completed")], [OXYCODONE_DRAFT])
    assert "naloxone-suggested" in decision.reasons


def allergy(code: Resource, **more: Any) -> Resource:
    return {"resourceType": "AllergyIntolerance", "id": "x", "patient": SUBJECT, "code": code, **more}


@pytest.mark.parametrize(
    "entry",
    [
        allergy(concept("7242")),
        allergy(concept(NALOXONE_SPRAY)),
        allergy({"text": "Naloxone hydrochloride"}),
        allergy({"text": "spray"}, reaction=[{"substance": concept("7242")}]),
        allergy(concept("7242"), verificationStatus=concept("unconfirmed", "x")),
    ],
)
def test_no_naloxone_for_who_is_allergic_to_it(entry: Resource) -> None:
    decision = call([entry], [OXYCODONE_DRAFT])
    assert "naloxone-allergy" in decision.reasons
    assert not decision.cards[0].suggestions


@pytest.mark.parametrize(
    "entry",
    [
        allergy(concept("7242"), verificationStatus=concept("refuted", "x")),
        allergy(concept("7242"), clinicalStatus=concept("resolved", "x")),
        allergy({"text": "Penicillin"}),
    ],
)
def test_other_allergies_do_not_matter(entry: Resource) -> None:
    decision = call([entry], [OXYCODONE_DRAFT])
    assert decision.cards[0].suggestions
    assert "no allergy" not in decision.cards[0].suggestions[0].actions[0].description
