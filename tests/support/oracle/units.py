"""Units of the test data by hand: what they measure, how much of it, and where their zero is.

Written down from UCUM's tables, in no way from the server's. `[pH]` measures what `mmol/L` does, but runs
the other way, and no search converts between the two; so it stands alone.
"""

from __future__ import annotations

from fractions import Fraction

MOL = Fraction(602214076 * 10**15)
AVOIRDUPOIS, INCH, OUNCE = Fraction("453.59237"), Fraction("0.0254"), Fraction("29.5735295625") / 10**6
DAY = Fraction(86400)
YEAR = DAY * Fraction("365.25")
MMHG = Fraction("133.322")
LITRE = Fraction(1, 1000)
CALORIE = Fraction("4.184")

UNITS: dict[str, tuple[str, Fraction, Fraction]] = {}
"""Code → kind, factor, zero: an amount is value × factor + zero."""


def _put(kind: str, **factors: Fraction | int) -> None:
    for code, factor in factors.items():
        UNITS[code] = (kind, Fraction(factor), Fraction(0))


_put(
    "1",
    **{
        f"{{{word}}}": 1
        for word in ["score", "T-score", "count", "#", "INR", "nominal", "scoop", "pack-years"]
    },
)
_put(
    "1", **{"%": Fraction(1, 100), "mg/g": Fraction(1, 1000), "mg/kg": Fraction(1, 10**6), "meq": MOL / 1000}
)
_put("length", cm=Fraction(1, 100), mm=Fraction(1, 1000), m=1, **{"[in_i]": INCH})
_put(
    "mass",
    kg=1000,
    g=1,
    mg=Fraction(1, 1000),
    ug=Fraction(1, 10**6),
    pg=Fraction(1, 10**12),
    **{"[lb_av]": AVOIRDUPOIS},
)
_put("mass an area", **{"kg/m2": 1000, "mg/m2": Fraction(1, 1000)})
_put("pressure", **{"mm[Hg]": MMHG, "kPa": 1000, "cal/mL": CALORIE * 10**6, "cal/[foz_us]": CALORIE / OUNCE})
_put("rate", **{"/min": Fraction(1, 60), "/a": 1 / YEAR, "U": MOL / 10**6 / 60})
_put("count a volume", **{"10*3/uL": 10**12, "10*6/uL": 10**15, "10*12/L": 10**15, "mmol/L": MOL})
for _code, _grams in {"g/dL": 10, "mg/dL": "0.01", "ng/mL": "1e-6", "g/L": 1, "ug/mL": "1e-3"}.items():
    UNITS[_code] = ("mass a volume", Fraction(_grams), Fraction(0))
for _code, _grams in {"ug/L": "1e-6", "pg/mL": "1e-9", "mg/L": "1e-3"}.items():
    UNITS[_code] = ("mass a volume", Fraction(_grams), Fraction(0))
_put("volume", fL=LITRE / 10**15, ml=LITRE / 1000, mL=LITRE / 1000, **{"[foz_us]": OUNCE})
_put("activity", **{"kU/L": MOL / 60, "U/L": MOL / 60 / 1000})
_put("flow", **{"mL/min/{1.73_m2}": LITRE / 60_000, "mL/min": LITRE / 60_000, "mL/d": LITRE / 1000 / DAY})
_put("flow", **{"mL/h": LITRE / 3_600_000, "L/min": LITRE / 60})
_put("time", s=1, min=60, h=3600, d=DAY, a=YEAR)
UNITS["Cel"] = ("temperature", Fraction(1), Fraction("273.15"))
UNITS["K"] = ("temperature", Fraction(1), Fraction(0))
UNITS["[degF]"] = ("temperature", Fraction(5, 9), Fraction("459.67") * 5 / 9)


def moved(number: Fraction, code: str, other: str) -> Fraction | None:
    """Return an amount in another unit, None where the two do not measure the same."""
    if code == other:
        return number
    one, two = UNITS.get(code), UNITS.get(other)
    if one is None or two is None or one[0] != two[0]:
        return None
    return (number * one[1] + one[2] - two[2]) / two[1]


def alike(code: str) -> list[str]:
    """Return the units that measure the same."""
    kind = UNITS.get(code, ("", 1, 0))[0]
    return sorted(each for each, known in UNITS.items() if known[0] == kind)
