"""encounter-start: an encounter begins (hook library 1.0)."""

from cds_hooks.hooks.hook import Hook

HOOK = Hook("encounter-start", required=("userId", "patientId", "encounterId"))
