"""The rules that R4 states in words: an id of ours for each, the clause that it follows from, what it asks.

Rules that R4 (or a profile, or a Questionnaire) gives a key of its own keep that key and stand with their
definition. An id, once published, keeps its meaning; docs/validation.md lists them all.
"""

from __future__ import annotations

from typing import NamedTuple

SYSTEM = "urn:xinglin:rules"
"""The system of the ids, in OperationOutcome.issue.details."""

R4 = "http://hl7.org/fhir/R4/"


class Clause(NamedTuple):
    """A page of R4 with its anchor, and what is asked there."""

    page: str
    says: str

    @property
    def link(self) -> str:
        """The address of the clause.

        >>> CLAUSES["bundle-fullurl-id"].link
        'http://hl7.org/fhir/R4/bundle-definitions.html#Bundle.entry.fullUrl'
        """
        return R4 + self.page


_PRIMITIVES = (
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt "
    "string time unsignedInt uri url uuid"
)

_BUNDLE = "bundle-definitions.html#Bundle."
_CAPABILITY = "capabilitystatement-definitions.html#CapabilityStatement.rest.resource."
_SYSTEM = "codesystem-definitions.html#CodeSystem."
_MAP = "conceptmap-definitions.html#ConceptMap."
_OPERATION = "operationdefinition-definitions.html#OperationDefinition."
_PARAMETER = "searchparameter-definitions.html#SearchParameter."
_PROFILE = "structuredefinition-definitions.html#StructureDefinition."
_ELEMENT = "elementdefinition-definitions.html#ElementDefinition."
_SET = "valueset-definitions.html#ValueSet."
_FORM = "questionnaire-definitions.html#Questionnaire."
_REPORT = "measurereport-definitions.html#MeasureReport."
_ANSWERED = "questionnaireresponse-definitions.html#QuestionnaireResponse."
_ISSUE = "codesystem-issue-type.html#issue-type-"

