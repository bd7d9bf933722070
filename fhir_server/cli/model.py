"""`xinglin model`: train, evaluate and list the models of the decision services.

Examples:
  xinglin model train stroke-early-aspirin --data IST_corrected.csv
  xinglin model list --json
  xinglin model evaluate stroke-early-aspirin --data IST_corrected.csv.xz
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from cds_hooks.models import catalogue, features
from fhir_server.config import Config, ConfigError

MODELS = ("stroke-early-aspirin",)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `model` to the table of sub-commands; the parsed arguments carry `run`."""
    parser = subparsers.add_parser(
        "model",
        help="train, evaluate and list the models of the decision services",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser("train", help="train a model from its data and write a new version")
    train.add_argument(
        "--out", type=Path, help="folder of the releases; default: models under the data folder"
    )
    train.add_argument(
        "--state", choices=("draft", "demonstration"), default="draft", help="state of the new release"
    )
    train.set_defaults(run=_train)
    evaluate = actions.add_parser("evaluate", help="evaluate out of fold again, and compare with the card")
    evaluate.add_argument("--version", help="version whose card is compared; default: the newest")
    evaluate.set_defaults(run=_evaluate)
    for action in (train, evaluate):
        action.add_argument("model", choices=MODELS, metavar="MODEL", help=" or ".join(MODELS))
        action.add_argument("--data", type=Path, required=True, help="IST_corrected.csv, or the same as .xz")
    listing = actions.add_parser("list", help="list the releases, shipped and trained here")
    listing.set_defaults(run=_list)
    for action in (train, evaluate, listing):
        action.add_argument("--data-dir", type=Path, help="data folder of the installation")
        action.add_argument("--json", action="store_true", help="one JSON document on standard output")


def folders(data_dir: Path | None) -> list[Path]:
    """Return where releases lie: the installation's own folder first, then the shipped ones."""
    return [Config.read(os.environ, flags={"data_dir": data_dir}).data_dir / "models", catalogue.SHIPPED]


def _train(arguments: argparse.Namespace) -> int:
    def work() -> dict[str, Any]:
        from cds_hooks.training import pipeline

        places = folders(arguments.data_dir)
        if arguments.out is not None:
            places = [arguments.out, *places]
        release = pipeline.train(arguments.data, places, state=arguments.state, progress=_progress)
        answer = pipeline.report(release)
        answer["engine"] = catalogue.load(release).engine
        return answer

    return _answer(arguments, work, _training_text)


def _evaluate(arguments: argparse.Namespace) -> int:
    def work() -> dict[str, Any]:
        from cds_hooks.training import cohort, pipeline, published

        release = catalogue.find(folders(arguments.data_dir), arguments.model, arguments.version)
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

    return _answer(arguments, work, _evaluation_text)


def _list(arguments: argparse.Namespace) -> int:
    def work() -> dict[str, Any]:
        places = folders(arguments.data_dir)
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

    return _answer(arguments, work, _listing_text)


def _answer(arguments: argparse.Namespace, work: Any, text: Any) -> int:
    """Run the work and print its answer; a refusal is one line and exit code 1."""
    try:
        answer = work()
    except ImportError as error:
        print(f"training needs pandas: pip install 'xinglin[train]' ({error})", file=sys.stderr)
        return 1
    except (OSError, ValueError, RuntimeError, ConfigError) as error:
        print(str(error) or type(error).__name__, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print(text(answer))
    return 0


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


def _training_text(answer: dict[str, Any]) -> str:
    effect = answer["effect"]
    lines = [
        f"{answer['model']} version {answer['version']} ({answer['state']}) in {answer['folder']}",
        f"AUC {answer['auc']:.4f}   Brier {answer['brier']:.4f}   calibration slope"
        f" {answer['calibration_slope']:.3f}",
        f"aspirin: odds ratio {effect['odds_ratio']} (95 % CI {effect['ci'][0]} to {effect['ci'][1]})",
        "",
        f"{'published number':55} {'paper':>8} {'computed':>9}",
        *(f"{entry['name']:55} {entry['paper']:>8} {entry['computed']:>9}" for entry in answer["published"]),
    ]
    return "\n".join(lines)


def _evaluation_text(answer: dict[str, Any]) -> str:
    rows = {"all": answer["evaluation"]["lightgbm"], **answer["evaluation"]["subgroups"]}
    lines = [
        f"{answer['model']} version {answer['version']}: figures"
        f" {'equal to' if answer['same_figures'] else 'differ from'} its card",
        f"{'group':28} {'n':>7} {'AUC':>6} {'O/E':>6} {'slope':>6}",
    ]
    for name, row in rows.items():
        ratio = row["observed_over_expected"]
        lines.append(
            f"{name:28} {row['n']:>7} {row['auc']:6.3f} {ratio:6.2f} {row['calibration_slope']:6.2f}"
        )
    return "\n".join(lines)


def _listing_text(answer: dict[str, Any]) -> str:
    if not answer["models"]:
        return "no model; xinglin model train makes one"
    return "\n".join(
        f"{entry['identity']:45} {entry['state']:14} AUC {entry['auc']:.3f}  {entry['trained_at'][:10]}"
        for entry in answer["models"]
    )
