"""patient-view: the user opened a patient's record (hook library 1.0)."""

from cds_hooks.hooks.hook import Hook

HOOK = Hook("patient-view", required=("userId", "patientId"), optional=("encounterId",))
