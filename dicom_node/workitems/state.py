"""The states of a workitem and what moves it from one to another (PS3.4 CC.1.1, table CC.1.1-2). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.attributes import Attributes
from dicom_node.workitems.content import (
    CANCELED,
    COMPLETED,
    IN_PROGRESS,
    MODIFIED,
    PERFORMED,
    PROGRESS,
    SCHEDULED,
    STATE,
    UID,
    moment,
    text,
)
from dicom_node.workitems.refusals import (
    ALREADY,
    INCONSISTENT,
    TRANSACTION_MISSING,
    TRANSACTION_WRONG,
    NotAllowed,
    Unfit,
)

FINAL = (COMPLETED, CANCELED)
CANCELLATION = "00404052"
BEGUN, ENDED = "00404050", "00404051"


@dataclass(frozen=True, slots=True)
class Step:
    """A change of state: the workitem afterwards and its lock; `warning` where nothing changed."""

    attributes: Attributes
    transaction_uid: str
    warning: str = ""


def changed(present: Attributes, lock: str, wanted: str, transaction_uid: str, now: datetime) -> Step:
    """Return the workitem in the state that is wanted.

    `lock` is the Transaction UID by which it was claimed, empty if it is not. Raises Unfit (400) and
    NotAllowed (409).
    """
    if wanted not in (SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED):
        raise Unfit(f"a state is {IN_PROGRESS}, {COMPLETED} or {CANCELED}, in (0074,1000)")
    if wanted == SCHEDULED:
        raise NotAllowed(INCONSISTENT, "a workitem is SCHEDULED only by being created")
    if not transaction_uid:
        raise NotAllowed(TRANSACTION_MISSING, "a change of state carries its Transaction UID (0008,1195)")
    if len(transaction_uid) > 64 or not UID.fullmatch(transaction_uid):
        raise Unfit("the Transaction UID is no UID")
    state = text(present, STATE)
    if state in FINAL and wanted == state and transaction_uid == lock:
        return Step(present, lock, ALREADY.format(state))
    if state in FINAL:
        raise NotAllowed(INCONSISTENT, f"the workitem is {state} and changes no more")
    if wanted == IN_PROGRESS:
        if state == IN_PROGRESS:
            raise NotAllowed(INCONSISTENT, "the workitem is IN PROGRESS already: somebody has claimed it")
        return Step(_in(present, IN_PROGRESS, now), transaction_uid)
    if state == SCHEDULED:
        raise NotAllowed(INCONSISTENT, f"the workitem is SCHEDULED; it becomes {wanted} once it is claimed")
    if transaction_uid != lock:
        raise NotAllowed(TRANSACTION_WRONG, "the Transaction UID is not that of who claimed the workitem")
    return Step(finished(present, wanted, now), lock)


def finished(present: Attributes, wanted: str, now: datetime) -> Attributes:
    """Return a workitem in a final state. Raises NotAllowed where its final requirements are not met."""
    if wanted == COMPLETED:
        performed = present.get(PERFORMED, {}).get("Value") or [{}]
        if lacking := [name for name in (BEGUN, ENDED) if not text(performed[0], name)]:
            raise NotAllowed(
                INCONSISTENT,
                "the workitem is not complete: (0074,1216) needs an item with the start (0040,4050) and end"
                f" (0040,4051) of what was performed (PS3.4 table CC.2.5-3); missing: {', '.join(lacking)}",
            )
        return _in(present, COMPLETED, now)
    made = dict(present)
    items = [dict(item) for item in present.get(PROGRESS, {}).get("Value") or [{}]]
    if not text(items[0], CANCELLATION):
        items[0][CANCELLATION] = {"vr": "DT", "Value": [moment(now)]}
    made[PROGRESS] = {"vr": "SQ", "Value": items}
    return _in(made, CANCELED, now)


def _in(present: Attributes, state: str, now: datetime) -> Attributes:
    return {
        **present,
        STATE: {"vr": "CS", "Value": [state]},
        MODIFIED: {"vr": "DT", "Value": [moment(now)]},
    }
