"""`model train`: the trial's data to a release; and its figures again, out of fold, on the same data."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cds_hooks.models import catalogue
from cds_hooks.models.catalogue import Release
from fhir_server.cli.command import Refused
from fhir_server.cli.model_place import Document, folders, progress
from fhir_server.config import Config

TRIALS = {"stroke-early-aspirin": "international-stroke-trial"}
"""The trial that each model is trained from, by the id of its description."""


def add_train(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of train."""
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--data", type=Path, metavar="FILE", help="IST_corrected.csv, or the same as .xz")
    rows.add_argument("--ndjson", type=Path, metavar="DIR", help="the trial as FHIR: the files of an export")
    rows.add_argument("--fhir", metavar="URL", help="the trial as FHIR: a server; token in FHIR_TOKEN")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the release, if another")
    parser.add_argument(
        "--state",
        choices=catalogue.FIRST_STATES,
        default="draft",
        help="how the release begins; a demonstration answers for test data only (default draft)",
    )


def train(arguments: argparse.Namespace, config: Config) -> Document:
    """Train and write a release; nothing that is shown to anybody changes."""
    if arguments.data is arguments.ndjson is arguments.fhir is None:
        raise Refused("train needs --data FILE, for example IST_corrected.csv, or --ndjson DIR or --fhir URL")
    from cds_hooks.training import (  # pandas: --help need not pay
        cohort,
        description,
        fhir_store,
        fhir_trial,
        pipeline,
    )

    trial = description.shipped(TRIALS[arguments.model])
    if arguments.data is not None:
        rows = cohort.load(arguments.data, trial)
    elif arguments.ndjson is not None:
        rows = fhir_trial.read_ndjson(arguments.ndjson, trial)
    else:
        get = fhir_store.rest(arguments.fhir, os.environ.get("FHIR_TOKEN"))
        rows = fhir_store.read_store(get, trial, arguments.fhir)
    places = folders(config)
    if arguments.out is not None:
        places = [arguments.out, *places]
    release = pipeline.release(rows, places, state=arguments.state, progress=progress)
    return {**pipeline.report(release), "engine": catalogue.load(release).engine}


def again(release: Release, data: Path) -> Document:
    """Return the out-of-fold figures on the data that a release was trained on, beside those of its card."""
    from cds_hooks.training import cohort, pipeline, published

    rows = cohort.load(data)
    evaluation, _groups = pipeline.assess(rows, progress)
    figures = evaluation["lightgbm"]
    return {
        "model": release.model,
        "version": release.version,
        "sha256": release.sha256,
        "scheme": "out of fold, on its training data",
        "data_sha256": rows.sha256,
        "same_data": True,
        "same_figures": figures == release.card["evaluation"]["lightgbm"],
        "auc": figures["auc"],
        "brier": figures["brier"],
        "calibration_slope": figures["calibration_slope"],
        "evaluation": {**evaluation, "all": figures},
        "published": published.reproduce(rows),
    }


def training_text(found: Document) -> str:
    """Return what was trained, for people."""
    effect = found["effect"]
    lines = [
        f"{found['model']} version {found['version']} ({found['state']}) in {found['folder']}",
        f"AUC {found['auc']:.4f}   Brier {found['brier']:.4f}   calibration slope"
        f" {found['calibration_slope']:.3f}",
        f"aspirin: odds ratio {effect['odds_ratio']} (95 % CI {effect['ci'][0]} to {effect['ci'][1]})",
        "",
        f"{'published number':55} {'paper':>8} {'computed':>9}",
        *(f"{entry['name']:55} {entry['paper']:>8} {entry['computed']:>9}" for entry in found["published"]),
    ]
    return "\n".join(lines)
