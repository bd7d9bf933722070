"""XML Patch, and FHIRPath Patch in XML, as a client meets them (R4/http.html#patch, RFC 5261)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.model import json_format, xml_format
from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply
from tests.support.patches import XML_PATCH, change, parameters

Store = Callable[[dict[str, Any]], str]


def xml_patched(client: FhirClient, path: str, operations: str, **headers: str) -> Reply:
    sent = {"Content-Type": XML_PATCH, **headers}
    return client.send("PATCH", path, f'<diff xmlns="http://hl7.org/fhir">{operations}</diff>', sent)


@clause("R4/http.html#patch", "XML Patch works on the resource as it is in XML; RFC 5261")
def test_xml_patch(client: FhirClient, stored: Store) -> None:
    id_ = stored(
        patient(
            birthDate="1970",
            identifier=[{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}],
            multipleBirthInteger=2,
            extension=[{"url": "urn:x", "valueDecimal": json_format.number("1.50")}],
        )
    )
    reply = xml_patched(
        client,
        f"Patient/{id_}",
        """
        <replace sel="f:Patient/f:birthDate/@value">1971-02</replace>
        <replace sel="Patient/identifier[system/@value='urn:b']/value/@value">3</replace>
        <remove sel="/f:Patient/f:identifier[1]"/>
        <add sel="f:Patient/f:name[1]" pos="prepend"><use value="official"/></add>
        <add sel="f:Patient/f:name/f:given"
            ><extension url="urn:y"><valueBoolean value="true"/></extension></add>
        <add sel="f:Patient/f:name/f:given" type="@id">given</add>
        <add sel="f:Patient/f:name" pos="after"><name><text value="Other"/></name></add>
        """,
    )
    assert reply.status == 200, reply.data
    found = reply.json
    assert (found["birthDate"], found["identifier"]) == ("1971-02", [{"system": "urn:b", "value": "3"}])
    assert [one.get("use") for one in found["name"]] == ["official", None]
    beside = {"id": "given", "extension": [{"url": "urn:y", "valueBoolean": True}]}
    assert found["name"][0]["_given"] == [beside]
    assert b"1.50" in reply.data


@clause("R4/http.html#patch", "a narrative that an XML Patch leaves alone stays character for character")
def test_xml_patch_and_narratives(client: FhirClient, stored: Store) -> None:
    div = """<div xmlns='http://www.w3.org/1999/xhtml' class="a">A &amp; &#169;<br/> <b>é</b ></div>"""
    id_ = stored(patient(text={"status": "additional", "div": div}))
    nothing = '<replace sel="f:Patient/f:name/f:family/@value">Chalmers</replace>'
    reply = xml_patched(client, f"Patient/{id_}", nothing)
    assert (reply.status, reply.headers["ETag"]) == (200, 'W/"1"'), reply.data
    tag = '<add sel="f:Patient/f:meta"><tag><code value="x"/></tag></add>'
    reply = xml_patched(client, f"Patient/{id_}", tag)
    assert (reply.status, reply.json["text"]["div"]) == (200, div), reply.data
    reply = xml_patched(client, f"Patient/{id_}", "<remove sel='f:Patient/f:text/h:div/h:b'/>")
    assert (reply.status, "<b>" in reply.json["text"]["div"]) == (200, False), reply.data


@clause("R4/http.html#patch", "XML Patch: what cannot be read 400, what cannot be carried out 422")
@pytest.mark.parametrize(
    ("operations", "status", "says"),
    [
        ("<remove sel='f:Patient/f:photo'/>", 422, "finds nothing"),
        ("<remove sel='f:Patient/f:name'/>", 422, "finds 2 nodes"),
        ("<remove sel='f:Patient'/>", 422, "whole resource"),
        ("<remove sel='g:Patient'/>", 400, "prefix 'g'"),
        ("<remove sel='f:Patient//f:name'/>", 400, "no step"),
        ("<remove sel='f:Patient/f:name[last()]'/>", 400, "no predicate"),
        ("<remove/>", 400, "no sel"),
        ("<test sel='f:Patient'/>", 400, "<test>"),
        ("", 400, "no operation"),
        ("<remove sel='f:Patient/f:name[1]'>", 400, "not XML"),
        ("<add sel='f:Patient'><nonsense value='1'/></add>", 400, "nonsense"),
        ("<add sel='f:Patient'><gender value='femal'/></add>", 400, "femal"),
        ("<add sel='f:Patient'>text</add>", 400, "text"),
        ("<replace sel='f:Patient/f:id/@value'>other</replace>", 400, "changes the id"),
        ("<replace sel='f:Patient/f:id/@value'><id/></replace>", 422, "where text is expected"),
        ("<replace sel='f:Patient'><Person/></replace>", 400, "changes the resourceType"),
        ("<remove sel='" + "f:Patient/" * 500 + "'/>", 400, "2000 characters"),
    ],
)
def test_xml_refusals(client: FhirClient, stored: Store, operations: str, status: int, says: str) -> None:
    id_ = stored(patient(name=[{"text": "One"}, {"text": "Two"}]))
    reply = xml_patched(client, f"Patient/{id_}", operations)
    assert (reply.status, says in reply.issue["diagnostics"]) == (status, True), reply.data
    assert client.get(f"Patient/{id_}").json["meta"]["versionId"] == "1"


@clause("R4/xml.html", "no document types: entities of a patch are refused, not expanded")
def test_xml_patch_with_a_document_type(client: FhirClient, stored: Store) -> None:
    body = '<!DOCTYPE d [<!ENTITY a "b">]><diff><add sel="f:Patient" type="@id">&a;</add></diff>'
    reply = client.send("PATCH", f"Patient/{stored(patient())}", body, {"Content-Type": XML_PATCH})
    assert (reply.status, "document type" in reply.issue["diagnostics"]) == (400, True)


@clause("R4/fhirpatch.html", "FHIRPath Patch as Parameters in XML")
@pytest.mark.parametrize("media_type", ["application/fhir+xml", "application/xml"])
def test_fhirpath_patch_in_xml(client: FhirClient, stored: Store, media_type: str) -> None:
    id_ = stored(patient())
    body = xml_format.encode(parameters(change("delete", "Patient.name[0].given")))
    reply = client.send("PATCH", f"Patient/{id_}", body, {"Content-Type": media_type})
    assert (reply.status, reply.json["name"]) == (200, [{"family": "Chalmers"}]), reply.data