_WORDS: dict[str, tuple[str, str]] = {
    # the formats
    "json-syntax": ("json.html#json", "the body is JSON, in UTF-8"),
    "json-kind": ("json.html#primitive", "a value is of the JSON kind that its type and cardinality have"),
    "json-null": ("json.html#null", "null stands only for the place of a value or of its extensions"),
    "json-empty": ("json.html#json", "objects and arrays are never empty"),
    "json-pairs": ("json.html#null", "values and the extensions beside them go in pairs"),
    "json-unique": ("json.html#json", "the names in an object are unique"),
    "json-text": ("datatypes.html#string", "a text has whole characters, and no U+0000"),
    "json-number": ("datatypes.html#decimal", "a number is within what is kept without loss"),
    "xml-syntax": ("xml.html#root", "the body is XML, in UTF-8, without a document type"),
    "xml-structure": ("xml.html#root", "elements and attributes are those of R4, in their order"),
    # structure
    "resource-type": ("json.html#resources", "a resource says its type, which is one of R4"),
    "element-unknown": ("json.html#json", "an element is one that its type has"),
    "element-required": ("conformance-rules.html#cardinality", "an element of at least one is there"),
    "choice-type": ("formats.html#choice", "the value of a choice is of one of the types listed"),
    "choice-one": ("formats.html#choice", "a choice is there with one type"),
    "code-required": ("terminologies.html#required", "a code is from its required or maximum value set"),
    **{
        f"format-{name}": (f"datatypes.html#{name}", f"a value has the format of {name}")
        for name in _PRIMITIVES.split()
    },
    "format-xhtml": ("narrative.html#xhtml", "a narrative is text, as XHTML"),
    "narrative-xhtml": ("narrative.html#xhtml", "a narrative is of the XHTML that R4 allows, and not blank"),
    "narrative-link": ("narrative.html#xhtml", "a link in a narrative leads to an anchor that is there"),
    "narrative-id": ("narrative.html#xhtml", "an id stands once in a narrative"),
    "narrative-reference": ("narrative.html#xhtml", "an extension that points into a narrative leads there"),
    # values
    "element-id": ("element-definitions.html#Element.id", "an id of an element is unique in its resource"),
    "uri-uuid": ("datatypes.html#uuid", "urn:uuid: is followed by a UUID in lower case"),
    "uri-oid": ("datatypes.html#oid", "urn:oid: is followed by an OID"),
    "canonical-absolute": ("references.html#canonical", "a canonical url is absolute"),
    "canonical-target": ("references.html#canonical", "a canonical is of a resource that may be named here"),
    "canonical-contained": ("references.html#canonical", "a canonical #id names a contained resource"),
    "identifier-system": ("datatypes-definitions.html#Identifier.system", "its system is an absolute URI"),
    "identifier-uri": ("datatypes-definitions.html#Identifier.value", "a value of this system is a URI"),
    "attachment-size": ("datatypes-definitions.html#Attachment.size", "size is the number of bytes of data"),
    "attachment-hash": ("datatypes-definitions.html#Attachment.hash", "hash is the SHA-1 of data"),
    "expression-fhirpath": ("metadatatypes-definitions.html#Expression.expression", "FHIRPath can be read"),
    "strict-markup": ("datatypes.html#string", "(on demand) no HTML in strings"),
    "strict-markdown": ("datatypes.html#markdown", "(on demand) no HTML in Markdown"),
    "strict-example": ("datatypes.html#uri", "(on demand) no addresses of examples"),
    # references
    "reference-literal": ("references.html#literal", "a reference is Type/id, an absolute address or #id"),
    "reference-type": ("references-definitions.html#Reference.type", "its type is that of what it leads to"),
    "reference-target": ("references.html#Reference", "a reference leads to a type that is allowed here"),
    "reference-condition": ("http.html#trules", "a condition as reference stands in a transaction only"),
    "reference-dangling": ("references.html#literal", "(on demand) a reference leads to a known resource"),
    "contained-id": ("references.html#contained", "contained resources have different ids"),
    # Bundles
    "bundle-link-once": (_BUNDLE + "link.relation", "a link for paging is there once"),
    "bundle-link-page": ("http.html#paging", "links for paging are for searches and histories"),
    "bundle-fullurl-required": ("bundle.html#bundle-unique", "an entry is known by its fullUrl"),
    "bundle-fullurl-absolute": (_BUNDLE + "entry.fullUrl", "a fullUrl is an absolute address"),
    "bundle-fullurl-id": (_BUNDLE + "entry.fullUrl", "a fullUrl ends with the type and id of its resource"),
    "bundle-reference": ("bundle.html#references", "a reference into the Bundle leads to a fullUrl of it"),
    "document-reference": ("documents.html#content", "a document brings what its Composition points to"),
    "document-unreached": ("documents.html#content", "a document brings only what it refers to"),
    "message-reference": ("bundle.html#message", "a message brings what its MessageHeader points to"),
    "message-unreached": ("bundle.html#message", "a message brings only what it refers to"),
    "bundle-request-url": (_BUNDLE + "entry.request.url", "a request goes to an address below the base"),
    "bundle-request-resource": ("bundle.html#transaction", "a POST or PUT brings a resource"),
    "bundle-request-type": (_BUNDLE + "entry.request.url", "a resource goes to the address of its type"),
    "bundle-request-create": ("http.html#create", "a POST creates at the address of a type"),
    "bundle-request-one": ("http.html#update", "PUT, PATCH and DELETE go to one resource"),
    "bundle-request-id": ("http.html#update", "a PUT goes to the id that its resource has"),
    "bundle-response-status": (_BUNDLE + "entry.response.status", "a status begins with an HTTP status"),
    "bundle-response-etag": (_BUNDLE + "entry.response.etag", "an etag is that of the version beside it"),
    "bundle-search-id": ("bundle.html#searchset", "what a search finds has an id"),
    "bundle-search-mode": (_BUNDLE + "entry.search.mode", "matches are of the types asked for; outcomes are"
                           " OperationOutcomes"),
    "bundle-search-total": (_BUNDLE + "total", "total is not less than the matches that are there"),
    # conformance resources
    "capability-search-type": (_CAPABILITY + "searchParam.type", "a type is that of the definition"),
    "capability-search-name": (_CAPABILITY + "searchParam.name", "a name is the code of the definition"),
    "capability-search-base": (_CAPABILITY + "searchParam.definition", "the definition is for this type"),
    "capability-profile": (_CAPABILITY + "profile", "a profile is for this type"),
    "codesystem-property": (_SYSTEM + "property", "a property is declared once"),
    "codesystem-property-type": ("codesystem.html#defined-props", "a property of R4 has R4's type"),
    "codesystem-property-name": ("codesystem.html#defined-props", "a property of R4 has R4's code"),
    "codesystem-property-declared": (_SYSTEM + "concept.property.code", "a property in use is declared"),
    "codesystem-property-value": (_SYSTEM + "concept.property.value_x_", "its value is of the type declared"),
    "codesystem-property-code": (_SYSTEM + "property.type", "the value of a code property is a code here"),
    "codesystem-content": (_SYSTEM + "content", "content says what is here"),
    "codesystem-count": (_SYSTEM + "count", "count is the number of concepts"),
    "codesystem-supplement": (_SYSTEM + "supplements", "a supplement names its system and adds no codes"),
    "codesystem-valueset": (_SYSTEM + "valueSet", "the value set has all codes and no others"),
    "conceptmap-unique": (_MAP + "group.element.code", "a code is mapped once in a group"),
    "conceptmap-code": (_MAP + "group.element.code", "a code is one of its system"),
    "conceptmap-valueset": (_MAP + "source_x_", "a code is in the value set that the map is about"),
    "measurereport-group": (_REPORT + "group", "groups are those of the Measure"),
    "measurereport-population": (_REPORT + "group.population", "populations are those of the Measure"),
    "measurereport-score": (_REPORT + "group.measureScore", "a cohort has no score"),
    "operation-resource": (_OPERATION + "resource", "an operation on types or instances says on which"),
    "operation-parameter": (_OPERATION + "parameter.name", "the name of a parameter is unique"),
    "operation-cardinality": (_OPERATION + "parameter.max", "max is a number or *, and not below min"),
    "operation-profile": (_OPERATION + "inputProfile", "a profile of the parameters agrees with them"),
    "search-expression": (_PARAMETER + "expression", "an expression is FHIRPath, on one of the bases"),
    "search-component": (_PARAMETER + "component", "a composite, and no other parameter, has components"),
    "search-derived": (_PARAMETER + "derivedFrom", "a parameter agrees with what it is derived from"),
    "profile-known": ("profiling.html#profile-uses", "a profile that is claimed or asked for is known here"),
    "profile-kind": (_PROFILE + "kind", "kind is that of the type"),
    "profile-base": (_PROFILE + "baseDefinition", "the base is of the same type"),
    "profile-context": (_PROFILE + "context", "the context of an extension is an element of R4"),
    "profile-path": (_ELEMENT + "path", "a path is one of the type that is constrained"),
    "profile-slicing": (_ELEMENT + "slicing", "what has slices is sliced, and repeats"),
    "profile-discriminator": (_ELEMENT + "slicing.discriminator.path", "a discriminator leads to an element"),
    "profile-constraint": (_ELEMENT + "constraint.expression", "the expression of a constraint is FHIRPath"),
    "profile-extension-url": ("extensibility-definitions.html#Extension.url", "the url of an extension is "
                              "that of its definition"),
    "profile-cardinality": ("profiling.html#cardinality", "a profile narrows cardinalities only"),
    "profile-binding": ("terminologies.html#strength", "a profile does not weaken a binding"),
    "profile-type": (_ELEMENT + "type", "types, profiles and targets are among those of the base"),
    "profile-fixed": (_ELEMENT + "fixed_x_", "a fixed value or pattern is of the element's type"),
    "valueset-import": (_SET + "compose.include.valueSet", "a value set does not include itself"),
    "valueset-concept": (_SET + "compose.include.concept.code", "a code is one of its system, listed once"),
    "valueset-filter-value": (_SET + "compose.include.filter.value", "a value fits operation and property"),
    "valueset-filter-op": (_SET + "compose.include.filter.op", "a filter knows the operation"),
    "valueset-filter-property": (_SET + "compose.include.filter.property", "a property is declared"),
    # questionnaires
    "questionnaire-derived": (_FORM + "derivedFrom", "a form keeps what its kind of derivation promises"),
    "questionnaire-link-id": (_FORM + "item.linkId", "a linkId is there once"),
    "questionnaire-type": (_FORM + "item.type", "a type is not abstract"),
    "questionnaire-enable-behavior": (_FORM + "item.enableBehavior", "several conditions say if all hold"),
    "questionnaire-enable-question": (_FORM + "item.enableWhen.question", "it names another question"),
    "questionnaire-enable-operator": (_FORM + "item.enableWhen.operator", "what is ordered has an order"),
    "questionnaire-enable-answer": (_FORM + "item.enableWhen.answer_x_", "an answer is one of that question"),
    "questionnaire-value-set": (_FORM + "item.answerValueSet", "a contained value set is there"),
    "questionnaire-option": (_FORM + "item.answerOption", "options are of the item's type, each there once"),
    "questionnaire-initial": (_FORM + "item.initial", "an initial value is one that may be answered"),
    "questionnaire-limits": (_FORM + "item", "limits by extensions can be read, and leave something"),
    "questionnaire-expression": (_FORM + "item", "expressions by extensions are FHIRPath"),
    "response-questionnaire": (_ANSWERED + "questionnaire", "a response names a Questionnaire, known here"),
    "response-subject": (_FORM + "subjectType", "the subject is of a type that the form is for"),
    "response-authored": (_FORM + "effectivePeriod", "a response is of the time when its form is in use"),
    "response-link-id": (_ANSWERED + "item.linkId", "an item is one of the Questionnaire"),
    "response-item": (_ANSWERED + "item", "items stand as in the Questionnaire, as often as it allows"),
    "response-answer": (_ANSWERED + "item.answer", "an answer is one that the item allows"),
    "response-constraint": (_ANSWERED + "item", "the form's constraints and calculations hold"),
    # $validate, beside the content
    "update-id": ("http.html#update", "an update is of the id that its resource has"),
    # our limits, as R4 lets a server have them
    "limit-depth": (_ISSUE + "structure", "a resource is nested no deeper than can be followed"),
    "limit-problems": (_ISSUE + "too-long", "a hundred problems are listed, and the others counted"),
    "limit-cost": (_ISSUE + "too-costly", "what takes too long is left open"),
    "limit-fault": (_ISSUE + "exception", "a check that fails by our own fault is left open"),
}  # fmt: skip

CLAUSES: dict[str, Clause] = {name: Clause(*words) for name, words in _WORDS.items()}
