"""_text and _content: words in narratives, and in all that a person reads of a resource."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.outcome import FhirError
from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause

Resource = dict[str, Any]


def told(id: str, *blocks: str, **more: Any) -> Resource:
    """A Condition with a narrative."""
    div = (
        '<div xmlns="http://www.w3.org/1999/xhtml">' + "".join(f"<p>{each}</p>" for each in blocks) + "</div>"
    )
    narrative = {"status": "additional", "div": div}
    return {
        "resourceType": "Condition",
        "id": id,
        "text": narrative,
        "subject": {"reference": "Patient/p"},
        **more,
    }


CONDITIONS = (
    told("bone", "Cancer of the <b>bone</b>", "metastases seen"),
    told("liver", "Liver: metastases, T2"),
    told("lung", "Lung, no metastases &amp; no bone"),
    told("none", "Fracture of the femur", code={"text": "bone break", "coding": [{"code": "S72.0"}]}),
    told("müller", "Nach Müller-Weiß-Syndrom"),
    told("chinese", "原发性肝癌"),
    {"resourceType": "Condition", "id": "bare", "code": {"text": "liver metastases"}},
)


@clause("R4/search.html#text", "words with and, or, not, in parentheses")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("(bone OR liver) and metastases", "bone liver lung"),
        ("metastases", "bone liver lung"),
        ("bone metastases", "bone lung"),
        ("metastases AND NOT lung", "bone liver"),
        ("metastases not (lung or t2)", "bone"),
        ("femur,t2", "liver none"),
        ("bone or liver metastases", "bone liver lung"),
        ("METASTASES t2", "liver"),
        ('"and" or femur', "none"),
        ("xyz", ""),
    ],
)
def test_words(search: Search, query: str, found: str) -> None:
    assert search(f"Condition?_text={query}", *CONDITIONS) == found.split()


@clause("R4/search.html#text", "phrases, words with signs inside, beginnings")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('"cancer of the bone"', "bone"),
        ('"of cancer"', ""),
        ('"bone metastases"', ""),  # not across paragraphs
        ("muller-weiss", "müller"),
        ("Weiß-Müller", ""),
        ('"müller weiss"', "müller"),
        ("metas*", "bone liver lung"),
        ("MÜLLER-WEI*", "müller"),
        ("肝癌", "chinese"),
        ("癌肝", ""),
        ("原发性*", "chinese"),
        ("no\\, bone", "lung"),
    ],
)
def test_phrases(search: Search, query: str, found: str) -> None:
    assert search(f"Condition?_text={query}", *CONDITIONS) == found.split()


@clause("R4/search.html#content", "all that a person reads, the narrative too")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("bone", "bone lung none"),
        ("liver metastases", "liver bare"),
        ("S72.0", "none"),
        ('"bone break"', "none"),
        ("additional", ""),  # a code that no person reads
        ("Patient", ""),
    ],
)
def test_content(search: Search, query: str, found: str) -> None:
    assert search(f"Condition?_content={query}", *CONDITIONS) == found.split()


@clause("R4/search.html#content", "extensions, contained resources, translations, sections; not references")
def test_what_is_read(search: Search) -> None:
    resource = {
        "resourceType": "Composition",
        "id": "c",
        "title": "Discharge",
        "_title": {
            "extension": [{"url": "http://t", "extension": [{"url": "c", "valueString": "Entlassung"}]}]
        },
        "contained": [{"resourceType": "Patient", "id": "x", "name": [{"family": "Chalmers"}]}],
        "section": [{"text": {"status": "generated", "div": "<div>rash on <i>arm</i>s</div>"}}],
        "author": [{"reference": "Practitioner/zzz", "display": "Dr. Who"}],
        "extension": [{"url": "http://e", "valueCodeableConcept": {"coding": [{"display": "Secret"}]}}],
    }
    search("Composition?_content=x", resource)
    for word in ("discharge", "entlassung", "chalmers", '"rash on arms"', "dr. who", "secret"):
        assert search(f"Composition?_content={word}") == ["c"], word
    for word in ("zzz", "generated", "valueString", "http", "practitioner"):
        assert search(f"Composition?_content={word}") == [], word
    assert search("Composition?_text=rash") == []


@clause("R4/search.html#text", "with other criteria, chained, behind _has, in _filter")
def test_with_others(search: Search) -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "text": {"status": "generated", "div": "<div>Chalmers, Peter</div>"},
    }
    search("Patient?_id=none", patient, *CONDITIONS)
    assert search("Condition?_text=metastases&_id=bone,none") == ["bone"]
    assert search("Condition?_text=metastases&_text=liver") == ["liver"]
    assert search("Condition?_text=metastases&_content=bone") == ["bone", "lung"]
    assert search("Condition?subject:Patient._text=peter&_text=liver") == ["liver"]
    assert search("Condition?subject:Patient._text=paul") == []
    assert search("Patient?_has:Condition:patient:_text=femur") == ["p"]
    assert search("Patient?_has:Condition:patient:_text=toe") == []
    assert search('Condition?_filter=_text eq "bone or liver" and not (_text eq lung)') == ["bone", "liver"]
    assert search('Condition?_filter=_text ne "metastases" and _content eq bone') == ["none"]
    assert search("Condition?_filter=_text eq femur or _id eq bone") == ["bone", "none"]
    assert search("Condition?_text=metastases&_sort=-_id") == ["lung", "liver", "bone"]


@clause("R4/search.html#sort", "_sort=_score brings the best first")
def test_score(search: Search) -> None:
    some = (
        told("once", "bone and many other words that nobody has asked about"),
        told("twice", "bone bone"),
        told("alone", "bone"),
    )
    assert search("Condition?_text=bone&_sort=_score", *some) == ["alone", "twice", "once"]
    assert search("Condition?_text=bone&_sort=-_score") == ["once", "twice", "alone"]
    assert search("Condition?_text=bone&_sort=_score&_count=2") == ["alone", "twice"]
    assert search("Condition?_text=bone&_sort=_score,_id&_id=alone,once") == ["alone", "once"]
    assert search("Condition?_text=bone&_sort=-_id,_score") == ["twice", "once", "alone"]
    with pytest.raises(FhirError, match="needs words to score by"):
        search("Condition?_sort=_score")


@clause("R4/search.html#text", "what cannot be read is refused, with the sign where it stands")
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("_text=(bone", r"expected \)"),
        ("_text=bone)", "at sign 5"),
        ('_text="bone', "closing quote"),
        ("_text=bone and", "expected a word"),
        ("_text=or bone", "expected a word"),
        ("_text=not bone", "all of it is negated"),
        ("_text=liver or not bone", "all of it is negated"),
        ("_text=...", "a letter or digit"),
        ("_text=b*", "at least 2 signs"),
        ("_text=bone,,liver", "expected a word"),
        ("_text=%20", "no value"),
        ("_text:not=bone", "no modifiers"),
        ("_content:missing=true", "no modifiers"),
        ("_text=" + "(" * 40 + "a" + ")" * 40, "parentheses"),
        ("_text=" + " ".join(f"w{n}" for n in range(101)), "100 words"),
    ],
)
def test_refusals(search: Search, query: str, said: str) -> None:
    with pytest.raises(FhirError, match=said):
        search(f"Condition?{query}")


@clause("R4/search.html#text", "a huge resource is found by its first words, and known to be cut")
def test_huge(search: Search, connection: Any) -> None:
    words = " ".join(f"word{number}" for number in range(60_000))
    search("Condition?_id=none", told("huge", f"Beginning {words} ending"))
    assert search('Condition?_text="beginning word0 word1"') == ["huge"]
    assert search("Condition?_text=word17000") == ["huge"]
    assert search("Condition?_text=word59999") == []
    with connection.cursor() as cursor:
        cursor.execute("select cut, pg_column_size(words) < 1000000 from idx_text")
        assert cursor.fetchall() == [(True, True)]
