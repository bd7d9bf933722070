"""HOOKS: every hook that a service here may listen to."""

from __future__ import annotations

from collections.abc import Mapping

from cds_hooks.hooks import encounter_start, order_select, order_sign, patient_view
from cds_hooks.hooks.hook import Hook

HOOKS: Mapping[str, Hook] = {
    module.HOOK.name: module.HOOK for module in (patient_view, encounter_start, order_select, order_sign)
}
