"""What became of the orders and treatments that cards of rules were about: shown, overridden, in shadow.

For a service of rules there is no risk that could come true. What can be seen is what clinicians did: whether
the drug was ordered as it had been drafted, with other instructions, or not at all; whether a treatment was
begun. Beside the cards that were shown stand those that would have been shown in shadow. The two are not
randomised, other things may have changed between them, and a changed order is no better outcome by itself:
the report says what was done, not what the card did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cds_hooks.evaluation.performance import wilson
from cds_hooks.facts.chart import Resource
from cds_hooks.facts.subjects import AS_DRAFTED, ENDINGS, NOT_STARTED, OPEN, became
from cds_hooks.records.subjects import MOST, SHADOW, SHOWN, told
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from fhir_server.interactions import read, search_type
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import Gone, NotFound

NO_FEEDBACK = "nothing told"


def report(
    engine: Engine,
    entry: Entry,
    since: datetime,
    until: datetime,
    service: str | None = None,
    most: int = MOST,
) -> list[dict[str, Any]]:
    """Return an entry for each service and group whose cards were about something, of one or of all.

    Of more than `most` orders and treatments the newest are looked up.
    """
    found = told(engine, since, until, service, most)
    orders = _orders({one.patient for one in found}, entry)
    counted: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in found:
        ending = became(one.subject, *orders.get(one.patient, ((), ())), one.received_at, until)
        counted.setdefault((one.service, one.group), []).append((one.feedback or NO_FEEDBACK, ending))
    return [
        {
            "service": name,
            "group": group,
            **_counted(ends for _, ends in rows),
            "by_feedback": _split(group, rows),
        }
        for (name, group), rows in sorted(counted.items(), key=lambda item: (item[0][0], item[0][1] != SHOWN))
    ]


def _split(group: str, rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the counts by what was told of the cards; of cards that nobody saw nothing is."""
    if group == SHADOW:
        return {}
    return {
        said: _counted(ends for told_, ends in rows if told_ == said)
        for said in ("accepted", "overridden", NO_FEEDBACK)
        if any(told_ == said for told_, _ in rows)
    }


def _counted(endings: Iterable[str]) -> dict[str, Any]:
    """Return how often each ending was, and what part did not stay as it was, with a 95 % interval.

    >>> found = _counted(["as-drafted", "otherwise", "not-ordered", "open"])
    >>> found["settled"], found["changed"], [round(end, 2) for end in found["changed_ci"]]
    (3, 0.6667, [0.21, 0.94])
    """
    counts = Counter(endings)
    settled = sum(counts.values()) - counts[OPEN]
    kept = counts[AS_DRAFTED] + counts[NOT_STARTED]
    changed = settled - kept
    return {
        "endings": {ending: counts[ending] for ending in ENDINGS if counts[ending]},
        "settled": settled,
        "changed": round(changed / settled, 4) if settled else None,
        "changed_ci": wilson(changed / settled, settled) if settled else None,
    }


# In the store -----------------------------------------------------------------------------------
def _orders(patients: set[str], entry: Entry) -> Mapping[str, tuple[Sequence[Resource], Sequence[Resource]]]:
    """Return by patient his MedicationRequests and the Medications that they refer to."""
    grant = Grant.system("cds-report")

    def of(patient: str) -> tuple[Sequence[Resource], Sequence[Resource]]:
        return entry.read(grant, lambda context: _of_patient(context, patient))

    return {patient: of(patient) for patient in patients}


def _of_patient(context: Context, patient: str) -> tuple[Sequence[Resource], Sequence[Resource]]:
    most = str(context.settings.max_count)
    requests = search_type.resources(
        context, "MedicationRequest", [("patient", patient), ("_sort", "-_lastUpdated"), ("_count", most)]
    )
    wanted = {
        str((request.get("medicationReference") or {}).get("reference", "")).split("/_history/")[0]
        for request in requests
    }
    return requests, [
        found
        for reference in sorted(wanted)
        if reference.startswith("Medication/") and (found := _medication(context, reference)) is not None
    ]


def _medication(context: Context, reference: str) -> Resource | None:
    try:
        version = read.read(context, "Medication", reference.partition("/")[2]).version
    except (NotFound, Gone):
        return None
    return None if version is None else json_format.parse(version.text().encode())
