"""The change feed: every committed version after a position, none missed, restores survived.

A version carries the stamp of the transaction that wrote it: its transaction id plus a base.
Numbers are handed out before commit, so a reader that only remembered the last one it saw
would skip whoever commits late. Therefore the feed ends before the oldest transaction that is
still open (`pg_snapshot_xmin`): what it shows is complete, and later entries sort behind it.

Transaction ids begin anew in a cluster into which a dump was restored. So each life of the
database is an epoch with a base of its own: `adopt` opens one whose stamps go on behind the
highest that the dump contained. A reader may have seen changes that the backup did not
contain; its position names the epoch, and in a later one it goes back to where that began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the feed: behind the version (`stamp`, `pk`), as seen in `epoch`.

    >>> Position.parse(str(Position(1, 740, 12)))
    Position(epoch=1, stamp=740, pk=12)
    """

    epoch: int
    stamp: int
    pk: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.stamp}.{self.pk}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read a position that was written by str()."""
        epoch, stamp, pk = text.split(".")
        return cls(int(epoch), int(stamp), int(pk))


STAMP = "SELECT stamp_base + pg_current_xact_id()::text::bigint FROM feed_epoch ORDER BY epoch DESC LIMIT 1"
"""What the database's function feed_stamp() says, for a statement that is prepared: a function in SQL is
read and planned anew by each call."""

PURGED = "X"
"""The method of an entry that says: of this resource nothing is left. Its id is gone, too."""

START = Position(0, 0, 0)
"""Before everything."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version that was committed: `type_code` and `pk` name the resource.

    With the method PURGED no version was made, but all of them were removed. Single versions that were
    removed are not told: whoever comes late sees the current one.
    """

    position: Position
    type_code: int
    pk: int
    id: str
    version: int
    method: str


def read(unit: UnitOfWork, after: Position, limit: int) -> list[Entry]:
    """Return up to `limit` versions behind `after`, in feed order."""
    rows = unit.execute(_READ, {"epoch": after.epoch, "stamp": after.stamp, "pk": after.pk, "limit": limit})
    return [Entry(Position(row[0], row[1], row[2]), row[3], row[2], *row[4:]) for row in rows]


_BEHIND = (
    "tenant = 0 AND (stamp, pk) > (SELECT stamp, pk FROM start) "
    "AND stamp < (SELECT stamp_base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM now)"
)

_READ = f"""
WITH now AS (SELECT epoch, stamp_base FROM feed_epoch ORDER BY epoch DESC LIMIT 1),
start AS (
    SELECT CASE WHEN back.stamp < %(stamp)s THEN back.stamp ELSE %(stamp)s END AS stamp,
           CASE WHEN back.stamp < %(stamp)s THEN 0 ELSE %(pk)s END AS pk
    FROM (SELECT min(first_stamp) AS stamp FROM feed_epoch WHERE epoch > %(epoch)s AND %(epoch)s > 0) AS back
)
SELECT (SELECT epoch FROM now), v.stamp, v.pk, v.type, coalesce(r.id, ''), v.version, v.method FROM (
    (SELECT stamp, pk, type, version, method::text FROM resource_version
     WHERE {_BEHIND} ORDER BY stamp, pk, version LIMIT %(limit)s)
    UNION ALL
    (SELECT stamp, pk, type, version, '{PURGED}' FROM resource_purged
     WHERE {_BEHIND} ORDER BY stamp, pk LIMIT %(limit)s)
    ORDER BY stamp, pk, version LIMIT %(limit)s
) AS v LEFT JOIN resource AS r ON r.tenant = 0 AND r.type = v.type AND r.pk = v.pk
ORDER BY v.stamp, v.pk, v.version
"""


def adopt(unit: UnitOfWork, *, restored: bool = False) -> bool:
    """Open a new epoch when this database lives in another cluster than before; say whether it did.

    `restored` says that the database was put back to an earlier state in the same cluster,
    which it cannot see by itself. To be called before anything is written.
    """
    rows: list[tuple[Any, ...]] = unit.execute(_ADOPT, {"restored": restored})
    return bool(rows)


_ADOPT = """
WITH here AS (SELECT system_identifier AS cluster FROM pg_control_system()),
last AS (SELECT epoch, cluster FROM feed_epoch ORDER BY epoch DESC LIMIT 1),
highest AS (
    SELECT greatest(
        (SELECT max(stamp) FROM resource_version WHERE tenant = 0),
        (SELECT max(stamp) FROM resource_purged WHERE tenant = 0), 0
    ) + 1 AS stamp
)
INSERT INTO feed_epoch (epoch, cluster, stamp_base, first_stamp)
SELECT last.epoch + 1, here.cluster, highest.stamp - pg_current_xact_id()::text::bigint, highest.stamp
FROM here, last, highest
WHERE here.cluster <> last.cluster OR %(restored)s
RETURNING epoch
"""
