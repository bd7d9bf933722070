"""The body of a call, checked: HookRequest, or 400 with the name of the field.

CDS Hooks 2.0, "HTTP Request". Fields that we do not know are kept beside, not refused: `hookVersion` and
whatever else a newer client sends. `null` for an optional field counts as absent, although JSON elements
should not be null. The access token is transient: it is neither stored nor logged nor part of any hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cds_hooks.hooks.hook import Hook
from fhir_server.model import json_format
from fhir_server.outcome import Invalid

_AUTHORIZATION: Mapping[str, type] = {"access_token": str, "token_type": str, "scope": str, "subject": str}
_KNOWN = frozenset(
    {"hook", "hookInstance", "context", "prefetch", "fhirServer", "fhirAuthorization", "extension"}
)


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A call as it came: `prefetch` keeps null apart from missing, `more` holds fields that we do not know.

    `expires_in` are the seconds that the access token is good for, `fhir_server` has no slash at its end.
    """

    hook: str
    hook_instance: UUID
    context: Mapping[str, Any]
    prefetch: Mapping[str, Any] = field(default_factory=dict)
    fhir_server: str | None = None
    authorized_patient: str | None = None
    scope: str | None = None
    access_token: str | None = field(default=None, repr=False)
    expires_in: int = 0
    extension: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def patient_id(self) -> str:
        """The patient that the call is about."""
        return str(self.context["patientId"])

    @property
    def user(self) -> str | None:
        """The user as `Practitioner/7`, where the hook has one."""
        return self.context.get("userId")


def parse(
    body: bytes, hooks: Mapping[str, Hook], allowed: tuple[str, ...], *, max_depth: int = 64
) -> HookRequest:
    """Read a call of a service that listens to the hooks `allowed`.

    Raises Invalid (400) for broken JSON, a missing or wrong field, or another hook.
    """
    data = json_format.parse(body, max_depth=max_depth)
    hook = _text(data, "hook")
    if hook not in allowed:
        raise Invalid(
            f"hook is not one of this service; it listens to {', '.join(allowed)}", expression="hook"
        )
    try:
        instance = UUID(_text(data, "hookInstance"))
    except ValueError:
        raise Invalid("hookInstance has to be a UUID", expression="hookInstance") from None
    context = _object(data, "context")
    if context is None:
        raise Invalid(f"context is missing; {hook} needs one", expression="context", code="required")
    hooks[hook].check(context)
    server = data.get("fhirServer")
    if server is not None and not _is_address(server):
        raise Invalid("fhirServer has to be an absolute http or https URL", expression="fhirServer")
    authorization = _object(data, "fhirAuthorization") or {}
    if authorization:
        _check_authorization(authorization, server, context)
    return HookRequest(
        hook=hook,
        hook_instance=instance,
        context=context,
        prefetch=_object(data, "prefetch") or {},
        fhir_server=server.rstrip("/") if server else None,
        authorized_patient=authorization.get("patient"),
        scope=authorization.get("scope"),
        access_token=authorization.get("access_token"),
        expires_in=authorization.get("expires_in", 0),
        extension=_object(data, "extension") or {},
        more={name: value for name, value in data.items() if name not in _KNOWN},
    )


def _check_authorization(authorization: Mapping[str, Any], server: Any, context: Mapping[str, Any]) -> None:
    if server is None:
        raise Invalid("fhirServer is required when fhirAuthorization is given", expression="fhirServer")
    for name, kind in _AUTHORIZATION.items():
        if not isinstance(authorization.get(name), kind) or not authorization[name]:
            raise Invalid(
                f"fhirAuthorization.{name} is required, a text", expression=f"fhirAuthorization.{name}"
            )
    if authorization["token_type"] != "Bearer":
        raise Invalid(
            "fhirAuthorization.token_type has to be Bearer", expression="fhirAuthorization.token_type"
        )
    expires = authorization.get("expires_in")
    if not isinstance(expires, int) or isinstance(expires, bool):
        raise Invalid(
            "fhirAuthorization.expires_in is required, in whole seconds",
            expression="fhirAuthorization.expires_in",
        )
    patient = authorization.get("patient")
    if patient is not None and patient != context.get("patientId"):
        raise Invalid(
            "fhirAuthorization.patient is another patient than context.patientId",
            expression="fhirAuthorization.patient",
        )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(
            f"{name} is {'missing' if value is None else 'no text'}",
            expression=name,
            code="required" if value is None else "value",
        )
    return value


def _object(data: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise Invalid(f"{name} has to be an object", expression=name)
    return value


def _is_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
