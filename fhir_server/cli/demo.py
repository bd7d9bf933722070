"""See it run: an installation of its own with sample patients, a CT study and a treatment suggestion.

Starts everything that `serve` starts, sends itself what a hospital would send, by the same
ways a hospital would use, checks each answer, and stays up for a look around.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from dataclasses import replace

from fhir_server.cli.command import add_settings, say
from fhir_server.cli.installation import default_data_dir
from fhir_server.cli.serve import serve
from fhir_server.cli.supervisor import python
from fhir_server.config import Config

EXAMPLES = """\
  xinglin demo
  xinglin demo --port 9000 --data-dir demo-data
  xinglin demo --once
"""

PATIENT_ID_SYSTEM = "urn:xinglin:mrn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--once", action="store_true", help="check every step, stop, exit 0 or 1")
    add_settings(parser, "port", "dimse_port", "data_dir", "workers")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Serve a demonstration; with --once only until every step was checked."""
    if config.data_dir == (usual := default_data_dir()):
        config = replace(config, data_dir=usual / "demo")
    config = replace(
        config,
        patient_id_system=config.patient_id_system or PATIENT_ID_SYSTEM,
        demonstration=True,
        study_quiet_s=0.0,
        log_requests=False,
    )
    codes: list[int] = []

    def started(running: Config) -> None:
        command = python("fhir_server.cli.demo_steps", *(["--once"] if arguments.once else []))
        codes.append(subprocess.call(command, env={**os.environ, **running.as_environment()}))
        if arguments.once or codes[0]:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            say("\nCtrl-C stops it; what was stored stays in " + str(running.data_dir))

    serve(config, started)
    return codes[0] if codes else 1
