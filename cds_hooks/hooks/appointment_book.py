"""appointment-book: appointments are about to be booked (hook library 1.0).

The Appointments should be `proposed`; others are read too, as the library asks itself whether the hook
may also fire when a booking is final.
"""

from cds_hooks.hooks.hook import Hook

HOOK = Hook(
    "appointment-book",
    required=("userId", "patientId"),
    optional=("encounterId",),
    bundles=("appointments",),
    of=("Appointment",),
)
