"""What is not kept for good: inputs after their retention time, the memory of the alert burden."""

from __future__ import annotations

from datetime import datetime

from fhir_server.database.engine import Engine

TENANT = 0
AT_ONCE = 2000

_INPUTS = """
DELETE FROM cds_call_input WHERE tenant = %s AND call_id IN (
    SELECT call_id FROM cds_call_input WHERE tenant = %s AND received_at < %s ORDER BY received_at LIMIT %s)
"""
_SHOWN = "DELETE FROM cds_shown WHERE tenant = %s AND shown_at < %s"
_BURDEN = "DELETE FROM cds_burden WHERE tenant = %s AND day < %s::date - 2"


def expire(engine: Engine, *, inputs_before: datetime, shown_before: datetime) -> int:
    """Delete what is older; return how many inputs that were, at most 2000 at a time."""
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute(_INPUTS, (TENANT, TENANT, inputs_before, AT_ONCE))
        count = int(cursor.rowcount)
        cursor.execute(_SHOWN, (TENANT, shown_before))
        cursor.execute(_BURDEN, (TENANT, shown_before))
        connection.commit()
    return count
