"""HOOKS: every hook that a service here may listen to; all ten of the hook library."""

from __future__ import annotations

from collections.abc import Mapping

from cds_hooks.hooks import (
    allergyintolerance_create,
    appointment_book,
    encounter_discharge,
    encounter_start,
    medication_refill,
    order_dispatch,
    order_select,
    order_sign,
    patient_view,
    problem_list_item_create,
)
from cds_hooks.hooks.hook import Hook

HOOKS: Mapping[str, Hook] = {
    module.HOOK.name: module.HOOK
    for module in (
        patient_view,
        order_select,
        order_sign,
        order_dispatch,
        appointment_book,
        encounter_start,
        encounter_discharge,
        allergyintolerance_create,
        medication_refill,
        problem_list_item_create,
    )
}
