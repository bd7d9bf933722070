"""The monitors of an installation: what is in use is looked at, and taken back where it has drifted.

They run in the background worker and by `xinglin model monitor`. Each release in shadow or active is held
against what it was made on; an active one that is found beyond the bounds goes back to shadow at once,
with the reason. Nothing is promoted by a monitor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats
from cds_hooks.evaluation.sample import Sample, groups
from cds_hooks.models import blocks, catalogue, features, states
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Order
from cds_hooks.monitoring import examine, reference
from cds_hooks.monitoring.examine import Seen
from cds_hooks.monitoring.outcomes import Asked
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.monitoring import Kept, Monitoring, Prediction
from fhir_server.outcome import Conflict

log = logging.getLogger(__name__)

ACTOR = "drift monitor"
DAYS = 30
OUTCOME_DAYS = 365
FIRST_ANSWERS = 500
EVERY = timedelta(minutes=10)
KEEP_EVERY = timedelta(days=1)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_ALERTS = frozenset({"suggested", "shown"})


@dataclass(frozen=True, slots=True)
class Look:
    """What the monitors found of a release, and whether they demoted it."""

    release: Release
    since: datetime
    report: dict[str, Any]
    demoted: bool = False


class Monitors:
    """The monitors over the records of an installation."""

    def __init__(
        self,
        log: ModelLog,
        records: Monitoring,
        folders: Sequence[Path],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._log = log
        self._records = records
        self._folders = [*folders, catalogue.SHIPPED]
        self._clock = clock
        self._due = _BEGINNING

    def drain(self) -> int:
        """Look at everything in use, every ten minutes; return how many were demoted."""
        now = self._clock()
        if now < self._due:
            return 0
        self._due = now + EVERY
        return sum(self.look(release).demoted for release in self.in_use())

    def in_use(self) -> list[Release]:
        """Return the releases in shadow or active, in their live state."""
        events = self._log.events()
        found = [
            release.standing(states.standing(release, events).state)
            for release in catalogue.releases(self._folders)
        ]
        return [release for release in found if release.state in (states.SHADOW, states.ACTIVE)]

    def look(self, release: Release, *, days: int = DAYS, act: bool = True, keep: bool = False) -> Look:
        """Examine one release over the last `days`; with `act` an active one beyond the bounds is demoted.

        The report is kept when its level has changed, once a day, and with `keep`.
        """
        now = self._clock()
        since = now - timedelta(days=days)
        report = self._examine(release, since, now, timedelta(days=days))
        demoted = act and release.state == states.ACTIVE and report["level"] == examine.DEMOTION
        if demoted:
            demoted = self._demote(release, report, now)
        last = self._records.newest_report(release)
        if keep or last is None or last.level != report["level"] or now - last.at >= KEEP_EVERY:
            self._records.keep_report(
                Kept(now, release.model, release.version, release.digest, report["level"], since,
                     report["calls"], report["outcomes"], report)
            )  # fmt: skip
        return Look(release, since, report, demoted)

    def asked(self, release: Release, days: int = 2 * OUTCOME_DAYS) -> list[Asked]:
        """Return the recorded predictions of a release that an outcome may be told of."""
        since = self._clock() - timedelta(days=days)
        return [Asked(*row) for row in self._records.asked(release, since)]

    def sample(self, release: Release, days: int = OUTCOME_DAYS) -> Sample:
        """Return the recorded predictions of a release with their outcomes, for an evaluation."""
        rows = self._records.matured(release, self._clock() - timedelta(days=days))
        return Sample(
            np.array([float(bool(row.bad)) for row in rows]),
            np.array([row.risk for row in rows], dtype=np.float64),
            groups(
                [_value(row, "SEX") for row in rows],
                [_value(row, "AGE") for row in rows],
                [row.client for row in rows],
            ),
        )

    def _demote(self, release: Release, report: dict[str, Any], now: datetime) -> bool:
        reason = "; ".join(report["reasons"])
        evidence = {key: report[key] for key in ("level", "reasons", "predictions", "outcomes", "calls")}
        order = Order("demote", release, ACTOR, reason, now, monitor=True, evidence=evidence)
        try:
            self._log.carry_out(order, blocks.blocks)
        except Conflict:  # somebody was faster
            return False
        log.warning("cds model %s: demoted to shadow by the %s", release.identity, ACTOR)
        return True

    def _examine(self, release: Release, since: datetime, now: datetime, span: timedelta) -> dict[str, Any]:
        rows = self._records.recorded(release, since, now + timedelta(seconds=1))
        before = self._records.recorded(release, since - span, since)
        matured = self._records.matured(release, now - timedelta(days=OUTCOME_DAYS))
        known, source = self._reference(release, since)
        x, p = _matrix(rows)
        report = examine.examine(
            known,
            Seen(
                features.NAMES, x, p,
                np.array([row.risk for row in matured], dtype=np.float64),
                np.array([float(bool(row.bad)) for row in matured]),
                calls=len(rows), alerts=_alerts(rows),
                calls_before=len(before), alerts_before=_alerts(before),
            ),
        )  # fmt: skip
        return report | {"reference": source, "days": span.days}

    def _reference(self, release: Release, since: datetime) -> tuple[Any, str]:
        """Return what the release is held against: the training data, else its first answers here."""
        if (found := reference.of(release)) is not None:
            return found
        x, p = _matrix(self._records.first(release, since, FIRST_ANSWERS))
        if len(p) < examine.MIN_PREDICTIONS:
            return None, "none: the card holds no distribution, and too few answers lie before this time"
        coded = {feature.name for feature in features.FEATURES if feature.codes}
        return reference.describe(features.NAMES, x, p, coded), f"the first {len(p)} answers here"


def _matrix(rows: Sequence[Prediction]) -> tuple[Floats, Floats]:
    """Return the inputs as the model saw them, gaps before anything was assumed, and the predictions."""
    vectors, risks = [], []
    for row in rows:
        if row.risk is None:
            continue
        try:
            vectors.append(features.encode({name: _value(row, name) for name in features.NAMES}))
        except (ValueError, TypeError):
            continue  # recorded by another feature table
        risks.append(row.risk)
    x = np.array(vectors, dtype=np.float64).reshape(len(vectors), len(features.NAMES))
    return x, np.array(risks, dtype=np.float64)


def _value(row: Prediction, name: str) -> Any:
    found = row.inputs.get(name)
    return found.get("value") if isinstance(found, dict) else None


def _alerts(rows: Sequence[Prediction]) -> int:
    return sum(not _ALERTS.isdisjoint(row.reasons) for row in rows)
