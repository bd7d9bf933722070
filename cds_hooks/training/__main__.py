"""`python -m cds_hooks.training DESCRIPTION --data FILE`: a described trial from its rows to its gates.

DESCRIPTION is a TOML file or the id of one that is shipped; rows come from the trial's CSV (--data),
from the NDJSON files of an `$export` (--ndjson) or from a FHIR server (--fhir). Printed is JSON: the
published numbers, the risk model's evaluation, the average effect, harms, and the verdict of each gate.
`--evidence` runs the gates in full and records them beside the models; this is what `make evidence` does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from cds_hooks.training import cohort as cohorts
from cds_hooks.training import description, evidence, fhir_store, fhir_trial, gate, pipeline
from cds_hooks.training.cohort import Cohort


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 with a sentence on stderr where data or description do not fit."""
    given = _parser().parse_args(arguments)
    try:
        trial = (
            description.load(Path(given.description))
            if given.description.endswith(".toml")
            else description.shipped(given.description)
        )
        found = (_evidence if given.evidence else _report)(_cohort(given, trial), given)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
    print()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cds_hooks.training", description=__doc__.split("\n")[0])
    parser.add_argument("description", help="a TOML file, or the id of a shipped description")
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--data", type=Path, metavar="FILE", help="the CSV, or the same as .xz")
    rows.add_argument("--ndjson", type=Path, metavar="DIR", help="the files of an export")
    rows.add_argument("--fhir", metavar="URL", help="a FHIR base; a token is read from FHIR_TOKEN")
    parser.add_argument("--draws", type=int, metavar="N", help="draws of each null, if others")
    parser.add_argument("--evidence", action="store_true", help="run the gates in full and record them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep finished stages of the evidence")
    parser.add_argument("--stage", metavar="NAME", help="run only these stages of it")
    return parser


def _cohort(given: argparse.Namespace, trial: description.Description) -> Cohort:
    if given.data is not None:
        return cohorts.load(given.data, trial)
    if given.ndjson is not None:
        return fhir_trial.read_ndjson(given.ndjson, trial)
    return fhir_store.read_store(fhir_store.rest(given.fhir, os.environ.get("FHIR_TOKEN")), trial, given.fhir)


def _report(cohort: Cohort, given: argparse.Namespace) -> dict[str, Any]:
    study = pipeline.study(cohort, _say)
    return {
        "trial": cohort.description.id,
        "description_sha256": cohort.description.sha256,
        "data_sha256": cohort.sha256,
        "rows": len(cohort),
        "model_sha256": study.sha256,
        "published": study.published,
        "evaluation": study.evaluation,
        "effect": study.effect,
        "average_benefit": study.average_benefit,
        "benefit_by_risk": study.benefit_by_risk,
        "harms": study.harms,
        "gates": [
            gate.judge(cohort, one, draws=given.draws, progress=lambda done, whole: None)
            for one in cohort.description.gates
        ],
    }


def _evidence(cohort: Cohort, given: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    document = evidence.gather(cohort, draws=given.draws, progress=_say, kept=given.keep, only=given.stage)
    if given.stage is not None:
        return {"stages": sorted(document)}
    target = evidence.write(document)
    _say(f"{target} written after {time.monotonic() - started:.0f} s")
    return {
        "sha256": document["sha256"],
        "gates": {
            name: {"accepted": verdict["accepted"], "reasons": verdict["reasons"]}
            for name, verdict in document["gates"].items()
        },
        "planted": document["planted"] and document["planted"]["accepted"],
        "fhir": document["fhir"],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
