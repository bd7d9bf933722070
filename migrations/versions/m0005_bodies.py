"""Bodies as text, apart from the heads: `resource` is what is searched, `resource_version` what is served.

Every version, the current one too, has one row in `resource_version`, written once and never changed. A
body is the text that is served, without what stands in columns; bodies from before keep the order
and the spaces that jsonb gave them, so that no answer changes.

The tables are made anew beside the old ones. While that runs (a million versions take one to two
minutes) reads go on and writes wait; the names change hands in the last moment. Disk is needed for
both. docs/decisions/0001-search-index.md says why.

Revision ID: m0005
Revises: m0004
"""

from alembic import op

revision = "m0005"
down_revision = "m0004"
branch_labels = None
depends_on = None

TYPES = [
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
]

UPGRADE = """
LOCK TABLE resource, resource_version IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE resource_type (
    code smallint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);
COMMENT ON TABLE resource_type IS 'The names of the types, for people; programs have them of their own';
INSERT INTO resource_type SELECT number, name
    FROM unnest(string_to_array('{types}', ' ')) WITH ORDINALITY AS t (name, number);

CREATE TABLE m0005_version (
    pk bigint NOT NULL,
    stamp bigint NOT NULL,
    last_updated timestamptz(3) NOT NULL,
    version integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    method "char" NOT NULL,
    content text
);
COMMENT ON TABLE m0005_version IS 'Every version of every resource, the current ones too; append-only';
COMMENT ON COLUMN m0005_version.method IS 'C create (POST), U update (PUT), P patch, D delete';
COMMENT ON COLUMN m0005_version.content IS
    'JSON as it is served, without resourceType, id, meta.versionId and meta.lastUpdated; null: a deletion';
INSERT INTO m0005_version
    SELECT pk, stamp, last_updated, version, tenant, type, method,
        CASE WHEN deleted THEN NULL
            WHEN meta IS NULL THEN content::text
            WHEN content = '{{}}' THEN '{{"meta":' || meta::text || '}}'
            ELSE '{{"meta":' || meta::text || ',' || substr(content::text, 2) END
    FROM (SELECT pk, stamp, last_updated, version, tenant, type, method, deleted, meta, content
            FROM resource_version
          UNION ALL
          SELECT pk, stamp, last_updated, version, tenant, type, method, deleted, meta, content
            FROM resource) AS both_tables
    ORDER BY stamp, pk, version;
CREATE UNIQUE INDEX m0005_version_pkey ON m0005_version (tenant, pk, version);
CREATE INDEX m0005_version_updated ON m0005_version (tenant, type, last_updated, pk);
CREATE INDEX m0005_version_stamp ON m0005_version (tenant, stamp, pk);

CREATE TABLE m0005_resource (
    pk bigint NOT NULL,
    last_updated timestamptz(3) NOT NULL,
    rid uuid NOT NULL,
    version integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    id text COLLATE "C" NOT NULL,
    chart uuid,
    chart_date timestamptz,
    keys uuid[]
);
COMMENT ON TABLE m0005_resource IS 'The head of every resource: what is searched; a deleted one stays, without keys';
COMMENT ON COLUMN m0005_resource.version IS 'The current one, whose body is in resource_version';
COMMENT ON COLUMN m0005_resource.rid IS 'BLAKE2b of Type/id: twelve bytes behind four zero bytes';
COMMENT ON COLUMN m0005_resource.keys IS 'Hashed search keys: four bytes of the parameter, twelve of the value';
COMMENT ON COLUMN m0005_resource.chart IS 'The rid of the patient, and chart_date the clinical date: newest of one patient first';
INSERT INTO m0005_resource
    SELECT pk, last_updated, rid, version, tenant, type, deleted, id, chart, chart_date, keys
    FROM resource ORDER BY pk;
ALTER TABLE m0005_resource ALTER COLUMN keys SET STATISTICS 400;
CREATE UNIQUE INDEX m0005_resource_pkey ON m0005_resource (tenant, type, pk);
CREATE UNIQUE INDEX m0005_resource_rid ON m0005_resource (tenant, rid);
CREATE INDEX m0005_resource_keys ON m0005_resource USING gin (keys) WITH (fastupdate = off);
CREATE INDEX m0005_resource_updated ON m0005_resource (tenant, type, last_updated, pk);
CREATE INDEX m0005_resource_chart ON m0005_resource (tenant, type, chart, chart_date DESC NULLS LAST, pk DESC)
    WHERE chart IS NOT NULL;
ANALYZE m0005_version;
ANALYZE m0005_resource;

DROP TABLE resource, resource_version;
ALTER TABLE m0005_version RENAME TO resource_version;
ALTER TABLE m0005_resource RENAME TO resource;
ALTER TABLE resource_version
    ADD CONSTRAINT resource_version_pkey PRIMARY KEY USING INDEX m0005_version_pkey;
ALTER INDEX m0005_version_updated RENAME TO resource_version_updated;
ALTER INDEX m0005_version_stamp RENAME TO resource_version_stamp;
ALTER TABLE resource ADD CONSTRAINT resource_pkey PRIMARY KEY USING INDEX m0005_resource_pkey,
    ADD CONSTRAINT resource_tenant_rid_key UNIQUE USING INDEX m0005_resource_rid;
ALTER INDEX m0005_resource_keys RENAME TO resource_keys;
ALTER INDEX m0005_resource_updated RENAME TO resource_updated;
ALTER INDEX m0005_resource_chart RENAME TO resource_chart;
ALTER TABLE resource SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE resource_version SET (autovacuum_analyze_scale_factor = 0.02);

CREATE TRIGGER validation_outcome_purge AFTER DELETE ON resource_version
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION validation_outcome_purge();

CREATE VIEW resource_version_json AS
    SELECT t.name AS type, r.id, v.version, v.version = r.version AS current, v.last_updated, v.method::text,
        jsonb_build_object('resourceType', t.name, 'id', r.id) || v.content::jsonb || jsonb_build_object('meta',
            coalesce(v.content::jsonb -> 'meta', '{{}}') || jsonb_build_object(
                'versionId', v.version::text,
                'lastUpdated', to_char(v.last_updated AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))) AS resource,
        v.tenant, v.pk
    FROM resource_version v JOIN resource_type t ON t.code = v.type
    JOIN resource r ON r.tenant = v.tenant AND r.type = v.type AND r.pk = v.pk;
COMMENT ON VIEW resource_version_json IS 'Every version as jsonb, for people: resource is null where it is a deletion';

CREATE VIEW resource_json AS
    SELECT type, id, version, last_updated, resource, tenant, pk FROM resource_version_json
    WHERE current AND resource IS NOT NULL;
COMMENT ON VIEW resource_json IS 'Every resource that is there as jsonb, for people';
""".format(types=" ".join(TYPES))


def upgrade() -> None:
    """Make the tables anew."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Refuse: jsonb would take order and digits from the bodies that were written since."""
    raise NotImplementedError("bodies as text do not go back; restore a backup instead")
