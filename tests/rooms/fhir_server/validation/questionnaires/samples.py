"""Questionnaires and responses in few words."""

from __future__ import annotations

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task

URL = "http://example.org/Questionnaire/q"
CORE = "http://hl7.org/fhir/StructureDefinition/"
SDC = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-"
COLOURS = "http://example.org/colours"
UCUM = "http://unitsofmeasure.org"


def extension(name, **value):
    return {"url": name if ":" in name else CORE + name, **value}


def item(link_id, kind="string", *extensions, **members):
    found = {"linkId": link_id, "type": kind, **members}
    if extensions:
        found["extension"] = list(extensions)
    return found


def group(link_id, *items, **members):
    return {"linkId": link_id, "type": "group", "item": list(items), **members}


def form(*items, **members):
    return {"resourceType": "Questionnaire", "url": URL, "status": "active", "item": list(items), **members}


def when(question, operator, **answer):
    return {"question": question, "operator": operator, **answer}


def given(link_id, *values, **members):
    """Return a response's item; each value is a whole answer, or a pair of type and value."""
    answers = [value if isinstance(value, dict) else {f"value{value[0]}": value[1]} for value in values]
    return {"linkId": link_id, **({"answer": answers} if answers else {}), **members}


def held(link_id, *items, **members):
    return {"linkId": link_id, **({"item": list(items)} if items else {}), **members}


def response(*items, status="completed", **members):
    return {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": URL,
        "status": status,
        **({"item": list(items)} if items else {}),
        **members,
    }


def issues(questionnaire, answered, *more, severity=None):
    """Return (severity, place below the response) of what is found."""
    found = check(answered, task(questionnaire, *more))
    return [
        (issue.severity, (issue.expression or "").removeprefix("QuestionnaireResponse").removeprefix("."))
        for issue in found
        if severity is None or issue.severity == severity
    ]


def errors(questionnaire, answered, *more):
    return [place for _, place in issues(questionnaire, answered, *more, severity="error")]


def coding(code, system=COLOURS, **members):
    return ("Coding", {"system": system, "code": code, **members})


def quantity(value, code=None, system=UCUM, **members):
    unit = {"system": system, "code": code} if code else {}
    return ("Quantity", {"value": value, **unit, **members})
