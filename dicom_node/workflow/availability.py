"""Instance availability: peers are told which instances of a study are here (PS3.4 Annex R; IHE RAD-49)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.index.studies import Study
from dicom_node.workflow import messages
from dicom_node.workflow.elements import attributes
from dicom_node.workflow.orders import mint

PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"


def tell(cursor: Any, peers: Sequence[str], study: Study, ae_title: str, now: datetime) -> None:
    """Queue a notification of a study for each peer, on the caller's transaction.

    One that waits already for the same study is replaced: it would tell an older state.
    """
    if not peers:
        return
    cursor.execute(
        "SELECT sop_uid FROM performed_step WHERE study_uids @> ARRAY[%s] AND status <> 'IN PROGRESS'"
        " ORDER BY pk",
        (study.study_uid,),
    )
    told = notification(study, [row[0] for row in cursor.fetchall()], ae_title)
    for peer in peers:
        cursor.execute(
            "DELETE FROM outgoing_message WHERE kind = %s AND peer = %s"
            " AND attributes->'0020000D'->'Value'->>0 = %s",
            (messages.AVAILABILITY, peer, study.study_uid),
        )
        messages.put(cursor, messages.AVAILABILITY, peer, mint(), told, now, now)


def notification(study: Study, performed: Sequence[str], ae_title: str) -> Attributes:
    """Return the attributes of a notification (table R.3.2-1)."""
    return attributes(
        ReferencedPerformedProcedureStepSequence=[
            attributes(
                ReferencedSOPClassUID=PERFORMED_STEP,
                ReferencedSOPInstanceUID=sop_uid,
                PerformedWorkitemCodeSequence=[],
            )
            for sop_uid in performed
        ],
        StudyInstanceUID=study.study_uid,
        ReferencedSeriesSequence=[
            attributes(
                SeriesInstanceUID=series.series_uid,
                ReferencedSOPSequence=[
                    attributes(
                        ReferencedSOPClassUID=instance.sop_class,
                        ReferencedSOPInstanceUID=instance.sop_uid,
                        InstanceAvailability="ONLINE",
                        RetrieveAETitle=ae_title,
                    )
                    for instance in series.instances
                ],
            )
            for series in study.series
        ],
    )
