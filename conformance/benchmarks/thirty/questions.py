"""The questions: each with its address, the values it is asked with, and what it shows.

Names in `key` are those of the hand-written answers (queries.py). Values are chosen from the facts of
the loaded data, so that every question has hits where it should; several of each, so that no answer
comes from a cache of the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from conformance.benchmarks.data import Facts, Resource
from conformance.benchmarks.journeys import VITAL_SIGNS, Journey, Sent

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
LABORATORY = VITAL_SIGNS.replace("vital-signs", "laboratory")
VALUE_SETS = {
    "lipids": ("2093-3", "2571-8", "2085-9", "18262-6"),
    "liver": ("1742-6", "1920-8", "6768-6", "1975-2", "1751-7"),
    "blood": ("718-7", "4544-3", "6690-2", "777-3", "789-8", "787-2"),
}
"""What `:in` is asked with; stored as ValueSets on every side before it is asked."""

_MOST = 60


@dataclass(frozen=True, slots=True)
class Question:
    """One of the thirty: `path` is filled with each of `values`.

    `dense` marks those whose cost is a count of many hits, judged against a count by hand; `whole`
    those whose first page, included resources and all, is compared as it is.
    """

    name: str
    key: str
    path: str
    values: Sequence[dict[str, str]]
    dense: bool = False
    whole: bool = False
    total: bool = False

    def sent(self) -> list[Sent]:
        """Return a request a set of values."""
        return [("GET", self._filled(values), b"", (("X-Question", self.key),)) for values in self.values]

    def _filled(self, values: dict[str, str]) -> str:
        return self.path.format_map({name: quote(value, safe="") for name, value in values.items()})

    def journey(self, *, count: int, clients: int = 1) -> Journey:
        """Return the question as what rounds.measure takes; the answers were compared before."""
        return Journey(self.name, self.sent(), count=count, clients=clients)


def value_set(name: str) -> Resource:
    """Return one of VALUE_SETS as a resource."""
    concepts = [{"code": code} for code in VALUE_SETS[name]]
    return {
        "resourceType": "ValueSet", "id": f"bench-{name}", "url": url_of(name), "status": "active",
        "compose": {"include": [{"system": LOINC, "concept": concepts}]},
    }  # fmt: skip


def url_of(name: str) -> str:
    """Return the canonical of one of VALUE_SETS."""
    return f"http://example.org/fhir/ValueSet/bench-{name}"


def thirty(facts: Facts, seed: int, moments: Sequence[str]) -> list[Question]:
    """Return the questions of the proof, in the order of R4/search.html as far as there is one.

    `moments` are times between what was written last (asking.recent), for `_lastUpdated`.
    """
    rng = Random(f"thirty-{seed}")
    return [*_tokens(facts, rng), *_ordered(facts, rng, moments), *_linked(facts, rng), *_shaped(facts, rng)]


def _tokens(facts: Facts, rng: Random) -> list[Question]:
    codes = [code for code, _ in facts.codes.most_common(12)]
    rare = [code for code, _ in facts.conditions.most_common()[-12:]]
    fives = [",".join(rng.sample(sorted(facts.codes), 5)) for _ in range(_MOST)]
    return [
        Question("dense token, newest first", "dense token", "/Observation?code={code}&_sort=-date&_count=20",
                 _named("code", codes)),
        Question("sparse token", "sparse token", "/Condition?code={code}&_count=20", _named("code", rare)),
        Question("token, one of five", "token or", "/Observation?code={code}&_count=20",
                 _named("code", fives)),
        Question("token :not", "not", "/MedicationRequest?status:not={status}&_count=20",
                 _named("status", ("completed", "active", "stopped"))),
        Question(":missing=false", "not missing", "/Observation?component-code:missing=false&_count=20",
                 [{}]),
        Question(":missing=true, no hit", "missing", "/Observation?encounter:missing=true&_count=20",
                 [{}]),
        Question("token :in a value set", "in", "/Observation?code:in={url}&_count=20",
                 _named("url", [url_of(name) for name in VALUE_SETS])),
        Question("identifier", "identifier", "/Patient?identifier={identifier}",
                 _named("identifier", _identifiers(facts, rng))),
    ]  # fmt: skip


def _ordered(facts: Facts, rng: Random, moments: Sequence[str]) -> list[Question]:
    families = [name for name, _ in facts.names.most_common() if name.isascii() and name.isalpha()]
    parts = sorted({name[1:5].lower() for name in families if len(name) > 6})
    times = sorted(facts.effective)
    at = [rng.randrange(max(1, len(times) - 61)) for _ in range(_MOST)]
    spans = [{"low": times[one], "high": times[min(one + 60, len(times) - 1)]} for one in at]
    units = {"kg": range(90, 120, 3), "mmol/L": range(138, 146)}  # nothing else in the data converts to these
    limits = [f"gt{value}.5|{UCUM}|{unit}" for unit, values in units.items() for value in values]
    pressures = [f"{LOINC}|8480-6$gt{value}.5|{UCUM}|mm[Hg]" for value in range(130, 160, 3)]
    return [
        Question("string prefix", "prefix", "/Patient?family={family}&_count=20",
                 _named("family", [name[:3] for name in families[:_MOST]])),
        Question("string :exact", "exact", "/Patient?family:exact={family}&_count=20",
                 _named("family", families[:_MOST])),
        Question("string :contains", "contains", "/Patient?family:contains={part}&_count=20",
                 _named("part", parts[:_MOST])),
        Question("date range by two prefixes", "date range",
                 "/Observation?date=ge{low}&date=lt{high}&_count=20",
                 [span for span in spans if span["low"] < span["high"]]),
        Question("_lastUpdated walk", "last updated",
                 "/Observation?_lastUpdated=ge{since}&_sort=_lastUpdated&_count=20",
                 _named("since", moments)),
        Question("number", "number", "/RiskAssessment?probability=gt{value}&_count=20",
                 _named("value", [f"0.{value}005" for value in range(20, 50, 3)])),
        Question("quantity with its unit", "quantity", "/Observation?value-quantity={limit}&_count=20",
                 _named("limit", limits)),
        Question("quantity in another unit", "other unit", "/Observation?value-quantity={limit}&_count=20",
                 _named("limit", [f"gt{value}.05|{UCUM}|g/L" for value in range(130, 175, 5)])),
        Question("composite", "composite", "/Observation?component-code-value-quantity={pair}&_count=20",
                 _named("pair", pressures)),
    ]  # fmt: skip


def _linked(facts: Facts, rng: Random) -> list[Question]:
    doctors = facts.doctors
    conditions = [code for code, number in facts.conditions.most_common() if number > 4]
    pairs = [{"patient": one, "code": code} for one, code in facts.at_least(facts.by_code, 20, _MOST)]
    pairs = [pair for pair in pairs if not pair["code"].endswith("|59408-5")]
    charts = [{"patient": one, "category": category}
              for one, category in facts.at_least(facts.by_category, 20, 200)
              if category == VITAL_SIGNS][:_MOST]  # fmt: skip
    return [
        Question("reference, sparse", "sparse reference", "/Observation?encounter={encounter}&_count=20",
                 _named("encounter", _some(facts.encounters, rng))),
        Question("reference, dense", "dense reference",
                 "/Observation?performer=Practitioner/{doctor}&_count=20",
                 _named("doctor", [one for one, _ in doctors])),
        Question("patient, code and date", "patient code date",
                 "/Observation?patient={patient}&code={code}&date=ge2022-01-01&_sort=-date&_count=20", pairs),
        Question("patient and category, sorted", "patient category",
                 "/Observation?patient={patient}&category={category}&_sort=-date&_count=20", charts),
        Question("chain of two levels", "chain",
                 "/Condition?patient.general-practitioner:Practitioner.identifier={doctor}&_count=20",
                 _named("doctor", [f"urn:xinglin:practitioner|{value}" for _, value in doctors])),
        Question("chain over an untyped reference", "untyped chain",
                 "/Observation?subject.identifier={identifier}&_count=20",
                 _named("identifier", _seen(facts, rng))),
        Question("_has", "has", "/Patient?_has:Condition:patient:code={code}&_count=20",
                 _named("code", conditions)),
        Question("_has, nested", "nested has",
                 "/Patient?_has:Encounter:patient:_has:Condition:encounter:code={code}&_count=20",
                 _named("code", conditions)),
        Question("_include and _revinclude", "include", "/Condition?patient={patient}&_count=20"
                 "&_include=Condition:encounter&_revinclude=CarePlan:condition",
                 _named("patient", _with(facts, "Condition", rng)), whole=True),
        Question("_include:iterate", "iterate", "/MedicationRequest?patient={patient}&_count=20"
                 "&_include=MedicationRequest:encounter&_include:iterate=Encounter:location"
                 "&_include:iterate=Location:organization",
                 _named("patient", _with(facts, "MedicationRequest", rng)), whole=True),
    ]  # fmt: skip


def _shaped(facts: Facts, rng: Random) -> list[Question]:
    patients = _some(list(facts.by_patient), rng)
    few = [{"patient": one, "code": code} for one, code in facts.at_least(facts.by_code, 20, _MOST)]
    return [
        Question("string sort over all patients", "string sort", "/Patient?_sort=family&_count=20", [{}]),
        Question("two sort keys", "two keys", "/Patient?gender={gender}&_sort=family,-birthdate&_count=20",
                 _named("gender", ("female", "male"))),
        Question("compartment", "compartment", "/Patient/{patient}/*?_count=20", _named("patient", patients)),
        Question("_total=accurate, few hits", "total of few",
                 "/Observation?patient={patient}&code={code}&_total=accurate&_count=20", few, total=True),
        Question("_total=accurate, many hits", "total of many",
                 "/Observation?category={category}&_total=accurate&_count=20",
                 _named("category", (VITAL_SIGNS, LABORATORY)), dense=True, total=True),
        Question("several types, newest first", "several types",
                 "/?_type=Observation,DiagnosticReport,Immunization&patient={patient}&_sort=-date&_count=20",
                 _named("patient", patients)),
        Question("_text", "text", "/CarePlan?_text={words}&_count=20",
                 _named("words", ("diabetes", "hypertension", "heart"))),
    ]  # fmt: skip


def searches_of_others(facts: Facts, seed: int) -> list[Question]:
    """Return the searches that a public comparison of servers asks: one a parameter type, 20 a page."""
    rng = Random(f"others-{seed}")
    names = [name for name, _ in facts.names.most_common(_MOST) if name.isascii() and name.isalpha()]
    doctors = [one for one, _ in facts.doctors]
    return [
        Question("by name", "name", "/Patient?name={name}&_count=20", _named("name", names)),
        Question("by address", "address", "/Patient?address={part}&_count=20",
                 _named("part", ("Boston", "Worcester", "Lowell", "MA", "02139", "Newton"))),
        Question("by date", "born", "/Patient?birthdate=ge{day}&_count=20",
                 _named("day", [f"{year}-01-01" for year in range(1940, 2015, 5)])),
        Question("by token", "identifier", "/Patient?identifier={identifier}&_count=20",
                 _named("identifier", _identifiers(facts, rng))),
        Question("by reference", "dense reference", "/Observation?performer=Practitioner/{doctor}&_count=20",
                 _named("doctor", doctors)),
        Question("by quantity", "quantity", "/Observation?value-quantity={limit}&_count=20",
                 _named("limit", [f"gt{value}.5|{UCUM}|/min" for value in range(50, 90, 5)])),
        Question("by composite", "composite", "/Observation?component-code-value-quantity={pair}&_count=20",
                 _named("pair", [f"{LOINC}|8462-4$gt{value}.5|{UCUM}|mm[Hg]" for value in range(60, 90, 5)])),
    ]  # fmt: skip


def deep() -> Question:
    """Return the search whose 500th page is read; from 100,000 resources on it has more than enough hits."""
    return Question("category, newest first, by pages", "category",
                    "/Observation?category={category}&_sort=-date&_count=20",
                    _named("category", (VITAL_SIGNS,)))  # fmt: skip


def _named(name: str, values: Iterable[str]) -> list[dict[str, str]]:
    return [{name: value} for value in values]


def _some(values: Sequence[str], rng: Random) -> list[str]:
    return rng.sample(values, min(_MOST, len(values)))


def _identifiers(facts: Facts, rng: Random) -> list[str]:
    return [f"{system}|{value}" for system, value in
            rng.sample(facts.identifiers, min(_MOST, len(facts.identifiers)))]  # fmt: skip


def _seen(facts: Facts, rng: Random) -> list[str]:
    """Return the identifiers of Patients who have Observations."""
    pairs = zip(facts.patients, facts.identifiers, strict=True)
    return _some([f"{system}|{value}" for one, (system, value) in pairs if one in facts.by_patient], rng)


def _with(facts: Facts, kind: str, rng: Random) -> list[str]:
    """Return patients with 4 to 18 resources of a type, so that one page holds them at any size."""
    closed = {one for one, at in facts.last_seen.items() if at < 0.6 * facts.count}
    some = [one for one, number in facts.of_patient[kind].items() if 4 <= number <= 18]
    return _some([one for one in some if one in closed] or some, rng)
