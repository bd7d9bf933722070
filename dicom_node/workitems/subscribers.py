"""Who watches which workitems: subscriptions of application entities (PS3.4 CC.2.3, PS3.18 11.10 to 11.12).

A subscription is of one workitem, of all (global) or of those that match a filter; a global one also takes
every workitem that comes. A deletion lock is always granted: workitems are not deleted here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from dicom_node.workitems import store
from dicom_node.workitems.matching import Key, condition
from fhir_server.outcome import NotFound

GLOBAL: Final = "1.2.840.10008.5.1.4.34.5"
FILTERED: Final = "1.2.840.10008.5.1.4.34.5.1"


def subscribe(cursor: Any, uid: str, ae_title: str, *, lock: bool) -> None:
    """Let an AE watch one workitem; again changes its deletion lock. Raises NotFound."""
    workitem = store.read(cursor, uid)
    cursor.execute(
        "INSERT INTO dicom_workitem_subscription (workitem_pk, ae_title, deletion_lock) VALUES (%s, %s, %s)"
        " ON CONFLICT (workitem_pk, ae_title) DO UPDATE SET deletion_lock = excluded.deletion_lock",
        (workitem.pk, ae_title, lock),
    )


def subscribe_to_all(cursor: Any, ae_title: str, keys: Sequence[Key], *, lock: bool) -> None:
    """Let an AE watch all workitems, or all that match, those to come too; again replaces the filter."""
    filter_ = [[list(key.path), key.value] for key in keys]
    cursor.execute(
        "INSERT INTO dicom_workitem_watch (ae_title, deletion_lock, suspended, filter)"
        " VALUES (%s, %s, false, %s) ON CONFLICT (ae_title) DO UPDATE SET"
        " deletion_lock = excluded.deletion_lock, suspended = false, filter = excluded.filter",
        (ae_title, lock, json.dumps(filter_)),
    )
    where, values = condition(keys, "w.attributes")
    cursor.execute(
        "INSERT INTO dicom_workitem_subscription (workitem_pk, ae_title, deletion_lock)"
        f" SELECT w.pk, %s, %s FROM dicom_workitem w WHERE {where}"
        " ON CONFLICT (workitem_pk, ae_title) DO UPDATE SET deletion_lock = excluded.deletion_lock",
        (ae_title, lock, *values),
    )


def follow(cursor: Any, workitem: store.Workitem) -> None:
    """Subscribe those who watch all workitems to a new one, if it passes their filter."""
    cursor.execute("SELECT ae_title, deletion_lock, filter FROM dicom_workitem_watch WHERE NOT suspended")
    for ae_title, lock, filter_ in cursor.fetchall():
        where, values = condition([Key(tuple(path), value) for path, value in filter_], "w.attributes")
        cursor.execute(
            "INSERT INTO dicom_workitem_subscription (workitem_pk, ae_title, deletion_lock)"
            f" SELECT w.pk, %s, %s FROM dicom_workitem w WHERE w.pk = %s AND {where} ON CONFLICT DO NOTHING",
            (ae_title, lock, workitem.pk, *values),
        )


def unsubscribe(cursor: Any, uid: str, ae_title: str) -> None:
    """End the subscription of one workitem. Raises NotFound where there is none."""
    workitem = store.read(cursor, uid)
    cursor.execute(
        "DELETE FROM dicom_workitem_subscription WHERE workitem_pk = %s AND ae_title = %s",
        (workitem.pk, ae_title),
    )
    if not cursor.rowcount:
        raise NotFound(f"{ae_title} does not watch workitem {uid}")


def unsubscribe_from_all(cursor: Any, ae_title: str) -> None:
    """End every subscription of an AE. Raises NotFound where it has no global one."""
    cursor.execute("DELETE FROM dicom_workitem_watch WHERE ae_title = %s", (ae_title,))
    if not cursor.rowcount:
        raise NotFound(f"{ae_title} does not watch all workitems")
    cursor.execute("DELETE FROM dicom_workitem_subscription WHERE ae_title = %s", (ae_title,))


def suspend(cursor: Any, ae_title: str) -> None:
    """Keep what an AE watches and add no workitems that come. Raises NotFound."""
    cursor.execute("UPDATE dicom_workitem_watch SET suspended = true WHERE ae_title = %s", (ae_title,))
    if not cursor.rowcount:
        raise NotFound(f"{ae_title} does not watch all workitems")
