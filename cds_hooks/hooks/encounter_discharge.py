"""encounter-discharge: a stay is about to end (hook library 1.0)."""

from cds_hooks.hooks.hook import Hook

HOOK = Hook("encounter-discharge", required=("userId", "patientId", "encounterId"))
