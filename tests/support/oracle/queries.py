"""Random searches, drawn from the data so that many of them match something.

A query is built around one resource: its clauses are made from values that it has, then some are
bent out of shape. So about half of the queries match, and the others miss by a little.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from urllib.parse import urlencode

from tests.support.oracle import filtering, matching, units
from tests.support.oracle.matching import Oracle, date_of, number_of
from tests.support.oracle.reading import FOREVER, INFINITE, NEVER, PREFIXES
from tests.support.oracle.table import Entry, entries

UNSORTABLE = ("composite",)


class Generator:
    """Makes queries for an oracle's data; the same seed makes the same queries."""

    def __init__(self, oracle: Oracle, seed: int) -> None:
        self.oracle = oracle
        self.random = Random(seed)
        self.types = [name for name in entries() if oracle.by_type.get(name)]

    def query(self) -> tuple[str, str]:
        """Return a type and a query string."""
        random = self.random
        type_name = random.choice(self.types)
        if random.random() < 0.35:
            type_name = random.choice(
                ["Observation", "Patient", "Encounter", "Condition", "RiskAssessment", "ValueSet"]
            )
        ids = sorted(self.oracle.by_type[type_name])
        edges = [id_ for id_ in ids if id_.startswith(("edge", "old"))]
        pivot = random.choice(edges if edges and random.random() < 0.2 else ids)
        pairs = []
        for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
            pairs.append(self.clause(type_name, pivot, depth=0))
        chart = self.chart(type_name, pivot) if random.random() < 0.08 else None
        if chart:
            pairs = [*chart, *pairs[1:]]
        elif random.random() < 0.3:
            pairs.append(("_sort", self.sort(type_name)))
        return type_name, urlencode([pair for pair in pairs if pair is not None])

    def chart(self, type_name: str, pivot: str) -> list[tuple[str, str]] | None:
        """Return what hospitals ask most: one patient's records by their date."""
        known = entries()[type_name]
        dates = [each.code for each in known.values() if each.kind == "date" and each.code != "_lastUpdated"]
        if "patient" not in known or not dates:
            return None
        sort = self.random.choice(("-", "-", "-", "")) + self.random.choice(dates)
        more = "," + self.sort(type_name) if self.random.random() < 0.2 else ""
        code = self.random.choice(("patient", "subject" if "subject" in known else "patient"))
        return [self.pair(known[code], pivot), ("_sort", sort + more)]

    def clause(self, type_name: str, pivot: str, depth: int) -> tuple[str, str] | None:
        """Return one pair that the pivot matches, or nearly."""
        random = self.random
        chance = random.random()
        if depth < 2 and chance < 0.12 and (made := self.chain(type_name, pivot, depth)):
            return made
        if depth < 2 and chance < 0.2 and (made := self.has(type_name, pivot, depth)):
            return made
        if depth == 0 and chance < 0.35:
            return "_filter", filtering.draw(self, type_name, pivot)
        if chance < 0.37 and type_name in ("Patient", "Observation", "AllergyIntolerance"):
            return "_list", ",".join(self.listing(type_name) for _ in range(random.choice((1, 1, 2))))
        if chance < 0.43 and (made := self.oracle.words.draw(random, type_name, pivot)):
            return made
        known = [each for each in entries()[type_name].values() if self.oracle.values(each).get(pivot)]
        unknown = list(entries()[type_name].values())
        entry = random.choice(known if known and random.random() < 0.9 else unknown)
        if entry.kind != "composite" and not entry.code.startswith("_") and random.random() < 0.06:
            return f"{entry.code}:missing", random.choice(("true", "false"))
        return self.pair(entry, pivot)

    def listing(self, type_name: str) -> str:
        """Return the id of a List, or what Lists are for."""
        for_what = ["$current-problems", "$current-medications", "$current-allergies"]
        if type_name == "AllergyIntolerance":
            for_what.append("$current-drug-allergies")
        return self.random.choice((f"edge{self.random.randrange(7)}", self.random.choice(for_what)))

    def pair(self, entry: Entry, pivot: str) -> tuple[str, str]:
        """Return a plain clause on one parameter."""
        random = self.random
        modifier, write = self.writer(entry)
        texts = [write(*self.value(entry, pivot))]
        while random.random() < 0.15:
            texts.append(
                write(*self.value(entry, random.choice(sorted(self.oracle.by_type[entry.type_name]))))
            )
        return entry.code + modifier, ",".join(texts)

    def value(self, entry: Entry, pivot: str) -> matching.Value:
        """Return a value that the pivot has, or else somebody."""
        random = self.random
        values = self.oracle.values(entry).get(pivot)
        if not values or random.random() < 0.1:
            others = [each for each in self.oracle.values(entry).values() if each]
            if not others:
                return "nothing", None
            values = random.choice(others)
        return random.choice(values)

    def writer(self, entry: Entry) -> tuple[str, Callable[[str, Any], str]]:
        """Return a modifier (or "") and what writes values for it."""
        random = self.random
        match entry.kind:
            case "token":
                if entry.places[0].shape == "Identifier" and random.random() < 0.15:
                    return ":of-type", self.of_type
                shape = entry.places[0].shape.partition("@")[0]
                if shape in ("CodeableConcept", "Coding", "Identifier") and random.random() < 0.12:
                    return ":text", self.words
                if shape in ("CodeableConcept", "Coding", "code") and random.random() < 0.2:
                    modifier = random.choice((":in", ":not-in", ":below", ":above"))
                    return modifier, lambda shape, value: self.codes(modifier, shape, value)
                return random.choice(("", "", "", "", ":not")), self.token
            case "string":
                modifier = random.choice(("", "", ":exact", ":contains"))
                return modifier, lambda shape, value: self.string(modifier, shape, value)
            case "reference":
                if entry.places[0].shape == "canonical":
                    modifier = random.choice(("", "", ":above", ":below"))
                    return modifier, lambda shape, value: self.canonical(modifier, value)
                if set(entry.targets) & {"Organization", "Location", "Encounter"} and random.random() < 0.15:
                    modifier = random.choice((":above", ":below"))
                    return modifier, lambda shape, value: self.place(entry, value)
                if random.random() < 0.05:
                    return ":identifier", self.reference_identifier
                modifier = ":" + random.choice(entry.targets) if random.random() < 0.15 else ""
                return modifier, lambda shape, value: self.reference(modifier[1:], value)
            case "date":
                return "", self.date
            case "uri":
                modifier = random.choice(("", "", ":above", ":below"))
                return modifier, lambda shape, value: self.uri(modifier, value)
            case "composite":
                return "", lambda shape, value: self.composite(entry, value)
            case "number":
                return "", self.number
        return "", self.quantity

    def token(self, shape: str, value: Any) -> str:
        """Write a token in one of its forms."""
        random = self.random
        kind, _, system = shape.partition("@")
        if kind in ("Coding", "CodeableConcept", "Identifier") and value:
            pairs = matching._pairs(kind, value)
            if not pairs:
                return "none"
            known, code = random.choice(pairs)
        else:
            known, code = system or None, value
            if kind == "ContactPoint":
                code = (value or {}).get("value")
            if kind in ("boolean", "deceased"):
                code = "true" if value else "false"
        code = escaped(str(code or "none"))
        form = random.random()
        if form < 0.4 and known:
            return f"{escaped(known)}|{code}"
        if form < 0.5 and known:
            return f"{escaped(known)}|"
        if form < 0.6:
            return f"|{code}"
        if form < 0.65:
            return f"http://example.org/other|{code}"
        return code if form < 0.95 else code.swapcase()

    def words(self, shape: str, value: Any) -> str:
        """Write the beginning of a text or display, now and then its middle."""
        random = self.random
        value = value or {}
        holder = value.get("type", {}) if shape == "Identifier" else value
        words = [coding.get("display") for coding in holder.get("coding", [holder])] + [holder.get("text")]
        word = random.choice([word for word in words if word and word.strip()] or ["Body weight"])
        start = random.choice((0, 0, 0, 0, len(word) // 2))
        part = word[start : start + random.randint(1, 15)]
        return escaped(random.choice((part, part.upper())) if part.strip() else word)

    def codes(self, modifier: str, shape: str, value: Any) -> str:
        """Write a value set, or system|code with a place in its hierarchy."""
        random, vocabulary = self.random, self.oracle.vocabulary
        kind, _, system = shape.partition("@")
        pairs = [(system, value)] if kind == "code" else matching._pairs(kind, value) if value else []
        pairs = [(system, code) for system, code in pairs if code in vocabulary.systems.get(system, ())]
        if not pairs:
            pairs = [("http://hl7.org/fhir/administrative-gender", "male")]
        system, code = random.choice(pairs)
        if modifier in (":in", ":not-in"):
            found = vocabulary.with_code(system, code) if random.random() < 0.8 else None
            return found or f"urn:oracle:{random.randrange(40)}"
        codes = vocabulary.systems[system]
        if random.random() < 0.5:
            code = codes[codes.index(code) // 3]
        return f"{escaped(system)}|{escaped(code)}"

    def of_type(self, shape: str, value: Any) -> str:
        """Write type system|type code|value of an identifier."""
        for coding in (value or {}).get("type", {}).get("coding", []):
            if coding.get("system") and coding.get("code") and value.get("value"):
                return "|".join(escaped(part) for part in (coding["system"], coding["code"], value["value"]))
        return "http://terminology.hl7.org/CodeSystem/v2-0203|MR|12345"

    def string(self, modifier: str, shape: str, value: Any) -> str:
        """Write a word of the value, whole for :exact, a part of it otherwise."""
        random = self.random
        words = [word for word in matching._words(shape, value) if word.strip()] if value else []
        word = random.choice(words) if words else "Smith"
        if modifier == ":exact":
            return escaped(word if random.random() < 0.8 else word.upper())
        start = random.randrange(len(word)) if modifier == ":contains" else 0
        part = word[start : start + random.randint(1, 12)]
        if not part.strip():
            part = word
        return escaped(random.choice((part, part.lower(), part.upper(), part)))

    def reference(self, modifier: str, value: Any) -> str:
        """Write a reference: relative, as a bare id, absolute."""
        random = self.random
        text = (value or {}).get("reference", "Patient/none").removeprefix(self.oracle.base + "/")
        found = matching.LOCAL.fullmatch(text)
        if found is None:
            return escaped(text) if not modifier and not text.startswith("#") else "none"
        if modifier:
            return found[2]
        whole = f"{found[1]}/{found[2]}"
        return random.choice((text, whole, found[2], f"{self.oracle.base}/{text}"))

    def reference_identifier(self, shape: str, value: Any) -> str:
        """Write the identifier that a reference carries."""
        return self.token("Identifier", (value or {}).get("identifier") or {"system": "urn:a", "value": "1"})

    def date(self, shape: str, value: Any) -> str:
        """Write a date near the value, in any precision, with any prefix."""
        random = self.random
        span = date_of(shape, value) if value else None
        moment = datetime(2015, 6, 1, 12, 30, tzinfo=UTC)
        if span is not None:
            ends = [end for end in (span.low, span.high) if NEVER < end < FOREVER]
            moment = random.choice(ends) if ends else moment
        step = timedelta(days=1), timedelta(days=-1), timedelta(seconds=1), timedelta(seconds=-1)
        moment += random.choice((*[timedelta(0)] * 5, *step, timedelta(days=-40)))
        prefix = random.choice(("", "", *PREFIXES, "ge", "le", "gt", "lt"))
        precision = random.choice(("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "minute", "second", "milli"))
        if "%" in precision:
            return prefix + f"{moment.year:04d}" + moment.strftime(precision)[len(moment.strftime("%Y")) :]
        zone = random.choice((UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=30))))
        text = moment.astimezone(zone).isoformat(
            timespec={"minute": "minutes", "second": "seconds", "milli": "milliseconds"}[precision]
        )
        if random.random() < 0.3:
            return prefix + text[:-6]
        return prefix + (text[:-6] + "Z" if zone is UTC else text)

    def number(self, shape: str, value: Any) -> str:
        """Write a number near the value, in any precision, with any prefix."""
        random = self.random
        span = number_of(shape, value) if value is not None else None
        ends = [end for end in (span.low, span.high) if abs(end) != INFINITE] if span else []
        number = float(random.choice(ends)) if ends else 42.0
        number *= random.choice((1, 1, 1, 1, 1, 0.95, 1.05, 1 / 1.1, 1 / 0.9, 2))
        digits = random.choice((0, 1, 2, 3, 6))
        text = f"{number:.{digits}f}"
        if random.random() < 0.08:
            text = f"{Decimal(text):.{random.randint(0, 2)}e}"
        return random.choice(("", "", *PREFIXES)) + text

    def quantity(self, shape: str, value: Any) -> str:
        """Write a number with no unit, a code alone, or system and code."""
        random = self.random
        holder = value or {}
        if shape == "SampledData":
            holder = holder.get("origin", {})
        number = self.number(shape, value)
        system, code, unit = (holder.get(name) for name in ("system", "code", "unit"))
        form = random.random()
        if form < 0.2 and system == matching.UCUM and code in units.UNITS and "value" in holder:
            other = random.choice(units.alike(code))
            moved = units.moved(Fraction(Decimal(str(holder["value"]))), code, other)
            number = self.number("Quantity", {"value": Decimal(f"{float(moved or 0):.7g}")})
            return f"{number}|{escaped(matching.UCUM)}|{escaped(other)}"
        if form < 0.4 and system and code:
            return f"{number}|{escaped(system)}|{escaped(code)}"
        if form < 0.6 and (code or unit):
            return f"{number}||{escaped(random.choice([word for word in (code, unit) if word]))}"
        if form < 0.65:
            return f"{number}|http://unitsofmeasure.org|kg"
        return number

    def canonical(self, modifier: str, value: Any) -> str:
        """Write a canonical, with the modifiers also with the beginning of its version, or a longer one."""
        url, bar, version = str(value).partition("|")
        if modifier == ":above" and bar:
            version += self.random.choice(("", ".1", ".0.2"))
        elif modifier == ":below" and bar:
            parts = version.split(".")
            version = ".".join(parts[: self.random.randint(1, len(parts))])
        return escaped(url) + (f"{self.random.choice(('|', chr(92) + '|'))}{version}" if bar else "")

    def place(self, entry: Entry, value: Any) -> str:
        """Write a resource of a hierarchy: the one that is referred to, or another."""
        text = (value or {}).get("reference", "")
        found = matching.LOCAL.fullmatch(text.removeprefix(self.oracle.base + "/"))
        if found is None or found[1] not in matching.PARTS or self.random.random() < 0.3:
            kind = self.random.choice(sorted({"Organization", "Location", "Encounter"} & set(entry.targets)))
            return f"{kind}/{self.random.choice(sorted(self.oracle.outer.by_type.get(kind, ['none'])))}"
        return self.random.choice((f"{found[1]}/{found[2]}", found[2]))

    def uri(self, modifier: str, value: Any) -> str:
        """Write a uri, a longer one for :above, a shorter one for :below."""
        text = str(value or "http://example.org/none")
        if "://" not in text:
            text = "http://example.org/none"
        if modifier == ":above":
            text += self.random.choice(("", "/more", "/a/b", "more"))
        elif modifier == ":below":
            cut = text.split("/")
            text = "/".join(cut[: self.random.randint(3, len(cut))])
        return escaped(text)

    def composite(self, entry: Entry, element: Any) -> str:
        """Write the parts from one element, now and then one of them from another."""
        texts = []
        for part in entry.parts:
            values = list(matching._values(part, element)) if element else []
            value = self.random.choice(values) if values else ("nothing", None)
            texts.append(self.writer_of_part(part)(*value))
        return "$".join(texts)

    def writer_of_part(self, part: Entry) -> Callable[[str, Any], str]:
        """Return what writes a component, which has no modifiers."""
        return {
            "token": self.token,
            "quantity": self.quantity,
            "number": self.number,
            "date": self.date,
            "string": lambda shape, value: self.string("", shape, value),
            "reference": lambda shape, value: self.reference("", value),
        }[part.kind]

    def chain(self, type_name: str, pivot: str, depth: int) -> tuple[str, str] | None:
        """Return a clause on what the pivot refers to."""
        references = [each for each in entries()[type_name].values() if each.kind == "reference"]
        self.random.shuffle(references)
        for entry in references:
            targets = list(self.oracle._local(self.oracle.values(entry).get(pivot, [])))
            targets = [(kind, id_) for kind, id_ in targets if id_ in self.oracle.by_type.get(kind, {})]
            targets = [(kind, id_) for kind, id_ in targets if kind in entries() and kind in entry.targets]
            if targets:
                kind, id_ = self.random.choice(targets)
                inner = self.clause(kind, id_, depth + 1)
                if inner is None:
                    return None
                typed = entry.code if len(entry.targets) == 1 else f"{entry.code}:{kind}"
                return f"{typed}.{inner[0]}", inner[1]
        return None

    def has(self, type_name: str, pivot: str, depth: int) -> tuple[str, str] | None:
        """Return a clause on what refers to the pivot."""
        holders = [
            entry
            for holder in self.types
            for entry in entries()[holder].values()
            if entry.kind == "reference" and type_name in entry.targets and entry.code != "questionnaire"
        ]
        if not holders:
            return None
        for _ in range(6):
            entry = self.random.choice(holders)
            here = [
                id_
                for id_, values in self.oracle.values(entry).items()
                if values and (type_name, pivot) in set(self.oracle._local(values))
            ]
            if here or self.random.random() < 0.1:
                id_ = self.random.choice(here or sorted(self.oracle.by_type[entry.type_name]))
                inner = self.clause(entry.type_name, id_, depth + 1)
                return inner and (f"_has:{entry.type_name}:{entry.code}:{inner[0]}", inner[1])
        return None

    def sort(self, type_name: str) -> str:
        """Return one to three sort keys."""
        codes = [
            entry.code
            for entry in entries()[type_name].values()
            if entry.kind not in UNSORTABLE and entry.code != "deceased"
        ]
        chosen = self.random.sample(codes, min(len(codes), self.random.choice((1, 1, 2, 3))))
        return ",".join(self.random.choice(("", "-")) + code for code in chosen)


def escaped(text: str) -> str:
    """Put a backslash before the signs that mean something."""
    for sign in ("\\", ",", "$", "|"):
        text = text.replace(sign, "\\" + sign)
    return text
