"""The 31 source attributes of a predictive decision support intervention: their names, and who may lack one.

45 CFR 170.315(b)(11) (ONC HTI-1), in its order: output 1–4, purpose 5–8, cautioned use 9–10,
development 11–14, fairness process 15–16, external validation 17–20, performance 21–25,
maintenance 26–29, update 30–31. "Not assessed" is allowed for 23, 24, 27 and 29 only, and keeps a
model out of the state `active`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

NOT_ASSESSED = "Not assessed."

KEYS: tuple[str, ...] = (
    "01-developer-and-contact",
    "02-funding-of-development",
    "03-value-produced-as-output",
    "04-type-of-output",
    "05-intended-use",
    "06-intended-patient-population",
    "07-intended-users",
    "08-intended-decision-making-role",
    "09-tasks-situations-populations-to-avoid",
    "10-known-risks-inappropriate-settings-limitations",
    "11-exclusion-and-inclusion-criteria-of-training-data",
    "12-use-of-demographic-and-social-variables-as-input",
    "13-demographic-representativeness-of-training-data",
    "14-relevance-of-training-data-to-deployed-setting",
    "15-approach-to-fairness-of-output",
    "16-approach-to-managing-bias",
    "17-external-validation-data-source-and-setting",
    "18-external-validation-party",
    "19-external-validation-demographics",
    "20-external-validation-process",
    "21-validity-in-test-data-from-same-source",
    "22-fairness-in-test-data-from-same-source",
    "23-validity-in-external-data",
    "24-fairness-in-external-data",
    "25-references-on-effect-on-outcomes",
    "26-monitoring-of-validity",
    "27-local-validity",
    "28-monitoring-of-fairness",
    "29-local-fairness",
    "30-process-and-frequency-of-updates",
    "31-process-and-frequency-of-correction",
)
MAY_LACK = tuple(key for key in KEYS if key[:2] in ("23", "24", "27", "29"))
"""Those that only other hospitals' data can answer: external and local validity and fairness."""


def is_assessed(text: str) -> bool:
    """Say whether an attribute says something.

    >>> is_assessed("Not assessed."), is_assessed(" not assessed"), is_assessed("AUC 0.79")
    (False, False, True)
    """
    return text.strip().rstrip(".").casefold() not in ("", "not assessed")


def faults(attributes: Mapping[str, str]) -> Iterator[str]:
    """Name the attributes that are missing, empty, or not assessed where that is not allowed.

    >>> list(faults(dict.fromkeys(KEYS, "x") | {"03-value-produced-as-output": "Not assessed."}))
    ['03-value-produced-as-output is not assessed']
    """
    for key in KEYS:
        text = attributes.get(key)
        if not isinstance(text, str) or not text.strip():
            yield f"{key} is missing"
        elif key not in MAY_LACK and not is_assessed(text):
            yield f"{key} is not assessed"


def unassessed(attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Return those of the four that may be lacking and are."""
    return tuple(key for key in MAY_LACK if not is_assessed(attributes.get(key, "")))
