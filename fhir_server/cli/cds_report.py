"""`cds report`: how often each service was asked, what became of its cards and of what they were about."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from cds_hooks.monitoring import followed, shadow
from cds_hooks.records.rates import Cards, Rates, rates
from fhir_server.app import create_entry
from fhir_server.cli.cds_records import engine_of
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.config import Config
from fhir_server.database.engine import Engine


def add_report(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `report`."""
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="only this one")
    parser.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back (30)")
    parser.add_argument(
        "--ripe-hours", type=float, default=24.0, metavar="N",
        help="after how long a card that nobody told about counts as ignored (24)",
    )  # fmt: skip
    parser.add_argument(
        "--orders", action="store_true",
        help="look up in our own store what became of the orders and treatments that cards were about",
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
        hidden = shadow.report(engine, since, until, arguments.service)
        later = _followed(engine, config, since, until, arguments.service) if arguments.orders else []
    if arguments.service:
        if arguments.service not in found and not hidden:
            raise Refused(f"{arguments.service!r} was not asked in these days; asked were {', '.join(found)}")
        found = {name: each for name, each in found.items() if name == arguments.service}
    document = {
        "since": since,
        "until": until,
        "services": [_document(each) for each in found.values()],
        "shadow": hidden,
        **({"orders": later} if arguments.orders else {}),
    }
    texts = [*map(_text, found.values()), *map(_in_shadow, hidden), *map(_orders, later)]
    if arguments.orders and not later:
        texts.append("no card was about an order or a treatment of a patient of our own store")
    answer(arguments, document, "\n\n".join(texts) or "no service was asked")
    return 0


def _followed(
    engine: Engine, config: Config, since: datetime, until: datetime, service: str | None
) -> list[dict[str, Any]]:
    entry = create_entry(config, engine.url, connections=2)
    try:
        return followed.report(engine, entry, since, until, service)
    finally:
        entry.engine.close()


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


def _in_shadow(one: dict[str, Any]) -> str:
    """Return what ran in shadow: what would have been shown, and what became of the patients."""
    share = f" ({100 * one['share']:.1f} %)" if one["share"] is not None else ""
    lines = [
        f"{one['release'] or one['service']} in shadow{', beside the release that answers' * one['beside']}:"
        f" {one['calls']} calls, {one['would_have_shown']} would have come to a card{share};"
        f" {one['patients_that_would_have_been_shown']} of {one['patients']} patients"
    ]
    if one["cards"]:
        cards = ", ".join(f"{count} {indicator}" for indicator, count in one["cards"].items())
        lines.append(f"  cards that would have been shown: {cards}")
    lines += [f"  {count:>8}  {reason}" for reason, count in one["reasons"].items()]
    outcomes = one["outcomes"]
    if not outcomes["patients"]:
        return "\n".join([*lines, "  no outcome was told yet (`xinglin model monitor --outcomes FILE`)"])
    lines.append("  outcomes, one a patient")
    lines += [
        _ended(words, outcomes[key])
        for words, key in (("with a card", "with_a_card"), ("without", "without"))
    ]
    found = outcomes["calibration"]
    if "figures" not in found:
        return "\n".join([*lines, f"  calibration: {found['too_few']}"])
    figures = found["figures"]
    low, high = figures["observed_over_expected_ci"]
    lines += [
        f"  calibration of the risk: observed over expected {figures['observed_over_expected']:.2f}"
        f" ({low:.2f} to {high:.2f}), slope {figures['calibration_slope']:.2f}, AUC {figures['auc']:.3f}",
        f"  {'fifth':20}{'patients':>9}{'predicted':>11}{'observed':>10}",
    ]
    lines += [
        f"  {number:<20}{row['n']:>9}{row['predicted']:>11.3f}{row['observed']:>10.3f}"
        for number, row in enumerate(found["groups"], 1)
    ]
    return "\n".join(lines)


def _orders(one: dict[str, Any]) -> str:
    """Return what became of what the cards of a service were about."""
    how = "cards that were shown" if one["group"] == "shown" else "cards that ran in shadow"
    lines = [f"{one['service']}: what became of what {how} were about; not randomised, so no effect of them"]
    lines.append(_endings("all", one))
    lines += [_endings(said, counted) for said, counted in one["by_feedback"].items()]
    return "\n".join(lines)


def _endings(words: str, one: dict[str, Any]) -> str:
    told = ", ".join(f"{count} {ending}" for ending, count in one["endings"].items())
    if one["changed"] is None:
        return f"  {words}: {told}"
    low, high = one["changed_ci"]
    return (
        f"  {words}: {told}; {100 * one['changed']:.0f} % of {one['settled']} changed, left or begun"
        f" ({100 * low:.0f} to {100 * high:.0f} %)"
    )


def _ended(words: str, found: dict[str, Any]) -> str:
    expected = f", {found['expected']:.1f} expected" if found["with_risk"] else ""
    return f"    {words}: {found['patients']} patients, {found['bad']} with the bad outcome{expected}"


def _line(name: str, cards: Cards) -> str:
    shares = [cards.share(outcome) for outcome in ("accepted", "overridden", "ignored")]
    shown = ["-" if share is None else f"{100 * share:.0f} %" for share in shares]
    return f"  {name:20}{cards.shown:>7}{shown[0]:>10}{shown[1]:>12}{shown[2]:>9}{cards.open:>6}"


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
