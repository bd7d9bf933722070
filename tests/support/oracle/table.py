"""Where search parameters find their values, written by hand from R4's and US Core's pages.

A line is: code, kind (a reference with its targets), then shape and path, again and again. A path
walks JSON members; `[member=text]` keeps the elements whose member is that text. The shape says how
to read what is there; `code@system` names the code system that the element is bound to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Place:
    """One shape and path of a parameter."""

    shape: str
    path: str


@dataclass(frozen=True)
class Entry:
    """One parameter of one type; `parts` are the components of a composite."""

    type_name: str
    code: str
    kind: str
    places: tuple[Place, ...]
    targets: tuple[str, ...] = ()
    parts: tuple[Entry, ...] = ()


TABLE = """
AllergyIntolerance
  clinical-status token CodeableConcept clinicalStatus
  code token CodeableConcept code CodeableConcept reaction.substance
  category token code@http://hl7.org/fhir/allergy-intolerance-category category
  criticality token code@http://hl7.org/fhir/allergy-intolerance-criticality criticality
  date date dateTime recordedDate
  onset date dateTime reaction.onset
  patient reference:Patient Reference patient
CarePlan
  category token CodeableConcept category
  date date Period period
  status token code@http://hl7.org/fhir/request-status status
  intent token code@http://hl7.org/fhir/request-intent intent
  patient reference:Patient Reference:Patient subject
  encounter reference:Encounter Reference encounter
  condition reference:Condition Reference addresses
  care-team reference:CareTeam Reference careTeam
  activity-code token CodeableConcept activity.detail.code
  activity-date date Timing activity.detail.scheduledTiming Period activity.detail.scheduledPeriod \
dateTime activity.detail.scheduledString
CareTeam
  patient reference:Patient Reference:Patient subject
  status token code@http://hl7.org/fhir/care-team-status status
  encounter reference:Encounter Reference encounter
  date date Period period
  participant reference:CareTeam,Organization,Patient,Practitioner,PractitionerRole,RelatedPerson \
Reference participant.member
Claim
  created date dateTime created
  patient reference:Patient Reference patient
  provider reference:Organization,Practitioner,PractitionerRole Reference provider
  status token code@http://hl7.org/fhir/fm-status status
  use token code@http://hl7.org/fhir/claim-use use
  priority token CodeableConcept priority
Condition
  x-onset date dateTime onsetDateTime
  category token CodeableConcept category
  clinical-status token CodeableConcept clinicalStatus
  verification-status token CodeableConcept verificationStatus
  code token CodeableConcept code
  severity token CodeableConcept severity
  patient reference:Patient Reference:Patient subject
  subject reference:Group,Patient Reference subject
  encounter reference:Encounter Reference encounter
  onset-date date dateTime onsetDateTime Period onsetPeriod
  abatement-date date dateTime abatementDateTime Period abatementPeriod
  recorded-date date dateTime recordedDate
  onset-age quantity Quantity onsetAge Range onsetRange
  abatement-string string string abatementString
  body-site token CodeableConcept bodySite
Coverage
  patient reference:Patient Reference beneficiary
  status token code@http://hl7.org/fhir/fm-status status
  type token CodeableConcept type
  identifier token Identifier identifier
Device
  patient reference:Patient Reference patient
  type token CodeableConcept type
  status token code@http://hl7.org/fhir/device-status status
  manufacturer string string manufacturer
  udi-di string string udiCarrier.deviceIdentifier
DiagnosticReport
  status token code@http://hl7.org/fhir/diagnostic-report-status status
  patient reference:Patient Reference:Patient subject
  category token CodeableConcept category
  code token CodeableConcept code
  date date dateTime effectiveDateTime Period effectivePeriod
  issued date instant issued
  result reference:Observation Reference result
  encounter reference:Encounter Reference encounter
  performer reference:CareTeam,Organization,Practitioner,PractitionerRole Reference performer
