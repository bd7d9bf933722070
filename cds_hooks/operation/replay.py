"""A recorded call decided again: the same cards, byte for byte, or the reason why that cannot be.

What was decided from, the moment of the call and its id are in the record, and the release of the model
is found by its hash. So a card can be accounted for years later, as long as the inputs are kept
(`cds_input_days`) and the release is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cds_hooks.operation import inputs as documents
from cds_hooks.records.entries import Call, body_of
from cds_hooks.registry import Services
from cds_hooks.service import Service
from fhir_server import __version__
from fhir_server.model import json_format


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out: `equal` None where nothing was decided that could be compared, and `why`."""

    equal: bool | None
    recorded: str
    computed: str = ""
    why: str = ""


def replay(call: Call, services: Mapping[str, Service]) -> Replayed:
    """Decide a call again and compare what was computed, before anything of it was withheld."""
    recorded = call.computed if call.computed is not None else call.answer
    if call.status != 200 or call.mode == "off":
        return Replayed(None, recorded, why=f"nothing was decided: {', '.join(call.reasons)}")
    if call.content is None:
        return Replayed(None, recorded, why="what it was decided from is not kept, or not any more")
    service = _as_it_was(call, services)
    if service is None:
        model = f"{call.model} version {call.model_version}" if call.model else call.service
        return Replayed(None, recorded, why=f"{model} is not on this machine as it was then")
    try:
        inputs = documents.unpacked(call.content, call.input_hash)
        decision = documents.decide(service, call.call_id, call.received_at, inputs)
    except Exception as error:
        if {"error", "other-patient"} & set(call.reasons):
            return Replayed(True, recorded, recorded, f"it fails again: {type(error).__name__}")
        return Replayed(False, recorded, why=f"it fails now: {type(error).__name__}")
    computed = body_of([json_format.encode(card.as_json()).decode() for card in decision.cards])
    if "timeout" in call.reasons:
        return Replayed(None, recorded, computed, "it was not decided in its time")
    if computed == recorded:
        return Replayed(True, recorded, computed)
    why = "the cards are other ones"
    if call.code != __version__:
        why += f": recorded by version {call.code or 'unknown'}, decided now by {__version__}"
    return Replayed(False, recorded, computed, why)


def _as_it_was(call: Call, services: Mapping[str, Service]) -> Service | None:
    """Return the service on the release that decided then."""
    if isinstance(services, Services) and call.model and call.model_version and call.model_hash:
        return services.at(call.service, call.model_version, call.model_hash, call.model_state or "draft")
    service = services.get(call.service)
    if service is None or (service.model.sha256 if service.model else None) != call.model_hash:
        return None
    return service
