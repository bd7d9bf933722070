"""`cds verify` and `cds replay`: are the records as they were written, and do they give the same cards.

Both only read.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import msgspec

from cds_hooks import registry
from cds_hooks.operation.replay import replay as decide_again
from cds_hooks.records import chain
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.store import Store
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine

_LONG_STATEMENT_MS = 600_000


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `verify`."""
    parser.add_argument(
        "--head", metavar="NUMBER:CHAIN",
        help="a link noted earlier, as this command and each AuditEvent of a call tell it: it must be there",
    )  # fmt: skip
    add_json(parser)
    add_settings(parser, "database_url", "data_dir")


def add_replay(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `replay`."""
    parser.add_argument("call_id", metavar="CALL_ID", nargs="?", help="the id of the call, a UUID")
    parser.add_argument("--last", type=int, default=0, metavar="N", help="the newest N calls instead of one")
    parser.add_argument("--card", type=Path, metavar="FILE", help="write the recomputed answer to this file")
    add_json(parser)
    add_settings(parser, "database_url", "data_dir", "demonstration")


def verify(arguments: argparse.Namespace, config: Config) -> int:
    """Walk along the chain; 1 when it is broken, with the first link that is."""
    expected = _link(arguments.head) if arguments.head else None
    with engine_of(config) as engine:
        found = chain.verify(engine, expected, _progress)
    document = msgspec.to_builtins(found)
    if found.broken is None:
        text = f"{found.links} links hold; the newest is {found.links}:{found.head}"
        if found.unsealed:
            text += f"\n{found.unsealed} records wait for their link; the background worker makes them"
    else:
        broken = found.broken
        text = f"broken at link {broken.number} ({broken.kind} {broken.record_pk}): {broken.problem}"
        text += f"\n{found.links} links before it hold"
    answer(arguments, document, text)
    return 0 if found.broken is None else 1


def replay(arguments: argparse.Namespace, config: Config) -> int:
    """Decide calls again; 1 when one gives other cards than were recorded."""
    if bool(arguments.call_id) == bool(arguments.last):
        raise Refused("name one call by its id, or --last N")
    with engine_of(config) as engine:
        store = Store(engine)
        services = registry.services(
            [config.data_dir / "models"], demonstration=config.demonstration, log=ModelLog(engine)
        )
        ids = [_uuid(arguments.call_id)] if arguments.call_id else [
            call.call_id for call in store.latest(None, arguments.last)
        ]  # fmt: skip
        calls = [store.find(call_id) for call_id in ids]
        if calls == [None]:
            raise Refused(f"there is no record of call {arguments.call_id}")
        found = [(call, decide_again(call, services)) for call in calls if call is not None]
    if arguments.card is not None:
        arguments.card.write_text(found[0][1].computed)
    lines: list[str] = []
    for call, replayed in found:
        word = {True: "the same", False: "DIFFERENT", None: "not compared"}[replayed.equal]
        lines.append(f"{call.call_id} {call.service:24} {word:12} {replayed.why}".rstrip())
        if replayed.equal is False and replayed.computed:
            lines += _difference(replayed.recorded, replayed.computed)
    document = {
        "calls": [
            {"call": str(call.call_id), "service": call.service, **msgspec.to_builtins(replayed)}
            for call, replayed in found
        ],
        "different": sum(replayed.equal is False for _, replayed in found),
    }
    answer(arguments, document, "\n".join(lines))
    return 1 if document["different"] else 0


def _difference(recorded: str, computed: str) -> list[str]:
    before, after = (msgspec.json.format(text, indent=1).splitlines() for text in (recorded, computed))
    return [f"  {line}" for line in difflib.unified_diff(before, after, "recorded", "now", n=1, lineterm="")]


def _link(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise Refused(f"--head is {text!r}; it is written NUMBER:CHAIN, the chain with 64 hexadecimal digits")
    return int(number), digest


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Refused(f"{text!r} is no id of a call, which is a UUID") from None


def _progress(count: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{count} links")
        sys.stderr.flush()


@contextmanager
def engine_of(config: Config) -> Iterator[Engine]:
    """Give connections for what may take a while."""
    with database(config) as url:
        engine = Engine(url, size=2, statement_timeout_ms=_LONG_STATEMENT_MS)
        try:
            yield engine
        finally:
            engine.close()
