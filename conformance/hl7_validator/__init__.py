"""Our validation beside HL7's own validator (org.hl7.fhir.validation), on examples and their mutants.

Run by hand, never in CI: it needs Java 17, Maven, some hundred megabytes of libraries and packages, and a
running server. Nothing here decides who is right; docs/decisions/0003-validation.md does, with R4's clauses.

HL7's side, once:

    mvn -f conformance/hl7_validator/pom.xml dependency:copy-dependencies -DoutputDirectory=FOLDER/lib
    javac -cp 'FOLDER/lib/*' -d FOLDER conformance/hl7_validator/Hl7Validator.java

The packages (hl7.fhir.r4.core#4.0.1 and those that are named) are taken from `.fhir/packages` in the home
folder, or fetched into it by the validator. Then:

    # examples with one change each, and a list of them: a path a line, and behind a tab the profiles to meet
    python -m conformance.hl7_validator mutate --seed 7 --count 1000 --into FOLDER/m7 EXAMPLES…
    # what HL7's validator says of each
    java -Xmx3g -cp 'FOLDER/lib/*:FOLDER' Hl7Validator hl7.fhir.us.core#6.1.0 < FOLDER/m7/list > FOLDER/m7/hl7
    # what we say, by POST [base]/[type]/$validate
    python -m conformance.hl7_validator ask http://127.0.0.1:8000/fhir FOLDER/m7/list > FOLDER/m7/ours
    # files with errors on one side only, then elements; --known leaves out what 0003 explains
    python -m conformance.hl7_validator compare FOLDER/m7/hl7 FOLDER/m7/ours

For a guide such as US Core the server needs its package, too (`xinglin package install`). HL7's side has no
terminology server, so a required binding to a code system that it does not have is an error there; the
classes of such differences stand in `compare.KNOWN`, each with its reason.
"""
