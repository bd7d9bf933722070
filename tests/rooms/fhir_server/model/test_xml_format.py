"""XML in and out: nothing is lost, whatever legal spelling it has, and nothing hostile is read."""

import bz2
import itertools
import tarfile
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.model import json_format, xml_format
from fhir_server.outcome import Invalid, Issue
from tests.support.clause import clause

ROOT = b'<Patient xmlns="http://hl7.org/fhir">%s</Patient>'
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">'


def read(inner: str) -> dict[str, Any]:
    return xml_format.parse(ROOT % inner.encode())


def refused(data: bytes, **limits: int) -> list[Issue]:
    with pytest.raises(Invalid) as caught:
        xml_format.parse(data, **limits)
    return list(caught.value.issues)


def back(resource: dict[str, Any]) -> dict[str, Any]:
    return xml_format.parse(xml_format.encode(resource))


def same(one: Any, other: Any) -> bool:
    """Say whether two values are spelled alike, digits of decimals too; the order of members is no matter."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(json_format.encode(one) == json_format.encode(other))


# Nothing is lost


@clause("R4/xml.html", "the official examples in JSON, written as XML and read again, are what they were")
def test_official_examples(shared: Any) -> None:
    count = 0
    with tarfile.open(shared("data/r4-examples.tar.xz")) as archive:
        for number, member in enumerate(archive):
            if not member.isfile() or (number % 7 and "observation" not in member.name):
                continue
            try:
                resource = json_format.parse(archive.extractfile(member).read())  # type: ignore[union-attr]
            except Invalid:
                assert member.name.endswith("observation-decimal.json")  # 10^-245, in XML as in JSON
                continue
            assert same(back(resource), resource), member.name
            count += 1
    assert count > 400


@clause("R4/xml.html", "Synthea's bundles, written as XML and read again, are what they were")
def test_synthea(shared: Any) -> None:
    for path in itertools.islice(
        sorted(shared("data/synthea").glob("*.bz2"), key=lambda p: p.stat().st_size), 9
    ):
        bundle = json_format.parse(bz2.decompress(path.read_bytes()))
        assert same(back(bundle), bundle), path.name


@pytest.mark.parametrize(
    "spelling", ["1.50", "1.0e2", "0.0000001", "-0.0", "1E5", "7", "-12", "123456789012345.60"]
)
def test_decimals_digit_for_digit(spelling: str) -> None:
    resource = json_format.parse(
        b'{"resourceType":"Observation","valueQuantity":{"value":' + spelling.encode() + b"}}"
    )
    assert f'value="{spelling}"'.encode() in xml_format.encode(resource)
    assert same(back(resource), resource)


@clause("R4/json.html#primitive", "ids and extensions of primitives, in arrays with null where there is none")
@pytest.mark.parametrize(
    "name",
    [
        {"given": ["a", "b"], "_given": [None, {"id": "x"}]},
        {"given": ["a", None], "_given": [None, {"extension": [{"url": "u", "valueCode": "c"}]}]},
        {"given": [None, "b", "c"], "_given": [{"id": "x"}, None, {"id": "y", "extension": [{"url": "u"}]}]},
        {"_given": [{"id": "x"}, {"id": "y"}]},
        {"_family": {"extension": [{"url": "u", "_valueString": {"id": "deep"}}]}},
        {"family": "F", "_family": {"id": "f"}, "id": "n", "extension": [{"url": "u", "valueInteger": -5}]},
    ],
)
def test_siblings(name: dict[str, Any]) -> None:
    resource = {"resourceType": "Patient", "name": [name]}
    assert back(resource) == resource


# U+0000 to U+0008 and their like are no characters of XML; lone surrogates are none at all.
TEXTS = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\ufffe\uffff"), min_size=1
).filter(lambda text: all(character >= " " or character in "\t\n\r" for character in text))


@given(TEXTS)
def test_every_text_comes_back(text: str) -> None:
    resource = {
        "resourceType": "Patient",
        "id": text,
        "name": [{"id": text, "text": text, "given": [text, "a"]}],
    }
    assert back(resource) == resource


# How it is written


@clause("R4/xml.html", "elements stand in the order of the definitions, ids and urls are attributes")
def test_order() -> None:
    resource = {
        "birthDate": "1970",
        "resourceType": "Patient",
        "name": [{"given": ["A"], "family": "F", "id": "n"}],
        "active": False,
        "extension": [{"valueBoolean": True, "url": "urn:e"}],
        "contained": [{"resourceType": "Organization", "name": "O", "id": "o"}],
        "text": {"div": "<div>&nbsp;x</div>", "status": "generated"},
        "id": "7",
    }
    assert xml_format.encode(resource).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?><Patient xmlns="http://hl7.org/fhir"><id value="7"/>'
        f'<text><status value="generated"/>{DIV}\xa0x</div></text>'
        '<contained><Organization><id value="o"/><name value="O"/></Organization></contained>'
        '<extension url="urn:e"><valueBoolean value="true"/></extension><active value="false"/>'
        '<name id="n"><family value="F"/><given value="A"/></name><birthDate value="1970"/></Patient>'
    )


def test_pretty_touches_no_narrative() -> None:
    div = f"{DIV}<p>a\n b</p></div>"
    resource = {
        "resourceType": "Patient",
        "text": {"status": "generated", "div": div},
        "name": [{"family": "F"}],
    }
    text = xml_format.encode(resource, pretty=True)
    assert b'\n  <name>\n    <family value="F"/>\n  </name>\n</Patient>' in text
    assert f"\n    {div}\n".encode() in text
    assert xml_format.parse(text) == resource


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"gender": "a\x01"}, "U+0001"),
        ({"gender": "a\uffff"}, "U+FFFF"),
        ({"colour": "blue"}, "'colour'"),
        ({"text": {"div": "<div><p></div>"}}, "mismatched tag"),
        ({"text": {"div": "<?xml version='1.0'?><div/>"}}, "begins with <div>"),
        ({"text": {"div": "<p>x</p>"}}, "is a <div> of XHTML"),
        ({"contained": [{"resourceType": "Patint"}]}, "Patint"),
        ({"_name": [{"id": "a"}]}, "_name"),
        ({"extension": [{"url": "u", "_url": {"id": "x"}}]}, "_url"),
        ({"gender": None}, "gender"),
        ({"gender": {}}, "gender"),
        ({"name": ["x"]}, "Patient.name"),
    ],
)
def test_what_xml_cannot_hold(more: dict[str, Any], says: str) -> None:
    resource = {"resourceType": "Patient", "active": True, **more}
    with pytest.raises(xml_format.Unwritable, match=says.replace("+", r"\+")):
        xml_format.encode(resource)
    assert xml_format.parse(xml_format.encode(resource, whole=False))["active"] is True


# What is read


@clause("R4/xml.html", "spellings that mean the same are the same")
@pytest.mark.parametrize(
    "document",
    [
        '<Patient xmlns="http://hl7.org/fhir"><active value="true" id="a"/></Patient>',
        "<Patient xmlns='http://hl7.org/fhir'><active id='a' value='true'></active></Patient>",
        '<f:Patient xmlns:f="http://hl7.org/fhir"><f:active value="&#116;rue" id="a"/></f:Patient>',
        '\ufeff<?xml version="1.0" encoding="utf-8" standalone="yes"?><?a b?><!-- c -->\n'
        '<Patient xmlns="http://hl7.org/fhir" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://hl7.org/fhir ../fhir-all.xsd">\n\t<!-- d --><?e f?>\n'
        '<active\nvalue="true"\tid = "a" /><![CDATA[ ]]></Patient><!-- g -->\n',
        '<Patient xmlns="http://hl7.org/fhir"><active value="true" xml:id="a"/></Patient>',
    ],
)
def test_spellings(document: str) -> None:
    expected = {"resourceType": "Patient", "active": True, "_active": {"id": "a"}}
    assert xml_format.parse(document.encode()) == expected


@clause("R4/narrative.html#xhtml", "a narrative is the text of its div, CDATA, comments, prefixes and all")
@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (f"{DIV}<p xml:lang=\"de\" class='b'>Ä &lt; &#228;</p>\r\n<!-- c --></div>", None),
        (f"{DIV}<![CDATA[<&nbsp;]]></div>", None),
        ('<div xmlns="http://www.w3.org/1999/xhtml" title="a > b"/>', None),
        (f'{DIV}<div><p>1</p></div><div title=">"/></div>', None),
        (f'{DIV}<a:b xmlns:a="urn:x">1</a:b></div>', None),
        (f"{DIV}a&nbsp;b&eacute;</div>", f"{DIV}a\xa0bé</div>"),
        (
            '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p h:class="x">1 &amp; "2"</h:p></h:div>',
            None
            if False
            else f'{DIV}<p xmlns:p="http://www.w3.org/1999/xhtml" p:class="x">1 &amp; "2"</p></div>',
        ),
        (
            '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p class="&lt;x&quot;" xml:lang="de">1</h:p>'
            "</h:div>",
            f'{DIV}<p class="&lt;x&quot;" xml:lang="de">1</p></div>',
        ),
    ],
)
def test_narratives(written: str, read_as: str | None) -> None:
    found = read(f'<text><status value="generated"/>{written}</text><active value="true"/>')
    assert found["text"] == {"status": "generated", "div": written if read_as is None else read_as}
    assert found["active"] is True


def test_a_prefix_from_outside_is_written_out() -> None:
    document = (
        '<Patient xmlns="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml">'
        "<text><h:div><h:b>1</h:b></h:div></text></Patient>"
    )
    assert xml_format.parse(document.encode())["text"]["div"] == f"{DIV}<b>1</b></div>"


def test_containers() -> None:
    inner = "<contained><Organization><id value='o'/><name value='O'/></Organization></contained>"
    assert read(inner + inner)["contained"] == [{"resourceType": "Organization", "id": "o", "name": "O"}] * 2
    bundle = (
        '<Bundle xmlns="http://hl7.org/fhir"><entry><resource><Patient/></resource></entry>'
        "<entry><fullUrl value='urn:a'/></entry></Bundle>"
    )
    assert xml_format.parse(bundle.encode())["entry"] == [
        {"resource": {"resourceType": "Patient"}},
        {"fullUrl": "urn:a"},
    ]


# What is refused, and where


@pytest.mark.parametrize(
    ("inner", "says", "expression"),
    [
        ("<birthdate value='1970'/>", "did you mean <birthDate>?", "Patient"),
        ("\n <name><fmily value='a'/></name>", "did you mean <family>?", "Patient.name[0]"),
        ("<name/><name use='x'/>", "<name> has use as an element", "Patient.name[1]"),
        ("<id>7</id>", "values stand in attributes", "Patient.id"),
        ("<active value='yes'/>", "true or false is expected", "Patient.active"),
        ("<multipleBirthInteger value='1.5'/>", "'1.5' is no integer", "Patient.multipleBirth"),
        ("<multipleBirthInteger value='007'/>", "leading zeros", "Patient.multipleBirth"),
        (
            "<extension url='u'><valueDecimal value='1e99'/></extension>",
            "10^±40",
            "Patient.extension[0].value",
        ),
        ("<active/>", "the element is empty", "Patient.active"),
        ("<active value='true'/><active value='true'/>", "stands twice", "Patient.active"),
        ("<active value='true' xml:lang='de'/>", "narratives only", "Patient.active"),
        ("<active value='true' colour='x'/>", "has no attribute colour; id and value are", "Patient.active"),
        (
            "<extension><url value='u'/></extension>",
            "url is an attribute of <extension>",
            "Patient.extension[0]",
        ),
        ("<text><div>x</div></text>", '<div xmlns="http://www.w3.org/1999/xhtml">', "Patient.text"),
        ("<active xmlns='urn:x' value='true'/>", '<active xmlns="http://hl7.org/fhir">', "Patient"),
        ("<contained/>", "a resource is expected", "Patient.contained"),
        ("<contained><Patint/></contained>", "did you mean <Patient>?", "Patient.contained"),
        ("<contained><Group/><Group/></contained>", "a second resource", "Patient.contained"),
        ("<active value='true'><id value='x'/></active>", "extensions only", "Patient.active"),
        ("<name><family value='&nbsp;'/></name>", "undefined entity", None),
        ("<a:b/>", "unbound prefix", None),
        ("<active value='&#0;'/>", "reference to invalid character", None),
    ],
)
def test_refused_with_its_place(inner: str, says: str, expression: str | None) -> None:
    issue = refused(ROOT % inner.encode())[0]
    assert says in issue.diagnostics
    assert (issue.expression or "").removesuffix("[0]") == (expression or "").removesuffix("[0]")
    assert issue.line == (2 if inner.startswith("\n") else 1)
    assert issue.diagnostics.startswith(f"line {issue.line}, column {issue.column}: ")


def test_all_that_is_wrong_is_told_up_to_twenty() -> None:
    assert len(refused(ROOT % b"<a><b/></a><c/><name><d/></name>")) == 3
    assert len(refused(ROOT % (b"<a/>" * 100))) == 20


ENTITY = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 20) for i in range(12)
)
OPEN = ROOT[: ROOT.index(b"%")] + b"&nbsp;"
MANY = b" ".join(b"a%d='x'" % number for number in range(100_000))
HOSTILE = {
    "billion laughs": (LAUGHS + b"]>" + ROOT % b"<id value='&m;'/>", "document type"),
    "external entity": (ENTITY + b"<Patient>&a;</Patient>", "document type"),
    "external subset": (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><Patient/>', "document type"),
    "parameter entity": (b'<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/x"> %a;]><x/>', "document type"),
    "deep": (ROOT % (b"<extension url='u'>" * 50_000), "nested deeper than 64"),
    "deep and unknown": (ROOT % (b"<a>" * 50_000), "is no element"),
    "deep narrative": (ROOT % (b"<text>" + DIV.encode() + b"<b>" * 50_000), "100 levels"),
    "contained in contained": (ROOT % (b"<contained><Patient>" * 50_000), "nested deeper than 64"),
    "no namespace": (b"<Patient/>", "has no namespace"),
    "wrong namespace": (b'<Patient xmlns="http://hl7.org/fhir/r4"/>', "has namespace 'http://hl7.org/fhir/r4'"),
    "no resource": (b'<Pateint xmlns="http://hl7.org/fhir"/>', "did you mean <Patient>?"),
    "two roots": (ROOT % b"" + ROOT % b"", "junk after document element"),
    "text behind": (ROOT % b"" + b"x", "junk after document element"),
    "ends early": (b'<Patient xmlns="http://hl7.org/fhir"><name>', "no element found"),
    "not UTF-8": (ROOT % b"<id value='\xff'/>", "not UTF-8: byte 0xff"),
    "UTF-16": ((ROOT % b"").decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without mark": ((ROOT % b"").decode().encode("utf-16-le"), "UTF-16"),
    "Latin-1": (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + ROOT % b"", "encoding=ISO-8859-1"),
    "empty": (b" ", "the body is empty"),
    "JSON": (b'{"resourceType":"Patient"}', "not XML"),
    "attribute twice": (ROOT % b"<id value='a' value='b'/>", "duplicate attribute"),
    "many attributes": (ROOT % (b"<id %s/>" % MANY), "no attribute a0"),
    "open comment": (ROOT % (b"<!--" * 200_000), "not XML"),
    "open CDATA": (ROOT % (b"&nbsp;<![CDATA[" + b"<div " * 200_000), "not XML"),
    "entities": (ROOT % (b"&nbsp;" * 200_000), "undefined entity"),
    "open divs": (ROOT % (b"&nbsp;" + b"<div>" * 100_000), "undefined entity"),
    "open div, entity": (OPEN + b"<div " * 200_000, "undefined entity"),
    "open comments, entity": (OPEN + b"<!--" * 200_000, "undefined entity"),
    "open sections, entity": (OPEN + b"<![CDATA[" * 200_000, "undefined entity"),
    "closing divs, entity": (OPEN + b"</div " * 200_000, "undefined entity"),
    "prefixes, entity": (OPEN + b"<" + b"a" * 1_000_000, "undefined entity"),
    "surrogate": (ROOT % b"<id value='&#xD800;'/>", "invalid character"),
    "long number": (ROOT % b"<multipleBirthInteger value='%s'/>" % (b"9" * 300_000), "is no integer"),
    "long name": (ROOT % b"<%s b='c'/>" % (b"a" * 300_000), "is no element"),
    "long prefix": (ROOT % b"<a:b xmlns:a='%s'/>" % (b"a" * 300_000), "is not allowed"),
    "long attribute name": (ROOT % b"<id value='x' %s='c'/>" % (b"a" * 300_000), "no attribute"),
    "nul": (ROOT % b"<id value='\0'/>", "not well-formed"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    data, says = HOSTILE[name]
    started = time.perf_counter()
    issues = refused(data)
    assert time.perf_counter() - started < 2
    assert any(says in issue.diagnostics for issue in issues)
    assert all(len(issue.diagnostics) < 400 for issue in issues)
    assert "root:" not in str(issues)


def test_a_huge_value_is_only_long() -> None:
    text = "x" * 5_000_000
    assert read(f'<id value="{text}"/>')["id"] == text


def test_depth_is_that_of_the_json() -> None:
    """What is read can be written as JSON and read again within the same limit."""
    deepest = 0
    for levels in range(1, 40):
        inner = "<extension url='u'>" * levels + "<valueString value='x'/>" + "</extension>" * levels
        try:
            resource = read(inner)
        except Invalid:
            break
        json_format.parse(json_format.encode(resource))
        deepest = levels
    assert 28 < deepest < 33
    with pytest.raises(Invalid):
        xml_format.parse(ROOT % b"<name><given value='a'/></name>", max_depth=2)


PIECES = st.sampled_from(
    [
        *("<Patient xmlns='http://hl7.org/fhir'>", "</Patient>", "<name>", "</name>", "<active/>"),
        *("<div", "<text>", "</text>", " xmlns='http://www.w3.org/1999/xhtml'", ">", "</div>", "<p/>"),
        *("&amp;", "&nbsp;", "&#1;", "<!--", "-->", "<![CDATA[", "]]>", "<?x ?>", "<contained>"),
        *("<extension url='u'>", "</extension>", "<given id='a'>", "</given>", "\ufffe", "<x:y", "' ", '" '),
        *("<!DOCTYPE a>", "<Patient xmlns:f='http://hl7.org/fhir'>", "<f:name>", "</f:name>"),
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30))
def test_anything_is_read_or_refused(pieces: list[str]) -> None:
    try:
        found = xml_format.parse("".join(pieces).encode())
    except Invalid:
        return
    json_format.parse(json_format.encode(found))