DocumentReference
  status token code@http://hl7.org/fhir/document-reference-status status
  patient reference:Patient Reference:Patient subject
  category token CodeableConcept category
  type token CodeableConcept type
  date date instant date
  period date Period context.period
  identifier token Identifier masterIdentifier Identifier identifier
  author reference:Device,Organization,Patient,Practitioner,PractitionerRole,RelatedPerson Reference author
  contenttype token code content.attachment.contentType
  relationship composite - relatesTo relation token code@http://hl7.org/fhir/document-relationship-type code \
relatesto reference:DocumentReference Reference target
Encounter
  x-hospital reference:Organization Reference serviceProvider
  class token Coding class
  date date Period period
  identifier token Identifier identifier
  patient reference:Patient Reference:Patient subject
  status token code@http://hl7.org/fhir/encounter-status status
  type token CodeableConcept type
  location reference:Location Reference location.location
  location-period date Period location.period
  reason-code token CodeableConcept reasonCode
  participant reference:Practitioner,PractitionerRole,RelatedPerson Reference participant.individual
  service-provider reference:Organization Reference serviceProvider
  length quantity Quantity length
ExplanationOfBenefit
  patient reference:Patient Reference patient
  created date dateTime created
  identifier token Identifier identifier
  provider reference:Organization,Practitioner,PractitionerRole Reference provider
  claim reference:Claim Reference claim
Goal
  lifecycle-status token code@http://hl7.org/fhir/goal-status lifecycleStatus
  patient reference:Patient Reference:Patient subject
  target-date date date target.dueDate
  category token CodeableConcept category
  start-date date date startDate
Immunization
  x-primary token boolean primarySource
  patient reference:Patient Reference patient
  status token code@http://hl7.org/fhir/event-status status
  date date dateTime occurrenceDateTime dateTime occurrenceString
  vaccine-code token CodeableConcept vaccineCode
  lot-number string string lotNumber
  location reference:Location Reference location
  target-disease token CodeableConcept protocolApplied.targetDisease
ImagingStudy
  started date dateTime started
  patient reference:Patient Reference:Patient subject
  modality token Coding series.modality
  identifier token Identifier identifier
  instance token id series.instance.uid
Location
  name string string name string alias
  address string Address address
  address-city string string address.city
  address-state string string address.state
  address-postalcode string string address.postalCode
  status token code@http://hl7.org/fhir/location-status status
  organization reference:Organization Reference managingOrganization
  type token CodeableConcept type
Medication
  code token CodeableConcept code
  status token code@http://hl7.org/fhir/CodeSystem/medication-status status
  lot-number token string batch.lotNumber
  expiration-date date dateTime batch.expirationDate
  ingredient-code token CodeableConcept ingredient.itemCodeableConcept
MedicationAdministration
  status token code@http://terminology.hl7.org/CodeSystem/medication-admin-status status
  patient reference:Patient Reference:Patient subject
  effective-time date dateTime effectiveDateTime Period effectivePeriod
  code token CodeableConcept medicationCodeableConcept
  context reference:Encounter,EpisodeOfCare Reference context
MedicationDispense
  status token code@http://terminology.hl7.org/CodeSystem/medicationdispense-status status
  patient reference:Patient Reference:Patient subject
  type token CodeableConcept type
  whenhandedover date dateTime whenHandedOver
  whenprepared date dateTime whenPrepared
MedicationRequest
  status token code@http://hl7.org/fhir/CodeSystem/medicationrequest-status status
  intent token code@http://hl7.org/fhir/CodeSystem/medicationrequest-intent intent
  patient reference:Patient Reference:Patient subject
  encounter reference:Encounter Reference encounter
  authoredon date dateTime authoredOn
  code token CodeableConcept medicationCodeableConcept
  medication reference:Medication Reference medicationReference
  requester reference:Device,Organization,Patient,Practitioner,PractitionerRole,RelatedPerson \
    Reference requester
  date date dateTime dosageInstruction.timing.event
  priority token code@http://hl7.org/fhir/request-priority priority
MolecularSequence
  window-start number integer referenceSeq.windowStart
  variant-start number integer variant.start
  chromosome token CodeableConcept referenceSeq.chromosome
  chromosome-window-coordinate composite - referenceSeq chromosome token CodeableConcept chromosome \
