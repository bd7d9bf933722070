"""The 2,708 official examples of R4 and Synthea's patients: what is right is accepted."""

import bz2
import random
import tarfile

import pytest

from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from fhir_server.validation import explain
from fhir_server.validation.structure import Structure
from fhir_server.validation.validator import validate

from . import samples

EXAMPLES = "data/r4-examples.tar.xz"
SYNTHEA = "data/synthea"

# What we refuse of HL7's own examples: file → (path, clause).
REFUSED = {
    # txt-2: the narrative SHALL have some non-whitespace content.
    "activitydefinition-servicerequest-example.json": "ActivityDefinition.text.div",
    "activitydefinition-supplyrequest-example.json": "ActivityDefinition.text.div",
    "eventdefinition-example.json": "EventDefinition.text.div",
    "questionnaire-zika-virus-exposure-assessment.json": "Questionnaire.text.div",
    # references.html: a reference points to one of the types that its element names.
    "devicemetric-example.json": "DeviceMetric.parent.reference",
    "deviceusestatement-example.json": "DeviceUseStatement.reasonReference[0].reference",
    "medicationrequest0301.json": "MedicationRequest.dispenseRequest.performer.reference",
    "observation-example-clinical-gender.json": "Observation.performer[0].reference",
    # age-1 and the maximum binding of Age: a unit of time; `b` is the barn.
    "list-example-double-cousin-relationship-pedigree.json": "List.contained[5].age.code",
    # bundle.html, Bundle.entry.fullUrl: it SHALL NOT disagree with the id in the resource.
    "diagnosticreport-example-lri.json": "Bundle.entry[1].fullUrl",
    "message-request-link.json": "Bundle.entry[2].fullUrl",
    "message-response-link.json": "Bundle.entry[3].fullUrl",
    # CapabilityStatement.rest.resource.searchParam.type: it SHALL be the same as in the definition.
    "capabilitystatement-base.json": "CapabilityStatement.rest[0].searchParam[5]",
    "capabilitystatement-knowledge-repository.json": "CapabilityStatement.rest[0].resource[0].searchParam[5]",
    "capabilitystatement-measure-processor.json": "CapabilityStatement.rest[0].resource[0].searchParam[2]",
    "capabilitystatement-terminology-server.json": "CapabilityStatement.rest[0].resource[0].searchParam[2]",
    # ValueSet.compose.include.system: an absolute URI; here is #hacked.
    "valueset-example-hierarchical.json": "ValueSet.compose.include[0].system",
    # datatypes.html#id: 64 characters at most; here are 67.
    "questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json": "SearchParameter.id",
    # No clause: 1e-245 is beyond what we keep (10^±40), so that jsonb need not write it out.
    "observation-decimal.json": "Observation.component[5].value.value",
    # sdf-4: logical models that are not abstract and have no baseDefinition.
    "definition.json": "StructureDefinition",
    "event.json": "StructureDefinition",
    "fivews.json": "StructureDefinition",
    "request.json": "StructureDefinition",
    # que-2: the linkId Added-Missing stands there 22 times.
    "immunizationevaluation-questionnaire.json": "Questionnaire",
    # datatypes.html#Coding: the code SHALL be a right symbol of its system; these are one of the old SNOMED
    # RT, a wrong check digit, and "look up value".
    "imagingstudy-example-xr.json": "ImagingStudy.series[0].bodySite.code",
    "nutritionorder-example-enteralcontinuous.json": "NutritionOrder.enteralFormula.baseFormulaType.coding[0].code",  # noqa: E501
    "plandefinition-example-cardiology-os.json": "PlanDefinition.useContext[0].value.coding[0].code",
    # v3-orderableDrugForm is case-sensitive: its codes are TAB and PATCH, not Tab and patch.
    "medicationadministration0312.json": "MedicationAdministration.dosage.dose.code",
    "medicationdispense0325.json": "MedicationDispense.dosageInstruction[0].doseAndRate[0].dose.code",
    "medicationexample0304.json": "Medication.ingredient[0].strength.denominator.code",
    "medicationexample0309.json": "Medication.ingredient[0].strength.denominator.code",
    "medicationrequest0313.json": "MedicationRequest.dispenseRequest.quantity.code",
    "medicationrequest0314.json": "MedicationRequest.dispenseRequest.quantity.code",
    "medicationrequest0327.json": "MedicationRequest.dosageInstruction[0].doseAndRate[0].dose.code",
    "medicationstatementexample1.json": "MedicationStatement.contained[0].ingredient[0].strength.denominator.code",  # noqa: E501
    "medicationstatementexample2.json": "MedicationStatement.contained[0].ingredient[0].strength.denominator.code",  # noqa: E501
    "medicationstatementexample3.json": "MedicationStatement.dosage[0].doseAndRate[0].dose.code",
}


@pytest.fixture(scope="module")
def examples(shared):
    found = {}
    with tarfile.open(shared(EXAMPLES)) as archive:
        for member in archive:
            if member.name.endswith(".json"):
                found[member.name.rpartition("/")[2]] = archive.extractfile(member).read()
    return found


def test_official_examples_are_accepted(examples):
    refused = {}
    for name, data in examples.items():
        try:
            issues = validate(json_format.parse(data))
        except Invalid as refusal:
            issues = refusal.issues
        if issues and issues[0].severity == "error":
            refused[name] = issues[0].expression
    assert len(examples) == 2708
    assert refused == REFUSED


def test_both_readings_agree_on_official_examples(examples):
    """What is accepted quickly has no problem that the slow reading knows; and mutants have one."""
    chance = random.Random(4)
    structure = Structure(in_transaction=False)
    small = sorted(name for name, data in examples.items() if len(data) < 20_000 and name not in REFUSED)
    for name in chance.sample(small, 500):
        resource = json_format.parse(examples[name])
        assert structure.accepts(resource), name
        assert list(explain.resource_problems(resource, None, False)) == []
    count = 0
    for name in chance.sample([name for name in small if len(examples[name]) < 8_000], 60):
        mutants = list(samples.mutants(json_format.parse(examples[name])))
        for what, mutant, path in chance.sample(mutants, min(40, len(mutants))):
            places = {issue.expression for issue in explain.resource_problems(mutant, None, False)}
            assert {path, f"{path}.reference"} & places, (name, what, path, places)
            assert not structure.accepts(mutant), (name, what)
            count += 1
    assert count > 2000


def test_synthea_is_accepted(shared):
    files = sorted(shared(SYNTHEA).glob("*.bz2"))
    count = 0
    for file in files:
        bundle = json_format.parse(bz2.decompress(file.read_bytes()))
        assert [issue for issue in validate(bundle) if issue.severity == "error"] == [], file.name
        count += len(bundle["entry"])
    assert (len(files), count) == (62, 43_170)
