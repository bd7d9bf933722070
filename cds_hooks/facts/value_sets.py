"""The code sets that the services read: SNOMED CT, LOINC, RxNorm and ICD-10, as facts.

A set holds a CodeableConcept by an exact coding, by the beginning of an ICD-10 code, or, where
missing one would harm (a drug that forbids the suggestion, a haemorrhage), also by a word in the
display or text: hospitals code products and local terms that no list of ingredients holds.
Words are only ever used to refuse, never to suggest.

Every code was read with its display in a published source: the value sets of the stroke, statin
and thrombosis quality measures (cqframework/ecqm-content-qicore-2024, 9ebd48f, and -r4-2021,
0be9c68), HL7's packages (R4 4.0.1, US Core 7.0.0, IPS 1.1.0), and for RxNorm ingredients, ICD-10 and
allergy findings public code lists and examples that pair the code with its name. A code that
could not be read anywhere is not here; leaving one out makes a service silent, never bold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cds_hooks.facts.medication_products import of_code

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
        return self.holds_code(concept) or self._has_word_in(texts(concept))

    def holds_said(self, said: Said) -> bool:
        """Say whether what a CodeableConcept says is in the set, by code or by word."""
        return self.holds_any(said.codings) or self._has_word_in(said.texts)

    def _has_word_in(self, found: Iterable[str]) -> bool:
        return self._pattern is not None and any(map(self._pattern.search, found))

    def holds_code(self, concept: Any) -> bool:
        """Say whether one of the codings of the CodeableConcept is in the set."""
        return self.holds_any(frozenset(codings(concept)))

    def holds_any(self, said: frozenset[tuple[str, str]]) -> bool:
        """Say whether one of some codings, as (system, code), is in the set.

        An RxNorm product is, when one of its ingredients is: a set of anticoagulants lists warfarin, and a
        hospital orders `warfarin sodium 5 MG Oral Tablet`.

        >>> ANTICOAGULANT.holds_any(frozenset({(RXNORM, "855332")}))
        True
        """
        if not self._members.isdisjoint(said):
            return True
        if RXNORM in self.codes:
            for system, code in said:
                if system == RXNORM and any((RXNORM, part.code) in self._members for part in of_code(code)):
                    return True
        return bool(self.icd10) and any(
            system in ICD10 and code.replace(".", "").upper().startswith(self.icd10) for system, code in said
        )

    def among(self, said: Mapping[tuple[str, str], object]) -> list[tuple[str, str]]:
        """Return those of the codings, as (system, code), that are in the set."""
        if self.icd10:
            return [coding for coding in said if self.holds_any(frozenset((coding,)))]
        return [coding for coding in self._members if coding in said]

    def token(self) -> str:
        """Return the codes as the value of a token search parameter, in a fixed order."""
        return ",".join(f"{system}|{code}" for system, codes in self.codes.items() for code in codes)


class Said(NamedTuple):
    """What a CodeableConcept says, read once to be held against many sets."""

    codings: frozenset[tuple[str, str]]
    texts: tuple[str, ...]

    @classmethod
    def by(cls, concept: Any) -> Said:
        """Read a CodeableConcept; one of another shape says nothing.

        >>> Said.by({"coding": [{"system": RXNORM, "code": "1191", "display": "aspirin"}], "text": "aspirin"})
        Said(codings=frozenset({('http://www.nlm.nih.gov/research/umls/rxnorm', '1191')}), texts=('aspirin',))
        """
        return cls(frozenset(codings(concept)), tuple(dict.fromkeys(texts(concept))))


def codings(concept: Any) -> list[tuple[str, str]]:
    """Return (system, code) of each coding of a CodeableConcept; nothing for another shape."""
    listed = concept.get("coding") if isinstance(concept, dict) else None
    if not isinstance(listed, list):
        return []
    return [
        (system if isinstance(system := coding.get("system"), str) else "", coding["code"])
        for coding in listed
        if isinstance(coding, dict) and isinstance(coding.get("code"), str)
    ]


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
            "111297002",  # nonparalytic stroke
            "116288000",  # paralytic stroke
            "195185009",  # infarct due to thrombosis of precerebral arteries
            "195186005",  # … embolism of precerebral arteries
            "195189003",  # … thrombosis of cerebral arteries
            "195190007",  # … embolism of cerebral arteries
            "195212005",  # brainstem stroke syndrome
            "195213000",  # cerebellar stroke syndrome
            "195216008",  # left hemisphere
            "195217004",  # right hemisphere
            "230691006",  # due to occlusion of a cerebral artery
            "230692004",  # infarction, precerebral
            "230693009",  # anterior circulation
            "230694003",  # total anterior circulation
            "230695002",  # partial anterior circulation
            "230696001",  # posterior circulation
            "230698000",  # lacunar infarction
            "230699008",  # pure motor
            "230700009",  # pure sensory
            "230701008",  # pure sensorimotor
            "307363008",  # multiple lacunar infarcts
            "426107000",  # acute lacunar infarction
        )
    },
    icd10=("I63", "I64"),
)
VENOUS_STROKE = CodeSet(
    "cerebral venous thrombosis",
    {SNOMED: ("195230003",)},  # cerebral infarction due to cerebral venous thrombosis, non-pyogenic
    icd10=("I636", "I676", "G08"),
    words=r"(cerebral|sinus|intracranial).{0,12}veno?us.{0,12}thrombos|venous sinus thrombos",
)
"""Its treatment is heparin in full dose; the trial's arterial strokes say nothing about it."""
HAEMORRHAGE = CodeSet(
    "intracranial haemorrhage",
    {
        SNOMED: (
            "1386000",  # intracranial haemorrhage
            "274100004",  # cerebral haemorrhage
            "449020009",  # intraparenchymal haemorrhage of the brain
            "230706003",  # haemorrhagic cerebral infarction
            "230707007",  # … anterior circulation
            "230708002",  # … posterior circulation
            "21454007",  # subarachnoid haemorrhage
            "270907008",  # spontaneous subarachnoid haemorrhage
            "195155004",  # … from carotid siphon and bifurcation
            "195160000",  # … from vertebral artery
            "276277008",  # … from multiple aneurysms
            "276278003",  # … anterior cerebral artery aneurysm
            "276280009",  # … middle cerebral artery aneurysm
            "276281008",  # … posterior cerebral artery aneurysm
            "276282001",  # … anterior communicating artery aneurysm
            "276283006",  # … posterior communicating artery aneurysm
            "276284000",  # … basilar artery aneurysm
            "276285004",  # … posterior inferior cerebellar artery aneurysm
            "276286003",  # … carotid artery aneurysm
            "35486000",  # subdural haemorrhage
            "95453001",  # subdural haematoma
            "195165005",  # basal ganglia
            "195167002",  # external capsule
            "195168007",  # intracerebral with intraventricular
            "195169004",  # intracerebral, multiple
            "20908003",  # subcortical
            "230709005",  # massive supratentorial
            "230710000",  # lobar
            "230711001",  # thalamic
            "230712008",  # lacunar
            "23276006",  # ventricular
            "425957003",  # non-traumatic ventricular
            "276722003",  # intracerebellar and posterior fossa
            "28318001",  # basilar
            "42429001",  # cerebromeningeal
            "49422009",  # cortical
            "52201006",  # internal capsule
            "73020009",  # cerebral hemisphere
            "75038005",  # cerebellar
            "7713009",  # intrapontine
            "95454007",  # brain stem
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
            "706923002",  # longstanding persistent
            "195080001",  # fibrillation and flutter
            "120041000119109",  # with rapid ventricular response
            "1010405004",  # paroxysmal, with rapid ventricular response
            "233910005",  # lone
            "233911009",  # non-rheumatic
            "300996004",  # controlled
            "314208002",  # rapid
            "715395008",  # familial
            "762247006",  # preexcited
        )
    },
    icd10=("I480", "I481", "I482", "I4891"),
)

