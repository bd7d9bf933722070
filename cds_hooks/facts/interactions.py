"""Fifteen pairs of drug classes that should not meet: the list commissioned by ONC, as sets of ingredients.

Phansalkar et al., J Am Med Inform Assoc 2012;19:735 (table 2) names the pairs that every record system
should interrupt for. The classes here are our own: of what the paper names, the ingredients for which a
strong or contraindicated effect is meant, without drugs that have left the market. Each row has the
shape of the minimum information model for potential drug interactions (W3C community group, 2019), and a
sentence of one label of the United States beside it (`interaction_labels.json`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PAPER = "https://doi.org/10.1136/amiajnl-2011-000612"
TABLE = "https://pmc.ncbi.nlm.nih.gov/articles/PMC3422823/table/tbl2"

_MAO = ("tranylcypromine", "phenelzine", "isocarboxazid", "selegiline", "procarbazine")
_PROTEASE = (
    "atazanavir", "darunavir", "fosamprenavir", "indinavir", "lopinavir", "nelfinavir", "ritonavir",
    "saquinavir", "tipranavir",
)  # fmt: skip
_CYP3A4 = ("ketoconazole", "itraconazole", "voriconazole", "posaconazole", "clarithromycin", "telithromycin",
           "nefazodone", *_PROTEASE)  # fmt: skip
_QT = (
    "amiodarone", "arsenic trioxide", "azithromycin", "chloroquine", "chlorpromazine", "citalopram",
    "clarithromycin", "disopyramide", "dofetilide", "dronedarone", "droperidol", "erythromycin",
    "escitalopram", "flecainide", "haloperidol", "ibutilide", "methadone", "moxifloxacin", "ondansetron",
    "pentamidine", "pimozide", "procainamide", "quinidine", "sotalol", "thioridazine", "vandetanib",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quotation:
    """A sentence of one label, where it stands and where it was read; `set_id` "" where that is not told."""

    product: str
    section: str
    sentence: str
    set_id: str
    version: str
    url: str

    @property
    def place(self) -> str:
        """Where the sentence stands, in words."""
        known = f"SPL set id {self.set_id}; " if self.set_id else ""
        return f"Label of {self.product}, {self.section}; {known}{self.version}."


@dataclass(frozen=True, slots=True)
class Pair:
    """One interaction: two classes, what happens, why, what to do, and on what that rests."""

    id: str
    title: str
    objects: tuple[str, ...]
    precipitants: tuple[str, ...]
    consequence: str
    mechanism: str
    action: str
    seriousness: str = "high: one of the 15 pairs of the ONC high-priority list"
    frequency: str = "not stated by the source"
    modifiers: str = "dose, route and the time between the drugs"
    evidence: str = "expert panel of the ONC list"

    @property
    def label(self) -> Quotation:
        """A label that says it of one drug of a class; those of the others were not read."""
        return labels()[self.id]


@cache
def labels() -> Mapping[str, Quotation]:
    """Return the label sentences by the id of their pair."""
    text = (files(__package__) / "interaction_labels.json").read_text(encoding="utf-8")
    return {key: Quotation(**entry) for key, entry in json.loads(text).items()}


PAIRS: tuple[Pair, ...] = (
    Pair(
        "amphetamine-mao", "Amphetamine derivative with MAO inhibitor",
        ("amphetamine", "dextroamphetamine", "methamphetamine", "lisdexamfetamine", "methylphenidate",
         "dexmethylphenidate", "phentermine", "phendimetrazine", "benzphetamine", "diethylpropion",
         "pseudoephedrine", "atomoxetine"),
        _MAO, "hypertensive crisis", "noradrenaline is released and not broken down",
        "Do not combine; keep the label's interval after an MAO inhibitor.",
    ),
    Pair(
        "atazanavir-proton-pump", "Atazanavir with proton pump inhibitor", ("atazanavir",),
        ("omeprazole", "esomeprazole", "lansoprazole", "dexlansoprazole", "pantoprazole", "rabeprazole"),
        "loss of antiviral effect and resistance", "atazanavir needs an acid stomach to be absorbed",
        "Avoid; ask who leads the HIV treatment.",
    ),
    Pair(
        "febuxostat-thiopurine", "Febuxostat with azathioprine or mercaptopurine", ("febuxostat",),
        ("azathioprine", "mercaptopurine"), "severe bone marrow toxicity",
        "febuxostat blocks xanthine oxidase, which breaks thiopurines down", "Do not combine.",
    ),
    Pair(
        "ssri-mao", "Serotonin reuptake inhibitor with MAO inhibitor",
        ("fluoxetine", "paroxetine", "citalopram", "escitalopram", "sertraline", "fluvoxamine", "duloxetine",
         "venlafaxine", "desvenlafaxine", "milnacipran", "nefazodone"),
        _MAO, "serotonin syndrome", "serotonin is neither taken up nor broken down",
        "Do not combine; keep the label's interval, which is longest after fluoxetine.",
    ),
    Pair(
        "irinotecan-cyp3a4", "Irinotecan with strong CYP3A4 inhibitor", ("irinotecan",), _CYP3A4,
        "severe neutropenia and diarrhoea", "irinotecan and its active metabolite are broken down less",
        "Avoid; ask who leads the chemotherapy.",
    ),
    Pair(
        "opioid-mao", "Opioid that acts on serotonin, or dextromethorphan, with MAO inhibitor",
        ("meperidine", "tramadol", "tapentadol", "methadone", "fentanyl", "dextromethorphan"),
        _MAO, "serotonin syndrome, respiratory depression", "serotonin is not taken up and not broken down",
        "Do not combine; choose another pain killer.",
    ),
    Pair(
        "tricyclic-mao", "Tricyclic antidepressant with MAO inhibitor",
        ("amitriptyline", "nortriptyline", "imipramine", "desipramine", "clomipramine", "doxepin",
         "protriptyline", "trimipramine"),
        _MAO, "hyperpyretic crisis, seizures, serotonin syndrome",
        "amines are neither taken up nor broken down", "Do not combine; keep the label's interval.",
    ),
    Pair(
        "qt-qt", "Two drugs that prolong the QT interval", _QT, _QT, "torsade de pointes",
        "both slow the repolarisation of the heart",
        "Avoid where another drug will do; else ECG, potassium and magnesium before and after.",
    ),
    Pair(
        "ramelteon-fluvoxamine", "Ramelteon with strong CYP1A2 inhibitor", ("ramelteon",), ("fluvoxamine",),
        "many times the exposure to ramelteon", "ramelteon is broken down by CYP1A2", "Do not combine.",
    ),
    Pair(
        "protease-inhibitor-inducer", "HIV protease inhibitor with strong CYP3A4 inducer", _PROTEASE,
        ("rifampin", "rifapentine", "carbamazepine"), "loss of antiviral effect and resistance",
        "the protease inhibitor is broken down faster", "Avoid; ask who leads the HIV treatment.",
    ),
    Pair(
        "statin-cyp3a4", "Simvastatin or lovastatin with strong CYP3A4 inhibitor",
        ("simvastatin", "lovastatin"),
        (*_CYP3A4, "erythromycin"), "rhabdomyolysis", "both statins are broken down by CYP3A4",
        "Pause the statin, or choose one that CYP3A4 does not break down.",
    ),
    Pair(
        "tizanidine-cyp1a2", "Tizanidine with ciprofloxacin or fluvoxamine", ("tizanidine",),
        ("ciprofloxacin", "fluvoxamine"), "severe hypotension and sedation",
        "tizanidine is broken down by CYP1A2", "Do not combine.",
    ),
    Pair(
        "tranylcypromine-procarbazine", "Tranylcypromine with procarbazine", ("tranylcypromine",),
        ("procarbazine",), "hypertensive crisis, seizures", "both inhibit monoamine oxidase",
        "Do not combine.",
    ),
    Pair(
        "triptan-mao", "Triptan with MAO inhibitor", ("sumatriptan", "rizatriptan", "zolmitriptan"),
        ("tranylcypromine", "phenelzine", "isocarboxazid"),
        "coronary and other vasospasm, serotonin syndrome",
        "these triptans are broken down by MAO-A", "Do not combine; keep the label's interval.",
    ),
    Pair(
        "ergot-cyp3a4", "Ergot alkaloid with strong CYP3A4 inhibitor",
        ("ergotamine", "dihydroergotamine", "methylergonovine"), (*_CYP3A4, "erythromycin"),
        "ischaemia of limbs and brain (ergotism)", "ergot alkaloids are broken down by CYP3A4",
        "Do not combine.",
    ),
)  # fmt: skip


def between(one: frozenset[str], other: frozenset[str]) -> Iterator[tuple[Pair, str, str]]:
    """Give each pair that two drugs make, by their ingredients: (pair, ingredient of one, of other).

    >>> [(p.id, a, b) for p, a, b in between(frozenset({"sertraline"}), frozenset({"phenelzine"}))]
    [('ssri-mao', 'sertraline', 'phenelzine')]
    >>> list(between(frozenset({"sotalol"}), frozenset({"sotalol"})))
    []
    """
    for pair in PAIRS:
        for mine in sorted(one):
            for theirs in sorted(other):
                if mine != theirs and _meet(pair, mine, theirs):
                    yield pair, mine, theirs


def _meet(pair: Pair, one: str, other: str) -> bool:
    return (one in pair.objects and other in pair.precipitants) or (
        other in pair.objects and one in pair.precipitants
    )


NAMES: frozenset[str] = frozenset(name for pair in PAIRS for name in (*pair.objects, *pair.precipitants))
"""Every ingredient that a pair knows."""
