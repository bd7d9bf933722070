"""The code sets that the services read: SNOMED CT, LOINC, RxNorm and ICD-10, as facts.

A set holds a CodeableConcept by an exact coding, by the beginning of an ICD-10 code, or, where
missing one would harm (a drug that forbids the suggestion, a haemorrhage), also by a word in the
display or text: hospitals code products and local terms that no list of ingredients holds.
Words are only ever used to refuse, never to suggest.

Codes marked `doubtful` below were written from memory and have not been seen in a published
value set; leaving one of them out makes a service silent, never bold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = ("http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-10")
OWN = "urn:xinglin:stroke"
"""Codes of our own, for what no standard code says: `noted-on-waking`, `deficit-arm` …"""


@dataclass(frozen=True, slots=True)
class CodeSet:
    """A named set of codes.

    >>> ASPIRIN.holds({"coding": [{"system": RXNORM, "code": "1191"}]})
    True
    >>> ANTICOAGULANT.holds({"text": "Warfarin Sodium 5 MG Oral Tablet"})
    True
    """

    name: str
    codes: Mapping[str, tuple[str, ...]]
    icd10: tuple[str, ...] = ()
    words: str = ""
    _members: frozenset[tuple[str, str]] = field(init=False, repr=False)
    _pattern: re.Pattern[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        members = frozenset((system, code) for system, codes in self.codes.items() for code in codes)
        object.__setattr__(self, "_members", members)
        object.__setattr__(self, "_pattern", re.compile(self.words, re.IGNORECASE) if self.words else None)

    def holds(self, concept: Any) -> bool:
        """Say whether the CodeableConcept is in the set, by code or by word."""
        if self.holds_code(concept):
            return True
        return self._pattern is not None and any(self._pattern.search(text) for text in texts(concept))

    def holds_code(self, concept: Any) -> bool:
        """Say whether one of the codings of the CodeableConcept is in the set."""
        for system, code in codings(concept):
            if (system, code) in self._members:
                return True
            if system in ICD10 and code.replace(".", "").upper().startswith(self.icd10):
                return True
        return False

    def token(self) -> str:
        """Return the codes as the value of a token search parameter, in a fixed order."""
        return ",".join(f"{system}|{code}" for system, codes in self.codes.items() for code in codes)


def codings(concept: Any) -> Iterator[tuple[str, str]]:
    """Give (system, code) of each coding of a CodeableConcept; nothing for another shape."""
    listed = concept.get("coding") if isinstance(concept, dict) else None
    for coding in listed if isinstance(listed, list) else ():
        if isinstance(coding, dict) and isinstance(coding.get("code"), str):
            system = coding.get("system")
            yield (system if isinstance(system, str) else "", coding["code"])


def texts(concept: Any) -> Iterator[str]:
    """Give the text and the displays of a CodeableConcept."""
    if not isinstance(concept, dict):
        return
    if isinstance(concept.get("text"), str):
        yield concept["text"]
    listed = concept.get("coding")
    for coding in listed if isinstance(listed, list) else ():
        if isinstance(coding, dict) and isinstance(coding.get("display"), str):
            yield coding["display"]


# Conditions -------------------------------------------------------------------------------------
ACUTE_STROKE = CodeSet(
    "stroke, ischaemic or not yet specified",
    {
        SNOMED: (
            "422504002",  # ischaemic stroke
            "230690007",  # cerebrovascular accident
            "432504007",  # cerebral infarction
            "230698000",  # lacunar infarction
        )
    },
    icd10=("I63", "I64"),
)
HAEMORRHAGE = CodeSet(
    "intracranial haemorrhage",
    {
        SNOMED: (
            "1386000",  # intracranial haemorrhage
            "274100004",  # cerebral haemorrhage
            "230706003",  # haemorrhagic cerebral infarction
            "21454007",  # subarachnoid haemorrhage
            "35486000",  # subdural haemorrhage
            "95453001",  # subdural intracranial haemorrhage
            "230705004",  # doubtful: intracerebral haemorrhage, a subtype
        )
    },
    icd10=("I60", "I61", "I62", "S064", "S065", "S066"),
    words=r"h(a)?emorrhag(e|ic).{0,40}(stroke|infarct|transformation)"
    r"|(intra|sub|extra|epi)[-"
    r" ]?(cranial|cerebral|arachnoid|dural|ventricular).{0,30}(h(a)?emorrh|h(a)?ematoma|bleed)"
    r"|cerebral (h(a)?emorrh|h(a)?ematoma|bleed)|(h(a)?emorrhage|bleed).{0,20}(brain|intracranial)",
)
ATRIAL_FIBRILLATION = CodeSet(
    "atrial fibrillation",
    {
        SNOMED: (
            "49436004",  # atrial fibrillation
            "282825002",  # paroxysmal
            "440059007",  # persistent
            "440028005",  # permanent
            "426749004",  # chronic
        )
    },
    icd10=("I480", "I481", "I482", "I4891"),
)

# Imaging ----------------------------------------------------------------------------------------
HEAD_CT = CodeSet(
    "CT of the head",
    {
        LOINC: ("30799-1", "24725-4", "24727-0", "24726-2"),  # without, with or without, with contrast
        SNOMED: ("303653007",),
    },
)
INFARCT_VISIBLE = CodeSet(
    "infarct visible on CT",
    {SNOMED: ("432504007", "422504002", "230698000"), OWN: ("ct-infarct-visible",)},
    icd10=("I63",),
)
HAEMORRHAGE_EXCLUDED = CodeSet(
    "no haemorrhage on CT",
    {SNOMED: ("281900007",), OWN: ("ct-no-haemorrhage",)},  # no abnormality detected
)

# Observations -----------------------------------------------------------------------------------
SYSTOLIC = CodeSet("systolic blood pressure", {LOINC: ("8480-6",)})
PRESSURE_PANEL = CodeSet("blood pressure panel", {LOINC: ("85354-9", "8480-6")})
CONSCIOUSNESS = CodeSet(
    "level of consciousness",
    {OWN: ("consciousness",), LOINC: ("67775-7", "70184-7", "9269-2")},  # AVPU, NIHSS 1a, Glasgow total
)
NIHSS_TOTAL = CodeSet("NIH Stroke Scale total", {LOINC: ("72089-6",)})
YES = CodeSet("yes", {SNOMED: ("373066001",)})
NO = CodeSet("no", {SNOMED: ("373067005",)})
CANNOT_ASSESS = CodeSet("cannot be assessed", {OWN: ("cannot-assess",)})

# Drugs ------------------------------------------------------------------------------------------
ASPIRIN = CodeSet(
    "aspirin",
    {RXNORM: ("1191",), SNOMED: ("387458008", "7947003")},
    words=r"\b(aspirin|acetylsalicyl\w*|asa \d)",
)
HEPARIN = CodeSet(
    "unfractionated or low-molecular-weight heparin",
    {RXNORM: ("5224", "67108", "67109", "69646"), SNOMED: ("372877000",)},
    words=r"heparin|enoxaparin|dalteparin|tinzaparin|nadroparin|lovenox|clexane|fragmin",
)
ANTICOAGULANT = CodeSet(
    "anticoagulant",
    {
        RXNORM: (
            "11289",  # warfarin
            "5224",  # heparin
            "67108",  # enoxaparin
            "67109",  # dalteparin
            "69646",  # tinzaparin
            "321208",  # fondaparinux
            "1037042",  # dabigatran etexilate
            "1114195",  # rivaroxaban
            "1364430",  # apixaban
            "1599538",  # edoxaban
            "15202",  # argatroban
            "60819",  # doubtful: bivalirudin
            "154",  # doubtful: acenocoumarol
            "8150",  # doubtful: phenprocoumon
        ),
        SNOMED: ("372756006", "372877000"),  # warfarin, heparin
    },
    words=r"warfarin|coumadin|acenocoumarol|phenprocoumon|heparin|\w+parin\b|fondaparinux|dabigatran|pradaxa"
    r"|rivaroxaban|xarelto|apixaban|eliquis|edoxaban|lixiana|savaysa|betrixaban|argatroban|bivalirudin"
    r"|lovenox|clexane|fragmin|anticoagula",
)
THROMBOLYTIC = CodeSet(
    "thrombolytic drug",
    {RXNORM: ("8410", "259280", "76895", "10106")},  # alteplase, tenecteplase, reteplase, streptokinase
    words=r"\w+teplase|activase|actilyse|streptokinase|urokinase|thrombolysis|\b(r?t-?pa|tnk)\b",
)
BLEEDING_TENDENCY = CodeSet(
    "gastrointestinal bleeding, peptic ulcer or a clotting disorder",
    {
        SNOMED: (
            "74474003",  # gastrointestinal haemorrhage
            "13200003",  # peptic ulcer
            "90935002",  # haemophilia
        )
    },
    icd10=("K25", "K26", "K27", "K28", "K920", "K921", "K922", "D66", "D67", "D68"),
    words=r"gastrointestinal (h(a)?emorrhage|bleed)|(peptic|gastric|duodenal) ulcer|melena|h(a)?emophilia"
    r"|von willebrand",
)
REPERFUSION = CodeSet(
    "thrombolysis or thrombectomy",
    {SNOMED: ("472191000119101", "397046001", "433061001")},  # intravenous, thrombectomy; last doubtful
    words=r"thrombolysis|thrombectomy|\w+teplase",
)
ASPIRIN_ALLERGY = CodeSet(
    "allergy or intolerance to aspirin or NSAIDs",
    {
        RXNORM: ("1191",),
        SNOMED: (
            "387458008",  # aspirin, substance
            "7947003",  # aspirin, product
            "293586001",  # allergy to aspirin
            "293585002",  # allergy to salicylate
            "372665008",  # NSAID, substance
            "16403005",  # NSAID, product
            "293610009",  # doubtful: allergy to NSAID
        ),
    },
    words=r"aspirin|salicyl|nsaid|non-?steroid|ibuprofen|naproxen|diclofenac|ketorolac",
)
