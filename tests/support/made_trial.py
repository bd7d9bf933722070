"""A randomised trial that nobody ran: other columns, other arms, another outcome than the IST's.

Two of three patients get the new drug. It prevents relapse in grades II and III and provokes it in
grade I, as strongly as `size` says; nobody in here ever lived.
"""

from __future__ import annotations

import random
from pathlib import Path

DESCRIPTION = """
[trial]
id = "made-trial"
title = "New drug against old in a disease of three grades"
randomised_on = { column = "day" }

[source]
name = "Made trial"
file = "made.csv"
separator = ";"
gaps = ["", "NA"]
recode = { grade = { "2" = "II" } }

[folds]
column = "clinic"
salt = "made"
count = 5
unit = "clinics"

[[arm]]
name = "new drug"
control_name = "old drug"
column = "given"
treated = ["new"]
control = ["old"]
probability = 0.6666666666666667

[[outcome]]
name = "relapse"
label = "relapse or death in a year"
columns = ["relapsed", "died"]
yes = ["yes"]
no = ["no"]

[risk]
outcomes = ["relapse"]

[effect]
arm = "new drug"
outcome = "relapse"

[external]
column = "region"
test = ["east"]

[[gate]]
name = "new-drug-relapse"
arm = "new drug"
outcome = "relapse"
learner = "R"
folds = 3

[baseline]
variables = [
    { name = "years", label = "age", unit = "a", low = 18, high = 90, squared = true },
    { name = "grade", label = "grade", codes = { I = 1, II = 2, III = 3 } },
    { name = "diabetes", label = "diabetes", codes = { no = 0, yes = 1 }, unknown = "missing" },
    { name = "pain", label = "pain", codes = { no = 0, yes = 1 } },
    { name = "burden", label = "complaints", count = { of = ["diabetes", "pain"], cell = "yes" } },
]

[columns]
leakage = ["drug_stopped"]
unused = ["remark"]

[report]
subgroups = [
    { name = "grade I", column = "grade", cells = ["I"] },
    { name = "over 60", column = "years", low = 60 },
]
harms = [{ name = "bleeding", columns = ["bled"] }]
published = [{ name = "patients", measure = "count", paper = "PATIENTS" }]
"""


def write(folder: Path, *, patients: int = 3000, size: float = 0.25, seed: int = 5) -> tuple[Path, Path]:
    """Write description and CSV; return their paths."""
    rng = random.Random(seed)
    header = "clinic;region;day;years;grade;diabetes;pain;given;relapsed;died;bled;drug_stopped;remark"
    lines = [header]
    for _ in range(patients):
        clinic = rng.randrange(60)
        years, grade = round(rng.uniform(18, 90), 1), rng.choice(["I", "II", "2", "III"])
        given = rng.choice(["new", "new", "old"]) if rng.random() < 0.97 else "none"
        benefit = (-size if grade == "I" else size) if given == "new" else 0.0
        risk = 0.35 + 0.003 * (years - 50) - benefit
        relapsed = "NA" if rng.random() < 0.02 else "yes" if rng.random() < risk else "no"
        lines.append(
            ";".join(
                [
                    f"C{clinic}", "east" if clinic % 3 == 0 else "west", f"2021-{rng.randint(1, 12):02}-11",
                    str(years), grade, rng.choice(["yes", "no", "no", "NA"]), rng.choice(["yes", "no"]),
                    given, relapsed, rng.choice(["no"] * 30 + ["yes"]), rng.choice("0001"),
                    rng.choice(["yes", "no"]), "",
                ]
            )
        )  # fmt: skip
    text, rows = folder / "made.toml", folder / "made.csv"
    text.write_text(DESCRIPTION.replace("PATIENTS", str(patients)), encoding="utf-8")
    rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return text, rows
