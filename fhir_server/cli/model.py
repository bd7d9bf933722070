"""Train, evaluate and list the models of the decision services.

`train` writes a new version under the data folder; nothing that is shown to anybody changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cds_hooks.models import catalogue, features
from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.config import Config

EXAMPLES = """\
  xinglin model train stroke-early-aspirin --data IST_corrected.csv
  xinglin model evaluate stroke-early-aspirin --data IST_corrected.csv.xz --json
  xinglin model list
"""

MODELS = ("stroke-early-aspirin",)

Document = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"which model: {' or '.join(MODELS)}")
    parser.add_argument("--data", type=Path, metavar="FILE", help="IST_corrected.csv, or the same as .xz")
    parser.add_argument("--out", type=Path, metavar="DIR", help="train: folder of the release, if another")
    parser.add_argument(
        "--state",
        choices=("draft", "demonstration"),
        default="draft",
        help="train: state of the release; a demonstration answers for test data only (default draft)",
    )
    parser.add_argument("--version", metavar="N", help="evaluate: whose card is compared; default the newest")
    add_json(parser)
    add_settings(parser, "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked; a refusal of training or of a release comes out as Refused."""
    action, text = _ACTIONS[arguments.action]
    if arguments.action != "list":
        if arguments.model not in MODELS:
            raise Refused(
                f"there is no model {arguments.model}; known are {', '.join(MODELS)}"
                if arguments.model
                else f"{arguments.action} needs a MODEL: {', '.join(MODELS)}"
            )
        if arguments.data is None:
            raise Refused(f"{arguments.action} needs --data FILE, for example IST_corrected.csv")
    try:
        document = action(arguments, [config.data_dir / "models", catalogue.SHIPPED])
    except ImportError as error:
        raise Refused(f"training needs pandas: pip install 'xinglin[train]' ({error})") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise Refused(str(error) or type(error).__name__) from error
    answer(arguments, document, text(document))
    return 0


def _train(arguments: argparse.Namespace, places: list[Path]) -> Document:
    from cds_hooks.training import pipeline  # pandas and lightgbm: 2.4 s that --help need not pay

    if arguments.out is not None:
        places = [arguments.out, *places]
    release = pipeline.train(arguments.data, places, state=arguments.state, progress=_progress)
    return {**pipeline.report(release), "engine": catalogue.load(release).engine}


def _evaluate(arguments: argparse.Namespace, places: list[Path]) -> Document:
    from cds_hooks.training import cohort, pipeline, published

    release = catalogue.find(places, arguments.model, arguments.version)
    data = cohort.load(arguments.data)
    evaluation, _groups = pipeline.assess(data, _progress)
    figures = evaluation["lightgbm"]
    return {
        "model": release.model,
        "version": release.version,
        "sha256": release.sha256,
        "data_sha256": data.sha256,
        "same_data": data.sha256 == release.card["data"]["sha256"],
        "same_figures": figures == release.card["evaluation"]["lightgbm"],
        "auc": figures["auc"],
        "brier": figures["brier"],
        "calibration_slope": figures["calibration_slope"],
        "evaluation": evaluation,
        "published": published.reproduce(data),
    }


def _list(_arguments: argparse.Namespace, places: list[Path]) -> Document:
    return {
        "models": [
            {
                "model": release.model,
                "version": release.version,
                "state": release.state,
                "identity": release.identity,
                "sha256": release.sha256,
                "trained_at": release.card["trained_at"],
                "auc": release.card["evaluation"]["lightgbm"]["auc"],
                "calibration_slope": release.card["evaluation"]["lightgbm"]["calibration_slope"],
                "usable": release.card["schema_sha256"] == features.schema_hash(),
                "folder": str(release.folder),
            }
            for release in catalogue.releases(places)
        ]
    }


def _progress(text: str) -> None:
    """Show a step; on a terminal the next one takes its line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()
    elif "fold" not in text:
        say(text)


def _training_text(found: Document) -> str:
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


def _evaluation_text(found: Document) -> str:
    rows = {"all": found["evaluation"]["lightgbm"], **found["evaluation"]["subgroups"]}
    lines = [
        f"{found['model']} version {found['version']}: figures"
        f" {'equal to' if found['same_figures'] else 'differ from'} its card",
        f"{'group':28} {'n':>7} {'AUC':>6} {'O/E':>6} {'slope':>6}",
    ]
    for name, row in rows.items():
        ratio = row["observed_over_expected"]
        lines.append(
            f"{name:28} {row['n']:>7} {row['auc']:6.3f} {ratio:6.2f} {row['calibration_slope']:6.2f}"
        )
    return "\n".join(lines)


def _listing_text(found: Document) -> str:
    if not found["models"]:
        return "no model; xinglin model train makes one"
    return "\n".join(
        f"{entry['identity']:45} {entry['state']:14} AUC {entry['auc']:.3f}  {entry['trained_at'][:10]}"
        for entry in found["models"]
    )


_ACTIONS: dict[
    str, tuple[Callable[[argparse.Namespace, list[Path]], Document], Callable[[Document], str]]
] = {
    "train": (_train, _training_text),
    "evaluate": (_evaluate, _evaluation_text),
    "list": (_list, _listing_text),
}