# Imaging ----------------------------------------------------------------------------------------
HEAD_CT = CodeSet(
    "CT of the head",
    {
        LOINC: ("30799-1", "24725-4", "24727-0", "24726-2"),  # without contrast, not said, with, both
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
    {RXNORM: ("5224", "67108", "67109", "69646", "67031", "75960", "280611"), SNOMED: ("372877000",)},
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
            "67031",  # nadroparin
            "75960",  # reviparin
            "78484",  # danaparoid
            "280611",  # bemiparin
            "1927851",  # betrixaban
            "114934",  # desirudin
            "50097",  # fluindione
            "8130",  # phenindione
            "60819",  # bivalirudin
            "154",  # acenocoumarol
            "8150",  # phenprocoumon
        ),
        SNOMED: ("372756006", "372877000"),  # warfarin, heparin
    },
    words=r"warfarin|coumadin|acenocoumarol|phenprocoumon|heparin|\w+parin\b|fondaparinux|dabigatran|pradaxa"
    r"|rivaroxaban|xarelto|apixaban|eliquis|edoxaban|lixiana|savaysa|betrixaban|argatroban|bivalirudin"
    r"|lovenox|clexane|fragmin|anticoagula",
)
THROMBOLYTIC = CodeSet(
    "thrombolytic drug",
    {
        RXNORM: (
            "8410",  # alteplase
            "259280",  # tenecteplase
            "76895",  # reteplase
            "10106",  # streptokinase
            "11055",  # urokinase
            "40028",  # anistreplase
        )
    },
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
    icd10=(
        *("K25", "K26", "K27", "K28", "K920", "K921", "K922", "D66", "D67"),
        *("D680", "D681", "D682", "D683", "D684", "D688", "D689"),  # D685, D686: thrombophilia
    ),
    words=r"gastrointestinal (h(a)?emorrhage|bleed)|(peptic|gastric|duodenal) ulcer|melena|h(a)?emophilia"
    r"|von willebrand",
)
REPERFUSION = CodeSet(
    "thrombolysis or thrombectomy",
    {
        SNOMED: (
            "472191000119101",  # thrombolysis of a cerebral artery by intravenous infusion
            "307521008",  # intravenous infusion of a thrombolytic
            "69245005",  # intra-arterial infusion of a thrombolytic
            "230934004",  # thrombolysis of an intracranial vessel
            "230935003",  # percutaneous thrombolysis of an intracranial artery
            "440235008",  # percutaneous thrombolysis of a cerebral artery
            "418491007",  # angiography and thrombolysis of an intracranial artery
            "397046001",  # thrombectomy of an artery
            "439541007",  # percutaneous thrombectomy of a cerebral artery
            "39887009",  # thrombectomy of a carotid artery with a catheter
        )
    },
    icd10=("Z9282",),  # tPA given elsewhere within 24 hours before admission
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
            "293610009",  # allergy to NSAID
        ),
    },
    words=r"aspirin|salicyl|nsaid|non-?steroid|ibuprofen|naproxen|diclofenac|ketorolac",
)
NO_ALLERGY = CodeSet(
    "no known allergy",
    {SNOMED: ("716186003", "409137002")},  # no known allergy, no known drug allergy
)
