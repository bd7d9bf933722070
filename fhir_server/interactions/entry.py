"""The one way in for Python code: every caller opens its unit of work here, with a Grant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fhir_server.authorization.grant import Grant
from fhir_server.database.changes import Change
from fhir_server.database.engine import Engine
from fhir_server.database.unit_of_work import Listener, Through, UnitOfWork, run_read, run_write
from fhir_server.interactions import parameters
from fhir_server.interactions.context import Clock, Context, Settings
from fhir_server.model.temporal import instant
from fhir_server.storage import binaries, definitions
from fhir_server.storage.full_text import LeftOut

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """An installation as its callers see it.

    `entry.read(grant, lambda context: read(context, "Patient", "7"))`
    """

    engine: Engine
    settings: Settings
    clock: Clock
    listeners: Sequence[Listener] = ()
    left_out: LeftOut = field(default_factory=LeftOut, compare=False)

    def read(self, grant: Grant, work: Callable[[Context], T]) -> T:
        """Run `work` on a reading unit and return its answer."""

        return run_read(self.engine, self._with_context(grant, work))

    def write(self, grant: Grant, work: Callable[[Context], T]) -> T:
        """Run `work` in one transaction; its answer is returned once that is committed.

        `work` may run several times: it must not do anything that a rollback cannot undo.
        """

        self.left_out.say(self.engine, self.settings.environment.full_text)
        listeners = (definitions.notice, binaries.notice, self._notice_parameters, *self.listeners)
        return run_write(self.engine, listeners, self._with_context(grant, work))

    def _notice_parameters(self, unit: UnitOfWork, changes: list[Change]) -> None:
        parameters.notice(unit, changes, instant(self.clock()), self.settings.reindex_rate)

    def _with_context(self, grant: Grant, work: Callable[[Context], T]) -> Callable[[UnitOfWork], T]:
        def with_context(unit: UnitOfWork) -> T:
            try:
                return work(Context(unit, grant, self.clock, self.settings))
            except Through as carried:
                raise carried.error from carried

        return with_context
