"""SERVICES: the services of an installation; discovery is this table as JSON.

A service of rules is made once. A service on a model is resolved per call: which release is current
stands in Postgres, is read anew at most every 0.4 s, and is loaded once; no worker is restarted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cds_hooks.hooks.table import HOOKS
from cds_hooks.models import blocks, catalogue, states
from cds_hooks.models.catalogue import Release, ReleaseError
from cds_hooks.models.predictor import Predictor
from cds_hooks.models.states import Event, Line
from cds_hooks.prefetch import check_template
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.watched import Watched
from cds_hooks.service import Decision, Facts, Service
from cds_hooks.services import (
    cv_risk,
    opioid_mme,
    renal_and_interaction,
    stroke_early_aspirin,
    stroke_heparin_dose,
)

log = logging.getLogger(__name__)

RULES: tuple[Callable[[], Service], ...] = (
    cv_risk.service,
    opioid_mme.service,
    renal_and_interaction.service,
    stroke_heparin_dose.service,
)
"""Services that rest on published rules."""

MODELS: Mapping[str, Callable[..., Service]] = {stroke_early_aspirin.ID: stroke_early_aspirin.service}
"""Services that rest on a trained model of the same id: made from a release and its predictor."""


def services(
    folders: Sequence[Path] = (), *, demonstration: bool = False, log: ModelLog | None = None
) -> Services:
    """Return the services by id, those on models resolved whenever they are asked for.

    `folders` hold trained releases, `log` their states; without a log every release stands as its card
    says. An altered or unusable model leaves its service without one: it stays in discovery, answers with
    no cards, and the record of each call says `model-unavailable`.
    """
    return Services([*folders, catalogue.SHIPPED], log, demonstration)


@dataclass(frozen=True)
class _Known:
    """What was read last: the number of the newest event, all events, the services on models."""

    newest: int = -1
    events: tuple[Event, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)


class Services(Mapping[str, Service]):
    """The services of an installation; safe to share between threads."""

    def __init__(self, folders: Sequence[Path], log: ModelLog | None, demonstration: bool) -> None:
        self.folders = tuple(folders)
        self._log = log
        self._demonstration = demonstration
        self._loaded: dict[str, Predictor] = {}
        self._rules = {made.id: made for made in (make() for make in RULES)}
        first = self._resolve(0, ()) if log is None else _Known(services=self._without())
        self._watched = Watched(self._renew, first)
        for service in (*self._rules.values(), *first.services.values()):
            for hook in service.hooks:
                for template in service.prefetch.values():
                    check_template(template, HOOKS[hook])

    def __getitem__(self, service_id: str) -> Service:
        if service_id in self._rules:
            return self._rules[service_id]
        return self._known().services[service_id]

    def __iter__(self) -> Iterator[str]:
        return iter((*MODELS, *self._rules))

    def __len__(self) -> int:
        return len(MODELS) + len(self._rules)

    def releases(self) -> list[Release]:
        """Return every sound release on disk in its live state, by model and version."""
        events = self._known().events
        return [
            release.standing(states.standing(release, events).state)
            for release in catalogue.releases(self.folders)
        ]

    def source_attributes(self, model: str, version: str) -> dict[str, str] | None:
        """Return the 31 attributes of a release, with what was assessed here; None where there is none."""
        try:
            release = catalogue.find(self.folders, model, version)
        except ReleaseError:
            return None
        return blocks.source_attributes(release, states.standing(release, self._known().events))

    def at(self, service_id: str, version: str, sha256: str, state: str) -> Service | None:
        """Return a service as it was on a release, to decide a recorded call again; None when it is gone."""
        if service_id in self._rules:
            return self._rules[service_id]
        try:
            release = catalogue.find(self.folders, service_id, version)
        except ReleaseError:
            return None
        return self._on(release.standing(state)) if release.sha256 == sha256 else None

    def forget(self) -> None:
        """Have the states read anew with the next question: for who has just changed one."""
        self._watched.forget()

    def _known(self) -> _Known:
        return self._watched.value()

    def _renew(self, known: _Known) -> _Known:
        if self._log is None:
            return known
        newest = self._log.newest()
        return known if newest == known.newest else self._resolve(newest, self._log.events())

    def _resolve(self, newest: int, events: Sequence[Event]) -> _Known:
        found = list(catalogue.releases(self.folders))
        made = {}
        for model in MODELS:
            own = [release for release in found if release.model == model]
            line = states.line(own, [event for event in events if event.model == model])
            made[model] = self._of(model, line)
        return _Known(newest, tuple(events), made)

    def _of(self, model: str, line: Line) -> Service:
        serving = self._on(line.serving) if line.serving else None
        beside = self._on(line.challenger) if line.challenger else None
        if serving is None:
            return self._without()[model]
        if beside is not None and line.challenger is not None:
            serving = replace(serving, decide=_beside(serving.decide, beside.decide, line.challenger))
        return serving

    def _on(self, release: Release) -> Service | None:
        """Return the service on a release, loaded once; None where it does not load."""
        predictor = self._loaded.get(release.digest)
        if predictor is None:
            try:
                predictor = self._loaded[release.digest] = catalogue.load(release)
            except ReleaseError as error:
                log.error("cds model: %s", error)
                return None
        made = MODELS[release.model](release, predictor, demonstration=self._demonstration)
        return replace(made, shadow=release.state == states.SHADOW)

    def _without(self) -> dict[str, Service]:
        return {model: make(None, None, demonstration=self._demonstration) for model, make in MODELS.items()}


Decide = Callable[[Facts], Decision]


def _beside(decide: Decide, other: Decide, release: Release) -> Decide:
    """Return a decision with what a release in shadow would have said in its record."""

    def decided(facts: Facts) -> Decision:
        found = decide(facts)
        try:
            second = other(facts)
        except Exception as error:  # what nobody sees must not cost anybody the answer
            log.error("cds shadow %s: %s", release.identity, type(error).__name__)
            return found
        beside = {
            "version": release.version,
            "sha256": release.sha256,
            "reasons": list(second.reasons),
            "output": dict(second.output),
        }
        return replace(found, output={**found.output, "shadow": beside})

    return decided


def source_attributes(found: Mapping[str, Service], model: str, version: str) -> dict[str, str] | None:
    """Return the 31 attributes of a version of a model, or None where there is no such."""
    if isinstance(found, Services):
        return found.source_attributes(model, version)
    for service in found.values():
        if service.model is not None and (service.model.id, service.model.version) == (model, version):
            return dict(service.model.source_attributes)
    return None


def discovery(services: Mapping[str, Service]) -> dict[str, Any]:
    """Return the answer to GET /cds-services: one entry for each hook of each service."""
    return {
        "services": [
            {
                "hook": hook,
                "id": service.id,
                "title": service.title,
                "description": service.description,
                **({"prefetch": dict(service.prefetch)} if service.prefetch else {}),
                **({"usageRequirements": service.usage_requirements} if service.usage_requirements else {}),
            }
            for service in services.values()
            for hook in service.hooks
        ]
    }
