"""SERVICES: the services of an installation; discovery is this table as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cds_hooks.hooks.table import HOOKS
from cds_hooks.models import catalogue
from cds_hooks.models.catalogue import Release, ReleaseError
from cds_hooks.models.predictor import Predictor
from cds_hooks.prefetch import check_template
from cds_hooks.service import Service
from cds_hooks.services import stroke_early_aspirin


def services(folders: Sequence[Path] = (), *, demonstration: bool = False) -> Mapping[str, Service]:
    """Return the services by id, their models loaded and verified.

    An altered or unusable model leaves its service without one: it stays in discovery, answers
    with no cards, and the record of each call says `model-unavailable`.
    """
    release, predictor = _model([*folders, catalogue.SHIPPED], stroke_early_aspirin.ID)
    made = [stroke_early_aspirin.service(release, predictor, demonstration=demonstration)]
    for service in made:
        for hook in service.hooks:
            for template in service.prefetch.values():
                check_template(template, HOOKS[hook])
    return {service.id: service for service in made}


def _model(folders: Sequence[Path], model: str) -> tuple[Release | None, Predictor | None]:
    """Return the release that serves: the newest active one, else the newest demonstration."""
    found = [release for release in catalogue.releases(folders) if release.model == model]
    for state in ("active", "demonstration"):
        for release in reversed([entry for entry in found if entry.state == state]):
            try:
                return release, catalogue.load(release)
            except ReleaseError:
                continue
    return None, None


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