window-start number integer windowStart window-end number integer windowEnd
Observation
  x-issued date instant issued
  x-in reference:Encounter Reference encounter
  x-amount quantity Quantity valueQuantity
  x-part-code token CodeableConcept component.code
  x-part composite - component x-part-code token CodeableConcept code \
component-value-quantity quantity Quantity valueQuantity
  status token code@http://hl7.org/fhir/observation-status status
  category token CodeableConcept category
  code token CodeableConcept code
  date date dateTime effectiveDateTime Period effectivePeriod Timing effectiveTiming instant effectiveInstant
  patient reference:Patient Reference:Patient subject
  subject reference:Device,Group,Location,Patient Reference subject
  encounter reference:Encounter Reference encounter
  performer reference:CareTeam,Organization,Patient,Practitioner,PractitionerRole,RelatedPerson \
Reference performer
  identifier token Identifier identifier
  value-quantity quantity Quantity valueQuantity SampledData valueSampledData
  value-concept token CodeableConcept valueCodeableConcept
  value-string string string valueString string valueCodeableConcept.text
  value-date date dateTime valueDateTime Period valuePeriod
  combo-code token CodeableConcept code CodeableConcept component.code
  component-code token CodeableConcept component.code
  component-value-quantity quantity Quantity component.valueQuantity SampledData component.valueSampledData
  combo-value-quantity quantity Quantity valueQuantity Quantity component.valueQuantity \
SampledData valueSampledData SampledData component.valueSampledData
  data-absent-reason token CodeableConcept dataAbsentReason
  method token CodeableConcept method
  derived-from reference:DocumentReference,ImagingStudy,Media,MolecularSequence,Observation,\
QuestionnaireResponse Reference derivedFrom
  code-value-quantity composite - . code token CodeableConcept code \
value-quantity quantity Quantity valueQuantity
  code-value-concept composite - . code token CodeableConcept code \
value-concept token CodeableConcept valueCodeableConcept
  code-value-string composite - . code token CodeableConcept code \
value-string string string valueString
  code-value-date composite - . code token CodeableConcept code \
value-date date dateTime valueDateTime Period valuePeriod
  component-code-value-quantity composite - component component-code token CodeableConcept code \
component-value-quantity quantity Quantity valueQuantity
  combo-code-value-quantity composite - .,component combo-code token CodeableConcept code \
combo-value-quantity quantity Quantity valueQuantity
Organization
  name string string name string alias
  address string Address address
  address-city string string address.city
  address-state string string address.state
  address-postalcode string string address.postalCode
  identifier token Identifier identifier
  active token boolean active
  type token CodeableConcept type
  partof reference:Organization Reference partOf
Patient
  x-prefix string string name.prefix
  x-name string HumanName name
  x-marital token CodeableConcept maritalStatus
  x-birthplace string Address extension.valueAddress
  x-years number decimal extension.valueDecimal
  identifier token Identifier identifier
  name string HumanName name
  family string string name.family
  given string string name.given
  phonetic string HumanName name
  gender token code@http://hl7.org/fhir/administrative-gender gender
  birthdate date date birthDate
  death-date date dateTime deceasedDateTime
  deceased token deceased .
  address string Address address
  address-city string string address.city
  address-state string string address.state
  address-postalcode string string address.postalCode
  address-country string string address.country
  address-use token code@http://hl7.org/fhir/address-use address.use
  telecom token ContactPoint telecom
  phone token ContactPoint telecom[system=phone]
  email token ContactPoint telecom[system=email]
  language token CodeableConcept communication.language
  active token boolean active
  general-practitioner reference:Organization,Practitioner,PractitionerRole Reference generalPractitioner
  organization reference:Organization Reference managingOrganization
Practitioner
  x-name string HumanName name
  name string HumanName name
  family string string name.family
  given string string name.given
  identifier token Identifier identifier
  gender token code@http://hl7.org/fhir/administrative-gender gender
  active token boolean active
  email token ContactPoint telecom[system=email]
  address-city string string address.city
PractitionerRole
  specialty token CodeableConcept specialty
  practitioner reference:Practitioner Reference practitioner
  organization reference:Organization Reference organization
  location reference:Location Reference location
  role token CodeableConcept code
  telecom token ContactPoint telecom
