"""What a sender wrote and FHIR refuses must not keep a study from FHIR: such a value is set apart.

A code that its system does not have (makers invent some, and newer editions have more than we know) keeps
its text under a system of ours that names where it claims to come from; any other value that is refused is
left out. Nothing is guessed: the object itself, which is always referred to, has it as it was.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from fhir_server.interactions.context import Result
from fhir_server.outcome import Invalid

STATED: Final = "urn:xinglin:stated:"
ATTEMPTS: Final = 4

Resource = dict[str, Any]

log = logging.getLogger("dicom_node")


def fitting(resource: Resource, write: Callable[[Resource], Result]) -> Result:
    """Write a resource; when it is refused, set apart what was refused and try again.

    Raises Invalid when nothing can be done about it.
    """
    for attempt in range(ATTEMPTS):
        try:
            return write(resource)
        except Invalid as refused:
            paths = [
                str(issue.expression)
                for issue in refused.issues
                if issue.severity in ("error", "fatal") and issue.expression
            ]
            mended = copy.deepcopy(resource)
            done = [path for path in dict.fromkeys(paths) if set_apart(mended, path, removing=attempt > 0)]
            if not done or mended == resource:
                raise
            log.warning("%d values of a %s are set apart", len(done), resource["resourceType"])
            resource = mended
    return write(resource)


def set_apart(resource: Resource, path: str, *, removing: bool = False) -> bool:
    """Set apart what stands at a path of a resource; whether there was anything to do.

    >>> study = {"modality": [{"system": "http://dcm", "code": "DOC"}]}
    >>> set_apart(study, "ImagingStudy.modality[0].code"), study["modality"][0]["system"]
    (True, 'urn:xinglin:stated:http%3A%2F%2Fdcm')
    """
    steps = [(name, int(place or 0)) for name, place in _STEP.findall(path.partition(".")[2])]
    here: Any = resource
    coding: Resource | None = None
    trail: list[tuple[Resource, str, int]] = []
    for name, place in steps:
        if not isinstance(here, dict):
            break
        if name not in here:  # value of valueQuantity, as FHIRPath has it
            typed = next((each for each in here if re.fullmatch(f"{name}[A-Z].*", each)), None)
            if typed is None:
                break
            name = typed
        trail.append((here, name, place))
        here = here[name]
        if isinstance(here, list):
            here = here[place] if place < len(here) else None
        if isinstance(here, dict) and "code" in here and isinstance(here.get("system"), str):
            coding = here
    if coding is not None and not coding["system"].startswith(STATED):
        coding["system"] = STATED + quote(coding["system"], safe="")
        return True
    if not removing or not trail:
        return False
    parent, name, place = trail[-1]
    if isinstance(parent[name], list):
        parent[name] = [one for at, one in enumerate(parent[name]) if at != place]
    if not isinstance(parent[name], list) or not parent[name]:
        del parent[name]
    return True


_STEP: Final = re.compile(r"([A-Za-z]+)(?:\[(\d+)\])?")
