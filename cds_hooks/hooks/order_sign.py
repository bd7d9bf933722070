"""order-sign: orders are about to be signed, or signed again after a revision (hook library 1.0).

`draftOrders` are not on the FHIR server and are read from the context. Revised orders have another status
than draft, so none is asked for.
"""

from cds_hooks.hooks.hook import Hook

HOOK = Hook(
    "order-sign", required=("userId", "patientId"), optional=("encounterId",), bundles=("draftOrders",)
)
