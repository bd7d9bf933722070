"""What a narrative may contain: the text of R4/narrative.html and the chapters of HTML 4.0 that it names."""

import pytest

from fhir_server.fhirpath import api, narrative
from fhir_server.validation.validator import validate
from tests.support.clause import clause

XMLNS = 'xmlns="http://www.w3.org/1999/xhtml"'
# All elements of HTML 4.0, by the chapter that describes them; in capitals those that it deprecates.
HTML_4 = {
    7: "html head title meta body div span h1 h2 h3 h4 h5 h6 address ISINDEX",
    8: "bdo",
    9: "em strong dfn code samp kbd var cite abbr acronym blockquote q sub sup p br pre",
    9.4: "ins del",
    10: "ul ol li dl dt dd DIR MENU",
    11: "table caption thead tbody tfoot colgroup col tr th td",
    12: "a link base",
    13: "img object param APPLET map area",
    14: "style",
    15: "tt i b big small STRIKE S U FONT BASEFONT CENTER hr",
    16: "frameset frame noframes iframe",
    17: "form input button select optgroup option textarea label fieldset legend",
    18: "script noscript",
}
ALLOWED = {
    name
    for chapter in (7, 8, 9, 10, 11, 15)
    for name in HTML_4[chapter].split()
    if name.islower() and name not in ("html", "head", "title", "meta", "body")
} | {"a", "img"}
TXT_2 = "a narrative has some text or an image; this one is empty"


def div(inside):
    return f"<div {XMLNS}>{inside}</div>"


@clause(
    "R4/narrative.html#xhtml", "the elements of chapters 7–11 (without 9.4) and 15, not deprecated; a, img"
)
def test_the_list_is_that_of_the_chapters():
    assert narrative.ELEMENTS == ALLOWED
    for chapter in HTML_4.values():
        for name in chapter.lower().split():
            allowed = not narrative.problems(div(f"x<{name}/>"))
            assert allowed is (name in ALLOWED), name


@pytest.mark.parametrize(
    "text",
    [
        div("<p>Anna &amp; Li&nbsp;&eacute;</p>"),
        div("\u00a0"),
        div("&nbsp;"),
        div('<img src="#a"/>'),
        div('<a name="x">y</a><a href="http://x">z</a>'),
        div('<p xml:lang="de" lang="de" style="color: red" class="c">x</p><pre xml:space="preserve">y</pre>'),
        div("<!-- remark -->x"),
        div("<![CDATA[x]]>"),
        f"\n {div('x')}\n",
        f'<div {XMLNS} lang="en">{"<div>" * 99}x{"</div>" * 99}</div>',
    ],
)
def test_what_is_allowed(text):
    assert narrative.problems(text) == ()
    assert narrative.is_safe(text)
    assert narrative.checked(text) == (True, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (div(" \n"), TXT_2),
        (div("<p><br/></p>"), TXT_2),
        (div("<img/>"), TXT_2),
        (div("<p>x"), "not well-formed"),
        (div("x") + div("y"), "not well-formed"),
        (div("&foo;"), "&foo;"),
        (div('<p onclick="x()">y</p>'), "onclick"),
        (div('<a href="java&#10;script:x()">y</a>'), "would run"),
        (div('<img src="data:text/html,x"/>'), "would run"),
        (div('<p style="background: expression(x)">y</p>'), "would run"),
        (div('<p xmlns="http://x">y</p>'), "<p>"),
        (div('<p xmlns:x="http://x" x:y="z">y</p>'), "attribute y"),
        (f"<!DOCTYPE div>{div('x')}", "document type"),
        (f'<!DOCTYPE div [<!ENTITY a "b">]>{div("&a;")}', "document type"),
        (f'<?xml version="1.0"?>{div("x")}', "XML declaration"),
        (div("<?x y?>z"), "<?x?>"),
        ("<div>x</div>", "xmlns"),
        (f"<p {XMLNS}>x</p>", "xmlns"),
        (f"<div {XMLNS}>{'<div>' * 100}x{'</div>' * 100}</div>", "100 levels"),
        (div("\ud800"), "not well-formed"),
        ("", "not well-formed"),
        (5, "text"),
    ],
)
def test_what_is_not(text, said):
    found = narrative.problems(text)
    assert said in found[0]
    assert not narrative.is_safe(text)
    assert False in narrative.checked(text)


def test_a_flood_ends_early():
    assert len(narrative.problems(div("<font/>" * 100_000 + "x"))) < 30


@pytest.mark.parametrize(("inside", "answer"), [("x", [True]), ("<u>x</u>", [False]), (" ", [False])])
def test_validation_and_html_checks_say_the_same(inside, answer):
    patient = {"resourceType": "Patient", "text": {"status": "generated", "div": div(inside)}}
    both = api.compile("text.`div`.htmlChecks() and text.`div`.htmlChecks2()").evaluate(patient)
    assert both == answer
    assert [issue.expression for issue in validate(patient)] == ([] if answer[0] else ["Patient.text.div"])