Procedure
  status token code@http://hl7.org/fhir/event-status status
  patient reference:Patient Reference:Patient subject
  date date dateTime performedDateTime Period performedPeriod
  code token CodeableConcept code
  encounter reference:Encounter Reference encounter
  reason-reference reference:Condition,DiagnosticReport,DocumentReference,Observation,Procedure \
Reference reasonReference
  location reference:Location Reference location
Provenance
  recorded date instant recorded
  agent reference:Device,Organization,Patient,Practitioner,PractitionerRole,RelatedPerson Reference agent.who
  patient reference:Patient Reference:Patient target
QuestionnaireResponse
  patient reference:Patient Reference:Patient subject
  status token code@http://hl7.org/fhir/questionnaire-answers-status status
  authored date dateTime authored
  questionnaire reference:Questionnaire canonical questionnaire
RelatedPerson
  x-name string HumanName name
  patient reference:Patient Reference patient
  name string HumanName name
  relationship token CodeableConcept relationship
RiskAssessment
  probability number decimal prediction.probabilityDecimal Range prediction.probabilityRange
  date date dateTime occurrenceDateTime
  risk token CodeableConcept prediction.qualitativeRisk
ServiceRequest
  status token code@http://hl7.org/fhir/request-status status
  intent token code@http://hl7.org/fhir/request-intent intent
  patient reference:Patient Reference:Patient subject
  category token CodeableConcept category
  code token CodeableConcept code
  authored date dateTime authoredOn
  occurrence date dateTime occurrenceDateTime Period occurrencePeriod Timing occurrenceTiming
Specimen
  patient reference:Patient Reference:Patient subject
  type token CodeableConcept type
  collected date dateTime collection.collectedDateTime Period collection.collectedPeriod
Substance
  quantity quantity Quantity instance.quantity
  category token CodeableConcept category
  expiry date dateTime instance.expiry
ValueSet
  x-url uri uri url
  url uri uri url
  name string string name
  title string string title
  version token string version
  status token code@http://hl7.org/fhir/publication-status status
  date date dateTime date
  publisher string string publisher
  description string string description
  reference uri uri compose.include.system
"""

EVERYWHERE = """
  _id token id id
  _tag token Coding meta.tag
  _profile uri canonical meta.profile
  _security token Coding meta.security
  _lastUpdated date instant meta.lastUpdated
"""


@cache
def entries() -> dict[str, dict[str, Entry]]:
    """Return the table by type and code."""
    found: dict[str, dict[str, Entry]] = {}
    type_name = ""
    for line in TABLE.replace("\\\n", "").splitlines():
        if line and not line.startswith(" "):
            type_name = line
            found[type_name] = {}
            for common in EVERYWHERE.strip().splitlines():
                found[type_name][common.split()[0]] = _entry(type_name, common.split())
        elif line:
            found[type_name][line.split()[0]] = _entry(type_name, line.split())
    return found


@cache
def entry(type_name: str, code: str) -> Entry:
    """Return one parameter of a type; a type that is not in the table has what all types have."""
    if type_name in entries():
        return entries()[type_name][code]
    words = next(line.split() for line in EVERYWHERE.strip().splitlines() if line.split()[0] == code)
    return _entry(type_name, words)


def _entry(type_name: str, words: list[str]) -> Entry:
    code, (kind, _, targets) = words[0], words[1].partition(":")
    if kind == "composite":
        return _composite(type_name, code, words)
    places = tuple(Place(shape, path) for shape, path in zip(words[2::2], words[3::2], strict=True))
    return Entry(type_name, code, kind, places, tuple(filter(None, targets.split(","))))


def _composite(type_name: str, code: str, words: list[str]) -> Entry:
    """Read `composite - base,base code kind shape path … code kind …`."""
    bases = tuple(Place("element", path) for path in words[3].split(","))
    parts: list[list[str]] = []
    rest = words[4:]
    while rest:
        head, rest = rest[:4], rest[4:]
        while rest and rest[0][0].isupper():
            head, rest = head + rest[:2], rest[2:]
        parts.append(head)
    return Entry(type_name, code, "composite", bases, (), tuple(_entry(type_name, part) for part in parts))
