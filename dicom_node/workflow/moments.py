"""Dates and times of FHIR as DA and TM of the installation's time zone (PS3.5 6.2)."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from dicom_node.index.matching import read_date, read_time
from fhir_server.model.temporal import interval
from fhir_server.outcome import Invalid


def moment(text: str, zone: ZoneInfo) -> datetime | None:
    """Return the beginning of a dateTime or instant in local time, or None for what is none.

    >>> moment("2026-01-02T23:30:00Z", ZoneInfo("Europe/Berlin")).isoformat()
    '2026-01-03T00:30:00+01:00'
    """
    try:
        return interval(text, zone)[0].astimezone(zone)
    except Invalid:
        return None


def date_time(text: str, zone: ZoneInfo) -> tuple[str | None, str | None]:
    """Return DA and TM; no TM where FHIR says only a day, none of both for what is no full date.

    >>> date_time("2026-01-02T03:04:05Z", ZoneInfo("UTC")), date_time("2026-01-02", ZoneInfo("UTC"))
    (('20260102', '030405'), ('20260102', None))
    """
    found = moment(text, zone) if len(text) >= 10 else None
    if found is None:
        return None, None
    return f"{found:%Y%m%d}", f"{found:%H%M%S}" if "T" in text else None


def offset(when: date, at: time, zone: ZoneInfo) -> str:
    """Return Timezone Offset From UTC (0008,0201) of a local moment.

    >>> offset(date(2026, 7, 1), time(8), ZoneInfo("Europe/Berlin"))
    '+0200'
    """
    return f"{datetime.combine(when, at, zone):%z}"[:5]


def fhir_instant(day: str, at: str, zone: ZoneInfo, utc_offset: str = "") -> str | None:
    """Return DA and TM values as a dateTime with its zone, a date where there is no time, or None.

    >>> fhir_instant("20260102", "0304", ZoneInfo("UTC")), fhir_instant("20260102", "", ZoneInfo("UTC"))
    ('2026-01-02T03:04:00+00:00', '2026-01-02')
    """
    read = read_date(day)
    if read is None:
        return None
    clock = read_time(at)
    if clock is None:
        return read.isoformat()
    if len(utc_offset) == 5 and utc_offset[0] in "+-" and utc_offset[1:].isdigit():
        return datetime.strptime(
            f"{datetime.combine(read, clock).isoformat()}{utc_offset}",
            "%Y-%m-%dT%H:%M:%S.%f%z" if clock.microsecond else "%Y-%m-%dT%H:%M:%S%z",
        ).isoformat()
    return datetime.combine(read, clock, zone).isoformat()
