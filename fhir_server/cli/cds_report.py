"""`cds report`: how often each service was asked, what it answered, and what became of its cards."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from cds_hooks.records.rates import Cards, Rates, rates
from fhir_server.cli.cds_records import engine_of
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.config import Config


def add_report(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `report`."""
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="only this one")
    parser.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back (30)")
    parser.add_argument(
        "--ripe-hours", type=float, default=24.0, metavar="N",
        help="after how long a card that nobody told about counts as ignored (24)",
    )  # fmt: skip
    add_json(parser)
    add_settings(parser, "database_url", "data_dir")


def report(arguments: argparse.Namespace, config: Config) -> int:
    """Print the rates of all services, or of one."""
    if arguments.days <= 0 or arguments.ripe_hours < 0:
        raise Refused("--days has to be above 0, --ripe-hours 0 or more")
    until = datetime.now(UTC)
    since = until - timedelta(days=arguments.days)
    with engine_of(config) as engine:
        found = rates(engine, since, until, ripe=timedelta(hours=arguments.ripe_hours))
    if arguments.service:
        if arguments.service not in found:
            raise Refused(f"{arguments.service!r} was not asked in these days; asked were {', '.join(found)}")
        found = {arguments.service: found[arguments.service]}
    document = {"since": since, "until": until, "services": [_document(each) for each in found.values()]}
    answer(arguments, document, "\n\n".join(map(_text, found.values())) or "no service was asked")
    return 0


def _document(found: Rates) -> dict[str, Any]:
    return {
        "service": found.service,
        "calls": found.calls,
        "reasons": found.reasons,
        "overrides": found.overrides,
        "users": {
            name: {
                "shown": cards.shown,
                **{key: getattr(cards, key) for key in ("accepted", "overridden", "ignored", "open")},
                **{f"{key}_rate": cards.share(key) for key in ("accepted", "overridden", "ignored")},
            }
            for name, cards in found.lines()
        },
    }


def _text(found: Rates) -> str:
    calls = ", ".join(f"{count} {ending}" for ending, count in sorted(found.calls.items(), key=_by_count))
    lines = [f"{found.service}: {found.asked} call{'s' if found.asked != 1 else ''} ({calls})"]
    lines.append(f"  {'users':20}{'shown':>7}{'accepted':>10}{'overridden':>12}{'ignored':>9}{'open':>6}")
    lines += [_line(name, cards) for name, cards in found.lines()]
    for title, counted in (
        ("overridden because", found.overrides),
        ("reasons of the answers", found.reasons),
    ):
        if counted:
            lines.append(f"  {title}")
            lines += [f"  {count:>8}  {name}" for name, count in sorted(counted.items(), key=_by_count)]
    return "\n".join(lines)


def _line(name: str, cards: Cards) -> str:
    shares = [cards.share(outcome) for outcome in ("accepted", "overridden", "ignored")]
    shown = ["-" if share is None else f"{100 * share:.0f} %" for share in shares]
    return f"  {name:20}{cards.shown:>7}{shown[0]:>10}{shown[1]:>12}{shown[2]:>9}{cards.open:>6}"


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
