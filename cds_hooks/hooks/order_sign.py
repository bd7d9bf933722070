"""order-sign: orders are about to be signed (hook library 1.0).

`draftOrders` are not on the FHIR server and are read from the context.
"""

from cds_hooks.hooks.hook import Hook

HOOK = Hook(
    "order-sign", required=("userId", "patientId"), optional=("encounterId",), bundles=("draftOrders",)
)
