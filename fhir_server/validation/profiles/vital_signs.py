"""The profiles that R4 asks of vital signs, whatever they claim (R4/observation-vitalsigns.html).

An Observation with one of the LOINC codes of the table there meets the profile of its line.
"""

from __future__ import annotations

from fhir_server.fhirpath.api import Element
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import CORE

LOINC = "http://loinc.org"
PROFILES = {
    "85353-1": "vitalspanel",
    "9279-1": "resprate",
    "8867-4": "heartrate",
    "2708-6": "oxygensat",
    "59408-5": "oxygensat",  # by pulse oximetry, which the page allows beside 2708-6
    "8310-5": "bodytemp",
    "8302-2": "bodyheight",
    "9843-4": "headcircum",
    "29463-7": "bodyweight",
    "39156-5": "bmi",
    "85354-9": "bp",
}


def visit(item: Element, run: Run) -> None:
    """Report what an Observation of a vital sign breaks of R4's profile for it."""
    for coding in item.value.get("code", {}).get("coding", ()):
        name = PROFILES.get(coding.get("code", "")) if coding.get("system") == LOINC else None
        profile = run.library.find(f"{CORE}{name}") if name is not None else None
        if profile is None:
            continue
        claimed = {str(one).partition("|")[0] for one in item.value.get("meta", {}).get("profile", ())}
        if profile.url not in claimed:
            what = (
                f"checked against R4's profile {profile.url} too, as LOINC {coding['code']} is a vital sign"
            )
            run.report("information", "informational", what, item, f"{profile.url}#{profile.type}")
        run.visit(item, profile)
        return
