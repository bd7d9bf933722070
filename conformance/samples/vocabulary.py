"""The codes that the synthetic records speak: LOINC, SNOMED CT, ICD-10-CM, RxNorm, CVX, UCUM.

Small tables of (code, display, …) in the frequencies a general hospital sees; the order of a table is its rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"


def concept(system: str, code: str, display: str, *more: tuple[str, str, str]) -> dict[str, Any]:
    """A CodeableConcept with its codings and the first display as text."""
    codings = [{"system": s, "code": c, "display": d} for s, c, d in ((system, code, display), *more)]
    return {"coding": codings, "text": display}


@dataclass(frozen=True)
class Measure:
    """What one kind of observation looks like: code, unit, usual mean and spread, reference range."""

    code: str
    display: str
    unit: str
    mean: float
    spread: float
    digits: int
    low: float | None = None
    high: float | None = None
    written: str = ""  # the unit as people write it; UCUM's code when empty


VITALS = {
    "pulse": Measure("8867-4", "Heart rate", "/min", 74, 11, 0, 60, 100, "beats/minute"),
    "breaths": Measure("9279-1", "Respiratory rate", "/min", 15, 2, 0, 12, 20, "breaths/minute"),
    "temperature": Measure("8310-5", "Body temperature", "Cel", 36.8, 0.35, 1, 36.1, 37.5),
    "saturation": Measure("2708-6", "Oxygen saturation in Arterial blood", "%", 97.2, 1.4, 0, 94, 100),
    "weight": Measure("29463-7", "Body weight", "kg", 78, 15, 1),
    "height": Measure("8302-2", "Body height", "cm", 170, 9, 1),
    "bmi": Measure("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", 27, 5, 1, 18.5, 25),
}
PRESSURE = ("85354-9", "Blood pressure panel with all children optional")
SYSTOLIC = ("8480-6", "Systolic blood pressure")
DIASTOLIC = ("8462-4", "Diastolic blood pressure")

GLUCOSE = Measure("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 94, 12, 0, 70, 99)
CREATININE = Measure("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.92, 0.2, 2, 0.6, 1.3)
EGFR = Measure(
    "33914-3", "Glomerular filtration rate/1.73 sq M.predicted [Volume Rate/Area] in Serum or Plasma by "
    "Creatinine-based formula (MDRD)", "mL/min/{1.73_m2}", 88, 16, 0, 60, None,
)  # fmt: skip
HBA1C = Measure("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 5.5, 0.4, 1, 4.0, 5.6)

PANELS: dict[str, tuple[str, str, tuple[Measure, ...]]] = {
    "metabolic": ("51990-0", "Basic metabolic panel - Blood", (
        GLUCOSE, CREATININE, EGFR,
        Measure("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", 14, 4, 0, 7, 20),
        Measure("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 139.5, 2.4, 0, 136, 145),
        Measure("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 4.2, 0.35, 1, 3.5, 5.1),
        Measure("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", 103, 2.6, 0, 98, 107),
        Measure("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", "mmol/L", 25, 2, 0, 22, 29),
        Measure("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 9.4, 0.4, 1, 8.6, 10.3),
    )),
    "count": ("58410-2", "CBC panel - Blood by Automated count", (
        Measure("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 13.9, 1.4, 1, 12, 17.5),
        Measure("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", "%", 41.5, 3.8, 1, 36, 52),
        Measure("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 7.1, 1.9, 1, 4.5, 11),
        Measure("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 248, 58, 0, 150, 450),
        Measure("789-8", "Erythrocytes [#/volume] in Blood by Automated count", "10*6/uL", 4.7, 0.5, 2, 4, 5.9),
        Measure("787-2", "MCV [Entitic volume] by Automated count", "fL", 89, 5, 1, 80, 100),
    )),
    "lipids": ("57698-3", "Lipid panel with direct LDL - Serum or Plasma", (
        Measure("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 186, 36, 0, None, 200),
        Measure("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 128, 48, 0, None, 150),
        Measure("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", 53, 13, 0, 40, None),
        Measure("18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay", "mg/dL",
                112, 30, 0, None, 130),
    )),
    "liver": ("24325-3", "Hepatic function 2000 panel - Serum or Plasma", (
        Measure("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L",
                26, 11, 0, 7, 56),
        Measure("1920-8", "Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L",
                24, 8, 0, 10, 40),
        Measure("6768-6", "Alkaline phosphatase [Enzymatic activity/volume] in Serum or Plasma", "U/L",
                74, 20, 0, 44, 147),
        Measure("1975-2", "Bilirubin.total [Mass/volume] in Serum or Plasma", "mg/dL", 0.6, 0.25, 1, 0.1, 1.2),
        Measure("1751-7", "Albumin [Mass/volume] in Serum or Plasma", "g/dL", 4.2, 0.35, 1, 3.5, 5.0),
    )),
}  # fmt: skip

SINGLES = {
    "hba1c": HBA1C,
    "tsh": Measure(
        "3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 2.1, 0.9, 2, 0.4, 4.5
    ),
    "crp": Measure("1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", 4, 6, 1, None, 8),
    "bnp": Measure(
        "30934-4", "Natriuretic peptide B [Mass/volume] in Serum or Plasma", "pg/mL", 310, 190, 0, None, 100
    ),
    "inr": Measure(
        "6301-6", "INR in Platelet poor plasma by Coagulation assay", "{INR}", 2.4, 0.5, 1, 2.0, 3.0
    ),
    "albuminuria": Measure(
        "14959-1", "Microalbumin/Creatinine [Mass Ratio] in Urine", "mg/g", 24, 22, 0, None, 30
    ),
    "ferritin": Measure("2276-4", "Ferritin [Mass/volume] in Serum or Plasma", "ng/mL", 88, 60, 0, 15, 150),
    "vitamin-d": Measure(
        "1989-3", "25-hydroxyvitamin D3 [Mass/volume] in Serum or Plasma", "ng/mL", 29, 9, 0, 30, 100
    ),
}
SMOKING = ("72166-2", "Tobacco smoking status")
SMOKERS = (
    ("266919005", "Never smoked tobacco"),
    ("8517006", "Ex-smoker"),
    ("449868002", "Smokes tobacco daily"),
)
MOOD = Measure(
    "44261-6", "Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]", "{score}", 5, 4, 0
)


@dataclass(frozen=True)
class Disease:
    """A lasting condition: who gets it, what is prescribed, measured and done for it."""

    snomed: str
    display: str
    icd: str
    onset: int  # the youngest usual age in years
    share: float  # of those older than onset
    drugs: tuple[str, ...] = ()
    labs: tuple[str, ...] = ()
    shifts: tuple[tuple[str, float], ...] = ()  # LOINC code → factor on the usual mean
    plan: str = ""


DISEASES = (
    Disease("59621000", "Essential hypertension", "I10", 38, 0.46, ("314076", "197361", "310798"), ("metabolic",),
            plan="Hypertension self management"),
    Disease("55822004", "Hyperlipidemia", "E78.5", 40, 0.40, ("312961", "259255"), ("lipids",),
            (("2093-3", 1.25), ("18262-6", 1.35), ("2571-8", 1.3))),
    Disease("414916001", "Obesity", "E66.9", 20, 0.30, (), ("lipids",), (("29463-7", 1.3), ("39156-5", 1.3))),
    Disease("44054006", "Type 2 diabetes mellitus", "E11.9", 40, 0.17, ("860975", "106892"),
            ("hba1c", "metabolic", "albuminuria"), (("4548-4", 1.36), ("2345-7", 1.6)), "Diabetes self management"),
    Disease("396275006", "Osteoarthritis", "M19.90", 50, 0.24, ("310965", "313782")),
    Disease("35489007", "Depressive disorder", "F32.9", 18, 0.12, ("312941",), ("mood",), (("44261-6", 2.4),)),
    Disease("235595009", "Gastroesophageal reflux disease", "K21.9", 30, 0.16, ("198051",)),
    Disease("40930008", "Hypothyroidism", "E03.9", 30, 0.08, ("966222",), ("tsh",), (("3016-3", 1.8),)),
    Disease("195967001", "Asthma", "J45.909", 5, 0.08, ("2123111", "895994")),
    Disease("13645005", "Chronic obstructive lung disease", "J44.9", 55, 0.09, ("896209", "2123111"), (),
            (("2708-6", 0.95),), "Chronic obstructive pulmonary disease clinical management plan"),
    Disease("53741008", "Coronary arteriosclerosis", "I25.10", 55, 0.12, ("243670", "259255", "866514"), ("lipids",)),
    Disease("433144002", "Chronic kidney disease stage 3", "N18.3", 55, 0.10, ("314076",), ("metabolic",),
            (("2160-0", 1.75), ("33914-3", 0.5), ("3094-0", 1.7))),
    Disease("49436004", "Atrial fibrillation", "I48.91", 60, 0.09, ("855332", "866514"), ("inr",)),
    Disease("84114007", "Heart failure", "I50.9", 62, 0.07, ("313988", "314076"), ("bnp", "metabolic"), (),
            "Heart failure self management plan"),
    Disease("271737000", "Anemia", "D64.9", 20, 0.07, ("310325",), ("count", "ferritin"),
            (("718-7", 0.77), ("4544-3", 0.78), ("2276-4", 0.3))),
    Disease("64859006", "Osteoporosis", "M81.0", 60, 0.12, (), ("vitamin-d",)),
    Disease("197480006", "Anxiety disorder", "F41.9", 18, 0.11, ("312941",), ("mood",), (("44261-6", 1.6),)),
    Disease("69896004", "Rheumatoid arthritis", "M06.9", 35, 0.015, ("310965",), ("crp", "count"), (("1988-5", 4.0),)),
)  # fmt: skip

EPISODES = (  # what brings people in between: SNOMED, display, ICD-10-CM, drug, fever
    ("444814009", "Viral sinusitis", "J01.90", None, 0.4),
    ("195662009", "Acute viral pharyngitis", "J02.9", "313782", 0.8),
    ("10509002", "Acute bronchitis", "J20.9", "313782", 0.7),
    ("68566005", "Urinary tract infectious disease", "N39.0", "562251", 0.6),
    ("44465007", "Sprain of ankle", "S93.409A", "310965", 0.0),
    ("278860009", "Chronic low back pain", "M54.5", "849574", 0.0),
    ("65363002", "Otitis media", "H66.90", "308182", 1.0),
    ("25064002", "Headache", "R51", "313782", 0.1),
    ("43878008", "Streptococcal sore throat", "J02.0", "834061", 1.3),
    ("233604007", "Pneumonia", "J18.9", "562251", 1.8),
    (
        "840539006",
        "Disease caused by severe acute respiratory syndrome coronavirus 2",
        "U07.1",
        "313782",
        1.5,
    ),
    ("263102004", "Fracture subluxation of wrist", "S62.90XA", "313782", 0.0),
    ("706870000", "Acute pulmonary embolism", "I26.99", "855332", 0.3),
    ("422504002", "Ischemic stroke", "I63.9", "243670", 0.1),
)

DRUGS = {
    "314076": ("lisinopril 10 MG Oral Tablet", "1 tablet by mouth once a day", 1),
    "197361": ("amlodipine 5 MG Oral Tablet", "1 tablet by mouth once a day", 1),
    "310798": ("hydrochlorothiazide 25 MG Oral Tablet", "1 tablet by mouth in the morning", 1),
    "312961": ("simvastatin 20 MG Oral Tablet", "1 tablet by mouth at bedtime", 1),
    "259255": ("atorvastatin 80 MG Oral Tablet", "1 tablet by mouth at bedtime", 1),
    "860975": ("24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet", "1 tablet with the meal", 2),
    "106892": ("insulin isophane, human 70 UNT/ML / insulin, regular, human 30 UNT/ML Injectable Suspension "
               "[Humulin]", "inject under the skin before breakfast and dinner", 2),
    "310965": ("ibuprofen 200 MG Oral Tablet", "1 tablet by mouth as needed", 3),
    "313782": ("acetaminophen 325 MG Oral Tablet", "1 to 2 tablets by mouth as needed", 4),
    "312941": ("sertraline 50 MG Oral Tablet", "1 tablet by mouth once a day", 1),
    "198051": ("omeprazole 20 MG Delayed Release Oral Capsule", "1 capsule before breakfast", 1),
    "966222": ("levothyroxine sodium 0.075 MG Oral Tablet", "1 tablet on an empty stomach", 1),
    "2123111": ("NDA020503 200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", "2 puffs as needed", 4),
    "895994": ("120 ACTUAT fluticasone propionate 0.044 MG/ACTUAT Metered Dose Inhaler", "1 puff twice a day", 2),
    "896209": ("60 ACTUAT fluticasone propionate 0.25 MG/ACTUAT / salmeterol 0.05 MG/ACTUAT Dry Powder Inhaler",
               "1 inhalation twice a day", 2),
    "243670": ("aspirin 81 MG Oral Tablet", "1 tablet by mouth once a day", 1),
    "866514": ("metoprolol tartrate 50 MG Oral Tablet", "1 tablet by mouth twice a day", 2),
    "855332": ("warfarin sodium 5 MG Oral Tablet", "1 tablet by mouth in the evening", 1),
    "313988": ("furosemide 40 MG Oral Tablet", "1 tablet by mouth in the morning", 1),
    "310325": ("ferrous sulfate 325 MG Oral Tablet", "1 tablet by mouth once a day", 1),
    "562251": ("amoxicillin 250 MG / clavulanate 125 MG Oral Tablet", "1 tablet three times a day for 7 days", 3),
    "308182": ("amoxicillin 250 MG Oral Capsule", "1 capsule three times a day for 7 days", 3),
    "834061": ("penicillin V potassium 250 MG Oral Tablet", "1 tablet four times a day for 10 days", 4),
    "849574": ("naproxen sodium 220 MG Oral Tablet", "1 tablet twice a day as needed", 2),
}  # fmt: skip

ALLERGIES = (  # SNOMED, display, category, reaction
    ("91936005", "Allergy to penicillin", "medication", ("247472004", "Wheal")),
    ("419263009", "Allergy to tree pollen", "environment", ("162367006", "Itching of eye")),
    ("232350006", "House dust mite allergy", "environment", ("76067001", "Sneezing")),
    ("91935009", "Allergy to peanuts", "food", ("39579001", "Anaphylaxis")),
    ("300916003", "Latex allergy", "environment", ("271807003", "Eruption of skin")),
    ("300913006", "Shellfish allergy", "food", ("126485001", "Urticaria")),
    ("293586001", "Allergy to aspirin", "medication", ("267036007", "Dyspnea")),
)
VACCINES = (  # CVX, display, every how many years, from which age
    ("140", "Influenza, seasonal, injectable, preservative free", 1, 1),
    ("208", "COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose", 3, 12),
    ("113", "Td (adult), 5 Lf tetanus toxoid, preservative free, adsorbed", 10, 20),
    ("33", "pneumococcal polysaccharide PPV23", 30, 65),
    ("121", "zoster live", 30, 60),
)
PROCEDURES = (
    ("430193006", "Medication reconciliation", 0.34),
    ("29303009", "Electrocardiographic procedure", 0.2),
    ("399208008", "Plain X-ray of chest", 0.12),
    ("73761001", "Colonoscopy", 0.06),
    ("127783003", "Spirometry", 0.06),
    ("76601001", "Intramuscular injection", 0.05),
    ("40701008", "Echocardiography", 0.05),
    ("312681000", "Bone density scan", 0.03),
    ("77477000", "Computed tomography", 0.03),
    ("71651007", "Mammography", 0.03),
    ("415070008", "Percutaneous coronary intervention", 0.015),
    ("80146002", "Excision of appendix", 0.005),
)
VISITS = (  # class, SNOMED, display, share, hours
    ("AMB", "185349003", "Encounter for check up", 0.46, 0.5),
    ("AMB", "390906007", "Follow-up encounter", 0.28, 0.4),
    ("AMB", "185345009", "Encounter for symptom", 0.16, 0.3),
    ("EMER", "50849002", "Emergency room admission", 0.06, 5.0),
    ("IMP", "183452005", "Emergency hospital admission", 0.04, 90.0),
)
