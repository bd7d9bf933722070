"""problem-list-item-create: problems were added to the patient's list (hook library 0.1).

They should be of the category problem-list-item; it is not asked for, as the library's own examples give
a category that R4 cannot hold.
"""

from cds_hooks.hooks.hook import Hook

HOOK = Hook(
    "problem-list-item-create",
    required=("userId", "patientId"),
    optional=("encounterId",),
    bundles=("conditions",),
    of=("Condition",),
)
