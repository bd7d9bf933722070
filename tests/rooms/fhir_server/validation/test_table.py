"""The table of mistakes that validators are compared by: what each must say, and where."""

import copy
from decimal import Decimal

import pytest

from fhir_server.validation.knowledge import Task
from fhir_server.validation.validator import MAX_ISSUES, validate

PATIENT = {"resourceType": "Patient"}
OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
ABSENT = {"extension": [{"url": "http://x/absent", "valueCode": "unknown"}]}
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def patient(**members):
    return PATIENT | members


def observation(**members):
    return {key: value for key, value in (OBSERVATION | members).items() if value is not ...}


def bundle(resource):
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource}]}


def narrative(div):
    return patient(text={"status": "generated", "div": div})


REJECTED = [
    ("boolean as text", patient(active="true"), "Patient.active"),
    ("boolean as number", patient(active=1), "Patient.active"),
    ("decimal as text", observation(valueQuantity={"value": "1.5"}), "Observation.value.value"),
    ("string as number", patient(name=[{"family": 5}]), "Patient.name[0].family"),
    ("integer with a point", patient(multipleBirthInteger=Decimal("1.5")), "Patient.multipleBirth"),
    ("integer over 32 bits", patient(multipleBirthInteger=2**31), "Patient.multipleBirth"),
    ("positiveInt of 0", patient(telecom=[{"rank": 0}]), "Patient.telecom[0].rank"),
    ("text for an object", observation(code="x"), "Observation.code"),
    ("text for an object in a list", patient(name=["x"]), "Patient.name[0]"),
    ("object for a text", patient(birthDate={"x": 1}), "Patient.birthDate"),
    ("unknown element", patient(foo=1), "Patient.foo"),
    ("unknown nested element", patient(name=[{"foo": 1}]), "Patient.name[0].foo"),
    ("unknown sibling", patient(_foo={"id": "a"}), "Patient._foo"),
    ("sibling of an object", patient(_name=[{"id": "a"}]), "Patient._name"),
    ("object for an array", patient(name={"family": "x"}), "Patient.name"),
    ("text for an array", patient(name=[{"given": "x"}]), "Patient.name[0].given"),
    ("array for one", patient(birthDate=["1970"]), "Patient.birthDate"),
    ("array for one object", observation(code=[{"text": "x"}]), "Observation.code"),
    ("empty array", patient(name=[]), "Patient.name"),
    ("null", patient(birthDate=None), "Patient.birthDate"),
    ("null object", patient(maritalStatus=None), "Patient.maritalStatus"),
    ("null in an array", patient(name=[{"given": ["a", None]}]), "Patient.name[0].given[1]"),
    ("null in an array of objects", patient(name=[None]), "Patient.name[0]"),
    ("empty object", patient(name=[{}]), "Patient.name[0]"),
    ("empty object alone", patient(maritalStatus={}), "Patient.maritalStatus"),
    ("an id alone", patient(maritalStatus={"id": "a"}), "Patient.maritalStatus"),
    ("an id alone in a list", patient(name=[{"id": "a"}]), "Patient.name[0]"),
    ("an id in the place of a value", patient(_birthDate={"id": "a"}), "Patient.birthDate"),
    (
        "an id in the place of a value in a list",
        patient(name=[{"given": ["a", None], "_given": [None, {"id": "a"}]}]),
        "Patient.name[0].given[1]",
    ),
    ("no such day", patient(birthDate="1970-13-45"), "Patient.birthDate"),
    ("not in two digits", patient(birthDate="1970-1-1"), "Patient.birthDate"),
    ("a date with a time", patient(birthDate="1970-01-01T00:00:00Z"), "Patient.birthDate"),
    ("30 February", patient(birthDate="1970-02-30"), "Patient.birthDate"),
    ("29 February of no leap year", patient(birthDate="1971-02-29"), "Patient.birthDate"),
    ("dateTime without zone", observation(effectiveDateTime="2020-01-01T10:00:00"), "Observation.effective"),
    ("dateTime without seconds", observation(effectiveDateTime="2020-01-01T10:00Z"), "Observation.effective"),
    ("instant without time", observation(issued="2020-01-01"), "Observation.issued"),
    ("code outside", observation(status="finished"), "Observation.status"),
    ("nested code outside", patient(name=[{"use": "offical"}]), "Patient.name[0].use"),
    ("code with a blank", observation(status=" final"), "Observation.status"),
    ("language outside", patient(language="en_US"), "Patient.language"),
    ("two of a choice", patient(deceasedBoolean=True, deceasedDateTime="2020"), "Patient.deceased"),
    ("two with extensions", patient(deceasedBoolean=True, _deceasedDateTime={"id": "a"}), "Patient.deceased"),
    ("no choice of this type", observation(valueDecimal=1), "Observation.valueDecimal"),
    ("missing object", observation(code=...), "Observation.code"),
    ("missing primitive", observation(status=...), "Observation.status"),
    ("missing nested", observation(component=[{"valueInteger": 1}]), "Observation.component[0].code"),
    ("missing url", patient(extension=[{"valueCode": "a"}]), "Patient.extension[0].url"),
    (
        "missing choice",
        {
            "resourceType": "MedicationRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/1"},
        },
        "MedicationRequest.medication",
    ),
    ("id with a blank", patient(id="bad id!"), "Patient.id"),
    ("id with an underscore", patient(id="a_b"), "Patient.id"),
    ("id of 65 characters", patient(id="x" * 65), "Patient.id"),
    ("white space only", patient(name=[{"family": "  "}]), "Patient.name[0].family"),
    ("white space only in a code", patient(gender="  "), "Patient.gender"),
    ("empty text", patient(name=[{"family": ""}]), "Patient.name[0].family"),
    ("uri with a blank", patient(identifier=[{"system": "a b"}]), "Patient.identifier[0].system"),
    ("no base64", patient(photo=[{"data": "****"}]), "Patient.photo[0].data"),
    (
        "siblings of another length",
        patient(name=[{"given": ["a", "b"], "_given": [{"id": "x"}]}]),
        "Patient.name[0].given",
    ),
    (
        "no array of siblings",
        patient(name=[{"given": ["a"], "_given": {"id": "x"}}]),
        "Patient.name[0].given",
    ),
    ("siblings of nothing", patient(name=[{"given": ["a"], "_given": [None]}]), "Patient.name[0].given"),
    (
        "nothing in both",
        patient(name=[{"given": [None, "b"], "_given": [None, {"id": "x"}]}]),
        "Patient.name[0].given[0]",
    ),
    ("sibling with a value", patient(_birthDate={"value": 1}), "Patient.birthDate.value"),
    ("contained of no type", patient(contained=[{"id": "a"}]), "Patient.contained[0]"),
    ("contained of an unknown type", patient(contained=[{"resourceType": "Foo"}]), "Patient.contained[0]"),
    (
        "contained abstract",
        patient(contained=[{"resourceType": "DomainResource"}]),
        "Patient.contained[0]",
    ),
    ("bad contained", patient(contained=[patient(id="p", active="x")]), "Patient.contained[0].active"),
    ("entry of an unknown type", bundle({"resourceType": "Foo"}), "Bundle.entry[0].resource"),
    ("bad code in an entry", bundle(observation(status="x")), "Bundle.entry[0].resource.status"),
    (
        "reference to another type",
        observation(subject={"reference": "Medication/1"}),
        "Observation.subject.reference",
    ),
    (
        "reference that says another type",
        observation(subject={"identifier": {"value": "1"}, "type": "Medication"}),
        "Observation.subject.reference",
    ),
    ("narrative with a script", narrative(f"<div {XHTML}><script>x</script></div>"), "Patient.text.div"),
    ("narrative that is no XML", narrative(f"<div {XHTML}><p>x</div>"), "Patient.text.div"),
    (
        "narrative that runs",
        narrative(f'<div {XHTML}><img src="x" onerror="y()"/></div>'),
        "Patient.text.div",
    ),
    ("narrative without its namespace", narrative("<div>x</div>"), "Patient.text.div"),
    ("narrative with an object", narrative(f"<div {XHTML}>x<object data='y'/></div>"), "Patient.text.div"),
    ("narrative with SVG", narrative(f'<div {XHTML}>x<svg xmlns="y"/></div>'), "Patient.text.div"),
    ("narrative with entities", narrative(f"<!DOCTYPE a []><div {XHTML}>x</div>"), "Patient.text.div"),
    (
        "no coding where one is required",
        {
            "resourceType": "Condition",
            "subject": {"reference": "Patient/1"},
            "clinicalStatus": {"coding": [{"system": "http://x", "code": "active"}]},
        },
        "Condition.clinicalStatus",
    ),
    (
        "language of another system",
        patient(communication=[{"language": {"coding": [{"system": "http://x", "code": "en"}]}}]),
        "Patient.communication[0].language",
    ),
    (
        "text where a coding is required",
        {
            "resourceType": "Condition",
            "subject": {"reference": "Patient/1"},
            "clinicalStatus": {"text": "active"},
        },
        "Condition.clinicalStatus",
    ),
    (
        "comparator of a SimpleQuantity",
        observation(referenceRange=[{"low": {"value": 1, "comparator": "<"}}]),
        "Observation.referenceRange[0].low.comparator",
    ),
    (
        "age in barns",
        {
            "resourceType": "Condition",
            "subject": {"reference": "Patient/1"},
            "onsetAge": {"value": 1, "system": "http://unitsofmeasure.org", "code": "b"},
        },
        "Condition.onset.code",
    ),
]
ACCEPTED = [
    ("a language in words", patient(communication=[{"language": {"text": "Hakka"}}])),
    (
        "extensions in the place of a status",
        observation(status=..., _status={"extension": [{"url": "x", "valueCode": "y"}]}),
    ),
    ("extensions in the place of a choice", observation(_valueString=ABSENT)),
    ("an extension value of extensions", patient(extension=[{"url": "x", "_valueString": ABSENT}])),
    ("siblings only", patient(name=[{"_given": [ABSENT]}])),
    ("values and siblings", patient(name=[{"given": ["a", None], "_given": [None, ABSENT]}])),
    (
        "ids beside values",
        patient(name=[{"given": ["a"], "_given": [{"id": "a"}]}], _birthDate={"id": "b"}, birthDate="1970"),
    ),
    ("a whole number as decimal", observation(valueQuantity={"value": 5})),
    ("a reference of no known type", observation(subject={"reference": "http://x/y"})),
    ("a reference of a logical type", observation(subject={"type": "http://x/y", "display": "z"})),
    ("a urn", observation(subject={"reference": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"})),
    ("a version", observation(subject={"reference": "Patient/1/_history/2"})),
    ("entities of XHTML", narrative(f"<div {XHTML}>a&nbsp;&eacute;<br/></div>")),
    ("an image alone", narrative(f'<div {XHTML}><img src="#a"/></div>')),
    ("an image as data", narrative(f'<div {XHTML}><img src="data:image/png;base64,AA"/></div>')),
    ("a no-break space", patient(name=[{"family": "\u202fx"}])),
]


@pytest.mark.parametrize(("name", "resource", "path"), REJECTED, ids=[row[0] for row in REJECTED])
def test_a_mistake_is_told_where_it_is(name, resource, path):
    before = copy.deepcopy(resource)
    assert {issue.expression for issue in validate(resource)} == {path}
    assert resource == before


@pytest.mark.parametrize(("name", "resource"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_what_is_right_is_accepted(name, resource):
    assert validate(resource) == []


@pytest.mark.parametrize("value", [None, [], "x", 5, {}, {"resourceType": 5}, {"resourceType": ["Patient"]}])
def test_what_is_no_resource_is_refused(value):
    assert len(validate(value)) == 1


def test_the_nearest_right_thing_is_named():
    said = [
        validate(resource)[0].diagnostics
        for resource in (
            {"resourceType": "Patien"},
            patient(birthdate="1970"),
            observation(status="Final"),
            observation(status="finl"),
        )
    ]
    assert [text.rpartition("; ")[2] for text in said] == [
        "did you mean 'Patient'?",
        "did you mean 'birthDate'?",
        "did you mean 'final'?",
        "did you mean 'final'?",
    ]


def test_all_problems_are_told_at_once():
    resource = patient(active="x", name=[{"family": 5, "use": "x"}, {"given": []}], foo=1)
    assert [issue.expression for issue in validate(resource)] == [
        "Patient.active",
        "Patient.name[0].family",
        "Patient.name[0].use",
        "Patient.name[1].given",
        "Patient.foo",
    ]


def test_a_choice_of_a_wrong_type_is_told_once():
    form = {"resourceType": "Questionnaire", "id": "q", "status": "draft"}
    response = {
        "resourceType": "QuestionnaireResponse",
        "status": "in-progress",
        "questionnaire": "#q",
        "contained": [{**form, "item": [{"linkId": "1", "type": "string"}]}],
        "item": [{"linkId": "1", "answer": [{"valueCode": "a"}]}, {"linkId": "2"}],
    }
    assert [issue.expression for issue in validate(response)] == [
        "QuestionnaireResponse.item[0].answer[0].valueCode",
        "QuestionnaireResponse.item[1].linkId",
    ]


def test_a_flood_is_counted_and_not_listed():
    issues = validate(patient(name=[{"family": 5}] * 1000))
    assert len(issues) == MAX_ISSUES + 1
    assert "1000 problems" in issues[-1].diagnostics


def test_long_values_are_shortened():
    assert len(validate(patient(active="x" * 10**6))[0].diagnostics) < 200


def test_a_transaction_may_refer_by_condition():
    entry = observation(subject={"reference": "Patient?identifier=http://x|1"})
    transaction = bundle(entry) | {"type": "transaction"}
    transaction["entry"][0]["request"] = {"method": "POST", "url": "Observation"}
    assert validate(transaction) == []
    assert validate(entry, Task(in_transaction=True)) == []
    assert [issue.expression for issue in validate(entry)] == ["Observation.subject.reference"]
    wrong = observation(subject={"reference": "Medication?identifier=1"})
    assert len(validate(wrong, Task(in_transaction=True))) == 1
