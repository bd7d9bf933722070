"""The steps of the demonstration, over the wire: HTTP and a DICOM association, nothing else.

Each step says what it did and raises StepFailed where the answer is not what it should be.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from conformance.samples import ct, patients, stroke
from dicom_node.dimse.requestor import Remote
from dicom_node.upper_layer.errors import UpperLayerError
from fhir_server.cli import scanner
from fhir_server.config import Config

PATIENTS = 20
DEADLINE_S = 60.0


class StepFailed(Exception):
    """A step did not come to what it should; the message says what came instead."""


@dataclass(slots=True)
class Demo:
    """Where the installation is, and what the steps have found so far."""

    config: Config
    root: str
    patient: dict[str, Any]

    @property
    def base(self) -> str:
        """Return the address of the FHIR base."""
        return f"{self.root}/fhir"


def main(arguments: list[str]) -> int:
    """Run all steps; 0 when each came to what it should."""
    config = Config.read()
    demo = Demo(config, config.base_url[0].removesuffix("/fhir"), {})
    for title, step in STEPS:
        started = time.monotonic()
        try:
            told = step(demo)
        except (StepFailed, OSError, urllib.error.URLError, KeyError) as error:
            _line(
                "✗", title, f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            )
            return 1
        _line("✓", title, f"{told} ({time.monotonic() - started:.1f} s)")
    if "--once" not in arguments:
        _guide(demo)
    return 0


def readiness(demo: Demo) -> str:
    """The server says that it is ready."""
    _get(f"{demo.root}/readyz")
    software = _get(f"{demo.base}/metadata")["software"]
    return f"{software['name']} {software['version']} at {demo.base}"


def records(demo: Demo) -> str:
    """Sample patients, as an EHR would post them: one transaction each."""
    entries = 0
    for bundle in patients(seed=1, count=PATIENTS):
        answer = _post(demo.base, bundle)
        entries += len(answer["entry"])
        for entry in bundle["entry"]:
            if entry["resource"]["resourceType"] == "Patient":
                demo.patient = demo.patient or entry["resource"]
    _post(demo.base, stroke.transaction(datetime.now(UTC)))
    total = _count(demo, "Patient?_tag=urn:xinglin:tag|test-data")
    if total < PATIENTS + 1:
        raise StepFailed(f"{PATIENTS + 1} patients were sent, a search finds {total}")
    return f"{total} patients, {entries} resources"


def search(demo: Demo) -> str:
    """What an app asks first: a patient's newest observations."""
    bundle = _get(f"{demo.base}/Observation?patient={demo.patient['id']}&_sort=-date&_count=5")
    found = [entry["resource"] for entry in bundle.get("entry", [])]
    dates = [resource["effectiveDateTime"] for resource in found]
    if len(found) != 5 or dates != sorted(dates, reverse=True):
        raise StepFailed(f"5 observations, newest first, were expected; got {dates}")
    return f"the newest of {_count(demo, 'Observation?patient=' + demo.patient['id'])} is of {dates[0][:10]}"


def study(demo: Demo) -> str:
    """A CT study over a DICOM association, as a scanner sends it."""
    config = demo.config
    images = list(ct.study(demo.patient, seed=1))
    try:
        scanner.send(images, Remote(config.ae_title, config.dimse_host, config.dimse_port))
    except (UpperLayerError, scanner.NotStored) as error:
        raise StepFailed(str(error)) from error
    uid = str(images[0].StudyInstanceUID)
    _await(  # the index follows what was acknowledged within moments
        lambda: _get(f"{demo.root}/dicom-web/studies/{uid}/instances"),
        lambda found: len(found) == len(images),
        f"{len(images)} images in the study",
    )
    imaging = _await(
        lambda: _first(demo, f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{uid}"),
        lambda resource: resource.get("numberOfInstances") == len(images),
        "an ImagingStudy with all images",
    )
    return (
        f"{len(images)} images in {imaging['numberOfSeries']} series; "
        f"ImagingStudy/{imaging['id']} for {imaging['subject']['reference']}"
    )


def suggestion(demo: Demo) -> str:
    """A CDS Hooks call at the start of an encounter."""
    services = _get(f"{demo.root}/cds-services")["services"]
    if not any(service["id"] == "stroke-early-aspirin" for service in services):
        raise StepFailed("discovery does not list stroke-early-aspirin")
    service = f"{demo.root}/cds-services/stroke-early-aspirin"

    # somebody new each time: nobody is shown the same card twice a day
    user = f"Practitioner/demo-{uuid4().hex[:8]}"

    def ask() -> dict[str, Any]:
        call = stroke.call(str(uuid4()), fhir_server=demo.base, user=user)
        cards = _post(service, call, "application/json")["cards"]
        return dict(cards[0]) if cards else {}

    # The service would rather be silent than late: on a busy machine its first call may be.
    return str(_await(ask, bool, "a card for the sample stroke patient")["summary"])


def console(demo: Demo) -> str:
    """The console shows the patient."""
    with urllib.request.urlopen(f"{demo.root}/console/patients/{demo.patient['id']}", timeout=30) as answer:
        page = answer.read().decode()
    family = demo.patient["name"][0]["family"]
    if family not in page:
        raise StepFailed(f"the page of the patient does not show the name {family}")
    return f"{demo.root}/console"


STEPS: tuple[tuple[str, Callable[[Demo], str]], ...] = (
    ("server", readiness),
    ("records", records),
    ("search", search),
    ("study", study),
    ("suggestion", suggestion),
    ("console", console),
)


def _first(demo: Demo, query: str) -> dict[str, Any]:
    entries = _get(f"{demo.base}/{query}").get("entry", [])
    return entries[0]["resource"] if entries else {}


def _count(demo: Demo, query: str) -> int:
    return int(_get(f"{demo.base}/{query}&_summary=count")["total"])


def _await(
    look: Callable[[], dict[str, Any]], good: Callable[[dict[str, Any]], bool], what: str
) -> dict[str, Any]:
    """Look until it is good; the worker that makes it runs beside us."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = look()
        if good(found):
            return found
        time.sleep(0.1)
    raise StepFailed(f"{what} did not come within {DEADLINE_S:.0f} s")


def _get(url: str) -> Any:
    return _ask(urllib.request.Request(url))


def _post(url: str, body: Any, media_type: str = "application/fhir+json") -> Any:
    data = json.dumps(body).encode()
    return _ask(urllib.request.Request(url, data, {"Content-Type": media_type}))


def _ask(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        told = error.read().decode(errors="replace")[:500]
        raise StepFailed(f"{request.get_method()} {request.full_url}: {error.code} {told}") from None


def _line(mark: str, title: str, text: str) -> None:
    print(f"{mark} {title:<11} {text}", flush=True)


def _guide(demo: Demo) -> None:
    print(
        f"""
Look around: {demo.root}/console

  curl '{demo.base}/Patient?_count=3&_pretty=true'
  curl '{demo.base}/Observation?patient={demo.patient["id"]}&category=laboratory&_sort=-date&_count=5'
  curl '{demo.root}/dicom-web/studies'
""",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
