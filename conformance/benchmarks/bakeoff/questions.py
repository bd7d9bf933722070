"""The questions of the bake-off, each with the forms in which a layout can ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from conformance.benchmarks.bakeoff.extraction import TYPE_CODE, key, param_int, rid
from conformance.benchmarks.bakeoff.loading import Seen
from conformance.benchmarks.bakeoff.sql import (
    ARRAYS,
    adaptive,
    by_keys,
    contains,
    date_param,
    gin,
    literal,
    one,
    page,
    reference_keys,
    walk,
)  # fmt: skip

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
COMMON = ("8867-4", "9279-1", "8310-5", "2708-6", "29463-7", "85354-9")
LABS = ("2345-7", "2160-0", "718-7", "2951-2", "4548-4", "2093-3", "3016-3", "1988-5")
NEWEST = "r.clinical desc, r.pk desc"


@dataclass(frozen=True)
class Question:
    """A name, and per form a function from a random source to a statement."""

    name: str
    forms: dict[str, Callable[[Random], str]]


def observation(code: str, text: str) -> str:
    return key("Observation", code, text)


def loinc(code: str) -> str:
    return observation("code", f"{LOINC}|{code}")


def questions(seen: Seen, last_pk: int) -> list[Question]:
    heavy = sorted(reference for reference, (n, _) in seen.patients.items() if n >= 80)
    closed = sorted(r for r, (n, last) in seen.patients.items() if 60 <= n <= 300 and last < 40_000)
    asked: list[Question] = []

    def ask(name: str, **forms: Callable[[Random], str]) -> None:
        asked.append(Question(name, {form.replace("__", "/"): f for form, f in forms.items()}))

    def arrays(
        make: Callable[[str, Random], str], form: str, only: tuple[str, ...] = ARRAYS
    ) -> dict[str, Callable[[Random], str]]:
        return {f"{layout}__{form}": (lambda rng, layout=layout: make(layout, rng)) for layout in only}

    # -- one resource ------------------------------------------------------------------------------------------
    def identifier(layout: str, rng: Random) -> str:
        system, value = rng.choice(seen.identifiers)
        if layout == "b":
            return by_keys("Patient", "k0.pk", key("Patient", "identifier", f"{system}|{value}"))
        if layout == "c":
            return contains("Patient", "r.pk + 0", {"identifier": [{"system": system, "value": value}]})
        return page(layout, gin(layout, key("Patient", "identifier", f"{system}|{value}")), "r.pk + 0")

    ask(
        "identifier",
        **arrays(identifier, "gin"),
        b__join=lambda g: identifier("b", g),
        c__gin=lambda g: identifier("c", g),
    )

    def read(layout: str, rng: Random) -> str:
        return page(layout, f"r.rid = '{rid('/'.join(rng.choice(seen.ids)))}'", "r.pk")

    ask("read by id", **arrays(read, "rid"))

    # -- the patient's chart -----------------------------------------------------------------------------------
    for label, pool in (("patient+code newest 20", heavy), ("patient+code newest 20 (growth)", closed)):
        if not pool:
            continue

        def chart(layout: str, rng: Random, form: str = "gin", pool: list[str] = pool) -> str:
            who, code = rng.choice(pool), rng.choice(COMMON + LABS)
            keys = observation("patient", who), loinc(code)
            if layout == "b":
                return by_keys("Observation", NEWEST, *keys)
            if layout == "c":
                parts = (
                    {"subject": {"reference": who}},
                    {"code": {"coding": [{"system": LOINC, "code": code}]}},
                )
                return contains("Observation", NEWEST, *parts)
            if form == "chart":
                where = f"r.patient = '{rid(who)}' and {walk(layout, keys[1])}"
                return page(layout, where, "r.clinical desc nulls last, r.pk desc", type_name="Observation")
            if form == "datejoin":
                tables = "idx_date d, "
                where = f"{date_param('Observation', 'date')} and d.pk = r.pk and {gin(layout, *keys)}"
                return page(layout, where, "d.low desc, d.pk desc", tables=tables)
            return page(layout, gin(layout, *keys), NEWEST)

        ask(label, **arrays(chart, "gin"),
            **arrays(lambda la, g, chart=chart: chart(la, g, "chart"), "chart", ("a128", "split")),
            **arrays(lambda la, g, chart=chart: chart(la, g, "datejoin"), "datejoin", ("a128",)),
            b__join=lambda g, chart=chart: chart("b", g), c__gin=lambda g, chart=chart: chart("c", g))  # fmt: skip

    busy = sorted(seen.patients, key=lambda r: -seen.patients[r][0])[:40]

    def newest(layout: str, rng: Random, form: str) -> str:
        who = rng.choice(busy)
        if form == "chart":
            where, order = f"r.patient = '{rid(who)}'", "r.clinical desc nulls last, r.pk desc"
            return page(layout, where, order, type_name="Observation")
        return page(layout, gin(layout, observation("patient", who)), NEWEST)

    ask("the busiest patients, newest 20", **arrays(lambda la, g: newest(la, g, "gin"), "gin"),
        **arrays(lambda la, g: newest(la, g, "chart"), "chart", ("a128", "split")))  # fmt: skip

    def ranged(layout: str, rng: Random, form: str = "gin") -> str:
        who, year = rng.choice(heavy), rng.randint(2017, 2023)
        keys = observation("patient", who), observation("category", f"{CATEGORY}|laboratory")
        within = f"r.clinical >= '{year}-01-01' and r.clinical < '{year + 2}-01-01'"
        if layout == "b":
            return by_keys("Observation", NEWEST, *keys, where=f" and {within}")
        if layout == "c":
            parts = (
                {"subject": {"reference": who}},
                {"category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}]},
            )
            return contains("Observation", NEWEST, *parts, where=f" and {within}")
        if form == "chart":
            where = f"r.patient = '{rid(who)}' and {walk(layout, keys[1])} and {within}"
            return page(layout, where, "r.clinical desc nulls last, r.pk desc", type_name="Observation")
        if form == "exists":
            inside = (f"exists (select from idx_date d where {date_param('Observation', 'date')} and d.pk = r.pk "
                      f"and d.low >= '{year}-01-01' and d.high <= '{year + 2}-01-01')")  # fmt: skip
            return page(layout, f"{gin(layout, *keys)} and {inside}", NEWEST)
        return page(layout, f"{gin(layout, *keys)} and {within}", NEWEST)

    ask("patient+category+range", **arrays(ranged, "gin"),
        **arrays(lambda la, g: ranged(la, g, "chart"), "chart", ("a128", "split")),
        **arrays(lambda la, g: ranged(la, g, "exists"), "exists", ("a128", "split")),
        b__join=lambda g: ranged("b", g), c__gin=lambda g: ranged("c", g))  # fmt: skip

    # -- tokens ------------------------------------------------------------------------------------------------
    def token(make_keys: Callable[[Random], tuple[str, ...]], type_name: str, part: Callable[[Random], dict[str, object]] | None,
              name: str, forms: str = "plain gin walk adaptive") -> None:  # fmt: skip
        made: dict[str, Callable[[Random], str]] = {}
        for layout in ARRAYS:
            for form in forms.split():

                def statement(rng: Random, layout: str = layout, form: str = form) -> str:
                    keys = make_keys(rng)
                    if form == "adaptive":
                        return adaptive(layout, keys, type_name)
                    if (
                        form == "gin"
                    ):  # the keys imply the type: a condition on it would only invite a BitmapAnd
                        return page(layout, gin(layout, *keys), "r.pk + 0")
                    return page(
                        layout,
                        walk(layout, *keys) if form == "walk" else gin(layout, *keys),
                        "r.pk",
                        type_name=type_name,
                    )

                made[f"{layout}__{form}"] = statement
        made["b__join"] = lambda rng: by_keys(type_name, "k0.pk", *make_keys(rng))
        if part:
            made["c__plain"] = lambda rng: contains(type_name, "r.pk", part(rng))
        ask(name, **made)

    def coding(code: str) -> dict[str, object]:
        return {"code": {"coding": [{"system": LOINC, "code": code}]}}

    token(
        lambda g: (loinc(g.choice(COMMON)),),
        "Observation",
        lambda g: coding(g.choice(COMMON)),
        "dense code first 20",
    )
    token(
        lambda g: (observation("category", f"{CATEGORY}|vital-signs"),),
        "Observation",
        lambda g: {"category": [{"coding": [{"system": CATEGORY, "code": "vital-signs"}]}]},
        "half of all first 20",
    )
    token(
        lambda g: (loinc(g.choice(("2276-4", "1989-3", "1988-5"))),),
        "Observation",
        lambda g: coding(g.choice(("2276-4", "1989-3", "1988-5"))),
        "sparse code first 20",
    )
    token(
        lambda g: (key("Condition", "code", f"{SNOMED}|706870000"),),
        "Condition",
        None,
        "sparse condition first 20",
    )
    token(
        lambda g: (observation("category", f"{CATEGORY}|vital-signs"), loinc("2345-7")),
        "Observation",
        None,
        "two dense, disjoint",
    )
    token(lambda g: (observation("category", f"{CATEGORY}|laboratory"), loinc(g.choice(LABS[:4]))), "Observation", None,
          "two dense, together")  # fmt: skip

    def dated(layout: str, rng: Random, form: str = "gin") -> str:
        code = rng.choice(COMMON)
        if layout == "b" and form == "gin":
            return by_keys("Observation", NEWEST, loinc(code))
        if layout == "c":
            return contains("Observation", NEWEST, coding(code))
        if form == "adaptive":
            return adaptive(layout, (loinc(code),), "Observation", newest=True)
        if form == "datewalk":
            where = f"{date_param('Observation', 'date')} and d.pk = r.pk and "
            where += (f"exists (select from b_key k where k.tenant = 0 and k.key = '{loinc(code)}' and k.pk = d.pk)"
                      if layout == "b" else walk(layout, loinc(code)))  # fmt: skip
            return page(
                layout, where, "d.low desc, d.pk desc", tables="idx_date d, ", type_name="Observation"
            )
        return page(layout, gin(layout, loinc(code)), NEWEST)

    ask("dense code, newest 20", **arrays(dated, "gin"),
        **arrays(lambda la, g: dated(la, g, "datewalk"), "datewalk"),
        **arrays(lambda la, g: dated(la, g, "adaptive"), "adaptive", ("a128", "split")),
        b__join=lambda g: dated("b", g), b__datewalk=lambda g: dated("b", g, "datewalk"), c__gin=lambda g: dated("c", g))  # fmt: skip

    def any_of(layout: str, rng: Random, form: str = "gin") -> str:
        keys = [loinc(code) for code in rng.sample(COMMON + LABS, 5)]
        if layout == "b":
            listed = ",".join(f"'{k}'" for k in keys)
            where = f"exists (select from b_key k where k.tenant = 0 and k.pk = r.pk and k.key in ({listed}))"
            return page("b", where, "r.pk", type_name="Observation")
        if form == "walk":
            test = "(" + " or ".join(f"{one(layout, k)} = any(r.keys)" for k in keys) + ")"
            return page(layout, test, "r.pk", type_name="Observation")
        return page(layout, f"r.keys && {literal(layout, keys)}", "r.pk + 0")

    ask("any of five codes first 20", **arrays(any_of, "gin"), **arrays(lambda la, g: any_of(la, g, "walk"), "walk"),
        b__walk=lambda g: any_of("b", g))  # fmt: skip

    def counted(layout: str, rng: Random, keys: tuple[str, ...]) -> str:
        if layout == "b":
            joins = "".join(f" join b_key k{i} on k{i}.tenant = 0 and k{i}.key = '{k}' and k{i}.pk = k0.pk"
                            for i, k in enumerate(keys) if i)  # fmt: skip
            return f"select count(*) from b_key k0{joins} where k0.tenant = 0 and k0.key = '{keys[0]}'"
        return f"select count(*) from {layout} r where r.tenant = 0 and {gin(layout, *keys)}"

    both = (observation("category", f"{CATEGORY}|laboratory"), loinc("2345-7"))
    ask("two dense, count", **arrays(lambda la, g: counted(la, g, both), "gin"), b__join=lambda g: counted("b", g, both),
        c__gin=lambda g: "select count(*) from c r where r.tenant = 0 and r.content @> "
                         f"'{{\"code\": {{\"coding\": [{{\"system\": \"{LOINC}\", \"code\": \"2345-7\"}}]}}}}'")  # fmt: skip
    half = (observation("category", f"{CATEGORY}|vital-signs"),)
    ask(
        "half of all, count",
        **arrays(lambda la, g: counted(la, g, half), "gin"),
        b__join=lambda g: counted("b", g, half),
    )

    # -- dates, strings ----------------------------------------------------------------------------------------
    def day(layout: str, rng: Random, days: int = 1, cursor: bool = False) -> str:
        year, month = rng.randint(2019, 2024), rng.randint(1, 12)
        low = (
            f"timestamptz '{year}-{month:02}-10 00:00Z'"
            if days == 1
            else f"timestamptz '{year - 3}-01-01 00:00Z'"
        )
        bounds = f"d.low >= {low} and d.low < {low} + interval '{days} days' and d.high <= {low} + interval '{days} days'"
        if cursor:
            bounds += f" and (d.low, d.pk) < ({low} + interval '{days // 2} days', {last_pk})"
        where = f"{date_param('Observation', 'date')} and {bounds} and d.pk = r.pk"
        return page(layout, where, "d.low desc, d.pk desc", tables="idx_date d, ", type_name="Observation")

    ask("one day, newest 20", **arrays(day, "low", ("a128", "split")))
    ask("three years, newest 20", **arrays(lambda la, g: day(la, g, 1095), "low", ("a128", "split")))
    ask(
        "three years, a page far in",
        **arrays(lambda la, g: day(la, g, 1095, True), "keyset", ("a128", "split")),
    )

    def overlap(layout: str, rng: Random, form: str) -> str:
        low = f"timestamptz '{rng.randint(2019, 2024)}-{rng.randint(1, 12):02}-10 00:00Z'"
        high = f"{low} + interval '1 day'"
        base = f"select d.low, d.pk from idx_date d where {date_param('Encounter', 'date')} and d.low < {high} and d.high > {low}"
        if form == "naive":
            hits = base
        else:
            short = f"{base} and d.low > {low} - interval '1 day 1 hour' and not d.high - d.low > interval '1 day 1 hour'"
            hits = f"{short} union all {base} and d.high - d.low > interval '1 day 1 hour'"
        return page(
            layout, "r.pk = d.pk", "d.low desc, d.pk desc", tables=f"({hits}) d, ", type_name="Encounter"
        )

    ask("encounters that touch a day", split__naive=lambda g: overlap("split", g, "naive"),
        split__long=lambda g: overlap("split", g, "long"))  # fmt: skip

    def prefix(layout: str, rng: Random, length: int = 3) -> str:
        name = rng.choice(("smith", "johnson", "romero", "patterson", "nguyen", "åkesson"))[:length]
        end = name[:-1] + chr(ord(name[-1]) + 1)
        where = (f"d.tenant = 0 and d.param = {param_int('Patient', 'family')} and d.value >= '{name}' and d.value < '{end}' "
                 "and d.pk = r.pk")  # fmt: skip
        return page(layout, where, "d.pk", tables="idx_string d, ", type_name="Patient")

    ask("family name prefix, first 20", **arrays(prefix, "btree", ("a128", "split")))

    # -- across resources --------------------------------------------------------------------------------------
    def chain(layout: str, rng: Random, form: str, name: str) -> str:
        code = loinc(rng.choice(LABS))
        table = "split" if layout == "split" else layout
        inner = (f"from idx_string d join {table} p on p.tenant = 0 and p.type = {TYPE_CODE['Patient']} and p.pk = d.pk "
                 f"where d.tenant = 0 and d.param = {param_int('Patient', 'family')} and d.value = '{name}'")  # fmt: skip
        made = reference_keys("p", "Observation", "patient")
        if form == "array":
            where = f"r.keys && array(select {made} {inner}) and {gin(layout, code)}"
            return page(layout, where, NEWEST)
        if form == "lateral":
            tables = f"(select {made} as link {inner}) p, "
            where = f"r.keys @> array[p.link, '{code}'::uuid]"
            return page(layout, where, NEWEST, tables=tables)
        where = f"r.patient in (select p.rid {inner}) and {walk(layout, code)}"
        return page(layout, where, NEWEST, type_name="Observation")

    for label, name in (("rare", "romero"), ("common", "smith")):
        ask(f"chain: family {label} + code, newest 20", **{
            f"{la}__{form}": (lambda g, la=la, form=form, name=name: chain(la, g, form, name))
            for la in ("a128", "split") for form in ("array", "lateral", "chart")})  # fmt: skip

    def women(layout: str, rng: Random, form: str) -> str:
        code, female = loinc(rng.choice(LABS)), key("Patient", "gender", "urn:fixed|female")
        inner = f"from {layout} p where p.tenant = 0 and p.keys @> '{{{female}}}'::uuid[]"
        if form == "array":
            where = f"r.keys && array(select {reference_keys('p', 'Observation', 'patient')} {inner}) and {gin(layout, code)}"
            return page(layout, where, NEWEST)
        start = key("Observation", "patient", "")[:8]
        row = ("p.rid = r.patient" if form == "walkcolumn" else
               f"p.rid = any(array(select ('00000000' || substr(k::text, 9))::uuid from unnest(r.keys) k where "
               f"k >= '{start}-0000-0000-0000-000000000000'::uuid and k <= '{start}-ffff-ffff-ffff-ffffffffffff'::uuid))")  # fmt: skip
        where = (f"{date_param('Observation', 'date')} and d.pk = r.pk and {walk(layout, code)} and (select true from {layout} p "
                 f"where p.tenant = 0 and {row} and '{female}'::uuid = any(p.keys) limit 1)")  # fmt: skip
        return page(layout, where, "d.low desc, d.pk desc", tables="idx_date d, ", type_name="Observation")

    ask("chain: half of all patients + code, newest 20", **{
        f"{la}__{form}": (lambda g, la=la, form=form: women(la, g, form))
        for la in ("a128", "split") for form in ("array", "walkcolumn", "walkkeys")})  # fmt: skip

    def has(layout: str, rng: Random, form: str, snomed: str) -> str:
        code = key("Condition", "code", f"{SNOMED}|{snomed}")
        link = reference_keys("r", "Condition", "patient")
        if form == "exists":
            where = f"exists (select from {layout} c where c.tenant = 0 and c.keys @> array[{link}, '{code}'::uuid])"
            return page(layout, where, "r.pk", type_name="Patient")
        if form == "walk":
            where = (f"exists (select from {layout} c where c.tenant = 0 and c.type = {TYPE_CODE['Condition']} and "
                     f"c.patient = r.rid and '{code}'::uuid = any(c.keys))")  # fmt: skip
            return page(layout, where, "r.pk", type_name="Patient")
        if form == "unnest":
            start = key("Condition", "patient", "")[:8]
            inner = (f"select ('00000000' || substr(k::text, 9))::uuid from {layout} c, unnest(c.keys) k where c.tenant = 0 "
                     f"and c.keys @> '{{{code}}}'::uuid[] and k >= '{start}-0000-0000-0000-000000000000'::uuid "
                     f"and k <= '{start}-ffff-ffff-ffff-ffffffffffff'::uuid")  # fmt: skip
        else:
            inner = f"select c.patient from {layout} c where c.tenant = 0 and c.keys @> '{{{code}}}'::uuid[]"
        return page(layout, f"r.rid = any(array({inner}))", "r.pk + 0", type_name="Patient")

    for label, snomed in (("sparse", "706870000"), ("dense", "59621000")):
        ask(f"_has {label} condition, first 20", **{
            f"{la}__{form}": (lambda g, la=la, form=form, snomed=snomed: has(la, g, form, snomed))
            for la in ("a128", "split") for form in ("exists", "walk", "unnest", "column")})  # fmt: skip

    def include(layout: str, rng: Random) -> str:
        ids = ",".join(f"'{rid('/'.join(i))}'" for i in rng.sample(seen.ids, min(20, len(seen.ids))))
        links = f"select ('00000000' || substr(k::text, 9))::uuid from {layout} s, unnest(s.keys) k where s.tenant = 0 and s.rid in ({ids}) "
        prefixes = ",".join(f"'{key(t, c, '')[:8]}'" for t in ("Observation", "DiagnosticReport", "Procedure")
                            for c in ("encounter", "patient"))  # fmt: skip
        return page(
            layout,
            f"r.rid = any(array({links} and substr(k::text, 1, 8) in ({prefixes})))",
            "r.pk",
            limit=1000,
        )

    ask("_include of 20 rows", **arrays(include, "keys", ("a128", "split")))

    def revinclude(layout: str, rng: Random) -> str:
        keys = [key("Condition", "patient", who) for who in rng.sample(heavy, min(20, len(heavy)))]
        return page(layout, f"r.keys && {literal(layout, keys)}", "r.pk + 0", limit=1000)

    ask("_revinclude of 20 patients", **arrays(revinclude, "gin"))

    def above(layout: str, rng: Random, form: str) -> str:
        code, low = loinc("2345-7"), rng.randint(150, 190)
        unit = f"d.tenant = 0 and d.param = {param_int('Observation', 'value-quantity')}"
        if form == "exists":
            where = f"{gin(layout, code)} and exists (select from idx_quantity d where {unit} and d.pk = r.pk and d.high > {low})"
            return page(layout, where, "r.pk + 0")
        mgdl = "(select unit from idx_quantity where tenant = 0 and pk = (select pk from idx_quantity where high > 150 limit 1) limit 1)"
        where = f"r.pk = any(array(select d.pk from idx_quantity d where {unit} and d.unit = {mgdl} and d.low > {low})) and {walk(layout, code)}"
        return page(layout, where, "r.pk", type_name="Observation")

    ask("code and value above", **{
        f"{la}__{form}": (lambda g, la=la, form=form: above(la, g, form))
        for la in ("a128", "split") for form in ("exists", "range")})  # fmt: skip

    def sorted_names(layout: str, rng: Random) -> str:
        where = (f"d.tenant = 0 and d.param = {param_int('Patient', 'family')} and d.pk = r.pk and "
                 f"(d.value, d.pk) > ('{rng.choice('abcdefghijkmpr')}', 0)")  # fmt: skip
        return page(layout, where, "d.value, d.pk", tables="idx_string d, ", type_name="Patient")

    ask("all patients by family name, a page far in", **arrays(sorted_names, "keyset", ("a128", "split")))

    # -- walks -------------------------------------------------------------------------------------------------
    def updated(layout: str, rng: Random) -> str:
        since = f"timestamptz '2025-01-01 00:00Z' + interval '{rng.randint(0, last_pk)} seconds'"
        return page(layout, f"r.last_updated > {since}", "r.last_updated, r.pk", type_name="Observation")

    ask("_lastUpdated walk", **arrays(updated, "btree"))

    def missing(
        layout: str, rng: Random, code: str, wanted: bool, form: str, type_name: str = "Observation"
    ) -> str:
        marker = key(type_name, code, "")
        if form == "gin":
            return page(layout, gin(layout, marker), "r.pk + 0", type_name=type_name)
        test = walk(layout, marker)
        return page(layout, test if not wanted else f"not ({test})", "r.pk", type_name=type_name)

    ask(
        "value-quantity:missing=true",
        **arrays(lambda la, g: missing(la, g, "value-quantity", True, "walk"), "walk"),
    )
    ask(
        "patient:missing=true (no hit)",
        **arrays(lambda la, g: missing(la, g, "patient", True, "walk"), "walk"),
    )
    ask("value-concept:missing=false", **arrays(lambda la, g: missing(la, g, "value-concept", False, "gin"), "gin"),
        **arrays(lambda la, g: missing(la, g, "value-concept", False, "walk"), "walk"))  # fmt: skip
    return asked
