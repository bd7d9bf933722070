"""What becomes of a write that does not keep the profiles it claims: off, warn or reject.

A claim is a canonical in `meta.profile`, or the `questionnaire` of a QuestionnaireResponse. A rule is
written `[endpoint:][type=]action`; of those that fit a write the most exact one decides, endpoint
before type, and of equal ones the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from fhir_server.authorization.grant import Grant
from fhir_server.config import ConfigError
from fhir_server.definitions.structures import is_resource_type

ACTIONS = ("off", "warn", "reject")
ENDPOINTS = ("fhir", "load", "dicom", "cds")

_RULE = re.compile(r"(?:(?P<endpoint>[a-z]+|\*):)?(?:(?P<type>\w+|\*)=)?(?P<action>\w+)\Z")


class Policy:
    """The rules of an installation; a value.

    >>> policy = Policy(["warn", "Patient=reject", "load:*=off"])
    >>> policy.action("fhir", "Patient"), policy.action("fhir", "Device"), policy.action("load", "Patient")
    ('reject', 'warn', 'off')
    """

    __slots__ = ("_rules", "action")

    def __init__(self, rules: Iterable[str] = ("warn",)) -> None:
        """Read the rules. Raises ConfigError for one that cannot be read."""
        self._rules = {("*", "*"): "warn"}
        for rule in rules:
            self._rules.update([_read(rule)])
        self.action = lru_cache(maxsize=1024)(self._action)

    def _action(self, endpoint: str, type_name: str) -> str:
        places = ((endpoint, type_name), (endpoint, "*"), ("*", type_name), ("*", "*"))
        return next(self._rules[place] for place in places if place in self._rules)


def _read(rule: str) -> tuple[tuple[str, str], str]:
    found = _RULE.match(rule)
    endpoint, type_name = (found["endpoint"] or "*", found["type"] or "*") if found else ("", "")
    if (
        found is None
        or found["action"] not in ACTIONS
        or endpoint not in (*ENDPOINTS, "*")
        or not (type_name == "*" or is_resource_type(type_name))
    ):
        raise ConfigError(
            f"profile_policy has {rule!r}; write off, warn or reject, with a type or an endpoint "
            f"({', '.join(ENDPOINTS)}) in front where it is not for all: Patient=reject, load:*=off"
        )
    return (endpoint, type_name), found["action"]


_SERVICES = {
    "system/load": "load",
    "system/dicom-bridge": "dicom",
    "system/worklist": "dicom",
    "system/mpps": "dicom",
    "system/cds-hooks": "cds",
}


def endpoint_of(grant: Grant) -> str:
    """Return the endpoint by which a write comes in.

    >>> endpoint_of(Grant.system("load")), endpoint_of(Grant.anonymous())
    ('load', 'fhir')
    """
    return _SERVICES.get(grant.subject, "fhir")
