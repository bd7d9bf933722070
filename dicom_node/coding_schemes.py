"""Coding schemes of DICOM (PS3.16 chapter 8) and the code systems of FHIR that are the same."""

from __future__ import annotations

from typing import Final

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
UCUM: Final = "http://unitsofmeasure.org"

SYSTEMS: Final = {
    "SCT": SNOMED,
    "SRT": "http://snomed.info/srt",
    "SNM3": "http://snomed.info/srt",
    "LN": LOINC,
    "DCM": DCM,
    "UCUM": UCUM,
    "RADLEX": "http://radlex.org",
    "C4": "http://www.ama-assn.org/go/cpt",
    "CPT4": "http://www.ama-assn.org/go/cpt",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "I9": "http://hl7.org/fhir/sid/icd-9-cm",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm",
    "I10P": "http://www.cms.gov/Medicare/Coding/ICD10",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "FMA": "http://purl.org/sig/fma",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "ICDO3": "http://terminology.hl7.org/CodeSystem/icd-o-3",
    "MDC": "urn:iso:std:iso:11073:10101",
    "ISO3166_1": "urn:iso:std:iso:3166",
}
"""Designator → code system. Of several designators of one system the first is the one to write."""

DESIGNATORS: Final = {system: designator for designator, system in reversed(SYSTEMS.items())} | {
    "http://www.radlex.org": "RADLEX"
}
"""Code system → designator.

>>> DESIGNATORS[SNOMED], DESIGNATORS["http://www.ama-assn.org/go/cpt"]
('SCT', 'C4')
"""
