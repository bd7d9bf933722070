"""What labels of the United States say on prescribing with reduced kidneys: the table of the service.

One row is one sentence of one label. A row is here only because its sentence was read, at `url`, in a
copy of the label. `set_id` and `version` are those that the copy states; where it states none they are
those of the brand's label, in which a later reading (`confirmed`) found the same figures. The sentences
are in `renal_labels.json`: quotations of label texts, which are public (open.fda.gov/license); the
advice is ours. The table is not complete: a drug without a row has not been looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import inf

from cds_hooks.facts.renal import Kidney


@dataclass(frozen=True, slots=True)
class Label:
    """A sentence of a label, word by word, with where it stands and where it was read.

    `confirmed`: where the same figures were read in the label of `set_id`, for a copy that names none.
    """

    product: str
    sentence: str
    url: str
    section: str
    set_id: str
    version: str
    confirmed: str = ""

    @property
    def address(self) -> str:
        """Where the label stands now: DailyMed's page of its set id."""
        return f"https://dailymed.nlm.nih.gov/dailymed/drugInfo.cfm?setid={self.set_id}"

    @property
    def name(self) -> str:
        """What to call the source on a card."""
        return f"Label of {self.product} (US)"


@dataclass(frozen=True, slots=True)
class Range:
    """Between two numbers, the lower end included (`above`: not), the upper one not (`closed`: it is)."""

    low: float = -inf
    high: float = inf
    closed: bool = False
    above: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a value, as it is shown, lies in the range.

        >>> Range(15, 30, closed=True).holds(30.0), Range(high=30).holds(30.0)
        (True, False)
        """
        if value == self.low and self.above:
            return False
        return self.low <= value < self.high or (self.closed and value == self.high)

    def __str__(self) -> str:
        upper = f"{'at most' if self.closed else 'below'} {self.high:g}"
        if self.high == inf:
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        return upper if self.low == -inf else f"at least {self.low:g} and {upper}"


EGFR, CLEARANCE, APIXABAN = "eGFR", "CrCl", "apixaban criteria"
UNITS: Mapping[str, str] = {EGFR: "mL/min/1.73 m²", CLEARANCE: "mL/min", APIXABAN: "of 3"}


def _apixaban(kidney: Kidney) -> float | None:
    if kidney.creatinine is None or kidney.weight is None or kidney.age_years is None or kidney.refusals:
        return None
    return float(
        (kidney.age_years >= 80)
        + (round(kidney.weight.value, 6) <= 60)
        + (round(kidney.creatinine.value, 6) >= 1.5)
    )


MEASURES: Mapping[str, Callable[[Kidney], float | None]] = {
    EGFR: lambda kidney: kidney.egfr,
    CLEARANCE: lambda kidney: kidney.clearance,
    APIXABAN: _apixaban,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: `drugs` together in one order, the measure, the range, what then; `only` new or running.

    `strength`: `contraindicated`, `avoid`, `not to be started` or `adjust`.
    """

    id: str
    drugs: tuple[str, ...]
    measure: str
    range: Range
    strength: str
    advice: str
    only: str = ""

    @property
    def label(self) -> Label:
        """The sentence of the label that the row rests on."""
        return labels()[self.id]


@cache
def labels() -> Mapping[str, Label]:
    """Return the label sentences by the id of their rule."""
    text = (files(__package__) / "renal_labels.json").read_text(encoding="utf-8")
    return {key: Label(**entry) for key, entry in json.loads(text).items()}


