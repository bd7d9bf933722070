"""`doctor`: checks the installation and says what to mend.

Exit code 0 when nothing is broken (advice may remain), 1 when something is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from fhir_server.cli import checks, dicom_checks, model_checks
from fhir_server.cli.checks import Finding
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database, has_database
from fhir_server.config import Config
from fhir_server.database.account import EmbeddedError
from fhir_server.outcome import FhirError

EXAMPLES = """\
  xinglin doctor
  xinglin doctor --database-url postgresql://xinglin@db.example.org/xinglin --json
"""

_SIGNS = {"ok": "✓", "advice": "!", "broken": "✗"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_json(parser)
    add_settings(
        parser, "host", "port", "dimse_host", "dimse_port", "dimse_tls", "data_dir", "database_url", "auth"
    )


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Check and report."""
    found = list(examine(config))
    lines = [f"{_SIGNS[each.state]} {each.subject}: {each.says}" for each in found]
    document = {
        "findings": [{"subject": each.subject, "state": each.state, "says": each.says} for each in found],
        "broken": sum(each.state == "broken" for each in found),
        "advice": sum(each.state == "advice" for each in found),
    }
    answer(arguments, document, "\n".join(lines))
    return 1 if document["broken"] else 0


def examine(config: Config) -> Iterator[Finding]:
    """Give the findings of all checks."""
    yield from _each(checks.MACHINE, lambda check: check(config))
    if not config.database_url and not has_database(config):
        yield Finding("database", "advice", "there is none yet; `xinglin serve` makes it")
        return
    try:
        with database(config) as url:
            every = (*checks.DATABASE, *dicom_checks.DICOM, *model_checks.MODEL)
            yield from _each(every, lambda check: check(config, url))
    except (Refused, EmbeddedError, FhirError) as error:
        yield Finding("database", "broken", str(error))


def _each(
    table: tuple[Callable[..., Iterator[Finding]], ...],
    run: Callable[[Callable[..., Iterator[Finding]]], Iterator[Finding]],
) -> Iterator[Finding]:
    for check in table:
        try:
            yield from run(check)
        except Exception as error:  # one check that breaks must not hide the others
            yield Finding(check.__name__, "broken", f"the check itself failed ({type(error).__name__})")
