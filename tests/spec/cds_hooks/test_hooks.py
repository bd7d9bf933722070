"""The ten hooks of the library: which context each one needs, and what is let pass on purpose."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cds_hooks.hooks.table import HOOKS
from cds_hooks.prefetch import check_template
from fhir_server.outcome import Invalid
from tests.support.clause import clause

SPEC = "CDS-Hooks-2.0/hooks/"
USER = {"userId": "Practitioner/7", "patientId": "p1"}
ALLERGY = {"resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/p1"}}
TASK = {"resourceType": "Task", "focus": {"reference": "ServiceRequest/s"}}


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}


ORDER = {"resourceType": "MedicationRequest", "id": "m", "status": "draft", "intent": "order"}
CONTEXTS: dict[str, dict[str, Any]] = {
    "patient-view": USER,
    "order-select": USER | {"selections": ["MedicationRequest/m"], "draftOrders": bundle(ORDER)},
    "order-sign": USER | {"draftOrders": bundle(ORDER)},
    "order-dispatch": {
        "patientId": "p1", "performer": "Organization/o", "dispatchedOrders": ["ServiceRequest/s"],
        "fulfillmentTasks": [TASK],
    },
    "appointment-book": USER | {"appointments": bundle({"resourceType": "Appointment"})},
    "encounter-start": USER | {"encounterId": "e"},
    "encounter-discharge": USER | {"encounterId": "e"},
    "allergyintolerance-create": USER | {"allergyIntolerance": ALLERGY},
    "medication-refill": {"patientId": "p1", "medications": bundle(ORDER)},
    "problem-list-item-create": USER | {"conditions": bundle({"resourceType": "Condition"})},
}  # fmt: skip
TOKENS = {
    "patient-view": {"userId", "patientId", "encounterId"},
    "order-select": {"userId", "patientId", "encounterId"},
    "order-sign": {"userId", "patientId", "encounterId"},
    "order-dispatch": {"patientId", "performer"},
    "appointment-book": {"userId", "patientId", "encounterId"},
    "encounter-start": {"userId", "patientId", "encounterId"},
    "encounter-discharge": {"userId", "patientId", "encounterId"},
    "allergyintolerance-create": {"userId", "patientId", "encounterId"},
    "medication-refill": {"userId", "patientId", "encounterId"},
    "problem-list-item-create": {"userId", "patientId", "encounterId"},
}


@clause(f"{SPEC}index", "all ten hooks of the library")
def test_the_table_has_the_ten_hooks() -> None:
    assert set(HOOKS) == set(CONTEXTS) == set(TOKENS)
    assert len(HOOKS) == 10


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_whole_context_is_taken(name: str) -> None:
    context = copy.deepcopy(CONTEXTS[name])
    HOOKS[name].check(context)
    HOOKS[name].check(context | {"encounterId": "e", "ehrsOwn": {"x": None}})
    assert context == CONTEXTS[name], "a check changes nothing"


@pytest.mark.parametrize("name", CONTEXTS)
def test_each_required_field_is_asked_for_by_name(name: str) -> None:
    optional = {"order-dispatch": {"fulfillmentTasks"}}.get(name, set())
    for field in CONTEXTS[name].keys() - optional:
        for value in (None, "", 7, [], {}):
            with pytest.raises(Invalid) as refused:
                HOOKS[name].check(CONTEXTS[name] | {field: value})
            expression = refused.value.issues[0].expression or ""
            assert expression.startswith(f"context.{field}"), (field, value)
            assert value is not None or refused.value.issues[0].code == "required"


@pytest.mark.parametrize("name", CONTEXTS)
def test_an_optional_field_may_be_null_but_not_wrong(name: str) -> None:
    for field in HOOKS[name].optional:
        HOOKS[name].check(CONTEXTS[name] | {field: None})
        for value in ("", " ", 7, "a/b/c", "a,b"):
            with pytest.raises(Invalid) as refused:
                HOOKS[name].check(CONTEXTS[name] | {field: value})
            assert refused.value.issues[0].expression == f"context.{field}"


@clause("CDS-Hooks-2.0/#prefetch-tokens", "texts at the root of the context, never orders or tasks")
@pytest.mark.parametrize("name", CONTEXTS)
def test_the_fields_that_may_be_tokens(name: str) -> None:
    assert HOOKS[name].tokens == TOKENS[name]
    for field in TOKENS[name]:
        check_template(f"Patient?x={{{{context.{field}}}}}", HOOKS[name])
    for field in CONTEXTS[name].keys() - TOKENS[name] | {"draftOrders", "appointments", "fulfillmentTasks"}:
        with pytest.raises(ValueError, match="token"):
            check_template(f"Patient?x={{{{context.{field}}}}}", HOOKS[name])


@pytest.mark.parametrize(
    "patient", ["Patient/p1", "a,b", "a|b", "a b", "a?b", "a%2Fb", "ä", "a\n", "x" * 129, "../p1", "p1&x"]
)
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_patient_id_is_one_id_and_nothing_else(name: str, patient: str) -> None:
    with pytest.raises(Invalid, match=r"context\.patientId"):
        HOOKS[name].check(CONTEXTS[name] | {"patientId": patient})


def test_an_id_longer_than_r4_allows_is_taken_as_ehrs_give_them() -> None:
    HOOKS["patient-view"].check(USER | {"patientId": "e" * 70})


@clause(f"{SPEC}patient-view", "the user is Practitioner, PractitionerRole, Patient or RelatedPerson")
def test_the_user_is_a_reference_to_one_of_four_types() -> None:
    hook = HOOKS["patient-view"]
    for user in ("Practitioner/7", "PractitionerRole/7", "Patient/7", "RelatedPerson/7"):
        hook.check(USER | {"userId": user})
    for user in ("Device/7", "Practitioner", "Practitioner/", "/7", "https://a.example/Practitioner/7",
                 "practitioner/7", "Practitioner/7/8", "Practitioner/7,8"):  # fmt: skip
        with pytest.raises(Invalid, match=r"context\.userId"):
            hook.check(USER | {"userId": user})


# One by one ---------------------------------------------------------------------------------------
@clause(f"{SPEC}order-select", "selections name drafts: by reference, by id, behind an address")
def test_selections() -> None:
    hook, context = HOOKS["order-select"], CONTEXTS["order-select"]
    for selection in ("MedicationRequest/m", "m", "https://ehr.example/fhir/MedicationRequest/m"):
        hook.check(context | {"selections": [selection]})
    for selections in (["MedicationRequest/other"], ["ServiceRequest/m"], ["other"], [None], ["m", "x"]):
        with pytest.raises(Invalid, match=r"context\.selections"):
            hook.check(context | {"selections": selections})


@clause(f"{SPEC}order-sign", "orders that are signed again may be no drafts any more")
def test_revised_orders_may_be_active() -> None:
    orders = bundle(ORDER | {"status": "active"}, {"resourceType": "ServiceRequest", "status": "draft"})
    HOOKS["order-sign"].check(USER | {"draftOrders": orders})
    assert len(HOOKS["order-sign"].carried(USER | {"draftOrders": orders})) == 2


@clause(f"{SPEC}order-dispatch", "no user; references to orders and performer; a Task is for one of them")
def test_order_dispatch() -> None:
    hook, context = HOOKS["order-dispatch"], CONTEXTS["order-dispatch"]
    assert "userId" not in hook.tokens
    assert hook.carried(context) == [TASK]
    spelt = {key: value for key, value in context.items() if key != "fulfillmentTasks"}
    assert hook.carried(spelt) == []
    assert hook.carried(spelt | {"fulfillment-tasks": [TASK]}) == [TASK]
    for change, field in (
        ({"dispatchedOrders": []}, "dispatchedOrders"),
        ({"dispatchedOrders": ["s"]}, "dispatchedOrders[0]"),
        ({"dispatchedOrders": ["ServiceRequest/s", 7]}, "dispatchedOrders[1]"),
        ({"performer": "somebody"}, "performer"),
        ({"fulfillmentTasks": TASK}, "fulfillmentTasks"),
        ({"fulfillmentTasks": [{"resourceType": "Patient"}]}, "fulfillmentTasks[0]"),
        ({"fulfillmentTasks": [{"resourceType": "Task"}]}, "fulfillmentTasks[0].focus"),
        ({"fulfillment-tasks": [TASK | {"focus": {"reference": "Task/x"}}]}, "fulfillment-tasks[0].focus"),
    ):
        with pytest.raises(Invalid) as refused:
            hook.check(context | change)
        assert refused.value.issues[0].expression == f"context.{field}"


@clause(f"{SPEC}allergyintolerance-create", "the resource, or an object with it as in the library's examples")
def test_an_allergy_may_be_wrapped() -> None:
    hook = HOOKS["allergyintolerance-create"]
    for given in (ALLERGY, {"resource": ALLERGY}):
        context = USER | {"allergyIntolerance": given}
        hook.check(context)
        assert hook.carried(context) == [ALLERGY]
    for given, field in (
        ({"resourceType": "Patient"}, ""),
        ({"resource": {"resourceType": "Condition"}}, ".resource"),
        ({"resource": None}, ".resource"),
        ("x", ""),
    ):
        with pytest.raises(Invalid) as refused:
            hook.check(USER | {"allergyIntolerance": given})
        assert refused.value.issues[0].expression == f"context.allergyIntolerance{field}"


@clause(f"{SPEC}medication-refill", "drafts only; nobody need be at the screen")
def test_a_refill_is_a_draft() -> None:
    hook = HOOKS["medication-refill"]
    hook.check(CONTEXTS["medication-refill"] | {"userId": "PractitionerRole/7"})
    hook.check({"patientId": "p1", "medications": bundle(ORDER, {"resourceType": "Medication", "id": "x"})})
    for wrong, field in (
        (ORDER | {"status": "active"}, "status"),
        ({"resourceType": "MedicationRequest"}, "status"),
        ({"resourceType": "ServiceRequest", "status": "draft"}, ""),
    ):
        with pytest.raises(Invalid) as refused:
            hook.check({"patientId": "p1", "medications": bundle(ORDER, wrong)})
        place = f"context.medications.entry[1].resource{'.' if field else ''}{field}"
        assert refused.value.issues[0].expression == place


@pytest.mark.parametrize(
    ("name", "field", "kind"),
    [
        ("appointment-book", "appointments", "Appointment"),
        ("problem-list-item-create", "conditions", "Condition"),
    ],
)
def test_bundles_hold_what_the_library_says(name: str, field: str, kind: str) -> None:
    hook = HOOKS[name]
    assert hook.carried(CONTEXTS[name]) == [{"resourceType": kind}]
    hook.check(CONTEXTS[name] | {field: {"resourceType": "Bundle"}})
    with pytest.raises(Invalid) as refused:
        hook.check(CONTEXTS[name] | {field: bundle({"resourceType": "Patient"})})
    assert refused.value.issues[0].expression == f"context.{field}.entry[0].resource"