RULES: tuple[Rule, ...] = (
    Rule(
        "metformin-below-30",
        ("metformin",),
        EGFR,
        Range(high=30),
        "contraindicated",
        "Do not give metformin. If it runs, stop it.",
    ),
    Rule(
        "metformin-start-30-45",
        ("metformin",),
        EGFR,
        Range(30, 45, closed=True),
        "not to be started",
        "Starting metformin is not recommended at this eGFR.",
        only="new",
    ),
    Rule(
        "metformin-continue-below-45",
        ("metformin",),
        EGFR,
        Range(30, 45),
        "adjust",
        "Weigh benefits against risks before continuing.",
        only="running",
    ),
    Rule(
        "enoxaparin-below-30",
        ("enoxaparin",),
        CLEARANCE,
        Range(high=30),
        "adjust",
        "Use the regimens of the label's Table 1 (once daily: 30 mg for prophylaxis, 1 mg/kg for treatment).",
    ),
    Rule(
        "dabigatran-15-to-30",
        ("dabigatran etexilate",),
        CLEARANCE,
        Range(15, 30, closed=True),
        "adjust",
        "In non-valvular atrial fibrillation 75 mg twice daily; for venous thromboembolism there is no dose.",
    ),
    Rule(
        "dabigatran-below-15",
        ("dabigatran etexilate",),
        CLEARANCE,
        Range(high=15),
        "avoid",
        "The label has no dose for this clearance.",
    ),
    Rule(
        "rivaroxaban-15-to-50",
        ("rivaroxaban",),
        CLEARANCE,
        Range(15, 50, closed=True),
        "adjust",
        "In non-valvular atrial fibrillation 15 mg once daily with the evening meal; other uses differ.",
    ),
    Rule(
        "rivaroxaban-below-15",
        ("rivaroxaban",),
        CLEARANCE,
        Range(high=15),
        "avoid",
        "Avoid for venous thromboembolism; for atrial fibrillation read the label.",
    ),
    Rule(
        "edoxaban-above-95",
        ("edoxaban",),
        CLEARANCE,
        Range(95, above=True),
        "avoid",
        "In non-valvular atrial fibrillation use another anticoagulant.",
    ),
    Rule(
        "apixaban-two-of-three",
        ("apixaban",),
        APIXABAN,
        Range(2),
        "adjust",
        "In non-valvular atrial fibrillation 2.5 mg twice daily; other uses differ.",
    ),
    Rule(
        "fondaparinux-below-30",
        ("fondaparinux",),
        CLEARANCE,
        Range(high=30),
        "contraindicated",
        "Do not give fondaparinux.",
    ),
    Rule(
        "gabapentin-below-60",
        ("gabapentin",),
        CLEARANCE,
        Range(high=60),
        "adjust",
        "Reduce dose and frequency by the label's Table 1.",
    ),
    Rule(
        "pregabalin-below-60",
        ("pregabalin",),
        CLEARANCE,
        Range(high=60),
        "adjust",
        "Reduce the daily dose by the label's table.",
    ),
    Rule(
        "levetiracetam-at-most-80",
        ("levetiracetam",),
        CLEARANCE,
        Range(high=80, closed=True),
        "adjust",
        "Keep to the label's range of doses. Its clearance is per 1.73 m²: multiply the one shown here by"
        " 1.73 and divide it by the patient's body surface in m² before you choose the range.",
    ),
    Rule(
        "nitrofurantoin-below-60",
        ("nitrofurantoin",),
        CLEARANCE,
        Range(high=60),
        "contraindicated",
        "Do not give nitrofurantoin.",
    ),
    Rule(
        "levofloxacin-below-50",
        ("levofloxacin",),
        CLEARANCE,
        Range(high=50),
        "adjust",
        "Lower or space the doses by the label's Table 3.",
    ),
    Rule(
        "co-trimoxazole-15-to-30",
        ("sulfamethoxazole", "trimethoprim"),
        CLEARANCE,
        Range(15, 30, closed=True),
        "adjust",
        "Half the usual regimen.",
    ),
    Rule(
        "co-trimoxazole-below-15",
        ("sulfamethoxazole", "trimethoprim"),
        CLEARANCE,
        Range(high=15),
        "avoid",
        "Use is not recommended.",
    ),
    Rule(
        "valacyclovir-below-50",
        ("valacyclovir",),
        CLEARANCE,
        Range(high=50),
        "adjust",
        "Reduce by the label's Table 1; for 30 to 49 mL/min that depends on the indication.",
    ),
    Rule(
        "rosuvastatin-below-30",
        ("rosuvastatin",),
        EGFR,
        Range(high=30),
        "adjust",
        "Start with 5 mg once daily, at most 10 mg. (The label indexes the clearance; the eGFR is used.)",
    ),
    Rule(
        "sitagliptin-below-45",
        ("sitagliptin",),
        EGFR,
        Range(high=45),
        "adjust",
        "50 mg once daily from 30 to below 45, 25 mg below 30 mL/min/1.73 m².",
    ),
    Rule(
        "memantine-5-to-29",
        ("memantine",),
        CLEARANCE,
        Range(5, 30),
        "adjust",
        "Target dose 5 mg twice daily (tablets, oral solution).",
    ),
    Rule(
        "zoledronic-acid-below-35",
        ("zoledronic acid",),
        CLEARANCE,
        Range(high=35),
        "contraindicated",
        "Contraindicated in osteoporosis and Paget's disease; for cancer Zometa's label has its own doses.",
    ),
    Rule(
        "alendronate-below-35",
        ("alendronate",),
        CLEARANCE,
        Range(high=35),
        "avoid",
        "Not recommended at this clearance.",
    ),
    Rule(
        "duloxetine-below-30",
        ("duloxetine",),
        EGFR,
        Range(high=30),
        "avoid",
        "Avoid at this filtration rate.",
    ),
    Rule(
        "eplerenone-at-most-30",
        ("eplerenone",),
        CLEARANCE,
        Range(high=30, closed=True),
        "contraindicated",
        "Do not give eplerenone. (For hypertension the label forbids it below 50 mL/min as well.)",
    ),
)
